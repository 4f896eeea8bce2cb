"""Kernels of shared boards and directions against slow twins."""

from typing import Any

import numpy as np
import pytest

from ranking_service import overlap_kernels
from tests.naive.board_overlap import overlap

CAP = 10_000


def random_graph(seed: int, *, pins: Any = 30, boards: Any = 12) -> Any:
    """Boards of pins both ways, as arrays and as lists."""
    rng = np.random.default_rng(seed)
    member = rng.random((pins, boards)) < 0.25
    boards_of = [np.flatnonzero(row).tolist() for row in member]
    pins_of = [np.flatnonzero(column).tolist() for column in member.T]

    def arrays(lists: Any) -> Any:
        offsets = np.cumsum([0, *(len(row) for row in lists)]).astype(np.int64)
        return offsets, np.array([x for row in lists for x in row], np.int32)

    return boards_of, pins_of, arrays(boards_of), arrays(pins_of)


def scores_of(rows: Any, sets: Any, edges: Any, board_offsets: Any, cap: int = CAP) -> Any:
    """Scores of rows beside each of some sets, float32[n, s, 7]."""
    starts = np.cumsum([0, *(len(some) for some in sets)]).astype(np.int64)
    together = np.concatenate(sets).astype(np.int32)
    table = overlap_kernels.board_overlap(together, starts, *edges, CAP)
    return overlap_kernels.overlap_scores(rows, *table, starts, *edges, board_offsets, cap)


@pytest.mark.parametrize("seed", range(6))
def test_scores_equal_the_definition(seed: int) -> None:
    """All seven figures of every candidate, for two sets of any size that overlap."""
    boards_of, pins_of, edges, back = random_graph(seed)
    rng = np.random.default_rng(seed)
    sets = [rng.choice(30, rng.integers(1, 9), replace=False) for _ in range(2)]
    rows = np.arange(30, dtype=np.int32)

    found = scores_of(rows, sets, edges, back[0])

    for number, own in enumerate(sets):
        wanted = [overlap(row, own.tolist(), boards_of, pins_of) for row in range(30)]
        # sums in float32 tables
        np.testing.assert_allclose(found[:, number], wanted, rtol=1e-5, atol=1e-7)


def test_item_neighbours_are_summed_cosines() -> None:
    """The first figure is what a dense matrix of pin cosines gives."""
    boards_of, _, edges, back = random_graph(11)
    dense = np.zeros((30, 12))
    for row, boards in enumerate(boards_of):
        dense[row, boards] = 1.0
    unit = dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-12)
    own = np.array([1, 5, 9])

    found = scores_of(np.arange(30, dtype=np.int32), [own], edges, back[0])

    np.testing.assert_allclose(found[:, 0, 0], (unit @ unit[own].T).sum(axis=1), rtol=1e-5)


def test_rows_that_the_graph_does_not_have_say_nothing() -> None:
    """Younger and unknown candidates score 0; younger pins of a set are on no board."""
    _, _, edges, back = random_graph(3)
    rows = np.array([-1, 30, 4], np.int32)

    found = scores_of(rows, [np.arange(9), np.array([*range(9), -1, 400])], edges, back[0])

    assert found[:2].sum() == 0
    assert 0 < found[2, 1, 0] == found[2, 0, 0]


def test_a_hub_is_sampled_at_even_steps() -> None:
    """A pin on more boards than are looked at keeps about its score."""
    boards = 4000
    offsets = np.array([0, boards, boards + boards // 2], np.int64)
    rng = np.random.default_rng(0)
    half = np.sort(rng.choice(boards, boards // 2, replace=False)).astype(np.int32)
    edges = (offsets, np.concatenate([np.arange(boards, dtype=np.int32), half]))
    sizes = np.arange(boards + 1, dtype=np.int64) * 2
    rows = np.array([1], np.int32)

    few, all_ = (scores_of(rows, [np.array([0])], edges, sizes, cap) for cap in (500, CAP))

    np.testing.assert_allclose(few, all_, rtol=0.05)


def test_closest_and_paired_equal_numpy() -> None:
    """Largest cosine, sum of squares of positive ones, and cosines pair by pair."""
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((20, 8)).astype(np.float32)
    targets = rng.standard_normal((6, 8)).astype(np.float32)
    rows = np.array([3, -1, 19, 0], np.int32)
    places = np.array([5, 0, -1, 2], np.int32)
    cosines = vectors[rows] @ targets.T

    found = overlap_kernels.closest(cosines, 1, 5)
    pairs = overlap_kernels.paired_cosines(vectors, rows, targets, places)

    part = cosines[:, 1:5]
    expected = np.stack([part.max(axis=1), (np.maximum(part, 0) ** 2).sum(axis=1)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(pairs, [cosines[0, 5], 0, 0, cosines[3, 2]], rtol=1e-5)
    assert overlap_kernels.closest(cosines, 2, 2).sum() == 0
