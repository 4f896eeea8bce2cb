"""Board co-occurrence keeps the promises of a source and equals a sum in dictionaries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.candidate import CandidateSource
from candidate_service.cooccurrence import NeighbourLists, exact_counter
from candidate_service.graph import build_graph
from candidate_service.live.segment import LiveChanges, LiveSave, LiveSegment
from candidate_service.live_graph import LiveGraph
from candidate_service.sources.board_cooccurrence import BoardCooccurrenceSource
from service_runtime.id_table import IdTable
from tests.candidate_service.sources.test_pixie import OverLiveSaves, checkerboard
from tests.contracts.candidate_source import CandidateSourceContract, make_query
from tests.naive import cooccurrence as naive


def make_source(edges: list[tuple[int, int]], *, pin_count: int) -> BoardCooccurrenceSource:
    """The source over (pin, board) pairs."""
    pins, boards = np.array(edges, np.int32).reshape(-1, 2).T
    graph = build_graph(
        pins.copy(),
        boards.copy(),
        pin_count=pin_count,
        board_count=int(boards.max(initial=-1)) + 1,
    )
    lists = exact_counter(graph, 100)(range(graph.pin_count))
    return BoardCooccurrenceSource(lambda: lists)


class TestBoardCooccurrenceSource(CandidateSourceContract):
    pin_count = 40
    query_rows = (0, 1, 6)

    def make_source(self) -> CandidateSource:
        """The checkerboard."""
        lists = exact_counter(checkerboard(), 50)(range(40))
        return BoardCooccurrenceSource(lambda: lists)

    def make_empty_source(self) -> CandidateSource:
        """Pins without boards."""
        return make_source([], pin_count=5)


class TestBoardCooccurrenceOverLiveSaves(TestBoardCooccurrenceSource):
    def make_source(self) -> CandidateSource:
        """The checkerboard, all of it saved after the lists were counted."""
        nothing = np.empty(0, np.int32)
        empty = build_graph(nothing, nothing, pin_count=5, board_count=0)
        lists = exact_counter(empty, 50)(range(empty.pin_count))
        source = BoardCooccurrenceSource(lambda: lists, lambda: empty)
        return OverLiveSaves(source, checkerboard())


@settings(deadline=None)
@given(
    edges=st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 8)), min_size=1, max_size=50, unique=True
    ),
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    first=st.integers(0, 9),
)
def test_candidates_equal_the_sum_in_dictionaries(
    edges: list[tuple[int, int]], weights: list[int], first: int
) -> None:
    """Same pins, same scores, and behind each a query pin that adds most."""
    queries = {first + i: float(weight) for i, weight in enumerate(weights)}
    source = make_source(edges, pin_count=13)

    found = source.retrieve(make_query(list(queries), weights=weights), 100)

    expected = naive.candidates(naive.neighbours(edges), queries)
    assert sorted(expected) == sorted(found.rows.tolist())
    for row, score, index in zip(found.rows, found.scores, found.query_indexes, strict=True):
        total, _ = expected[int(row)]
        assert score == pytest.approx(total, rel=1e-5)  # float32 against float64
        query = list(queries)[index]
        share = naive.neighbours(edges)[query][int(row)] * queries[query] / sum(weights)
        largest = max(
            naive.neighbours(edges)[other].get(int(row), 0) * weight / sum(weights)
            for other, weight in queries.items()
        )
        assert share == pytest.approx(largest, rel=1e-5)


def test_small_shared_board_beats_a_large_one() -> None:
    """One shared board of two pins says more than one shared board of twenty."""
    edges = [(0, 0), (1, 0), (0, 1), (2, 1), (1, 2), (2, 2)] + [(pin, 1) for pin in range(3, 20)]

    found = make_source(edges, pin_count=20).retrieve(make_query([0]), 2)

    assert found.rows[0] == 1


def test_lists_longer_than_the_table_of_pins_do_not_matter() -> None:
    """Many query pins with the same neighbours: each pin once, scores added up."""
    edges = [(pin, 0) for pin in range(30)]
    source = make_source(edges, pin_count=30)

    found = source.retrieve(make_query(range(25)), 100)

    assert list(range(25, 30)) == sorted(found.rows.tolist())
    np.testing.assert_allclose(found.scores, 1 / 30, rtol=1e-5)


def test_neighbour_lists_of_no_pins() -> None:
    """A catalogue without pins has lists without anything."""
    empty = NeighbourLists(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))

    found = BoardCooccurrenceSource(lambda: empty).retrieve(make_query([0]), 3)

    assert len(found) == 0


class LiveOnly(LiveSegment):
    """A segment of nothing but live saves, fed by hand."""

    def __init__(self, part: LiveGraph) -> None:
        super().__init__(None, [part])
        self._change_count = 1


def live_source(
    edges: list[tuple[int, int]], *, pin_count: int, board_count: int
) -> tuple[BoardCooccurrenceSource, LiveGraph]:
    """The source over (pin, board) pairs, and what is saved since."""
    pins, boards = np.array(edges, np.int32).reshape(-1, 2).T
    graph = build_graph(pins.copy(), boards.copy(), pin_count=pin_count, board_count=board_count)
    lists = exact_counter(graph, 100)(range(graph.pin_count))
    return BoardCooccurrenceSource(lambda: lists, lambda: graph), LiveGraph()


@settings(deadline=None)
@given(
    saves=st.lists(
        st.tuples(st.integers(0, 15), st.integers(0, 5)), min_size=1, max_size=20, unique=True
    ),
    query=st.integers(0, 15),
)
def test_candidates_from_live_saves_alone_equal_the_sum_in_dictionaries(
    saves: list[tuple[int, int]], query: int
) -> None:
    """Over an empty graph everything is live: the same pins and scores as if counted in a job."""
    source, live = live_source([], pin_count=8, board_count=0)
    live.apply(LiveChanges(saves=[LiveSave(f"{pin}-{b}", f"b{b}", pin) for pin, b in saves]))

    asked = make_query([query])
    found = source.retrieve(replace(asked, live=LiveOnly(live)), 100)

    expected = naive.candidates(naive.neighbours(saves), {query: 1.0})
    assert sorted(expected) == sorted(found.rows.tolist())
    for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True):
        assert score == pytest.approx(expected[row][0], rel=1e-5)  # float32 against float64


def test_new_pin_on_an_old_board_is_found_and_finds() -> None:
    """A pin that nobody knew, saved beside an old one: each is the other's neighbour."""
    source, live = live_source([(0, 0), (1, 0)], pin_count=4, board_count=1)
    segment = LiveOnly(live)
    assert source.retrieve(replace(make_query([0]), live=segment), 9).rows.tolist() == [1]

    live.apply(LiveChanges(saves=[LiveSave("s", "b0", 0), LiveSave("t", "b0", 6)]))

    for query, expected in ((0, {1, 6}), (6, {0})):
        found = source.retrieve(replace(make_query([query]), live=segment), 9)
        assert set(found.rows.tolist()) == expected


