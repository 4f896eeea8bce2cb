"""Pins that people save close in time: near the query pins, and likely next in the session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import pin2vec
from candidate_service.candidate import CandidateList, CandidateQuery, SourceFigures
from candidate_service.pin2vec import Pin2Vec, open_pin2vec
from candidate_service.selection import is_allowed, is_in
from candidate_service.source_registry import SourceContext, SourcePlugin

NAME: Final = "pin2vec"
SESSION_PIN_COUNT: Final = 10
"""Older pins of a session say little: at a fade of 0.5 the tenth weighs 1/500."""

Ranked = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Catalogue rows, best first, and the query index behind each."""


class Pin2VecSource:
    """Neighbours of the query pins, and the next save where the query has a session.

    Source: Ma 2017 (Pin2Vec); Liu et al. 2017, section 3 (session co-occurrence).
    """

    name = NAME
    artifacts = (pin2vec.ARTIFACT,)

    def __init__(self, opened: Callable[[], Pin2Vec]) -> None:
        """Remember how to get at the generation that serves now."""
        self._opened = opened

    def figures(self) -> SourceFigures:
        """Return how many pins it can propose."""
        return SourceFigures(pin_count=len(self._opened()))

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return next and near pins in turns; the score is 1 / (1 + rank) in the list of its own.

        Near pins are ranked by the weighted sum of their cosines to the query pins, and the query
        pin behind one adds most to it. Next pins are ranked by the estimated chance of being saved
        after the session's pins; the newest of those that leads to one is behind it, if it is a
        query pin as well. A pin of both lists takes its better place.
        """
        if limit <= 0 or query.stop.expired():
            return CandidateList.empty(NAME)
        opened = self._opened()
        lists = [_next(opened, query), _near(opened, query)]
        return _in_turns([_wanted(found, query) for found in lists], limit)


def _near(opened: Pin2Vec, query: CandidateQuery) -> Ranked:
    """Rank the neighbours of the query pins."""
    indexes = opened.indexes_of(query.query_rows)
    known = np.flatnonzero(indexes >= 0).astype(np.int32)
    met = opened.neighbours.indexes[indexes[known]]
    shares = opened.neighbours.scores[indexes[known]] * query.weights[known, None]
    is_there = (met >= 0) & (shares > 0)
    if not is_there.any():
        return _nothing()
    found, places = np.unique(met[is_there], return_inverse=True)
    behind = np.broadcast_to(known[:, None], met.shape)[is_there]
    totals = np.bincount(places, weights=shares[is_there])
    most = np.lexsort((behind, -shares[is_there], places))
    first = most[np.searchsorted(places[most], np.arange(len(found)))]
    order = np.lexsort((found, -totals))
    return opened.rows[found[order]], behind[first[order]]


def _next(opened: Pin2Vec, query: CandidateQuery) -> Ranked:
    """Rank what may be saved after the session's pins."""
    recent = opened.indexes_of(query.session_rows[:SESSION_PIN_COUNT])
    recent = recent[recent >= 0]
    if not len(recent):
        return _nothing()
    found, scores = opened.next_saves(recent)
    order = np.lexsort((found, -scores))
    behind = np.full(len(found), -1, np.int32)
    at_query = {row: at for at, row in enumerate(query.query_rows.tolist())}
    for index in recent[::-1].tolist():  # the newest last, so that it wins
        followers, _ = opened.followers.of(index)
        behind[np.searchsorted(found, followers)] = at_query.get(int(opened.rows[index]), -1)
    return opened.rows[found[order]], behind[order]


def _nothing() -> Ranked:
    return np.empty(0, np.int32), np.empty(0, np.int32)


def _wanted(found: Ranked, query: CandidateQuery) -> Ranked:
    """Leave out what must not be proposed, and what was just acted on."""
    rows, behind = found
    dropped = is_in(rows, query.unwanted_rows) | is_in(rows, np.sort(query.session_rows))
    kept = np.flatnonzero(is_allowed(rows, query.allowed) & ~dropped)
    return rows[kept], behind[kept]


def _in_turns(lists: list[Ranked], limit: int) -> CandidateList:
    """Unite ranked lists: the first of each, the second of each, and so on, each pin once."""
    rows = np.concatenate([found for found, _ in lists])
    behind = np.concatenate([pins for _, pins in lists])
    ranks = np.concatenate([np.arange(len(found)) for found, _ in lists])
    order = np.argsort(ranks, kind="stable")
    _, first = np.unique(rows[order], return_index=True)
    kept = order[np.sort(first)[:limit]]
    scores = (1.0 / (1.0 + ranks[kept])).astype(np.float32)
    return CandidateList(NAME, rows[kept].astype(np.int32), scores, behind[kept].astype(np.int32))


def _make(context: SourceContext) -> Pin2VecSource:
    opened = context.artifacts.add(pin2vec.ARTIFACT, pin2vec.FORMAT_VERSION, open_pin2vec)
    return Pin2VecSource(opened)


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=200)
"""Half of `ann`: it knows the popular pins only. Guess."""
