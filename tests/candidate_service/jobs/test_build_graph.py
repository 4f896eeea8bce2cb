"""The graph holds each save once, in the catalogue's rows, and nothing from the future."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candidate_service import imported
from candidate_service.graph import BOARD_IDS_FOLDER, FORMAT_VERSION, PinBoardGraph
from candidate_service.jobs import build_catalogue, build_graph
from service_runtime.errors import NotReady
from service_runtime.generations import Generation, GenerationStore
from service_runtime.id_table import IdTable
from tests.candidate_service.world import NOW_US, make_context, write_pins, write_saves


def build(data_root: Path, **changes: Any) -> tuple[PinBoardGraph, Generation]:
    """Run the catalogue job and the graph job, open what was published."""
    for job in (build_catalogue, build_graph):
        context = make_context(data_root, **changes)
        job.run(context)
        context.close()
    generation = GenerationStore(data_root / "generations").current(
        "graph", format_version=FORMAT_VERSION
    )
    assert generation is not None
    return PinBoardGraph.open(generation), generation


def saves_of(data_root: Path, graph: PinBoardGraph, generation: Generation) -> set[tuple[str, str]]:
    """The graph's edges as (board id, pin id)."""
    catalogue = GenerationStore(data_root / "generations").current("catalogue")
    assert catalogue is not None
    pins = IdTable.open(catalogue.path / "pin_ids")
    boards = IdTable.open(generation.path / BOARD_IDS_FOLDER)
    offsets, neighbours = graph.board_edges
    return {
        (boards.ids(np.array([board]))[0], pin_id)
        for board in range(graph.board_count)
        for pin_id in pins.ids(neighbours[offsets[board] : offsets[board + 1]])
    }


def test_every_save_is_an_edge_once(tmp_path: Path) -> None:
    """Saved twice, in one import or in two, is one edge."""
    write_saves(tmp_path, [("b", "p"), ("b", "q"), ("b", "p"), ("c", "q"), ("c", "r")])
    write_saves(tmp_path, [("c", "q")], file="later")

    graph, generation = build(tmp_path)

    assert saves_of(tmp_path, graph, generation) == {("b", "p"), ("b", "q"), ("c", "q"), ("c", "r")}
    assert graph.edge_count == 4


def test_saves_of_the_future_are_left_out(tmp_path: Path) -> None:
    """As of a past time the graph is what it was then."""
    write_saves(tmp_path, [("b", "p", 10), ("b", "q", 20), ("b", "r", 30), ("b", "s", 40)])

    graph, generation = build(tmp_path, as_of_us=30)

    assert saves_of(tmp_path, graph, generation) == {("b", "p"), ("b", "q")}
    assert generation.manifest.as_of_us == 30


def test_pins_younger_than_the_catalogue_are_left_out(tmp_path: Path) -> None:
    """A save of a pin that has no row yet waits for the next catalogue."""
    write_saves(tmp_path, [("b", "p"), ("b", "q")])
    build(tmp_path)
    write_saves(tmp_path, [("b", "new")], file="later")
    context = make_context(tmp_path)

    report = build_graph.run(context)
    context.close()

    assert report["edge_count"] == 2


def test_languages_come_from_the_catalogue(tmp_path: Path) -> None:
    """Pins with a language make boards with one, the most frequent gets number 0."""
    write_pins(
        tmp_path,
        [
            {"pin_id": pin, "language": tag}
            for pin, tag in zip("pqrs", ("nl", "en", "nl", None), strict=True)
        ],
    )
    write_saves(tmp_path, [("b", pin) for pin in "pqrs"])

    graph, _ = build(tmp_path)

    assert graph.languages == {"nl": 0, "en": 1}
    assert graph.board_groups is not None
    assert graph.board_groups[1].tolist() == [-1, 0, 1]


def test_pruning_settings_are_obeyed(tmp_path: Path) -> None:
    """A board above the cap is sampled, and the report says how much was cut."""
    write_saves(tmp_path, [("big", f"p{n}") for n in range(50)] + [("b", "p0"), ("b", "p1")])

    graph, generation = build(tmp_path, graph_board_pin_count_max=20)

    assert graph.edge_count == 22
    assert generation.manifest.counts["pruned_edge_count"] == 30


