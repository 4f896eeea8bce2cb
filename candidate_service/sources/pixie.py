"""Pins most visited by random walks from the query pins on the pin-board graph (Pixie)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from candidate_service import graph
from candidate_service.candidate import CandidateList, CandidateQuery
from candidate_service.selection import is_in
from candidate_service.source_registry import SourceContext, SourcePlugin
from candidate_service.walk import Walker, first_best
from service_runtime.generations import Generation

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
        """Return the most visited pins; the score is the share of all steps that ended there.

        Among equal scores the pin that was reached first comes first. Query pins on no board lend
        their steps to the others. When the stop comes, the visits counted until then decide.
        """
        if limit <= 0 or query.stop.expired():
            return CandidateList.empty(NAME)
        visits = self._walker().visits(query)
        unwanted = np.union1d(query.query_rows, query.excluded_rows)
        best = first_best(visits.scores, limit + len(unwanted))
        best = best[~is_in(visits.rows[best], unwanted)][:limit]
        scores = visits.scores[best] / max(1, visits.step_count)
        return CandidateList(
            NAME, visits.rows[best], scores.astype(np.float32), visits.query_indexes[best]
        )


def _make(context: SourceContext) -> PixieSource:
    config = context.config

    def open_walker(generation: Generation) -> Walker:
        opened = graph.PinBoardGraph.open(generation, in_memory=config.graph_in_memory)
        return Walker(opened, config.pixie_settings())

    return PixieSource(context.artifacts.add(graph.ARTIFACT, graph.FORMAT_VERSION, open_walker))


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=400)
"""As many as `ann`. Guess."""
