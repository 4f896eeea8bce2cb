"""Sorted rows become whole groups, wherever the stream is cut."""

from collections.abc import Iterator
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from service_runtime.batch.grouping import BATCH_ROWS, group_rows


def pieces(table: pa.Table, cuts: list[int]) -> Iterator[pa.RecordBatch]:
    """Return a table cut at these rows."""
    edges = [0, *sorted(cut % (table.num_rows + 1) for cut in cuts), table.num_rows]
    for start, stop in pairwise(edges):
        yield from table.slice(start, stop - start).combine_chunks().to_batches()


@settings(deadline=None)
@given(
    keys=st.lists(st.integers(0, 6), max_size=40).map(sorted),
    cuts=st.lists(st.integers(0, 40), max_size=5),
)
def test_groups_equal_groupby(keys: list[int], cuts: list[int]) -> None:
    """For any groups and any cuts of the stream: the groups of itertools, in order."""
    rows = list(enumerate(keys))
    table = pa.table({"key": pa.array(keys, pa.int64()), "at": [at for at, _ in rows]})

    found = [row for batch in group_rows(pieces(table, cuts), "key", ["at"]) for row in batch.to_pylist()]  # fmt: skip  # noqa: E501

    expected = [
        {"key": key, "at": [at for at, _ in group]}
        for key, group in groupby(rows, key=lambda row: row[1])
    ]
    assert found == expected


def test_batches_are_bounded_unless_a_group_is_larger() -> None:
    """Small groups come in batches of about the bound; one huge group comes whole."""
    keys = np.concatenate((np.arange(300_000) // 3, np.full(300_000, 10**6), [10**6 + 1]))
    table = pa.table({"key": keys, "at": np.arange(len(keys))})

    sizes = [
        len(batch.column("at").values)
        for batch in group_rows(iter(table.to_batches(max_chunksize=10_000)), "key", ["at"])
    ]

    assert sum(sizes) == len(keys)
    assert max(sizes) >= 300_000
    assert sorted(sizes)[-2] <= BATCH_ROWS + 10_000
