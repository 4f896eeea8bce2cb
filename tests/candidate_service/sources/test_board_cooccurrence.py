"""Board co-occurrence keeps the promises of a source and equals a sum in dictionaries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.candidate import CandidateSource
from candidate_service.cooccurrence import NeighbourLists, count_exactly
from candidate_service.graph import build_graph
from candidate_service.sources.board_cooccurrence import BoardCooccurrenceSource
from tests.candidate_service.sources.test_pixie import checkerboard
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
    lists = count_exactly(graph, 100, threads=1, advance=lambda _: None)
    return BoardCooccurrenceSource(lambda: lists)


class TestBoardCooccurrenceSource(CandidateSourceContract):
    pin_count = 40
    query_rows = (0, 1, 6)

    def make_source(self) -> CandidateSource:
        """The checkerboard."""
        lists = count_exactly(checkerboard(), 50, threads=2, advance=lambda _: None)
        return BoardCooccurrenceSource(lambda: lists)

    def make_empty_source(self) -> CandidateSource:
        """Pins without boards."""
        return make_source([], pin_count=5)


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
