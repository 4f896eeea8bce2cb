"""Pins most visited by random walks from the query pins on the pin-board graph (Pixie)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from candidate_service import graph
from candidate_service.candidate import CandidateList, CandidateQuery
from candidate_service.graph_access import walker_of
from candidate_service.live_graph import LiveGraph
from candidate_service.selection import is_in
from candidate_service.source_registry import SourceContext, SourcePlugin
from candidate_service.walk import Walker, first_best

NAME: Final = "pixie"


class PixieSource:
    """Biased walks with early stop, several query pins, shared out by degree and weight.

    Source: Eksombatchai et al. 2018, algorithms 1 to 3.
    """

    name = NAME
    artifacts = (graph.ARTIFACT,)

    def __init__(self, walker: Callable[[], Walker]) -> None:
        """Remember how to get at the walker of the graph that serves now."""
        self._walker = walker

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return the most visited pins.

        The score is the share of all steps that ended there, divided by a power of the number of
        boards that the pin is on, so that what everybody saves does not lead every list.
        Among equal scores the pin that was reached first comes first. Query pins on no board lend
        their steps to the others. When the stop comes, the visits counted until then decide.
        """
        if limit <= 0 or query.stop.expired():
            return CandidateList.empty(NAME)
        walker = self._walker()
        visits = walker.visits(query)
        rows, scores, query_indexes = visits.rows, walker.discounted(visits), visits.query_indexes
        wanted = walker.proposable(query, rows)
        if wanted is not None:
            rows, scores, query_indexes = rows[wanted], scores[wanted], query_indexes[wanted]
        best = first_best(scores, limit + len(query.unwanted_rows))
        best = best[~is_in(rows[best], query.unwanted_rows)][:limit]
        return CandidateList(NAME, rows[best], scores[best].astype(np.float32), query_indexes[best])


def _make(context: SourceContext) -> PixieSource:
    return PixieSource(walker_of(context.artifacts, context.config))


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=400, live_part=LiveGraph)
"""As many as `ann`. Guess."""
