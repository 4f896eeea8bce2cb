"""Give every pin its vector: the imported one, or one learned from the saves.

If any pin was imported with a vector, the imported vectors are used and pins without one have none;
learned and imported vectors are never mixed, as they do not live in one space.
"""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service import catalogue, pin_vectors
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.factorisation import discounted_matrix, leading_vectors
from candidate_service.imported import open_pins, open_saves
from service_runtime.errors import InvalidRequest
from service_runtime.job import JobContext, run_job
from service_runtime.vector_table import VectorTable, unit_rows

JUDGED_BOARD_COUNT = 20_000
"""Boards on which imported vectors are judged; learning reads them all anyway."""
PAIR_COUNT = 20_000
"""Pairs of pins of one board, and as many random pairs, on which the space is judged."""


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Make and publish the vectors of all pins.

    Returns:
        How they were made, how many pins have one, and how well they tell pins of one board from
        random ones.

    Raises:
        InvalidRequest: An imported vector is of another length than others, zero, or not finite.
    """
    store = context.generations
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    known = open_catalogue(source)
    open_pins(context.engine, context.data_root, context.as_of_us)
    open_saves(context.engine, context.data_root, context.as_of_us)
    vectors = _imported(context, known)
    method = "learned" if vectors is None else "imported"
    edges = _edges(context, known, "" if vectors is None else f"limit {JUDGED_BOARD_COUNT}")
    if vectors is None:
        vectors = _learned(context, edges, pin_count=len(known))
    has_vector = vectors.any(axis=1)
    quality = {"same_board_auc": _same_board_auc(vectors, edges, context.rng)}
    with store.draft(pin_vectors.ARTIFACT, format_version=pin_vectors.FORMAT_VERSION) as draft:
        VectorTable.write(draft.path(pin_vectors.VECTORS_FILE), vectors)
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs={catalogue.ARTIFACT: source.id},
            counts={"pin_count": len(known), "vector_count": int(has_vector.sum())},
            quality=quality,
            details={
                **known.lineage(),
                "pin_count": len(known),
                "dimension": vectors.shape[1],
                "method": method,
            },
        )
    return {
        "generation": generation.id,
        "method": method,
        "dimension": vectors.shape[1],
        "vector_count": int(has_vector.sum()),
        **quality,
    }


def _edges(
    context: JobContext[CandidateConfig], known: Catalogue, limit: str
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the pin row and the board row of each save, int32[m] each, in a fixed order.

    A *limit* in SQL keeps the first boards only.
    """
    engine = context.engine
    engine.sql(
        "select saves.pin_id as pin_id, cast(boards.board_row as integer) as board_row from saves "
        "join (select board_id, row_number() over (order by board_id) - 1 as board_row "
        f"from (select distinct board_id from saves order by board_id {limit}) named) boards "
        "on saves.board_id = boards.board_id",
        name="edges",
    )
    pins, boards = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for batch in engine.stream("edges"):
        rows = known.ids.rows_arrow(batch.column("pin_id"))
        is_known = rows >= 0
        pins.append(rows[is_known])
        boards.append(np.asarray(batch.column("board_row"), np.int32)[is_known])
    pin_rows, board_rows = np.concatenate(pins), np.concatenate(boards)
    order = np.lexsort((pin_rows, board_rows))
    return pin_rows[order], board_rows[order]


def _imported(context: JobContext[CandidateConfig], known: Catalogue) -> NDArray[np.float32] | None:
    """Return the imported vectors by row, unit length, or None when no pin has one."""
    context.engine.sql(
        "select pin_id, vector from pins where vector is not null", name="given_vectors"
    )
    vectors: NDArray[np.float32] | None = None
    for batch in context.engine.stream("given_vectors"):
        if not batch.num_rows:
            continue
        given = _checked(batch, None if vectors is None else vectors.shape[1])
        if vectors is None:
            vectors = np.zeros((len(known), given.shape[1]), np.float32)
        rows = known.ids.rows_arrow(batch.column("pin_id"))
        vectors[rows[rows >= 0]] = unit_rows(given[rows >= 0])
    return vectors


def _checked(batch: pa.RecordBatch, dimension: int | None) -> NDArray[np.float32]:
    """Return a batch of imported vectors, float32[n, d]; refuse what is no direction."""
    lists = batch.column("vector")
    lengths = np.asarray(pc.list_value_length(lists))
    wanted = int(lengths[0]) if dimension is None else dimension
    values = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.float32)
    wrong = np.flatnonzero(lengths != wanted)
    if len(wrong):
        raise _refused(batch, int(wrong[0]), f"has {lengths[wrong[0]]} numbers, others {wanted}")
    if wanted == 0:
        raise _refused(batch, 0, "is empty")
    vectors = values.reshape(-1, wanted)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise _refused(batch, int(broken[0]), "holds a NaN, an infinity or a null")
    zero = np.flatnonzero(~vectors.any(axis=1))
    if len(zero):
        raise _refused(batch, int(zero[0]), "is zero, so it has no direction")
    return vectors


def _refused(batch: pa.RecordBatch, at: int, reason: str) -> InvalidRequest:
    pin_id = batch.column("pin_id")[at].as_py()
    return InvalidRequest(
        f"the vector of pin {pin_id!r} {reason}",
        hint="import all vectors again, from one model, or import pins without vectors",
    )


def _learned(
    context: JobContext[CandidateConfig],
    edges: tuple[NDArray[np.int32], NDArray[np.int32]],
    *,
    pin_count: int,
) -> NDArray[np.float32]:
    config = context.config
    pin_rows, board_rows = edges
    matrix = discounted_matrix(
        pin_rows,
        board_rows,
        pin_count=pin_count,
        board_count=int(board_rows.max()) + 1 if len(board_rows) else 0,
    )
    return leading_vectors(
        matrix,
        config.vector_dimension,
        iteration_count=config.vector_iteration_count,
        rng=context.rng,
        advance=context.progress("vectors: iterations", total=config.vector_iteration_count),
    )


def _same_board_auc(
    vectors: NDArray[np.float32],
    edges: tuple[NDArray[np.int32], NDArray[np.int32]],
    rng: np.random.Generator,
) -> float:
    """Return how often two pins of one board are closer than two random ones; 0.5 = chance.

    Neighbours in the list of edges, which is sorted by board, are mostly pins of one board.
    """
    pin_rows, board_rows = edges
    known: NDArray[np.bool_] = np.any(vectors, axis=1)
    has_vector = known[pin_rows]
    is_pair = (board_rows[1:] == board_rows[:-1]) & has_vector[1:] & has_vector[:-1]
    pairs = np.flatnonzero(is_pair)
    if not len(pairs):
        return 0.5
    chosen = rng.choice(pairs, min(PAIR_COUNT, len(pairs)), replace=False)
    same = np.einsum("ij,ij->i", vectors[pin_rows[chosen]], vectors[pin_rows[chosen + 1]])
    present = pin_rows[has_vector]
    left, right = rng.choice(present, (2, len(chosen)))
    other = np.sort(np.einsum("ij,ij->i", vectors[left], vectors[right]))
    below = np.searchsorted(other, same, "left") + np.searchsorted(other, same, "right")
    return float(below.mean() / (2 * len(other)))


def main() -> None:
    """Run the job as a process."""
    run_job("learn_vectors", run, CandidateConfig)


if __name__ == "__main__":
    main()
