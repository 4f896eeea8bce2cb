"""Imported vectors of one column, by row of the catalogue: checked, scaled, or refused."""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service.catalogue import Catalogue
from service_runtime.batch import BatchEngine
from service_runtime.errors import InvalidRequest
from service_runtime.vector_table import unit_rows


def given_vectors(engine: BatchEngine, known: Catalogue, column: str) -> NDArray[np.float32] | None:
    """Return the vectors of a column of the table `pins`, which `open_pins` has named.

    Args:
        engine: Has the table.
        known: In whose rows.
        column: `vector`, `text_vector` or `visual_vector`.

    Returns:
        float32[pins, d], unit rows, zero where a pin has none; None when no pin has one.

    Raises:
        InvalidRequest: A vector is of another length than others, zero, or not finite.
    """
    engine.sql(
        f"select pin_id, {column} as given from pins where {column} is not null", name="given"
    )
    vectors: NDArray[np.float32] | None = None
    for batch in engine.stream("given"):
        if not batch.num_rows:
            continue
        found = _checked(batch, None if vectors is None else vectors.shape[1], column)
        if vectors is None:
            vectors = np.zeros((len(known), found.shape[1]), np.float32)
        rows = known.ids.rows_arrow(batch.column("pin_id"))
        vectors[rows[rows >= 0]] = unit_rows(found[rows >= 0])
    return vectors


def _checked(batch: pa.RecordBatch, dimension: int | None, column: str) -> NDArray[np.float32]:
    lists = batch.column("given")
    lengths = np.asarray(pc.list_value_length(lists))
    wanted = int(lengths[0]) if dimension is None else dimension
    values = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.float32)
    wrong = np.flatnonzero(lengths != wanted)
    if len(wrong):
        reason = f"has {lengths[wrong[0]]} numbers, others {wanted}"
        raise _refused(batch, int(wrong[0]), column, reason)
    if wanted == 0:
        raise _refused(batch, 0, column, "is empty")
    vectors = values.reshape(-1, wanted)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise _refused(batch, int(broken[0]), column, "holds a NaN, an infinity or a null")
    zero = np.flatnonzero(~vectors.any(axis=1))
    if len(zero):
        raise _refused(batch, int(zero[0]), column, "is zero, so it has no direction")
    return vectors


def _refused(batch: pa.RecordBatch, at: int, column: str, reason: str) -> InvalidRequest:
    pin_id = batch.column("pin_id")[at].as_py()
    return InvalidRequest(
        f"the {column} of pin {pin_id!r} {reason}",
        hint=f"import all values of {column} again, from one model, or leave the column out",
    )
