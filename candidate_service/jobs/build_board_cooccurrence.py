"""Find the pins that share boards with each pin, from the current graph.

While all pairs on common boards can be counted they are, in this process. Beyond that a map and
reduce through the batch engine: boards emit sampled pairs, so that every pin gets about the same
number, and the reduce adds them up; how far the sample agrees with an exact count is measured on
some pins. Then neighbours are weighed by agreement in words and topics.

Source: Liu et al. 2017, section 3.
"""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from candidate_service import catalogue, cooccurrence, graph, pair_kernels
from candidate_service.catalogue import inherited_lineage, open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.cooccurrence import NeighbourLists
from candidate_service.graph import PinBoardGraph
from candidate_service.pin_agreement import AgreementWeights, topics_of, weigh, words_of
from service_runtime.errors import NotReady
from service_runtime.job import JobContext, run_job
from service_runtime.ordered_map import ordered_map

REACH: Final = 2
"""So many times the neighbours that are kept are weighed by agreement."""
OVERLAP_DEPTH: Final = 100
OVERLAP_PIN_COUNT: Final = 200
"""Pins on which a sample is compared with an exact count, and how deep."""
MODES: Final = ("auto", "exact", "sampled")

_PAIRS: Final = pa.schema(
    [("pin", pa.int32()), ("neighbour", pa.int32()), ("weight", pa.float64())]
)
_WRITE_ROWS: Final = 1_000_000


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Build and publish the neighbour lists.

    Returns:
        Counts of pins and neighbours, the mode, how many pins have no neighbours, how long the
        lists are, and how far a sample agrees with an exact count.

    Raises:
        NotReady: There is no graph yet.
    """
    store, settings = context.generations, context.config.cooccurrence_settings()
    source = store.open_latest_good(graph.ARTIFACT, format_version=graph.FORMAT_VERSIONS)
    opened = PinBoardGraph.open(source)
    mode = getattr(context.arguments, "mode", "auto")
    if mode == "auto":
        is_small = cooccurrence.pair_count_of(opened) <= settings.exact_pair_count_max
        mode = "exact" if is_small else "sampled"
    weigh, neutral = _weigher(context, opened, str(source.manifest.details["id_space"]))
    count, quality = _counter(context, opened, mode)
    pieces = ordered_map(
        lambda pins: weigh(count(pins)),
        cooccurrence.blocks_of(opened.pin_count),
        threads=context.engine.threads,
    )
    advance = context.progress("board_cooccurrence: pins", total=opened.pin_count)
    with store.draft(cooccurrence.ARTIFACT, format_version=cooccurrence.FORMAT_VERSION) as draft:
        lengths = cooccurrence.write_lists(draft.folder, _told(pieces, advance))
        counts = {
            "pin_count": len(lengths),
            "neighbour_count": int(lengths.sum()),
            "pin_without_neighbours_count": int((lengths == 0).sum()),
            "list_length_p10": _percentile(lengths, 10),
            "list_length_p50": _percentile(lengths, 50),
            "list_length_p90": _percentile(lengths, 90),
        }
        generation = draft.publish(
            as_of_us=source.manifest.as_of_us,
            inputs={graph.ARTIFACT: source.id},
            counts=counts,
            quality=quality,
            details={
                **inherited_lineage(source.manifest.details),
                "pin_count": len(lengths),
                "mode": mode,
                "neutral": neutral,
            },
        )
    return {"generation": generation.id, "mode": mode, **counts, **quality}


def _counter(
    context: JobContext[CandidateConfig], opened: PinBoardGraph, mode: str
) -> tuple[Callable[[range], NeighbourLists], dict[str, float]]:
    """Return what counts the neighbours of some pins, and how good it is where it is a sample."""
    reach = REACH * context.config.cooccurrence_settings().neighbour_count
    if mode == "exact":
        return cooccurrence.exact_counter(opened, reach), {}
    lists = count_sampled(context, opened, reach)
    overlap = cooccurrence.overlap_with_exact(
        lists, opened, depth=OVERLAP_DEPTH, pin_count=OVERLAP_PIN_COUNT, seed=context.seed
    )
    return lists.of, {f"sampled_overlap_at_{OVERLAP_DEPTH}": overlap}


def _weigher(
    context: JobContext[CandidateConfig], opened: PinBoardGraph, id_space: str
) -> tuple[Callable[[NeighbourLists], NeighbourLists], float]:
    """Return what weighs lists by the catalogue of now and drops what it has deleted; `neutral`."""
    config = context.config
    newest = context.generations.open_latest_good(
        catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS
    )
    pins = open_catalogue(newest)
    if pins.id_space != id_space or len(pins) < opened.pin_count:
        raise NotReady(
            "the graph was built for another catalogue",
            hint="build it again: corkboard build graph",
        )
    weights = AgreementWeights(config.cooccurrence_text_weight, config.cooccurrence_topic_weight)
    words, topics, is_gone = words_of(pins), topics_of(pins), pins.deleted()

    def weighed(lists: NeighbourLists) -> NeighbourLists:
        return weigh(
            lists,
            weights,
            words=words,
            topics=topics,
            is_gone=is_gone,
            neighbour_count=config.cooccurrence_neighbour_count,
        )

    return weighed, weights.neutral(words, topics)


def _told(
    blocks: Iterable[NeighbourLists], advance: Callable[[int], object]
) -> Iterator[NeighbourLists]:
    for block in blocks:
        advance(len(block))
        yield block


def _percentile(lengths: NDArray[np.int64], percent: int) -> int:
    return int(np.percentile(lengths, percent)) if len(lengths) else 0


def count_sampled(
    context: JobContext[CandidateConfig], opened: PinBoardGraph, neighbour_count: int
) -> NeighbourLists:
    """Map and reduce: sample pairs board by board, add up, keep each pin's best."""
    engine, settings, seed = context.engine, context.config.cooccurrence_settings(), context.seed
    spill_folder = context.batch.spill_folder or context.data_root / "spill"
    spill_folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="board-cooccurrence-", dir=spill_folder))
    try:
        _write_edges(opened, folder / "edges")
        engine.table("edges", folder / "edges")
        degrees = cooccurrence.pin_degrees(opened)
        engine.register(
            "degrees",
            pa.table({"pin": np.arange(opened.pin_count, dtype=np.int32), "degree": degrees}),
        )

        def sample(batch: pa.RecordBatch) -> pa.Table:
            return _sample(batch, settings.pair_count, seed)

        engine.map_lists(
            "edges",
            "board",
            ["pin", "degree"],
            sample,
            _PAIRS,
            out=folder / "pairs",
            name="pairs",
            order_by=["pin"],
            progress=context.progress("board_cooccurrence: boards", total=_filled(opened)),
        )
        engine.sql(
            "select pin, neighbour, sum(weight) as weight from pairs group by pin, neighbour",
            name="counted",
        )
        engine.sql(
            "select counted.pin as pin, counted.neighbour as neighbour, "
            "cast(counted.weight / sqrt(cast(here.degree as double) * there.degree) as real) "
            "as score "
            "from counted join degrees here on counted.pin = here.pin "
            "join degrees there on counted.neighbour = there.pin",
            name="scored",
        )
        engine.sql(
            "select pin, neighbour, score from (select pin, neighbour, score, row_number() over ("
            "partition by pin order by score desc, neighbour) as place from scored) numbered "
            f"where place <= {neighbour_count} order by pin, score desc, neighbour",
            out=folder / "lists",
        )
        kept = pq.read_table(folder / "lists")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    counts = np.bincount(kept.column("pin").to_numpy(), minlength=opened.pin_count)
    return NeighbourLists(
        np.concatenate(([0], np.cumsum(counts))),
        kept.column("neighbour").to_numpy(),
        kept.column("score").to_numpy(),
    )