def test_neighbour_that_shares_no_board_any_more_is_dropped(tmp_path: Path) -> None:
    """Taken off the only common board; one that is on another common board stays."""
    pins, boards = np.array([(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)], np.int32).T
    graph = build_graph(pins.copy(), boards.copy(), pin_count=4, board_count=2)
    graph.board_ids = IdTable.build(["b0", "b1"], tmp_path / "ids")
    lists = exact_counter(graph, 100)(range(graph.pin_count))
    source, live = BoardCooccurrenceSource(lambda: lists, lambda: graph), LiveGraph()

    live.apply(
        LiveChanges(saves=[LiveSave(f"s{pin}", "b0", pin, is_removed=True) for pin in (1, 2)])
    )

    found = source.retrieve(replace(make_query([0]), live=LiveOnly(live)), 9)
    assert found.rows.tolist() == [1]


def test_pins_that_are_not_allowed_cost_no_places() -> None:
    """Hidden, deleted and filtered pins make room for the next ones."""
    source = make_source([(pin, 0) for pin in range(30)], pin_count=30)
    allowed = np.zeros(30, np.bool_)
    allowed[20:] = True

    found = source.retrieve(replace(make_query([0]), allowed=allowed), 10)

    assert sorted(found.rows.tolist()) == list(range(20, 30))
