"""Counts of saves read like a dictionary."""

import numpy as np

from candidate_service.save_counts import SaveCounts


def test_it_reads_as_the_dictionary_of_its_rows() -> None:
    """Every pair is found, no other is, for rows up to the largest of an int32."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2**31 - 1, (500, 3), np.int32)
    rows[:100, 0] = 7
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]

    counts = SaveCounts(rows)

    expected = {(pin, board): count for pin, board, count in rows.tolist()}
    assert counts == expected
    assert list(counts) == list(expected)
    others = [(pin, board + 1) for pin, board in expected] + [(0, 0), (2**31 - 1, 2**31 - 1)]
    assert [counts.get(pair) for pair in others] == [expected.get(pair) for pair in others]


def test_no_rows_are_an_empty_mapping() -> None:
    """A graph without repeated saves."""
    assert dict(SaveCounts(np.empty((0, 3), np.int32))) == {}
