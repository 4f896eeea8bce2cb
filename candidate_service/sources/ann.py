"""Pins near the query pins in vector space (PinnerSage: neighbours of sampled medoids)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.candidate import CandidateList, CandidateQuery
from candidate_service.selection import best_of, is_in
from candidate_service.source_registry import SourceContext, SourcePlugin
from candidate_service.vector_index import ARTIFACT, FORMAT_VERSION, VectorIndex, open_index
from service_runtime.errors import NotReady
from service_runtime.generations import Generation

NAME: Final = "ann"
COUNT_STEP: Final = 64
"""Searches ask for a multiple of this, so that nearly equal questions share a cached answer."""
SPARE_COUNT: Final = 32
"""How many neighbours are first asked for beyond those wanted, where some pins are unwanted."""

Neighbours = tuple[NDArray[np.int32], NDArray[np.float32]]


class NeighbourCache:
    """The nearest pins of pins, remembered by (pin, count) for one generation of the index.

    Medoids are pins, so people with the same medoid share its answer: that is what storing medoids
    instead of mean vectors is for. Safe from any number of threads.

    Attributes:
        index: The index that answers what is not remembered.
        hit_count: Answers that were remembered.
        miss_count: Answers that were searched for.
    """

    def __init__(self, index: VectorIndex, answer_count_max: int) -> None:
        """Start empty; the answer that was used longest ago goes first. 0 remembers nothing."""
        self.index = index
        self.hit_count = 0
        self.miss_count = 0
        self._answer_count_max = answer_count_max
        self._answers: OrderedDict[tuple[int, int], Neighbours] = OrderedDict()
        self._lock = Lock()

    def nearest(self, rows: NDArray[np.int32], count: int) -> list[Neighbours]:
        """Return the *count* nearest of each row (which has a vector), itself included."""
        keys = [(row, count) for row in rows.tolist()]
        with self._lock:
            answers = [self._remembered(key) for key in keys]
            missing = [at for at, answer in enumerate(answers) if answer is None]
            self.hit_count += len(keys) - len(missing)
            self.miss_count += len(missing)
        if missing:
            found = self.index.nearest(self.index.vectors[rows[missing]], count)
            with self._lock:
                for at, answer in zip(missing, found, strict=True):
                    answers[at] = answer
                    self._remember(keys[at], answer)
        return [answer for answer in answers if answer is not None]

    def _remembered(self, key: tuple[int, int]) -> Neighbours | None:
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def _remember(self, key: tuple[int, int], answer: Neighbours) -> None:
        for array in answer:
            array.setflags(write=False)
        self._answers[key] = answer
        while len(self._answers) > self._answer_count_max:
            self._answers.popitem(last=False)


class AnnSource:
    """Nearest neighbours of each query pin by cosine, floor(limit / e) for each of e of them.

    Source: Pal et al. 2020, section 4: floor(400 / e) neighbours of each of e = 3 medoids.
    """

    name = NAME
    artifacts = ("vector_index",)

    def __init__(self, neighbours: Callable[[], NeighbourCache]) -> None:
        """Remember how to get at the neighbours that serve now."""
        self._neighbours = neighbours

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return the nearest pins; the score is the cosine to the query pin behind it.

        Query pins without a vector are passed over and their share goes to the others. The rows
        that the query excludes are left out before a query pin's share is cut.
        """
        neighbours = self._neighbours()
        queried = np.flatnonzero(neighbours.index.has_vector(query.query_rows)).astype(np.int32)
        if not len(queried) or limit <= 0 or query.stop.expired():
            return CandidateList.empty(NAME)
        share = max(1, limit // len(queried))
        answers = _nearest_wanted(neighbours, query.query_rows[queried], share, query.unwanted_rows)
        lengths = [len(near) for near, _ in answers]
        return best_of(
            NAME,
            np.concatenate([near for near, _ in answers]),
            np.concatenate([cosines for _, cosines in answers]),
            np.repeat(queried, lengths),
            limit,
        )


def _nearest_wanted(
    neighbours: NeighbourCache,
    rows: NDArray[np.int32],
    share: int,
    unwanted: NDArray[np.int32],
) -> list[Neighbours]:
    """Return for each row its *share* nearest pins that are not unwanted, if there are so many.

    Most unwanted pins are far away, so a few more than wanted are asked for, and once more, up to
    twice as many as wanted, only for rows that came out short.
    """
    found: dict[int, Neighbours] = {}
    short, asked = list(range(len(rows))), 0
    for spare in (min(len(unwanted), SPARE_COUNT), min(len(unwanted), share)):
        count = share + spare
        count += -count % COUNT_STEP
        if not short or count == asked:
            break
        answers = neighbours.nearest(rows[short], count)
        for at, (near, cosines) in zip(short, answers, strict=True):
            kept = np.flatnonzero(~is_in(near, unwanted))[:share]
            found[at] = near[kept], cosines[kept]
        short = [at for at in short if len(found[at][0]) < share]
        asked = count
    return [found[at] for at in range(len(rows))]


def _make(context: SourceContext) -> AnnSource:
    def open_neighbours(generation: Generation) -> NeighbourCache:
        return NeighbourCache(open_index(generation), context.config.ann_cached_answer_count)

    neighbours = context.artifacts.add(ARTIFACT, FORMAT_VERSION, open_neighbours)
    remembered = context.metrics.gauge(
        "ann_remembered_ratio", "Share of neighbour lists answered from memory."
    )
    remembered.set_function(lambda: _hit_ratio(neighbours))
    return AnnSource(neighbours)


def _hit_ratio(neighbours: Callable[[], NeighbourCache]) -> float:
    try:
        cache = neighbours()
    except NotReady:
        return 0.0
    return cache.hit_count / max(1, cache.hit_count + cache.miss_count)


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=400)
"""floor(400 / e) for each of e medoids (PinnerSage)."""
