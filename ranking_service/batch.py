"""Answers to many requests of one call, each on its own."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ranking_service.answer import Answer
from ranking_service.query import RecommendQuery
from ranking_service.recommend import Recommender
from service_runtime.call_context import remaining_seconds, stop_if_abandoned
from service_runtime.errors import CorkboardError, DeadlineExceeded, Exhausted, InvalidRequest

PIN_COUNT_MAX: Final = 2500
"""Most pins that the requests of one call may ask for together: a message takes 4 MB, and a pin 220
bytes, or 460 with a full explanation (measured with short ids)."""
RESERVE: Final = 1.5
"""Another request is begun only while so many times the slowest answer's time is left: or the call
would end without a word of those that are ready. Guess."""
RETRY_SECONDS: Final = 1.0
"""When a batch that was refused may come again: a batch takes seconds. Guess."""


class Batches:
    """
    Answers batches, a few at a time; safe from any number of threads.

    Args:
        recommender: Answers one request.
        count_max: Batches answered at once, >= 1; each holds a worker until its last answer.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        recommender: Recommender,
        *,
        count_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recommender = recommender
        self._count_max = count_max
        self._free = threading.BoundedSemaphore(count_max)
        self._clock = clock

    def recommend(self, queries: Sequence[RecommendQuery]) -> list[Answer | CorkboardError]:
        """
        Answer each request, one after the other.

        Args:
            queries: At least one.

        Returns:
            For each request its answer, or why it has none: what `Recommender.recommend` raises, or
            DeadlineExceeded where too little time was left to begin.

        Raises:
            InvalidRequest: They ask for more than 2,500 pins together.
            Exhausted: So many batches are being answered already.
        """
        asked = sum(query.limit for query in queries)
        if asked > PIN_COUNT_MAX:
            raise InvalidRequest(
                f"must ask for at most {PIN_COUNT_MAX:,} pins together, not {asked:,}",
                field="requests",
                reason="TOO_MANY_PINS",
            )
        if not self._free.acquire(blocking=False):
            raise Exhausted(
                f"as many batches as may be ({self._count_max}) are being answered",
                hint="send fewer at a time, or raise RANKING_SERVICE_BATCH_COUNT_MAX",
                reason="TOO_MANY_BATCHES",
                retry_after_s=RETRY_SECONDS,
            )
        try:
            return list(_outcomes(self._recommender, queries, self._clock))
        finally:
            self._free.release()


def _outcomes(
    recommender: Recommender, queries: Sequence[RecommendQuery], clock: Callable[[], float]
) -> Iterator[Answer | CorkboardError]:
    slowest = 0.0
    for query in queries:
        stop_if_abandoned()
        if remaining_seconds() <= RESERVE * slowest:
            yield DeadlineExceeded(
                "no time was left to begin this one",
                hint="give the call more time, or fewer requests",
            )
            continue
        started = clock()
        try:
            outcome: Answer | CorkboardError = recommender.recommend(query)
        except CorkboardError as error:
            outcome = error
        slowest = max(slowest, clock() - started)
        yield outcome