def test_same_saves_give_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the order of the files and rows."""
    saves = [(f"b{n % 7}", f"p{n * n % 31}") for n in range(200)]
    files = []
    for name, listing in (("one", saves), ("other", saves[::-1])):
        write_saves(tmp_path / name, listing)
        _, generation = build(tmp_path / name)
        files.append({k: v.xxh3 for k, v in generation.manifest.files.items()})

    assert files[0] == files[1]


def test_world_without_saves(tmp_path: Path) -> None:
    """Pins alone give a graph without edges."""
    write_pins(tmp_path, [{"pin_id": "p"}])

    graph, _ = build(tmp_path)

    assert (graph.pin_count, graph.edge_count) == (1, 0)


def test_no_catalogue_is_not_ready(tmp_path: Path) -> None:
    """The rows come from the catalogue: without one there is nothing to build."""
    context = make_context(tmp_path, as_of_us=NOW_US)

    with pytest.raises(NotReady):
        build_graph.run(context)
    context.close()


def test_topics_and_titles_come_with_the_graph(tmp_path: Path) -> None:
    """The most frequent topics get numbers, a pin's first known one is its own; newest title."""
    topics = {"p": ["rare", "art"], "q": ["art", "food"], "r": ["food"], "s": None, "t": ["art"]}
    write_pins(tmp_path, [{"pin_id": pin, "topics": own} for pin, own in topics.items()])
    write_saves(tmp_path, [("b", pin) for pin in "pqrst"])
    write_titles(tmp_path, [("b", "p", "Old", 1), ("b", "p", "New", 2)])

    assert build(tmp_path)[0].topics == {}  # nobody walks by topic
    graph, generation = build(tmp_path, graph_topic_count_max=2, pixie_topic_bias=0.5)

    assert graph.topics == {"art": 0, "food": 1}
    assert generation.manifest.details["topics"] == ["art", "food"]
    assert graph.pin_labels is not None
    assert graph.pin_labels.tolist() == [-2, -2, -1, -3, -2]  # no language: below 0
    assert graph.board_titles.to_pylist() == ["New"]
    assert graph.repeated_saves == {(0, 0): 3}


def write_titles(data_root: Path, rows: list[tuple[str, str, str, int]]) -> None:
    """Import saves with titles: board, pin, title and import number."""
    table = pa.Table.from_pylist(
        [
            {
                "save_id": f"t{at}",
                "board_id": board,
                "pin_id": pin,
                "board_title": title,
                "import_seq": number,
            }
            for at, (board, pin, title, number) in enumerate(rows)
        ],
        imported.SAVES,
    )
    pq.write_table(table, data_root / "catalogue" / "saves" / "titles.parquet")


def test_topics_beyond_the_limit_are_not_known(tmp_path: Path) -> None:
    """With fewer than two topics there is nothing to keep to."""
    write_pins(tmp_path, [{"pin_id": "p", "topics": ["a"]}, {"pin_id": "q", "topics": ["b"]}])
    write_saves(tmp_path, [("b", "p"), ("b", "q")])

    graph, _ = build(tmp_path, graph_topic_count_max=1, pixie_topic_bias=0.5)

    assert graph.topics == {}
    assert graph.pin_groups is None


def test_mixed_boards_are_pruned(tmp_path: Path) -> None:
    """A board of four topics has two bits, one of a single topic none."""
    topics = dict(zip("pqrstu", "abcdaa", strict=True))
    write_pins(tmp_path, [{"pin_id": pin, "topics": [own]} for pin, own in topics.items()])
    write_saves(tmp_path, [*(("mixed", pin) for pin in "pqrs"), ("plain", "t"), ("plain", "u")])

    graph, generation = build(tmp_path, graph_board_entropy_max=1.9)

    assert saves_of(tmp_path, graph, generation) == {("plain", "t"), ("plain", "u")}
    assert generation.manifest.counts["pruned_edge_count"] == 4


def test_saves_taken_back_are_no_edges(tmp_path: Path) -> None:
    """Folded from the live log: a deleted save is none; its pin keeps the others."""
    write_saves(tmp_path, [("b", "p"), ("b", "q"), ("b", "r")])
    gone = {"save_id": "a1", "is_deleted": True, "import_seq": 99, "live_time_us": 5}
    pq.write_table(
        pa.Table.from_pylist([gone], imported.SAVES),
        tmp_path / "catalogue" / "saves" / "live.parquet",
    )

    graph, generation = build(tmp_path)

    assert saves_of(tmp_path, graph, generation) == {("b", "p"), ("b", "r")}
