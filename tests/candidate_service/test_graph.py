"""The graph: both directions say the same, languages stand side by side, pruning keeps promises."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service import graph as graphs
from candidate_service.graph import PinBoardGraph, build_graph
from candidate_service.graph_pruning import PruneSettings, prune_edges
from service_runtime.errors import Corrupted
from service_runtime.generations import Generation, GenerationStore
from service_runtime.id_table import IdTable

EDGES = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 9)), max_size=60, unique=True)


def columns(edges: list[tuple[int, int]]) -> tuple[Any, Any]:
    """Pin rows and board rows of (pin, board) pairs."""
    pins, boards = np.array(edges, np.int32).reshape(-1, 2).T
    return np.ascontiguousarray(pins), np.ascontiguousarray(boards)


def listed(edges: Any) -> list[tuple[int, int]]:
    """Compressed rows as (node, neighbour) pairs."""
    offsets, neighbours = edges
    return [
        (node, neighbour)
        for node, (begin, end) in enumerate(pairwise(offsets))
        for neighbour in neighbours[begin:end].tolist()
    ]


def build(edges: list[tuple[int, int]], languages: list[int] | None = None) -> PinBoardGraph:
    """A graph of 16 pins and 10 boards."""
    pins, boards = columns(edges)
    return build_graph(
        pins,
        boards,
        pin_count=16,
        board_count=10,
        pin_languages=np.array(languages, np.int16) if languages else None,
        languages=("en", "nl", "ja") if languages else (),
    )


def publish(root: Path, graph: PinBoardGraph, *, edge_count: int | None = None) -> Generation:
    """Publish a graph as the job does."""
    with GenerationStore(root).draft("graph", format_version=graphs.FORMAT_VERSION) as draft:
        graph.write(draft.folder)
        names = [f"b{row}" for row in range(graph.board_count)]
        IdTable.build(names, draft.path(graphs.BOARD_IDS_FOLDER))
        return draft.publish(
            as_of_us=1,
            counts={
                "pin_count": graph.pin_count,
                "board_count": graph.board_count,
                "edge_count": graph.edge_count if edge_count is None else edge_count,
            },
            details={"languages": list(graph.languages), "topics": list(graph.topics)},
        )


@given(edges=EDGES)
@settings(deadline=None)
def test_both_directions_hold_every_edge(edges: list[tuple[int, int]]) -> None:
    """Each save can be walked from the pin and from the board, once."""
    graph = build(edges)

    assert sorted(edges) == listed(graph.pin_edges)
    assert sorted((board, pin) for pin, board in edges) == listed(graph.board_edges)
    assert len(edges) == graph.edge_count


@given(edges=EDGES, languages=st.lists(st.integers(-1, 2), min_size=16, max_size=16))
@settings(deadline=None)
def test_neighbours_of_a_language_are_a_range(
    edges: list[tuple[int, int]], languages: list[int]
) -> None:
    """The groups of a board cover its pins, each with one language, each language once."""
    graph = build(edges, languages)
    assert graph.board_groups is not None
    offsets, tags, begins = graph.board_groups
    pin_lists, boards = graph.board_edges[1], graph.board_edges[0]

    for board, (first, last) in enumerate(pairwise(offsets)):
        groups = [pin_lists[begins[g] : begins[g + 1]].tolist() for g in range(first, last)]
        assert len(set(tags[first:last].tolist())) == last - first
        assert pin_lists[boards[board] : boards[board + 1]].tolist() == [
            pin for pins in groups for pin in pins
        ]
        for g, pins in enumerate(groups):
            assert {languages[pin] for pin in pins} == {int(tags[first + g])}


@given(edges=EDGES, seed=st.integers(0, 100))
@settings(deadline=None)
def test_order_of_the_saves_does_not_matter(edges: list[tuple[int, int]], seed: int) -> None:
    """Any order of the same edges gives the same bytes, pruned or not."""
    shuffled = [edges[i] for i in np.random.default_rng(seed).permutation(len(edges))]
    rules = PruneSettings(board_pin_count_max=4, bare_degree_exponent=0.5, degree_kept_min=1)

    one, other = build(edges), build(shuffled)
    for left, right in ((one.pin_edges, other.pin_edges), (one.board_edges, other.board_edges)):
        np.testing.assert_array_equal(left[0], right[0])
        np.testing.assert_array_equal(left[1], right[1])
    kept = [
        {
            edge
            for edge, is_kept in zip(
                listing, prune_edges(*columns(listing), rules, seed=3), strict=True
            )
            if is_kept
        }
        for listing in (edges, shuffled)
    ]
    assert kept[0] == kept[1]


@given(edges=EDGES, cap=st.integers(2, 6), exponent=st.floats(0.1, 1.0))
@settings(deadline=None)
def test_pruning_keeps_its_bounds(edges: list[tuple[int, int]], cap: int, exponent: float) -> None:
    """No board above its cap or below its floor; no pin loses more than its share allows."""
    pins, boards = columns(edges)
    rules = PruneSettings(
        board_pin_count_max=cap, bare_degree_exponent=exponent, degree_kept_min=2, degree_kept_max=5
    )

    kept = prune_edges(pins, boards, rules, seed=1)

    sizes = np.bincount(boards[kept], minlength=10)
    degrees = np.bincount(pins, minlength=16)
    assert ((sizes == 0) | ((sizes >= 2) & (sizes <= cap))).all()
    assert (
        np.bincount(pins[kept], minlength=16) <= np.clip(np.ceil(degrees**exponent), 2, 5)
    ).all()


def test_no_pruning_by_default_but_of_boards_with_one_pin() -> None:
    """Default settings keep every edge of an ordinary small graph."""
    pins, boards = columns([(0, 0), (1, 0), (2, 1), (2, 0), (3, 2), (4, 2)])

    kept = prune_edges(pins, boards, PruneSettings(), seed=0)

    assert kept.tolist() == [True, True, False, True, True, True]


def test_crowded_pin_keeps_its_smallest_boards() -> None:
    """Small boards are more to the point than those that collect everything."""
    edges = [(0, board) for board in range(4)]
    edges += [(pin, board) for board in range(4) for pin in range(1, 3 + 3 * board)]
    pins, boards = columns(edges)
    rules = PruneSettings(bare_degree_exponent=0.5, degree_kept_min=1)

    kept = prune_edges(pins, boards, rules, seed=0)

    assert {0, 1} == set(boards[kept & (pins == 0)].tolist())


def test_degrees_of_unknown_rows_are_zero() -> None:
    """Rows that are younger than the graph, or on no board, have degree 0."""
    graph = build([(0, 0), (0, 1), (3, 1)])

    degrees = graph.degrees(np.array([0, 1, 3, 16, 999], np.int32))

    assert degrees.tolist() == [2, 0, 1, 0, 0]
    assert graph.degree_max == 2


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("languages", [None, [0, 1] * 8])
def test_published_graph_opens_as_it_was(
    tmp_path: Path, *, in_memory: bool, languages: list[int] | None
) -> None:
    """Mapped or in memory, with languages or without: the arrays come back."""
    graph = build([(0, 0), (1, 0), (1, 1), (7, 1)], languages)

    opened = PinBoardGraph.open(publish(tmp_path, graph), in_memory=in_memory)

    assert listed(graph.pin_edges) == listed(opened.pin_edges)
    assert listed(graph.board_edges) == listed(opened.board_edges)
    assert graph.languages == opened.languages
    assert (opened.pin_groups is None) == (languages is None)
    assert not opened.pin_edges[1].flags.writeable


def test_empty_graph_opens(tmp_path: Path) -> None:
    """A catalogue that nobody saved from has a graph without edges."""
    opened = PinBoardGraph.open(publish(tmp_path, build([])))

    assert opened.edge_count == 0
    assert opened.degree_max == 0


def test_graph_of_other_counts_is_refused(tmp_path: Path) -> None:
    """Arrays that do not fit the manifest are damage, named as such."""
    generation = publish(tmp_path, build([(0, 0), (1, 0)]), edge_count=7)

    with pytest.raises(Corrupted, match="edge_count"):
        PinBoardGraph.open(generation)


def test_graph_of_too_few_labels_is_refused(tmp_path: Path) -> None:
    """A label for each pin and each board, or the walks would read beyond the end."""
    graph = build([(0, 0), (1, 0)], [0, 1] * 8)
    assert graph.pin_labels is not None
    graph.pin_labels = graph.pin_labels[:-1]

    with pytest.raises(Corrupted, match="15 labels for 16 nodes"):
        PinBoardGraph.open(publish(tmp_path, graph))


def test_titles_that_are_no_arrow_file_are_refused(tmp_path: Path) -> None:
    """Of the right name and the wrong contents: named, not served."""
    graph = build([(0, 0), (1, 0)])
    with GenerationStore(tmp_path).draft("graph", format_version=graphs.FORMAT_VERSION) as draft:
        graph.write(draft.folder)
        IdTable.build([f"b{row}" for row in range(10)], draft.path(graphs.BOARD_IDS_FOLDER))
        draft.path("board_titles.arrow").write_bytes(b"nothing of the kind")
        generation = draft.publish(
            as_of_us=1,
            counts={"pin_count": 16, "board_count": 10, "edge_count": 2},
            details={"languages": [], "topics": []},
        )

    with pytest.raises(Corrupted, match="board_titles"):
        PinBoardGraph.open(generation)
