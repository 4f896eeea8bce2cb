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


@pytest.mark.parametrize("seed", range(6))
def test_scores_equal_the_definition(seed: int) -> None:
    """All seven figures of every candidate, for sets of any size."""
    boards_of, pins_of, edges, back = random_graph(seed)
    rng = np.random.default_rng(seed)
    own = rng.choice(30, rng.integers(1, 9), replace=False).astype(np.int32)
    rows = np.arange(30, dtype=np.int32)

    table = overlap_kernels.board_overlap(own, *edges, CAP)
    found = overlap_kernels.overlap_scores(rows, *table, own.size, *edges, back[0], CAP)

    wanted = [overlap(row, own.tolist(), boards_of, pins_of) for row in range(30)]
    # sums in float32 tables
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_item_neighbours_are_summed_cosines() -> None:
    """The first figure is what a dense matrix of pin cosines gives."""
    boards_of, _, edges, back = random_graph(11)
    dense = np.zeros((30, 12))
    for row, boards in enumerate(boards_of):
        dense[row, boards] = 1.0
    unit = dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-12)
    own = np.array([1, 5, 9], np.int32)

    table = overlap_kernels.board_overlap(own, *edges, CAP)
    rows = np.arange(30, dtype=np.int32)
    found = overlap_kernels.overlap_scores(rows, *table, 3, *edges, back[0], CAP)

    np.testing.assert_allclose(found[:, 0], (unit @ unit[own].T).sum(axis=1), rtol=1e-5)


def test_rows_that_the_graph_does_not_have_say_nothing() -> None:
    """Younger and unknown pins are left out of the set and score 0."""
    _, _, edges, back = random_graph(3)
    own = np.array([-1, 400, 2], np.int32)
    rows = np.array([-1, 30, 4], np.int32)

    table = overlap_kernels.board_overlap(own, *edges, CAP)
    alone = overlap_kernels.board_overlap(own[2:], *edges, CAP)
    found = overlap_kernels.overlap_scores(rows, *table, 1, *edges, back[0], CAP)
    wanted = overlap_kernels.overlap_scores(rows, *alone, 1, *edges, back[0], CAP)

    assert found[:2].sum() == 0
    assert found.tolist() == wanted.tolist()


def test_a_hub_is_sampled_at_even_steps() -> None:
    """A pin on more boards than are looked at keeps about its score."""
    boards = 4000
    offsets = np.array([0, boards, boards + boards // 2], np.int64)
    rng = np.random.default_rng(0)
    half = np.sort(rng.choice(boards, boards // 2, replace=False)).astype(np.int32)
    edges = (offsets, np.concatenate([np.arange(boards, dtype=np.int32), half]))
    sizes = np.arange(boards + 1, dtype=np.int64) * 2
    own, rows = np.array([0], np.int32), np.array([1], np.int32)

    def score(cap: int) -> Any:
        table = overlap_kernels.board_overlap(own, *edges, CAP)
        return overlap_kernels.overlap_scores(rows, *table, 1, *edges, sizes, cap)[0]

    np.testing.assert_allclose(score(500), score(CAP), rtol=0.05)


def test_closest_and_paired_equal_numpy() -> None:
    """Largest cosine, sum of squares of positive ones, and cosines pair by pair."""
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((20, 8)).astype(np.float32)
    targets = rng.standard_normal((6, 8)).astype(np.float32)
    rows = np.array([3, -1, 19, 0], np.int32)
    places = np.array([5, 0, -1, 2], np.int32)

    found = overlap_kernels.closest(vectors, rows, targets)
    pairs = overlap_kernels.paired_cosines(vectors, rows, targets, places)

    cosines = vectors[rows] @ targets.T
    expected = np.stack([cosines.max(axis=1), (np.maximum(cosines, 0) ** 2).sum(axis=1)], axis=1)
    expected[1] = 0
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(pairs, [cosines[0, 5], 0, 0, cosines[3, 2]], rtol=1e-5)
