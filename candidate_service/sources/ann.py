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
from candidate_service.vector_index import VectorIndex

NAME: Final = "ann"
COUNT_STEP: Final = 64
"""Searches ask for a multiple of this, so that nearly equal questions share a cached answer."""

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
        count = share + min(len(query.unwanted_rows), share)
        count += -count % COUNT_STEP
        rows, scores, indexes = [], [], []
        answers = neighbours.nearest(query.query_rows[queried], count)
        for query_index, (near, cosines) in zip(queried.tolist(), answers, strict=True):
            kept = np.flatnonzero(~is_in(near, query.unwanted_rows))[:share]
            rows.append(near[kept])
            scores.append(cosines[kept])
            indexes.append(np.full(len(kept), query_index, np.int32))
        return best_of(
            NAME, np.concatenate(rows), np.concatenate(scores), np.concatenate(indexes), limit
        )
