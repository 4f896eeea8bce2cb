"""Pairs are sampled fairly; rows turn around without losing an edge; hashes are uniform."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.pair_kernels import (
    compress_edges,
    dominant_labels,
    find_groups,
    hash_pairs,
    sample_pairs,
    transpose,
)


@settings(deadline=None)
@given(
    edges=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), max_size=40),
    seed=st.integers(0, 99),
)
def test_turning_twice_gives_the_same_edges(edges: list[tuple[int, int]], seed: int) -> None:
    """Sources of targets of sources: every edge is there, repeats too; sources in their order."""
    sources, targets = np.array(edges, np.int32).reshape(-1, 2).T.copy()
    order = np.random.default_rng(seed).permutation(10)

    offsets, neighbours = compress_edges(sources, targets, 10)
    turned_offsets, turned = transpose(offsets, neighbours, order, 7)

    assert sorted(zip(sources.tolist(), targets.tolist(), strict=True)) == sorted(
        zip(turned.tolist(), np.repeat(np.arange(7), np.diff(turned_offsets)).tolist(), strict=True)
    )
    places = np.argsort(order)[turned]
    for begin, end in zip(turned_offsets[:-1], turned_offsets[1:], strict=True):  # noqa: RUF007  arrays
        assert (np.diff(places[begin:end]) >= 0).all()


def test_groups_are_runs_of_equal_labels() -> None:
    """Each run of equal labels is a group; a node without neighbours has none."""
    offsets = np.array([0, 4, 4, 6], np.int64)
    neighbours = np.array([0, 1, 2, 3, 0, 4], np.int32)
    labels = np.array([-1, 2, 2, 5, -1], np.int32)

    group_offsets, group_labels, begins = find_groups(offsets, neighbours, labels)

    assert group_offsets.tolist() == [0, 3, 3, 4]
    assert group_labels.tolist() == [-1, 2, 5, -1]
    assert begins.tolist() == [0, 1, 3, 4, 6]


@settings(deadline=None)
@given(
    lists=st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=6),
    labels=st.lists(st.integers(-1, 3), min_size=10, max_size=10),
)
def test_dominant_label_is_the_most_frequent_known(
    lists: list[list[int]], labels: list[int]
) -> None:
    """The lowest of equally frequent ones, -1 where nothing is known."""
    offsets = np.cumsum([0, *map(len, lists)])
    neighbours = np.array([pin for pins in lists for pin in pins], np.int32)

    found = dominant_labels(offsets, neighbours, np.array(labels, np.int16), 4)

    for pins, label in zip(lists, found.tolist(), strict=True):
        known = [labels[pin] for pin in pins if labels[pin] >= 0]
        assert label == min(known, key=lambda tag: (-known.count(tag), tag), default=-1)


def test_hashes_are_uniform() -> None:
    """100,000 neighbouring pairs fill 64 bins evenly; false alarm 1e-8 (chi-square of 63)."""
    lefts, rights = np.divmod(np.arange(100_000, dtype=np.int32), np.int32(300))

    bins = np.bincount((hash_pairs(lefts, rights, 7) >> np.uint64(58)).astype(int), minlength=64)

    assert ((bins - 1562.5) ** 2 / 1562.5).sum() < 150


def test_every_pin_gets_about_the_same_number_of_pairs() -> None:
    """A pin on one board and a pin on ten boards are given equally many pairs, about."""
    boards = np.arange(11, dtype=np.int32)
    offsets = (np.arange(12) * 100).astype(np.int32)
    pins = np.concatenate(
        [np.r_[b if b == 10 else 1000, 2000 + 99 * b + np.arange(99)] for b in range(11)]
    ).astype(np.int32)
    degrees = np.where(pins == 1000, 10, 1).astype(np.int32)

    lefts, rights, weights = sample_pairs(boards, offsets, pins, degrees, 40, 5)

    assert (lefts == 1000).sum() == 40
    assert (lefts == 10).sum() == 40
    np.testing.assert_allclose(weights[lefts == 1000], 99 / (4 * 100))
    assert (lefts != rights).all()


def test_sampled_counts_are_right_on_average() -> None:
    """A pair's weight averages 1 / n over seeds: sampling adds noise, not bias.

    A board of 12 pins, 4 partners each, 3,000 seeds: each of 132 pairs is drawn with chance 4/11,
    standard error .0088 of 4/11; 6 standard errors, false alarm below 1 in 3 million.
    """
    offsets = np.array([0, 12], np.int32)
    pins, degrees = np.arange(12, dtype=np.int32), np.ones(12, np.int32)
    drawn = np.zeros((12, 12))
    for seed in range(3000):
        lefts, rights, weights = sample_pairs(
            np.array([3], np.int32), offsets, pins, degrees, 4, seed
        )
        assert len(lefts) == 48
        np.add.at(drawn, (lefts, rights), weights * 12 / 3000)

    others = ~np.eye(12, dtype=bool)
    assert (drawn[~others] == 0).all()
    assert np.abs(drawn[others] - 1).max() < 6 * 0.0088 * 11 / 4
