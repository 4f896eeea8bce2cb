"""Pins near the interests that the user picked at sign-up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import vector_index
from candidate_service.candidate import CandidateList, CandidateQuery, SourceFigures
from candidate_service.selection import is_allowed, is_in
from candidate_service.source_registry import SourceContext, SourcePlugin
from candidate_service.vector_index import VectorIndex, open_index

NAME: Final = "declared"
SPARE_RATIO: Final = 4
"""Where pins are filtered out, so many times a pick's share is asked for at the most."""


class DeclaredSource:
    """Nearest pins of each declared pin, in turns, so that every interest has a share.

    Source: explicit interests as the half of retrieval that helps light users (multi-embedding
    retrieval at Pinterest, 2025); round-robin over them as there.
    """

    name = NAME
    artifacts = (vector_index.ARTIFACT,)

    def __init__(self, index: Callable[[], VectorIndex], *, pin_count: int) -> None:
        """Remember how to get at the index that serves now.

        Args:
            index: Gives it, or raises NotReady.
            pin_count: From how many declared pins a question starts at the most.
        """
        self._index, self._pin_count = index, pin_count

    def figures(self) -> SourceFigures:
        """Return how many pins it can propose."""
        return SourceFigures(pin_count=self._index().found_count)

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return pins near the declared ones, best of each, second of each, and so on.

        Of more declared pins than are started from, some are drawn by the seed. The score is
        1 / (1 + place among the neighbours of its pick). A declared pin that is a query pin as
        well is named behind its neighbours; others are not query pins: -1.
        """
        if limit <= 0 or query.stop.expired() or not len(query.declared_rows):
            return CandidateList.empty(NAME)
        index = self._index()
        picks = query.declared_rows[index.has_vector(query.declared_rows)]
        if len(picks) > self._pin_count:
            rng = np.random.default_rng(query.seed)
            picks = picks[np.sort(rng.permutation(len(picks))[: self._pin_count])]
        if not len(picks):
            return CandidateList.empty(NAME)
        found = _near(index, picks, query, -(-limit // len(picks)))
        rows = np.concatenate(found)
        ranks = np.concatenate([np.arange(len(part)) for part in found])
        behind = np.repeat(_at_query(picks, query), [len(part) for part in found])
        order = np.argsort(ranks, kind="stable")
        _, first = np.unique(rows[order], return_index=True)
        kept = order[np.sort(first)[:limit]]
        scores = (1.0 / (1.0 + ranks[kept])).astype(np.float32)
        return CandidateList(NAME, rows[kept], scores, behind[kept])


def _near(
    index: VectorIndex, picks: NDArray[np.int32], query: CandidateQuery, share: int
) -> list[NDArray[np.int32]]:
    """Return the *share* nearest wanted pins of each pick, or all that were found."""
    unwanted = np.sort(np.concatenate((query.unwanted_rows, query.declared_rows)))
    count = share + min(len(unwanted), share)
    count *= 1 if query.allowed is None else SPARE_RATIO
    found = []
    for near, _ in index.nearest(index.vectors[picks], count):
        wanted = is_allowed(near, query.allowed) & ~is_in(near, unwanted)
        found.append(near[wanted][:share])
    return found


def _at_query(picks: NDArray[np.int32], query: CandidateQuery) -> NDArray[np.int32]:
    """Return the query index of each pick, -1 for one that is no query pin."""
    place = {row: at for at, row in enumerate(query.query_rows.tolist())}
    return np.array([place.get(row, -1) for row in picks.tolist()], np.int32)


def _make(context: SourceContext) -> DeclaredSource:
    index = context.artifacts.add(vector_index.ARTIFACT, vector_index.FORMAT_VERSIONS, open_index)
    return DeclaredSource(index, pin_count=context.config.declared_pin_count)


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=100)
"""A quarter of `ann`; empty for whoever declared nothing. Guess."""
