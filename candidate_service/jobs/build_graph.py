"""Turn saves of pins on boards into the graph that is walked: distinct edges, pruned, both ways.

The pins' rows come from the current catalogue; pins that it does not have yet are left out and
counted. Boards get rows of their own, in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service import catalogue, graph
from candidate_service.catalogue import Catalogue
from candidate_service.config import CandidateConfig
from candidate_service.imported import open_saves
from service_runtime.id_table import IdTable
from service_runtime.job import JobContext, run_job

LANGUAGES_MAX = 1000
"""More tags than this are not languages; the rarest count as unknown."""


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Build and publish the graph.

    Returns:
        Counts of pins, boards and edges, before and after pruning.

    Raises:
        NotReady: There is no catalogue yet.
    """
    engine, store, config = context.engine, context.generations, context.config
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    pins = catalogue.open_catalogue(source)
    open_saves(engine, context.data_root, context.as_of_us)
    advance = context.progress("graph: saves, prune, compress, publish", total=4)
    with store.draft(graph.ARTIFACT, format_version=graph.FORMAT_VERSION) as draft:
        engine.sql("select distinct board_id from saves order by board_id", name="boards")
        board_ids = engine.read("boards").column("board_id").combine_chunks()
        boards = IdTable.build(board_ids, draft.path(graph.BOARD_IDS_FOLDER))
        pin_rows, board_rows = _edges(context, pins, boards)
        advance(1)
        saved_count = len(pin_rows)
        kept = graph.prune_edges(pin_rows, board_rows, config.prune_settings(), seed=context.seed)
        advance(1)
        pin_languages, languages = _languages(pins)
        built = graph.build_graph(
            pin_rows[kept],
            board_rows[kept],
            pin_count=len(pins),
            board_count=len(boards),
            pin_languages=pin_languages,
            languages=languages,
        )
        advance(1)
        built.write(draft.folder)
        counts = {
            "pin_count": built.pin_count,
            "board_count": built.board_count,
            "edge_count": built.edge_count,
            "pruned_edge_count": saved_count - built.edge_count,
            "degree_max": built.degree_max,
            "isolated_pin_count": int((np.diff(built.pin_edges[0]) == 0).sum()),
        }
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs={catalogue.ARTIFACT: source.id},
            counts=counts,
            details={
                **pins.lineage(),
                "pin_count": len(pins),
                "languages": list(built.languages),
            },
        )
    advance(1)
    return {"generation": generation.id, **counts}


def _edges(
    context: JobContext[CandidateConfig], pins: Catalogue, boards: IdTable
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return pin row and board row of each save, each pair once."""
    pin_parts, board_parts = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for batch in context.engine.stream("saves", batch_rows=262_144):
        rows = pins.ids.rows_arrow(batch.column("pin_id"))
        known = rows >= 0
        pin_parts.append(rows[known])
        board_parts.append(boards.rows_arrow(batch.column("board_id"))[known])
    return np.concatenate(pin_parts), np.concatenate(board_parts)


def _languages(pins: Catalogue) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    """Number the language tags, the most frequent first; return each pin's and the tags."""
    column = pins.pins.column("language").combine_chunks()
    counted = pc.value_counts(column.drop_null()).to_pylist()
    counted = [entry for entry in counted if entry["values"]]
    counted.sort(key=lambda entry: (-entry["counts"], entry["values"]))
    tags = tuple(entry["values"] for entry in counted[:LANGUAGES_MAX])
    if len(tags) < 2:
        return np.full(len(pins), -1, np.int16), ()
    numbers = pc.fill_null(pc.index_in(column, pa.array(tags, column.type)), -1)
    return numbers.to_numpy(zero_copy_only=False).astype(np.int16), tags


def main() -> None:
    """Run the job as a process."""
    run_job("build_graph", run, CandidateConfig)


if __name__ == "__main__":
    main()
