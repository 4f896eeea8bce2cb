"""Pins of the reader's own segment: language, country, and what the operator's settings name.

The pools are the prepared lists of `popular` for each segment; where the query pins have vectors,
the pins of the pool are ordered by how near they are to them, so that a Japanese reader of an
English pin gets Japanese pins that go with it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import pin_vectors
from candidate_service.candidate import CandidateList, CandidateQuery, SourceFigures
from candidate_service.live.segment import LiveSegment
from candidate_service.live_pools import LivePools
from candidate_service.pin_vectors import open_vectors
from candidate_service.pools import first_wanted, keys_of
from candidate_service.source_registry import SourceContext, SourcePlugin
from candidate_service.sources import popular
from candidate_service.sources.popular import LiveViews, PopularLists, Refresh, open_lists
from service_runtime.errors import NotReady
from service_runtime.vector_table import VectorTable

NAME: Final = "local"
POOLS_MAX: Final = 64
"""Pools of which the vectors are kept at hand, a megabyte or two each."""

Vectors = Callable[[], VectorTable]


class LocalSource:
    """Pools by segment, restricted to it; needs no query pin, but a viewer with a segment.

    Source: segmented candidates of Related Pins (Liu et al. 2017, section 3: locale).
    """

    name = NAME
    artifacts = (popular.ARTIFACT,)

    def __init__(
        self,
        lists: Callable[[], PopularLists],
        vectors: Vectors,
        *,
        relatedness: float,
        refresh: Refresh | None = None,
    ) -> None:
        """Remember how to get at what serves now.

        Args:
            lists: Gives the prepared lists, or raises NotReady.
            vectors: Gives the pins' vectors, or raises NotReady: then popularity alone decides.
            relatedness: Share of nearness to the query pins in the order, in [0, 1].
            refresh: How far the pools may lag behind live changes; None = not at all.
        """
        self._lists, self._vectors = lists, vectors
        self._relatedness = relatedness
        self._views = LiveViews(refresh or Refresh())
        self._pools = _PoolVectors()

    def figures(self) -> SourceFigures:
        """Return how many pins it can propose."""
        return SourceFigures(pin_count=self._lists().local_pin_count)

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return pins that fit the viewer's segment in at least one way, those that fit more first.

        The score is in how many ways a pin fits, plus a number in [0, 1]: *relatedness* of it
        nearness (half of 1 + the weighted mean of the cosines to the query pins), the rest
        popularity. The query pin behind a pin is the one that adds most to its nearness; -1 where
        nothing is known of it.
        """
        if limit <= 0 or query.stop.expired() or not keys_of(query.segment):
            return CandidateList.empty(NAME)
        pool = self._views.of(self._lists(), query.live).graded_for(query.segment)
        count = int(np.searchsorted(-pool.fits, 0, "left"))
        rows, fits, scores = pool.rows[:count], pool.fits[:count], pool.scores[:count]
        near, behind = self._nearness(rows, query)
        if (behind >= 0).any():
            mixed = self._relatedness * near + (1.0 - self._relatedness) * (scores - fits)
            scores = (fits + mixed.clip(0.0, 1.0)).astype(np.float32)
            order = np.lexsort((-scores, -fits))
            rows, scores, behind = rows[order], scores[order], behind[order]
        kept = first_wanted(rows, query, limit)
        return CandidateList(NAME, rows[kept], scores[kept], behind[kept])

    def _nearness(
        self, rows: NDArray[np.int32], query: CandidateQuery
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return nearness in [0, 1] and the query index behind it, -1 where there is none."""
        near, behind = np.full(len(rows), 0.5, np.float32), np.full(len(rows), -1, np.int32)
        try:
            table = self._vectors().vectors
        except NotReady:
            return near, behind
        queried = [_vector(table, query.live, row) for row in query.query_rows.tolist()]
        known = [at for at, vector in enumerate(queried) if vector is not None]
        if not known or not len(rows):
            return near, behind
        pool = self._pools.of(table, rows, query.live)
        weights = query.weights[known] / query.weights[known].sum()
        stacked = np.stack([queried[at] for at in known])  # type: ignore[misc]  # none is None
        shares = (pool @ stacked.T) * weights
        has_vector = pool.any(axis=1)
        near[has_vector] = (1.0 + shares[has_vector].sum(axis=1)) / 2.0
        positions = np.array(known, np.int32)
        behind[has_vector] = positions[shares[has_vector].argmax(axis=1)]
        return near, behind


class _PoolVectors:
    """The vectors of pools, gathered once for each pool; safe from any thread."""

    def __init__(self) -> None:
        self._gathered: OrderedDict[int, tuple[object, object, NDArray[np.float32]]] = OrderedDict()
        self._lock = Lock()

    def of(
        self, table: NDArray[np.float32], rows: NDArray[np.int32], live: LiveSegment
    ) -> NDArray[np.float32]:
        """Return the vector of each row, float32[n, d]; zero where there is none.

        *rows* must be an array that lives as long as the pool does: pools are told apart by it.
        """
        base = rows if rows.base is None else rows.base
        with self._lock:
            found = self._gathered.get(id(base))
            if found is not None and found[0] is table and found[1] is base:
                self._gathered.move_to_end(id(base))
                if len(found[2]) == len(rows):
                    return found[2]
        vectors = np.zeros((len(rows), table.shape[1]), np.float32)
        known = rows < len(table)
        vectors[known] = table[rows[known]]
        for place in np.flatnonzero(~known).tolist():
            vector = _vector(table, live, int(rows[place]))
            if vector is not None:
                vectors[place] = vector
        with self._lock:
            self._gathered[id(base)] = table, base, vectors
            while len(self._gathered) > POOLS_MAX:
                self._gathered.popitem(last=False)
        return vectors


def _vector(table: NDArray[np.float32], live: LiveSegment, row: int) -> NDArray[np.float32] | None:
    """Return the vector of a pin, its live one first; None where it has none."""
    pin = live.pin(row)
    if pin is not None and pin.vector is not None and pin.vector.shape == table.shape[1:]:
        return pin.vector
    if row < len(table) and table[row].any():
        return np.asarray(table[row])
    return None


def _make(context: SourceContext) -> LocalSource:
    lists = context.artifacts.add(popular.ARTIFACT, popular.FORMAT_VERSION, open_lists)
    vectors = context.artifacts.add(pin_vectors.ARTIFACT, pin_vectors.FORMAT_VERSION, open_vectors)
    config = context.config
    return LocalSource(
        lists,
        vectors,
        relatedness=config.local_relatedness,
        refresh=Refresh(config.pool_refresh_seconds),
    )


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=100, live_part=LivePools)
"""A quarter of `ann`. Guess."""