def _filled(opened: PinBoardGraph) -> int:
    return int((np.diff(opened.board_edges[0]) > 0).sum())


def _write_edges(opened: PinBoardGraph, folder: Path) -> None:
    """Write each save as a row (board, pin, degree of the pin), board by board."""
    offsets, pins = opened.board_edges
    folder.mkdir()
    degrees = cooccurrence.pin_degrees(opened)
    boards = np.repeat(np.arange(opened.board_count, dtype=np.int32), np.diff(offsets))
    schema = pa.schema([("board", pa.int32()), ("pin", pa.int32()), ("degree", pa.int32())])
    with pq.ParquetWriter(folder / "edges.parquet", schema) as writer:
        for begin in range(0, len(pins), _WRITE_ROWS):
            part = slice(begin, begin + _WRITE_ROWS)
            columns = [boards[part], pins[part], degrees[pins[part]]]
            writer.write_table(pa.table(columns, schema=schema))


def _sample(batch: pa.RecordBatch, pair_count: int, seed: int) -> pa.Table:
    """Emit the sampled pairs of some boards, each with the weight 1 / n of its board."""
    lists = batch.column("pin")
    offsets = lists.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    pins: NDArray[np.int32] = lists.values.to_numpy()[first:last]
    degrees = batch.column("degree").values.to_numpy()[first:last]
    boards = batch.column("board").to_numpy()
    columns = pair_kernels.sample_pairs(
        boards, offsets - offsets[0], pins, degrees, pair_count, seed
    )
    return pa.table(list(columns), schema=_PAIRS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="auto",
        help="count all pairs, or a sample through the batch engine (default: by size)",
    )


def main() -> None:
    """Run the job as a process."""
    run_job("build_board_cooccurrence", run, CandidateConfig, add_arguments=add_arguments)


if __name__ == "__main__":
    main()
