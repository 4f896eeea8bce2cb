"""Boards to recommend: those that walks from the query pins pass most (Pixie)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.candidate import CandidateQuery
from candidate_service.live_graph import LiveGraph, live_edges
from candidate_service.live_lists import LiveEdges
from candidate_service.walk import Visits, Walker, first_best

SHOWN_PIN_COUNT: Final = 10
"""Pins that are named of each board."""

_LOOKED_AT_COUNT_MAX: Final = 10_000
"""Of a larger board so many pins are looked at; whoever collects everything says little."""


@dataclass(frozen=True, slots=True)
class FoundBoard:
    """A board to recommend.

    Attributes:
        board_id: Its id.
        title: "" where it is not known.
        score: Share of all steps that passed it, in (0, 1].
        query_index: Which query pin's walks passed it most, position in the query.
        pin_count: How many pins it holds.
        pin_rows: Some of them, at most 10, those that the walks arrived at most first, int32[p].
    """

    board_id: str
    title: str
    score: float
    query_index: int
    pin_count: int
    pin_rows: NDArray[np.int32]


class BoardFinder:
    """Finds boards by walking; safe from any number of threads."""

    def __init__(self, walker: Callable[[], Walker]) -> None:
        """Remember how to get at the walker of the graph that serves now."""
        self._walker = walker

    def find(
        self, query: CandidateQuery, limit: int, *, excluded_ids: Sequence[str] = ()
    ) -> list[FoundBoard]:
        """Return the boards that the walks passed most, best first, at most *limit*.

        Boards without a pin that may be proposed are left out. Among equal scores the one that was
        passed first comes first.

        Args:
            query: What to start from; its `allowed` says which pins may be named.
            limit: >= 0.
            excluded_ids: Boards that are not wanted; unknown ones do no harm.

        Raises:
            NotReady: No graph has been built.
        """
        walker = self._walker()
        if limit <= 0 or query.stop.expired():
            return []
        passed = walker.visits(query, counts_boards=True)
        arrived = walker.visits(query)
        live = live_edges(query.live, walker.graph)
        members = _Members(walker, live, query, arrived)
        excluded = set(excluded_ids)
        found: list[FoundBoard] = []
        for at in first_best(passed.scores, limit + len(excluded)).tolist():
            row = int(passed.rows[at])
            board_id = _id_of(walker, live, row)
            pin_count, shown = members.of(row)
            if board_id in excluded or not len(shown):
                continue
            found.append(
                FoundBoard(
                    board_id,
                    _title_of(walker, query, row, board_id),
                    float(passed.scores[at]) / max(1, passed.step_count),
                    int(passed.query_indexes[at]),
                    pin_count,
                    shown,
                )
            )
            if len(found) == limit:
                break
        return found


class _Members:
    """The pins of boards, those first that the walks arrived at most."""

    def __init__(
        self, walker: Walker, live: LiveEdges | None, query: CandidateQuery, arrived: Visits
    ) -> None:
        self._walker, self._live, self._query = walker, live, query
        order = np.argsort(arrived.rows)
        self._rows, self._visits = arrived.rows[order], arrived.scores[order]

    def of(self, board: int) -> tuple[int, NDArray[np.int32]]:
        """Return how many pins a board holds, and those to show."""
        graph = self._walker.graph
        if self._live is not None:
            pins = self._live.pins_of(board)
        else:
            offsets, neighbours = graph.board_edges
            pins = neighbours[offsets[board] : offsets[board + 1]]
        count = len(pins)
        pins = pins[:_LOOKED_AT_COUNT_MAX]
        wanted = self._walker.proposable(self._query, pins)
        if wanted is not None:
            pins = pins[wanted]
        if not len(self._rows):
            return count, pins[:SHOWN_PIN_COUNT]
        at = np.minimum(np.searchsorted(self._rows, pins), len(self._rows) - 1)
        visits = np.where(self._rows[at] == pins, self._visits[at], 0.0)
        best = np.argsort(-visits, kind="stable")[:SHOWN_PIN_COUNT]
        return count, np.asarray(pins[best])


def _id_of(walker: Walker, live: LiveEdges | None, row: int) -> str:
    if live is not None:
        return live.board_id(row)
    assert walker.graph.board_ids is not None, "an opened graph knows its boards"
    return walker.graph.board_ids.ids(np.array([row]))[0]


def _title_of(walker: Walker, query: CandidateQuery, row: int, board_id: str) -> str:
    if query.live.change_count:
        title = query.live.part(LiveGraph).titles.get(board_id)
        if title:
            return title
    titles = walker.graph.board_titles
    return (titles[row].as_py() or "") if row < len(titles) else ""
