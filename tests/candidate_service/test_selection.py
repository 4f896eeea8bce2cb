"""Dropping, uniting and cutting lists agree with the obvious way."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from candidate_service.candidate import CandidateList
from candidate_service.selection import Screen, best_of, is_in, screened

ROWS = st.lists(st.integers(0, 30), max_size=40)


@given(rows=ROWS, among=st.sets(st.integers(0, 30)))
def test_is_in_equals_membership(rows: list[int], among: set[int]) -> None:
    """Sorted search says what a set says."""
    found = is_in(np.asarray(rows, np.int32), np.asarray(sorted(among), np.int32))

    assert found.tolist() == [row in among for row in rows]


@given(
    found=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4), st.integers(0, 2))),
    limit=st.integers(0, 20),
)
def test_best_of_keeps_each_pin_once_with_its_best_score(
    found: list[tuple[int, int, int]], limit: int
) -> None:
    """As a dictionary of best scores would, in the order of score, query pin, row."""
    rows, scores, indexes = np.asarray(found, np.int32).reshape(-1, 3).T

    actual = best_of("s", rows, scores.astype(np.float32), indexes, limit)

    best: dict[int, tuple[int, int]] = {}
    for row, score, index in found:
        best[row] = min(best.get(row, (0, 99)), (-score, index))
    expected = sorted((score, index, row) for row, (score, index) in best.items())[:limit]
    assert actual.rows.tolist() == [row for _, _, row in expected]
    assert actual.scores.tolist() == [-score for score, _, _ in expected]
    assert actual.query_indexes.tolist() == [index for _, index, _ in expected]


@given(
    rows=st.lists(st.integers(0, 30), unique=True),
    excluded=st.sets(st.integers(0, 30)),
    pin_count=st.integers(0, 31),
    limit=st.integers(0, 31),
)
def test_screened_keeps_the_order_of_what_is_left(
    rows: list[int], excluded: set[int], pin_count: int, limit: int
) -> None:
    """Excluded and unknown rows go, the rest keeps its order and is cut."""
    count = len(rows)
    found = CandidateList(
        "s",
        np.asarray(rows, np.int32),
        np.linspace(1, 0, count, dtype=np.float32),
        np.arange(count, dtype=np.int32),
    )

    actual = screened(found, Screen(np.asarray(sorted(excluded), np.int32), pin_count), limit)

    kept = [at for at, row in enumerate(rows) if row not in excluded and row < pin_count][:limit]
    assert actual.rows.tolist() == [rows[at] for at in kept]
    assert actual.query_indexes.tolist() == kept
