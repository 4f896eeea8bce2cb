"""Turn saves of pins on boards into the graph that is walked: distinct edges, pruned, both ways.

The pins' rows come from the current catalogue; pins that it does not have yet are left out and
counted. Boards get rows of their own, in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service import catalogue, graph
from candidate_service.catalogue import Catalogue
from candidate_service.config import CandidateConfig
from candidate_service.graph_pruning import PinTopics, prune_edges
from candidate_service.imported import open_saves
from service_runtime.id_table import IdTable
from service_runtime.job import JobContext, run_job

Saves = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
"""Pin row, board row and number of saves of each pair."""

LANGUAGES_MAX = 1000
"""More tags than this are not languages; the rarest count as unknown."""


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Build and publish the graph.

    Returns:
        Counts of pins, boards and edges, before and after pruning.

    Raises:
        NotReady: There is no catalogue yet.
    """
    engine, store = context.engine, context.generations
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    pins = catalogue.open_catalogue(source)
    open_saves(engine, context.data_root, context.as_of_us)
    advance = context.progress("graph: saves, prune, compress, publish", total=4)
    with store.draft(graph.ARTIFACT, format_version=graph.FORMAT_VERSION) as draft:
        engine.sql("select distinct board_id from saves order by board_id", name="boards")
        board_ids = engine.read("boards").column("board_id").combine_chunks()
        boards = IdTable.build(board_ids, draft.path(graph.BOARD_IDS_FOLDER))
        saves = _edges(context, pins, boards)
        advance(1)
        built = _pruned(context, pins, len(boards), saves, advance)
        built.board_titles = _titles(context, boards)
        advance(1)
        built.write(draft.folder)
        counts = {
            "pin_count": built.pin_count,
            "board_count": built.board_count,
            "edge_count": built.edge_count,
            "pruned_edge_count": len(saves[0]) - built.edge_count,
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
                "topics": list(built.topics),
            },
        )
    advance(1)
    return {"generation": generation.id, **counts}


def _pruned(
    context: JobContext[CandidateConfig],
    pins: Catalogue,
    board_count: int,
    saves: Saves,
    advance: Callable[[int], None],
) -> graph.PinBoardGraph:
    """Keep the edges that are worth it, and compress them."""
    config = context.config
    pin_rows, board_rows, save_counts = saves
    topics, topic_names = _topics(pins, config.graph_topic_count_max)
    kept = prune_edges(
        pin_rows, board_rows, config.prune_settings(), seed=context.seed, topics=topics
    )
    advance(1)
    pin_languages, languages = _languages(pins)
    built = graph.build_graph(
        pin_rows[kept],
        board_rows[kept],
        pin_count=len(pins),
        board_count=board_count,
        pin_languages=pin_languages,
        languages=languages,
        pin_topics=_first_topics(topics),
        # Only if walks use them: groups by topic cost memory and time.
        topics=topic_names if config.pixie_topic_bias > 0 else (),
    )
    often = kept & (save_counts > 1)
    pairs = zip(pin_rows[often].tolist(), board_rows[often].tolist(), strict=True)
    built.repeated_saves = dict(zip(pairs, save_counts[often].tolist(), strict=True))
    return built


def _edges(context: JobContext[CandidateConfig], pins: Catalogue, boards: IdTable) -> Saves:
    """Return pin row, board row and number of saves of each pair, each pair once."""
    parts = [(np.empty(0, np.int32),) * 3]
    for batch in context.engine.stream("saves", batch_rows=262_144):
        rows = pins.ids.rows_arrow(batch.column("pin_id"))
        known = rows >= 0
        counts = batch.column("save_count").to_numpy().astype(np.int32)
        board_rows = boards.rows_arrow(batch.column("board_id"))
        parts.append((rows[known], board_rows[known], counts[known]))
    pin_rows, board_rows, save_counts = (np.concatenate(part) for part in zip(*parts, strict=True))
    return pin_rows, board_rows, save_counts


def _titles(context: JobContext[CandidateConfig], boards: IdTable) -> pa.Array:
    """Return the title of each board, null where it has none."""
    titled = context.engine.read("board_titles")
    rows = boards.rows_arrow(titled.column("board_id").combine_chunks())
    at = np.full(len(boards), -1, np.int64)
    at[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    titles = titled.column("board_title").combine_chunks()
    return titles.take(pa.array(at, mask=at < 0)).cast(pa.large_string())


def _topics(pins: Catalogue, count_max: int) -> tuple[PinTopics, tuple[str, ...]]:
    """Number the topics, the most frequent first; return each pin's and their names."""
    column = pins.pins.column("topics").combine_chunks()
    owners = pc.list_parent_indices(column).to_numpy()
    words = pc.list_flatten(column)
    counted = [entry for entry in pc.value_counts(words.drop_null()).to_pylist() if entry["values"]]
    counted.sort(key=lambda entry: (-entry["counts"], entry["values"]))
    names = tuple(entry["values"] for entry in counted[:count_max])
    if len(names) < 2:
        return PinTopics(np.zeros(len(pins) + 1, np.int64), np.empty(0, np.int32), 0), ()
    found = pc.fill_null(pc.index_in(words, pa.array(names, words.type)), -1)
    numbers = found.to_numpy(zero_copy_only=False).astype(np.int64)
    known = np.flatnonzero(numbers >= 0)
    # A topic that a pin names twice counts once, at its first place.
    _, first = np.unique(owners[known] * len(names) + numbers[known], return_index=True)
    known = known[np.sort(first)]
    counts = np.bincount(owners[known], minlength=len(pins))
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return PinTopics(offsets, numbers[known].astype(np.int32), len(names)), names


def _first_topics(topics: PinTopics) -> NDArray[np.int16]:
    """Return the first topic of each pin that has a number, int16[pins], -1 = none."""
    first = np.full(len(topics.offsets) - 1, -1, np.int16)
    some = np.diff(topics.offsets) > 0
    first[some] = topics.numbers[topics.offsets[:-1][some]]
    return first


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
