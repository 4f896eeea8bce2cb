"""Pins younger than the index are found by the vector they came with, or by their boards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from candidate_service.live.segment import LiveChanges, LivePin, LiveSave
from candidate_service.live_vectors import FOLDED_AT_ONCE, LiveVectors, VectorRows, no_boards
from candidate_service.vector_index import VectorIndex


def make_index(count: int = 40, *, is_learned: bool = False) -> VectorIndex:
    """Two directions: rows below the half point one way, the others another."""
    vectors = np.zeros((count, 4), np.float32)
    vectors[: count // 2, 0] = vectors[count // 2 :, 1] = 1.0
    return VectorIndex(vectors, path=None, is_learned=is_learned)


def given_vector(row: int, *vector: float) -> LiveChanges:
    """Change a pin that comes with a vector."""
    return LiveChanges(
        pins=[LivePin(row, f"p{row}", is_new=True, vector=np.array(vector, np.float32))]
    )


def save(name: str, board: str, row: int, *, is_removed: bool = False) -> LiveChanges:
    """Save a pin on a board, or take it back."""
    return LiveChanges(saves=[LiveSave(name, board, row, is_removed=is_removed)])


def pins_of_board(board: str) -> NDArray[np.int32]:
    """Two boards of the catalogue, one of each direction."""
    boards = {"left": [0, 1, 2], "right": [20, 21]}
    return np.array(boards.get(board, []), np.int32)


@given(
    changes=st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(0, 9)), max_size=60),
    hidden=st.sets(st.integers(0, 12)),
)
@settings(deadline=None)
def test_rows_equal_a_dictionary(changes: list[tuple[int, bool, int]], hidden: set[int]) -> None:
    """Put, replace and drop in any order: searched is what a dictionary would hold."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((10, 4)).astype(np.float32)
    table, expected = VectorRows(4), {}
    for row, is_put, which in changes:
        if is_put:
            table.put(row, directions[which])
            expected[row] = which
        else:
            table.drop(row)
            expected.pop(row, None)
    allowed = np.array([row not in hidden for row in range(13)])

    ((rows, cosines),) = table.nearest(directions[:1], 5, allowed)

    best = sorted((-float(directions[w] @ directions[0]), r) for r, w in expected.items())
    best = [(score, row) for score, row in best if row not in hidden][:5]
    assert len(table) == len(expected)
    assert table.sorted_rows().tolist() == sorted(expected)
    np.testing.assert_allclose(-cosines, [score for score, _ in best], atol=1e-5)
    assert set(rows.tolist()) <= set(expected) - hidden


def test_rows_grow() -> None:
    """Many more than fit at first, half of them replaced."""
    table = VectorRows(3)
    for row in [*range(1000), *range(500)]:
        table.put(row, np.array([row, 1, 0], np.float32))

    assert len(table) == 1000
    assert table.get(3) is not None
    assert table.get(3)[0] == 3  # type: ignore[index]
    assert table.nearest(np.eye(3, dtype=np.float32)[:1], 1, None)[0][0].tolist() == [999]


