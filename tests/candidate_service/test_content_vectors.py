"""Live vectors against a dictionary, and sealed and live ones as one space."""

from __future__ import annotations

import numpy as np
import pytest

from candidate_service.content_vectors import LiveVectorsOf, nearest_to, vector_of
from candidate_service.live.segment import LiveChanges, LivePin
from candidate_service.vector_index import VectorIndex
from service_runtime.vector_table import unit_rows


def pin(row: int, vector: np.ndarray | None, *, removed: bool = False) -> LivePin:
    """Return a change of a pin."""
    return LivePin(row, f"p{row}", row >= 100, is_removed=removed, text_vector=vector)


def make_live() -> LiveVectorsOf:
    """Return an empty part that reads vectors of texts."""
    return LiveVectorsOf(lambda changed: changed.text_vector)


@pytest.mark.parametrize("seed", range(4))
def test_changes_in_any_order_are_a_dictionary(seed: int) -> None:
    """Added, replaced, removed and grown: what counts is each row's last vector."""
    rng = np.random.default_rng(seed)
    live, expected = make_live(), {}
    for _ in range(500):
        row = int(rng.integers(0, 90))
        if rng.random() < 0.2:
            live.apply(LiveChanges(pins=[pin(row, None, removed=True)]))
            expected.pop(row, None)
        else:
            vector = unit_rows(rng.normal(size=(1, 8)))[0]
            live.apply(LiveChanges(pins=[pin(row, vector)]))
            expected[row] = vector
    query = unit_rows(rng.normal(size=(1, 8)))[0]

    rows, cosines = live.nearest(query, 1000)

    best = sorted(expected, key=lambda row: (-float(expected[row] @ query), row))
    assert rows.tolist() == best
    np.testing.assert_allclose(cosines, [expected[row] @ query for row in best], atol=1e-6)
    assert live.nearest(query, 5)[0].tolist() == best[:5]


def test_change_without_a_vector_keeps_the_one_it_had() -> None:
    """A new title does not move a pin in the space."""
    live = make_live()
    vector = np.array([1.0, 0.0], np.float32)
    live.apply(LiveChanges(pins=[pin(3, vector), pin(3, None)]))

    assert live.nearest(vector, 5)[0].tolist() == [3]


def test_sealed_and_live_are_one_space() -> None:
    """A changed pin is found by its new vector only; filters reach both."""
    sealed = VectorIndex(unit_rows(np.array([[1, 0], [0.9, 0.1], [0, 1], [0, 0]])), path=None)
    live = make_live()
    live.apply(LiveChanges(pins=[pin(1, np.array([0.0, 1.0], np.float32))]))
    live.apply(LiveChanges(pins=[pin(100, unit_rows(np.array([[1.0, 0.05]]))[0])]))
    query = np.array([1.0, 0.0], np.float32)

    def find(count: int, allowed: np.ndarray | None = None) -> list[int]:
        return nearest_to(query, count, sealed, live, allowed=allowed)[0].tolist()

    allowed = np.ones(101, np.bool_)
    allowed[0] = False
    assert find(2) == [0, 100]
    assert find(9) == [0, 100, 1, 2]
    assert find(2, allowed) == [100, 1]
    assert vector_of(1, sealed, live) == pytest.approx([0, 1])
    assert vector_of(0, sealed, live) == pytest.approx([1, 0])
    assert vector_of(3, sealed, live) is None
    assert vector_of(999, sealed, live) is None
