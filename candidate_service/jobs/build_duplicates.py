"""Group the pins that show the same picture, by the perceptual hashes they were imported with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from candidate_service import catalogue, duplicates
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.duplicates import Duplicates, write_duplicates
from candidate_service.hamming import HammingIndex, write_hashes
from candidate_service.imported import open_saves
from service_runtime.job import JobContext, run_job


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Build and publish the groups; the most saved pin of a group stands for it.

    Returns:
        How many pins have a hash, how many groups there are and how many pins are in one.
    """
    config, store = context.config, context.generations
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    known = open_catalogue(source)
    rows, hashes = hashes_of(known)
    index = HammingIndex(rows, hashes)
    leaders = index.groups(_save_counts(context, known)[index.rows], config.duplicate_distance_max)
    made = grouped(index.rows, leaders, pin_count=len(known))
    counts = {
        "pin_count": len(known),
        "hash_count": len(rows),
        "compared_count": len(index),
        "group_count": int(made.groups.max(initial=0)),
        "grouped_pin_count": int(np.count_nonzero(made.groups)),
    }
    with store.draft(duplicates.ARTIFACT, format_version=duplicates.FORMAT_VERSION) as draft:
        write_duplicates(draft, made)
        write_hashes(draft, rows, hashes)
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs={catalogue.ARTIFACT: source.id},
            counts=counts,
            details={
                **known.lineage(),
                "pin_count": len(known),
                "distance_max": config.duplicate_distance_max,
            },
        )
    return {"generation": generation.id, **counts}


def hashes_of(known: Catalogue) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Return the rows of pins that have a hash and are not deleted, ascending, and the hashes."""
    column = known.pins.column("image_hash")
    has_hash = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    rows = np.flatnonzero(has_hash & ~known.deleted())
    taken = column.take(pa.array(rows)).to_numpy(zero_copy_only=False)
    return rows.astype(np.int32), np.asarray(taken, np.uint64)


def grouped(rows: NDArray[np.int32], leaders: NDArray[np.int32], *, pin_count: int) -> Duplicates:
    """Number the groups of two and more from 1 in the order of their leaders' rows.

    Args:
        rows: Pins that were compared, int32[n], ascending.
        leaders: Row of the pin that leads each, int32[n].
        pin_count: Rows of the catalogue; pins that were not compared are alone.
    """
    groups = np.zeros(pin_count, np.int32)
    representatives = np.ones(pin_count, np.bool_)
    names, inverse, sizes = np.unique(leaders, return_inverse=True, return_counts=True)
    numbers = np.where(sizes > 1, np.cumsum(sizes > 1), 0).astype(np.int32)
    groups[rows] = numbers[inverse]
    representatives[rows] = rows == names[inverse]
    return Duplicates(groups, representatives)


def _save_counts(context: JobContext[CandidateConfig], known: Catalogue) -> NDArray[np.float32]:
    """Return how many boards each pin is on, float32[pins]."""
    engine = context.engine
    open_saves(engine, context.data_root, context.as_of_us)
    engine.sql(
        "select pin_id, count(*) as board_count from saves group by pin_id", name="save_counts"
    )
    counts = np.zeros(len(known), np.float32)
    for batch in engine.stream("save_counts"):
        rows = known.ids.rows_arrow(batch.column("pin_id"))
        counts[rows[rows >= 0]] = np.asarray(batch.column("board_count"), np.float32)[rows >= 0]
    return counts


def main() -> None:
    """Run the job as a process."""
    run_job("build_duplicates", run, CandidateConfig)


if __name__ == "__main__":
    main()
