"""Give every pin a row that it keeps for ever, and put what is known of it beside.

Pins are those imported or exported from the live log and those that a save or an action names. The
rows of the previous generation are kept and new pins appended in the order of their ids. A deleted
pin keeps its row and is marked.
"""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_service import catalogue, save_index
from candidate_service.catalogue import Catalogue
from candidate_service.config import CandidateConfig
from candidate_service.imported import VECTOR_COLUMNS, open_actions, open_pins, open_saves
from candidate_service.live.exported import positions_before
from service_runtime.batch import BatchEngine
from service_runtime.errors import NotReady
from service_runtime.generations import Generation
from service_runtime.id_table import IdTable
from service_runtime.job import JobContext, run_job


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Build and publish the catalogue.

    Returns:
        Counts of pins, of new ones, and of those that were imported with a description of them.
    """
    engine, store = context.engine, context.generations
    positions = positions_before(context.data_root, context.as_of_us)  # later ones may come twice
    for opened in (open_pins, open_saves, open_actions):
        opened(engine, context.data_root, context.as_of_us)
    previous = _previous(context)
    advance = context.progress("catalogue: pins", total=4)
    engine.sql(
        "select distinct pin_id from (select pin_id from all_pins union all "
        "select pin_id from saves union all select pin_id from actions) mentioned "
        "where pin_id is not null order by pin_id",
        name="mentioned_pins",
    )
    mentioned = engine.read("mentioned_pins").column("pin_id").combine_chunks()
    advance(1)
    with store.draft(catalogue.ARTIFACT, format_version=catalogue.FORMAT_VERSION) as draft:
        ids, _ = IdTable.extend(
            previous.ids if previous else None, mentioned, draft.path(catalogue.IDS_FOLDER)
        )
        advance(1)
        kept = ", ".join(["pin_id", *catalogue.PINS_SCHEMA.names])
        engine.sql(f"select {kept} from all_pins order by pin_id", name="described_pins")
        described = engine.read("described_pins")
        catalogue.write_catalogue(draft, ids, _aligned(ids, described))
        counts = {
            "pin_count": len(ids),
            "new_pin_count": len(ids) - (len(previous) if previous else 0),
            "described_pin_count": described.num_rows,
            "deleted_pin_count": pc.sum(described.column("is_deleted")).as_py() or 0,
        }
        generation = draft.publish(
            as_of_us=context.as_of_us,
            counts=counts,
            details={
                "id_space": previous.id_space if previous else _new_id_space(),
                "pin_count": len(ids),
                "live_positions": positions,
                "dimensions": _dimensions(engine),
            },
        )
    advance(1)
    save_count = _publish_saves(context, ids, generation)
    advance(1)
    return {"generation": generation.id, **counts, "save_count": save_count}


def _publish_saves(context: JobContext[CandidateConfig], ids: IdTable, source: Generation) -> int:
    """Publish which pin and board each save is of, and return how many there are."""
    engine = context.engine
    engine.sql(
        "select save_id, min(board_id) as board_id, min(pin_id) as pin_id from single_saves "
        "where save_id is not null and board_id is not null and pin_id is not null "
        "group by save_id order by save_id",
        name="indexed_saves",
    )
    saves = engine.read("indexed_saves")
    with context.generations.draft(
        save_index.ARTIFACT, format_version=save_index.FORMAT_VERSION
    ) as draft:
        board_count = save_index.write_save_index(draft, saves, ids)
        draft.publish(
            as_of_us=context.as_of_us,
            inputs={source.artifact: source.id},
            counts={"save_count": saves.num_rows, "board_count": board_count},
            details={
                **catalogue.inherited_lineage(source.manifest.details),
                "pin_count": len(ids),
            },
        )
    return int(saves.num_rows)


def _previous(context: JobContext[CandidateConfig]) -> Catalogue | None:
    """Return the catalogue whose rows are kept, None before the first."""
    store = context.generations
    store.fetch(catalogue.ARTIFACT)
    if not store.generations(catalogue.ARTIFACT):
        return None
    try:
        generation = store.open_latest_good(
            catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS
        )
    except NotReady as fault:
        raise NotReady(
            f"the rows of the previous catalogue cannot be kept: {fault.message}",
            hint="restore one of its generations, or remove the folder generations to start anew",
        ) from fault
    return catalogue.open_catalogue(generation)


def _dimensions(engine: BatchEngine) -> dict[str, int]:
    """Return the length of the imported vectors by their column, without those nobody has."""
    dimensions: dict[str, int] = {}
    for name in VECTOR_COLUMNS:
        engine.sql(f"select {name} from pins where {name} is not null limit 1", name="a_vector")
        for vector in engine.read("a_vector").column(name).to_pylist():
            dimensions[name] = len(vector)
    return dimensions


def _new_id_space() -> str:
    return uuid.uuid4().hex


def _aligned(ids: IdTable, described: pa.Table) -> pa.Table:
    """Put what is known of pins in the order of rows, nulls where nothing is."""
    at = np.full(len(ids), -1, np.int64)
    at[ids.rows_arrow(described.column("pin_id"))] = np.arange(described.num_rows)
    hashes = described.column("image_hash").combine_chunks().view(pa.uint64())
    place = described.schema.get_field_index("image_hash")
    columns = described.set_column(place, "image_hash", hashes).drop_columns(["pin_id"])
    columns = columns.cast(catalogue.PINS_SCHEMA)
    return columns.take(pa.array(at, mask=at < 0))


def main() -> None:
    """Run the job as a process."""
    run_job("build_catalogue", run, CandidateConfig)


if __name__ == "__main__":
    main()
