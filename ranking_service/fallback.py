"""What to answer from when candidate_service is away: its last lists, else what is popular."""

from collections import OrderedDict
from collections.abc import Collection
from threading import Lock
from typing import Final

import numpy as np

from ranking_service.pin_keys import key_of
from ranking_service.pool import Candidates, SourceList
from ranking_service.world import World

POPULAR: Final = "popular"

Key = tuple[str, ...]
"""What the lists were asked for: id space, user, query pin, locale."""


class CandidateMemory:
    """
    The last candidates of the most recent askers; safe from all threads.

    Args:
        count_max: Answers kept; the one that was not used for longest goes first. 0 = none.
    """

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._lock = Lock()
        self._kept: OrderedDict[Key, Candidates] = OrderedDict()

    def __len__(self) -> int:
        """Number of answers kept."""
        return len(self._kept)

    def remember(self, key: Key, candidates: Candidates) -> None:
        """Keep an answer; one without any candidate is not worth it."""
        if not any(proposals.rows.size for proposals in candidates.lists):
            return
        with self._lock:
            self._kept[key] = candidates
            self._kept.move_to_end(key)
            while len(self._kept) > self._count_max:
                self._kept.popitem(last=False)

    def forget(self, user_id: str) -> int:
        """Drop the answers to a user; returns how many those were."""
        with self._lock:
            gone = [key for key in self._kept if key[1] == user_id]
            for key in gone:
                del self._kept[key]
            return len(gone)

    def forget_keys(self, user_keys: Collection[int]) -> int:
        """Drop the answers to users that are known by key alone; returns how many those were."""
        with self._lock:
            users = {key[1] for key in self._kept}
        return sum(self.forget(user) for user in users if key_of(user) in user_keys)

    def count(self, user_id: str) -> int:
        """Answers to a user that are kept."""
        with self._lock:
            return sum(key[1] == user_id for key in self._kept)

    def recall(self, key: Key) -> Candidates | None:
        """The last answer to the same asker, None if there is none."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found


def popular_candidates(world: World) -> Candidates | None:
    """The most popular pins by our own statistics as candidates, None without statistics."""
    if world.statistics is None or not world.statistics.popular_rows.size:
        return None
    rows = world.statistics.popular_rows
    proposals = SourceList(
        source=POPULAR,
        rows=rows,
        scores=np.linspace(1.0, 0.0, rows.size, endpoint=False, dtype=np.float32),
        query_indexes=np.full(rows.size, -1, np.int32),
    )
    empty = Candidates.none()
    return Candidates(
        (proposals,),
        empty.queried_rows,
        empty.queried_ids,
        empty.is_medoid,
        empty.inclusion_probabilities,
    )
