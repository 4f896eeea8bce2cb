"""Sorted rows to groups with list columns, without copying values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BATCH_ROWS: Final = 131_072


def group_rows(
    batches: Iterator[pa.RecordBatch], key: str, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """
    Cut a stream of rows that are sorted by key into batches of whole groups.

    Args:
        batches: Rows with the key and the columns, sorted by key, no key null.
        key: Name of the key column.
        columns: Names of the columns that become lists.

    Returns:
        Batches of one row a group: the key and one list column for each of *columns*; of about
        131,072 values each, more if a single group has more.
    """
    kept: list[pa.RecordBatch] = []
    kept_rows = 0
    for batch in batches:
        kept.append(batch)
        kept_rows += batch.num_rows
        if kept_rows < BATCH_ROWS:
            continue
        rows = _one_batch(kept)
        last_key = rows.column(key)[-1]
        cut = _first_of(rows.column(key), last_key)
        if cut > 0:
            yield _listed(rows.slice(0, cut), key, columns)
        kept = [rows.slice(cut)]
        kept_rows = rows.num_rows - cut if cut > 0 else 0
    rest = _one_batch(kept) if kept else None
    if rest is not None and rest.num_rows:
        yield _listed(rest, key, columns)


def _one_batch(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _first_of(keys: pa.Array, wanted: pa.Scalar) -> int:
    return int(pc.index(keys, wanted).as_py())


def _listed(rows: pa.RecordBatch, key: str, columns: Sequence[str]) -> pa.RecordBatch:
    """Turn rows sorted by key into one row a key with list columns."""
    keys = rows.column(key)
    changes = pc.not_equal(keys.slice(1), keys.slice(0, len(keys) - 1))
    starts = np.flatnonzero(changes.to_numpy(zero_copy_only=False)) + 1
    offsets = np.concatenate(([0], starts, [len(keys)])).astype(np.int32)
    arrays = [keys.take(pa.array(offsets[:-1]))]
    arrays += [
        pa.ListArray.from_arrays(pa.array(offsets), rows.column(column)) for column in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=[key, *columns])