@pytest.mark.parametrize("ratio", [1.0, 0.6, 0.1])
def test_many_rows_are_searched_by_a_graph(ratio: float) -> None:
    """Once all rows are placed a graph answers: 95 % of the truth, scored exactly, filtered."""
    rng = np.random.default_rng(6)
    vectors = rng.standard_normal((600, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = VectorRows(8, graph_from=300)
    for row in [*range(600), *range(0, 600, 50)]:
        table.put(row, vectors[row])
    for row in range(7, 600, 100):
        table.drop(row)
    allowed = rng.random(600) < ratio
    there = np.array([row % 100 != 7 for row in range(600)]) & allowed

    hits = 0
    for query in vectors[:50]:
        ((rows, cosines),) = table.nearest(query[None], 20, allowed)
        truth = np.sort(vectors[there] @ query)[::-1][:20]
        assert there[rows].all()
        np.testing.assert_allclose(cosines, vectors[rows] @ query, atol=1e-6)
        hits += int((cosines >= truth[-1] - 1e-6).sum())

    assert table._graph is not None
    assert not table._unplaced
    assert hits >= 0.95 * 50 * 20


def test_given_vectors_are_scaled_and_found() -> None:
    """A vector of any length is a direction; the newest one counts."""
    part, index = LiveVectors(), make_index()
    part.apply(given_vector(40, 3.0, 0.0, 0.0, 0.0))
    part.apply(given_vector(40, 0.0, 0.0, 5.0, 0.0))

    vectors = part.vectors(index, no_boards)

    assert vectors is not None
    assert vectors.sorted_rows().tolist() == [40]
    assert part.vector(40).tolist() == [0.0, 0.0, 1.0, 0.0]  # type: ignore[union-attr]


def test_what_is_no_direction_is_not_kept() -> None:
    """Zero, not finite, absent: the pin is not searched, nothing breaks."""
    part = LiveVectors()
    part.apply(given_vector(1, 0.0, 0.0, 0.0, 0.0))
    part.apply(given_vector(2, float("nan"), 0.0, 0.0, 0.0))
    part.apply(LiveChanges(pins=[LivePin(3, "p3", is_new=True)]))

    assert part.vectors(make_index(), no_boards) is None
    assert part.vector(1) is None


def test_vector_of_another_dimension_is_not_found_here() -> None:
    """While the model is being changed, old and new vectors come: each space knows its own."""
    part = LiveVectors()
    part.apply(given_vector(40, 1.0, 0.0))

    assert part.vectors(make_index(), no_boards) is None

    part.apply(given_vector(40, 0.0, 1.0, 0.0, 0.0))
    assert part.vector(40).tolist() == [0.0, 1.0, 0.0, 0.0]  # type: ignore[union-attr]


def test_fold_in_gives_a_new_pin_the_direction_of_its_boards() -> None:
    """Where vectors are learned, a pin on a board of the catalogue is found beside its pins."""
    part, index = LiveVectors(), make_index(is_learned=True)
    part.apply(given_vector(41, 0.0, 0.0, 0.0, 1.0))  # not of the learned space: not used
    part.apply(save("s1", "left", 40))
    part.apply(save("s2", "right", 41))
    part.apply(save("s3", "left", 41))
    part.apply(save("s4", "unknown", 42))

    vectors = part.vectors(index, pins_of_board)

    assert vectors is not None
    np.testing.assert_allclose(vectors.get(40), [1, 0, 0, 0])
    np.testing.assert_allclose(vectors.get(41), [0.5**0.5, 0.5**0.5, 0, 0], atol=1e-6)
    assert vectors.get(42) is None
    assert part.vector(40) is vectors.get(40) or (part.vector(40) == vectors.get(40)).all()  # type: ignore[union-attr]


def test_fold_in_follows_saves_that_are_taken_back() -> None:
    """The pin moves with its saves, and goes with the last; the same change twice is one."""
    part, index = LiveVectors(), make_index(is_learned=True)
    for _ in range(2):
        part.apply(save("s1", "left", 40))
        part.apply(save("s2", "right", 40))
    assert part.vectors(index, pins_of_board) is not None
    part.apply(save("s1", "left", 40, is_removed=True))
    moved = part.vectors(index, pins_of_board)

    assert moved is not None
    np.testing.assert_allclose(moved.get(40), [0, 1, 0, 0])
    part.apply(save("s2", "right", 40, is_removed=True))
    left = part.vectors(index, pins_of_board)
    assert left is not None
    assert left.get(40) is None


def test_fold_in_leaves_pins_with_a_vector_alone() -> None:
    """What the index knows was learned from all saves; a few new ones do not override it."""
    part, index = LiveVectors(), make_index(is_learned=True)
    part.apply(save("s1", "right", 3))

    vectors = part.vectors(index, pins_of_board)

    assert vectors is not None
    assert len(vectors) == 0


def test_fold_in_is_done_in_pieces_and_anew_for_another_index() -> None:
    """No question pays for a flood of saves; a new index is folded into afresh."""
    part, index = LiveVectors(), make_index(is_learned=True)
    count = FOLDED_AT_ONCE + 10
    for row in range(40, 40 + count):
        part.apply(save(f"s{row}", "left", row))

    first = len(part.vectors(index, pins_of_board) or ())
    second = len(part.vectors(index, pins_of_board) or ())
    other = make_index(is_learned=True)
    anew = part.vectors(other, pins_of_board)

    assert (first, second) == (FOLDED_AT_ONCE, count)
    assert anew is not None
    assert len(anew) == FOLDED_AT_ONCE


def test_readers_beside_a_writer() -> None:
    """While vectors come and move, each row that is found has a vector, and none is found twice."""
    part, index = LiveVectors(), make_index()
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((2000, 4))
    part.apply(given_vector(0, 1, 0, 0, 0))

    def write() -> None:
        for number, direction in enumerate(directions):
            part.apply(given_vector(number % 700, *direction.tolist()))

    def read() -> None:
        for _ in range(300):
            vectors = part.vectors(index, no_boards)
            assert vectors is not None
            rows = vectors.nearest(np.eye(4, dtype=np.float32)[:1], 2000, None)[0][0]
            assert rows.min() >= 0
            assert rows.max() < 700

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(write), pool.submit(read), pool.submit(read)]:
            done.result()

    vectors = part.vectors(index, no_boards)
    assert vectors is not None
    assert len(vectors) == 700
