"""Pins that share boards with the query pins (the first source of Related Pins)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import cooccurrence, list_kernels
from candidate_service.candidate import CandidateList, CandidateQuery
from candidate_service.cooccurrence import NeighbourLists
from candidate_service.selection import is_in
from candidate_service.source_registry import SourceContext, SourcePlugin
from candidate_service.walk import first_best

NAME: Final = "board_cooccurrence"


class BoardCooccurrenceSource:
    """Prepared neighbours of the query pins, added up.

    Source: Liu et al. 2017, section 3 (board co-occurrence); sums over several query pins as in
    item-based collaborative filtering (Sarwar et al. 2001).
    """

    name = NAME
    artifacts = (cooccurrence.ARTIFACT,)

    def __init__(self, lists: Callable[[], NeighbourLists]) -> None:
        """Remember how to get at the lists that serve now."""
        self._lists = lists

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return the pins with the highest sum over query pins of weight times score.

        The weights are scaled to sum to 1, so that the score is in (0, 1]. The query pin behind a
        candidate is the one that adds most; among equal scores the pin that was met first (going
        through the query pins in their order, and each one's neighbours best first) comes first.
        """
        if limit <= 0 or query.stop.expired():
            return CandidateList.empty(NAME)
        bounds, rows, shares, query_indexes = _gather(self._lists(), query)
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
        unwanted = np.union1d(query.query_rows, query.excluded_rows)
        wanted = np.flatnonzero(~is_in(found, unwanted))
        best = wanted[first_best(scores[wanted], limit)]
        return CandidateList(
            NAME,
            found[best],
            scores[best].astype(np.float32),
            query_indexes[list_indexes[best]],
        )


def _gather(
    lists: NeighbourLists, query: CandidateQuery
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Put the query pins' lists one after another: bounds, rows, weighted scores, whose each is."""
    known = np.flatnonzero(query.query_rows < len(lists)).astype(np.int32)
    weights = query.weights[known] / query.weights.sum()
    begins = lists.offsets[query.query_rows[known]]
    lengths = lists.offsets[query.query_rows[known] + 1] - begins
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    at = np.arange(bounds[-1]) + np.repeat(begins - bounds[:-1], lengths)
    shares = lists.scores[at] * np.repeat(weights, lengths)
    return bounds, lists.rows[at], shares, known


def _make(context: SourceContext) -> BoardCooccurrenceSource:
    lists = context.artifacts.add(
        cooccurrence.ARTIFACT, cooccurrence.FORMAT_VERSION, NeighbourLists.open
    )
    return BoardCooccurrenceSource(lists)


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=400, is_quick=True)
"""As many as `ann`. Guess."""
