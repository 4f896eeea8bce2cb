"""The nearest pins of pins, remembered; and how they are found when a filter leaves few pins."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.candidate import SharedMask
from candidate_service.vector_index import VectorIndex

SCANNED_PER_FETCHED: Final = 100
"""Vectors scanned in the time in which the graph fetches one more neighbour at this effort.
Measured at 1 M x 128: a scan of 100,000 takes as long as fetching 1,500."""
FETCH_EFFORT: Final = 2
"""Search effort for each neighbour fetched. Measured at 1 M x 128 in 2,000 clusters, a fifth
of the pins wanted: recall .91 at 1, .94 at 1.5, .96 at 2, .98 at 3."""
FETCH_MARGIN: Final = 1.2
"""How many more are fetched than a filter should leave, as its pins are not spread evenly."""
FETCH_TRIES: Final = (1, 4)
"""How often as many are fetched, one try after the other, unless a scan is quicker."""
PLAN_COUNT_MAX: Final = 32
"""Filters whose findable rows are kept, at most 5 bytes a pin each."""

Neighbours = tuple[NDArray[np.int32], NDArray[np.float32]]


class FilterPlan:
    """How to search an index under one filter.

    Attributes:
        mask: Rows that can be found and are wanted, bool[n].
        count: How many they are.
        ratio: Their share of all that can be found, in [0, 1].
    """

    def __init__(self, index: VectorIndex, mask: NDArray[np.bool_]) -> None:
        """Count what a filter leaves."""
        self.mask = index.findable(mask)
        self.count = int(np.count_nonzero(self.mask))
        self.ratio = self.count / max(1, index.found_count)
        self._rows: NDArray[np.int32] | None = None

    @property
    def rows(self) -> NDArray[np.int32]:
        """The wanted rows, int32[count], ascending."""
        rows = self._rows
        if rows is None:
            rows = self._rows = np.flatnonzero(self.mask).astype(np.int32)
        return rows

    def is_scan_quicker(self, count: int) -> bool:
        """Say whether looking at all wanted rows costs less than fetching count/ratio neighbours.

        With m wanted of n: m scans against count * n / m fetches.
        """
        return self.count * self.ratio <= SCANNED_PER_FETCHED * count


class NeighbourCache:
    """The nearest pins of pins, remembered by (pin, count, filter) for one generation of the index.

    Medoids are pins, so people with the same medoid share its answer: that is what storing medoids
    instead of mean vectors is for. Safe from any number of threads.

    Attributes:
        index: The index that answers what is not remembered.
        hit_count: Answers that were remembered.
        miss_count: Answers that were searched for.
    """

    def __init__(
        self,
        index: VectorIndex,
        answer_count_max: int,
        on_lookup: Callable[[int, int], None] = lambda _, __: None,
    ) -> None:
        """Start empty; the answer that was used longest ago goes first. 0 remembers nothing.

        *on_lookup* is told how many answers were remembered, and how many were not.
        """
        self.index = index
        self.hit_count = 0
        self.miss_count = 0
        self._answer_count_max = answer_count_max
        self._on_lookup = on_lookup
        self._answers: OrderedDict[Hashable, Neighbours] = OrderedDict()
        self._plans: OrderedDict[Hashable, FilterPlan] = OrderedDict()
        self._lock = Lock()

    @property
    def hit_ratio(self) -> float:
        """Share of the answers that were remembered, in [0, 1]; 0 before the first."""
        return self.hit_count / max(1, self.hit_count + self.miss_count)

    def nearest(
        self, rows: NDArray[np.int32], count: int, shared: SharedMask | None = None
    ) -> list[Neighbours]:
        """Return the *count* nearest of each row (which has a vector), itself included.

        Args:
            rows: int32[n].
            count: How many.
            shared: Only rows for which it holds; None = all.
        """
        asked = None if shared is None else shared.key
        keys = [(row, count, asked) for row in rows.tolist()]
        with self._lock:
            answers = [self._remembered(key) for key in keys]
            missing = [at for at, answer in enumerate(answers) if answer is None]
            self.hit_count += len(keys) - len(missing)
            self.miss_count += len(missing)
        self._on_lookup(len(keys) - len(missing), len(missing))
        if missing:
            found = self.search(self.index.vectors[rows[missing]], count, shared)
            with self._lock:
                for at, answer in zip(missing, found, strict=True):
                    answers[at] = answer
                    self._remember(keys[at], answer)
        return [answer for answer in answers if answer is not None]

    def search(
        self, queries: NDArray[np.float32], count: int, shared: SharedMask | None
    ) -> list[Neighbours]:
        """Return the *count* nearest of each vector (float32[q, d]); nothing is remembered."""
        if shared is None:
            return self.index.nearest(queries, count)
        plan = self._plan(shared)
        if self.index.is_exact or plan.is_scan_quicker(count):
            return self.index.nearest_among(queries, plan.rows, count)
        return over_fetched(self.index, queries, count, plan)

    def _plan(self, shared: SharedMask) -> FilterPlan:
        with self._lock:
            plan = self._plans.get(shared.key)
            if plan is not None:
                self._plans.move_to_end(shared.key)
                return plan
        plan = FilterPlan(self.index, shared.mask)
        with self._lock:
            self._plans[shared.key] = plan
            while len(self._plans) > PLAN_COUNT_MAX:
                self._plans.popitem(last=False)
        return plan

    def _remembered(self, key: Hashable) -> Neighbours | None:
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def _remember(self, key: Hashable, answer: Neighbours) -> None:
        for array in answer:
            array.setflags(write=False)
        self._answers[key] = answer
        while len(self._answers) > self._answer_count_max:
            self._answers.popitem(last=False)


def cached(
    index: Callable[[], VectorIndex],
    answer_count_max: int,
    on_lookup: Callable[[int, int], None] = lambda _, __: None,
) -> Callable[[], NeighbourCache]:
    """Return what gives the cache of the index that serves now; a new index begins an empty one.

    Args:
        index: Gives the index, or raises NotReady.
        answer_count_max: Neighbour lists kept.
        on_lookup: See NeighbourCache.
    """
    caches: dict[str, NeighbourCache] = {}
    lock = Lock()

    def current() -> NeighbourCache:
        serving, cache = index(), caches.get("")
        if cache is None or cache.index is not serving:
            with lock:
                cache = caches.get("")
                if cache is None or cache.index is not serving:
                    cache = caches[""] = NeighbourCache(serving, answer_count_max, on_lookup)
        return cache

    return current


def over_fetched(
    index: VectorIndex, queries: NDArray[np.float32], count: int, plan: FilterPlan
) -> list[Neighbours]:
    """Return the *count* nearest wanted pins: more are fetched, and the others dropped.

    What is wanted among the nearest m of all is the nearest of what is wanted, however the filter
    lies. Where a query's surroundings hold too few of them more are fetched, and at last all that
    are wanted are scanned.
    """
    found: dict[int, Neighbours] = {}
    short = list(range(len(queries)))
    for times in FETCH_TRIES:
        fetch = int(times * FETCH_MARGIN * count / max(plan.ratio, 1e-9)) + 16
        is_scan_better = times > 1 and plan.is_scan_quicker(times * count)
        if not short or is_scan_better or plan.count <= count or fetch >= index.found_count:
            break
        answers = index.nearest(queries[short], fetch, effort=FETCH_EFFORT * fetch)
        for at, (rows, cosines) in zip(short, answers, strict=True):
            kept = np.flatnonzero(plan.mask[rows])[:count]
            found[at] = rows[kept], cosines[kept]
        short = [at for at in short if len(found[at][0]) < count]
    if short:
        scanned = index.nearest_among(queries[short], plan.rows, count)
        found.update(zip(short, scanned, strict=True))
    return [found[at] for at in range(len(queries))]
