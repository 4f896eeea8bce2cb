"""Pixie keeps the promises of a source, finds its own community, and explains itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from candidate_service.candidate import CandidateList, CandidateQuery, CandidateSource, Segment
from candidate_service.graph import PinBoardGraph, build_graph
from candidate_service.live.segment import LiveChanges, LiveSave, LiveSegment
from candidate_service.live_graph import LiveGraph
from candidate_service.sources.pixie import PixieSource
from candidate_service.walk import PixieSettings, Walker
from tests.contracts.candidate_source import CandidateSourceContract, make_query


def checkerboard(languages: list[int] | None = None) -> PinBoardGraph:
    """40 pins on 20 boards; a board holds pins of its own colour (parity) only."""
    edges = [
        (pin, board)
        for board in range(20)
        for pin in range(40)
        if pin % 2 == board % 2 and (pin * 7 + board * 3) % 5 < 2
    ]
    pins, boards = np.array(edges, np.int32).T
    return build_graph(
        pins.copy(),
        boards.copy(),
        pin_count=40,
        board_count=20,
        pin_languages=np.array(languages, np.int16) if languages else None,
        languages=("en", "nl") if languages else (),
    )


def make_pixie(graph: PinBoardGraph, **changes: object) -> PixieSource:
    """The source over a graph."""
    walker = Walker(graph, PixieSettings(**({"step_count": 20_000} | changes)))  # type: ignore[arg-type]
    return PixieSource(lambda: walker)


class TestPixieSource(CandidateSourceContract):
    pin_count = 40
    query_rows = (0, 1, 6)

    def make_source(self) -> CandidateSource:
        """The checkerboard."""
        return make_pixie(checkerboard())

    def make_empty_source(self) -> CandidateSource:
        """Pins without boards."""
        nothing = np.empty(0, np.int32)
        return make_pixie(build_graph(nothing, nothing, pin_count=5, board_count=0))


class OverLiveSaves:
    """A source whose every query finds the checkerboard in saves that came after the graph."""

    def __init__(self, source: CandidateSource, graph: PinBoardGraph) -> None:
        self.name, self.artifacts = source.name, source.artifacts
        self._source = source
        live = LiveGraph()
        live.apply(
            LiveChanges(
                saves=[
                    LiveSave(f"{pin}-{board}", f"b{board}", pin)
                    for pin in range(graph.pin_count)
                    for board in graph.pin_edges[1][
                        graph.pin_edges[0][pin] : graph.pin_edges[0][pin + 1]
                    ].tolist()
                ]
            )
        )
        self._live = LiveSegment(None, [live])
        self._live._change_count = 1

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Ask with the live saves."""
        return self._source.retrieve(replace(query, live=self._live), limit)


class TestPixieOverLiveSaves(TestPixieSource):
    def make_source(self) -> CandidateSource:
        """The checkerboard, all of it live."""
        nothing = np.empty(0, np.int32)
        empty = build_graph(nothing, nothing, pin_count=5, board_count=0)
        return OverLiveSaves(make_pixie(empty), checkerboard())


def test_pixie_stays_on_its_colour() -> None:
    """On a checkerboard no walk ever reaches a pin of the other colour."""
    found = make_pixie(checkerboard()).retrieve(make_query([4]), 100)

    assert len(found) == 19
    assert (found.rows % 2 == 0).all()


def test_query_pin_behind_has_the_candidates_colour() -> None:
    """Of an even and an odd query pin, the one behind a candidate is of its colour."""
    found = make_pixie(checkerboard()).retrieve(make_query([5, 4]), 100)

    np.testing.assert_array_equal(1 - found.rows % 2, found.query_indexes)


def test_scores_are_shares_of_the_steps() -> None:
    """All visits together are all steps: scores sum to 1 less what came back to the query pin."""
    found = make_pixie(checkerboard(), early_stop_visit_count=0).retrieve(make_query([4]), 100)

    assert 0.5 < found.scores.sum() < 1


def test_heavier_query_pin_gets_more_candidates_to_the_front() -> None:
    """Weights share out the steps, so they decide whose candidates lead."""
    source = make_pixie(checkerboard())

    leaning = source.retrieve(make_query([5, 4], weights=[9, 1]), 8)

    assert (leaning.query_indexes == 0).sum() >= 6


def test_viewers_language_comes_first() -> None:
    """With the bias on, the same walk shows pins of the viewer's language first."""
    languages = [(pin // 2) % 2 for pin in range(40)]
    source = make_pixie(checkerboard(languages), bias=1.0)

    found = source.retrieve(make_query([4], segment=Segment(language="nl")), 6)

    assert [languages[row] for row in found.rows.tolist()] == [1] * 6


def test_excluded_pins_are_left_out_and_made_up_for() -> None:
    """What the viewer has already seen costs no places in the list."""
    source = make_pixie(checkerboard())
    best = source.retrieve(make_query([4]), 5)
    query = make_query([4])

    again = source.retrieve(
        type(query)(
            query_rows=query.query_rows,
            weights=query.weights,
            seed=query.seed,
            segment=query.segment,
            stop=query.stop,
            excluded_rows=np.sort(best.rows),
        ),
        5,
    )

    assert len(again) == 5
    assert not np.isin(again.rows, best.rows).any()


def test_pins_that_are_not_allowed_cost_no_places() -> None:
    """Hidden, deleted and filtered pins make room for the next ones; rows beyond count as such."""
    allowed = np.zeros(30, np.bool_)
    allowed[[6, 8, 10, 12]] = True

    found = make_pixie(checkerboard()).retrieve(replace(make_query([4]), allowed=allowed), 3)

    assert len(found) == 3
    assert set(found.rows.tolist()) <= {6, 8, 10, 12}


def test_what_everybody_saves_does_not_lead_every_list() -> None:
    """From many query pins a pin on every board loses places to those of their own boards."""
    edges = [(0, board) for board in range(30)] + [
        (1 + 3 * board + at, board) for board in range(30) for at in range(3)
    ]
    pins, boards = np.array(edges, np.int32).T
    graph = build_graph(pins.copy(), boards.copy(), pin_count=91, board_count=30)
    ranks = {
        (exponent, len(queries)): make_pixie(graph, popularity_exponent=exponent)
        .retrieve(make_query(queries), 90)
        .rows.tolist()
        .index(0)
        for exponent in (0.0, 0.8)
        for queries in ([1], [1, 4, 7, 10, 13])
    }

    assert ranks[0.0, 1] == ranks[0.0, 5] == 0
    assert ranks[0.8, 1] == 0
    assert ranks[0.8, 5] >= 5


def test_graph_younger_than_the_catalogue_answers_for_the_rows_they_share() -> None:
    """Its last rows are other pins in the segment: never proposed, never started from."""

    class Fewer(LiveSegment):
        def __init__(self) -> None:
            super().__init__(None)
            self.base_count = 20  # type: ignore[misc]  of no catalogue

    source = make_pixie(checkerboard())
    found = source.retrieve(replace(make_query([4]), live=Fewer()), 100)

    assert len(found) > 0
    assert found.rows.max() < 20
    assert len(source.retrieve(replace(make_query([24]), live=Fewer()), 100)) == 0
