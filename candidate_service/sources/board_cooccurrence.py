"""Pins that share boards with the query pins (the first source of Related Pins)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import cooccurrence, list_kernels, live_cooccurrence
from candidate_service.candidate import CandidateList, CandidateQuery
from candidate_service.cooccurrence import NeighbourLists
from candidate_service.graph import PinBoardGraph
from candidate_service.graph_access import walker_of
from candidate_service.live_graph import LiveGraph, agreed_count, live_edges
from candidate_service.selection import is_allowed, is_in
from candidate_service.source_registry import SourceContext, SourcePlugin
from candidate_service.walk import first_best
from service_runtime.errors import NotReady

NAME: Final = "board_cooccurrence"

Gathered = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]
"""Lists one after another: their bounds, rows, weighted scores, and whose each list is."""


class BoardCooccurrenceSource:
    """Prepared neighbours of the query pins, added up, and what was saved since.

    Source: Liu et al. 2017, section 3 (board co-occurrence); sums over several query pins as in
    item-based collaborative filtering (Sarwar et al. 2001).
    """

    name = NAME
    artifacts = (cooccurrence.ARTIFACT,)

    def __init__(
        self,
        lists: Callable[[], NeighbourLists],
        graph: Callable[[], PinBoardGraph] | None = None,
    ) -> None:
        """Remember how to get at the lists and, for live saves, the graph that serve now."""
        self._lists = lists
        self._graph = graph

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return the pins with the highest sum over query pins of weight times score.

        The weights are scaled to sum to 1, so that the score is in (0, 1]. The query pin behind a
        candidate is the one that adds most; among equal scores the pin that was met first (going
        through the query pins in their order, and each one's neighbours best first; then through
        what new saves tie to them) comes first.
        """
        if limit <= 0 or query.stop.expired():
            return CandidateList.empty(NAME)
        lists = self._lists()
        gathered = _gather(lists, query)
        if query.live.change_count:
            gathered = self._with_live(gathered, lists, query)
        bounds, rows, shares, query_indexes = gathered
        if not len(rows):
            return CandidateList.empty(NAME)
        merged = (
            np.empty(len(rows), np.int32),
            np.empty(len(rows), np.float64),
            np.empty(len(rows), np.float32),
            np.empty(len(rows), np.int32),
        )
        table = np.zeros(1 << (2 * len(rows) - 1).bit_length(), np.uint64)
        count = list_kernels.merge_lists(bounds, rows, shares, 1, table, merged)
        found, scores, list_indexes = merged[0][:count], merged[1][:count], merged[3][:count]
        wanted = np.flatnonzero(_is_wanted(found, query, len(lists)))
        best = wanted[first_best(scores[wanted], limit)]
        return CandidateList(
            NAME,
            found[best],
            scores[best].astype(np.float32),
            query_indexes[list_indexes[best]],
        )

    def _with_live(
        self, gathered: Gathered, lists: NeighbourLists, query: CandidateQuery
    ) -> Gathered:
        """Leave out neighbours that share no board any more; add those that new saves tie."""
        graph = self._current_graph()
        edges = None if graph is None else live_edges(query.live, graph)
        if edges is None:
            return gathered
        bounds, rows, shares, query_indexes = gathered
        keeps = [
            live_cooccurrence.still_neighbours(
                int(query.query_rows[query_index]), rows[bounds[i] : bounds[i + 1]], edges
            )
            for i, query_index in enumerate(query_indexes.tolist())
        ]
        parts = [rows[bounds[i] : bounds[i + 1]][kept] for i, kept in enumerate(keeps)]
        added = [shares[bounds[i] : bounds[i + 1]][kept] for i, kept in enumerate(keeps)]
        indexes = query_indexes.tolist()
        weights = query.weights / query.weights.sum()
        for query_index, pin in enumerate(query.query_rows.tolist()):
            found, scores = live_cooccurrence.new_neighbours(pin, edges, neutral=lists.neutral)
            if len(found):
                parts.append(found)
                added.append(scores * weights[query_index])
                indexes.append(query_index)
        return (
            np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64),
            np.concatenate([np.empty(0, np.int32), *parts]),
            np.concatenate([np.empty(0, np.float32), *added]).astype(np.float32),
            np.array(indexes, np.int32),
        )

    def _current_graph(self) -> PinBoardGraph | None:
        if self._graph is None:
            return None
        try:
            return self._graph()
        except NotReady:
            return None  # the lists answer without it


def _gather(lists: NeighbourLists, query: CandidateQuery) -> Gathered:
    """Put the query pins' lists one after another."""
    agreed = agreed_count(query.live, len(lists))
    known = np.flatnonzero(query.query_rows < agreed).astype(np.int32)
    weights = query.weights[known] / query.weights.sum()
    begins = lists.offsets[query.query_rows[known]]
    lengths = lists.offsets[query.query_rows[known] + 1] - begins
    bounds = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    at = np.arange(bounds[-1]) + np.repeat(begins - bounds[:-1], lengths)
    shares = lists.scores[at] * np.repeat(weights, lengths)
    return bounds, lists.rows[at], shares.astype(np.float32), known


def _is_wanted(rows: NDArray[np.int32], query: CandidateQuery, pin_count: int) -> NDArray[np.bool_]:
    """Say which rows may be proposed; lists younger than the catalogue have rows of other pins."""
    is_wanted = ~is_in(rows, query.unwanted_rows)
    if (agreed := agreed_count(query.live, pin_count)) < pin_count:
        is_wanted &= rows < agreed
    if query.allowed is not None:
        is_wanted &= is_allowed(rows, query.allowed)
    return is_wanted


def _make(context: SourceContext) -> BoardCooccurrenceSource:
    lists = context.artifacts.add(
        cooccurrence.ARTIFACT, cooccurrence.FORMAT_VERSION, NeighbourLists.open
    )
    walker = walker_of(context.artifacts, context.config)
    return BoardCooccurrenceSource(lists, lambda: walker().graph)


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=400, is_quick=True, live_part=LiveGraph)
"""As many as `ann`. Guess."""
