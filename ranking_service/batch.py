"""Answers to many requests of one call, each on its own."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ranking_service.answer import Answer
from ranking_service.query import RecommendQuery
from ranking_service.recommend import Recommender
from service_runtime.call_context import remaining_seconds, stop_if_abandoned
from service_runtime.errors import CorkboardError, DeadlineExceeded, InvalidRequest

PIN_COUNT_MAX: Final = 2500
"""Most pins that the requests of one call may ask for together: a message takes 4 MB, and a pin 220
bytes, or 460 with a full explanation (measured with short ids)."""
RESERVE: Final = 1.5
"""Another request is begun only while so many times the slowest answer's time is left: or the call
would end without a word of those that are ready. Guess."""


def recommend_all(
    recommender: Recommender,
    queries: Sequence[RecommendQuery],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> list[Answer | CorkboardError]:
    """
    Answer each request, one after the other.

    Args:
        recommender: Answers one.
        queries: At least one.
        clock: Monotonic seconds.

    Returns:
        For each request its answer, or why it has none: what `Recommender.recommend` raises, or
        DeadlineExceeded where too little time was left to begin.

    Raises:
        InvalidRequest: They ask for more than 2,500 pins together.
    """
    asked = sum(query.limit for query in queries)
    if asked > PIN_COUNT_MAX:
        raise InvalidRequest(
            f"must ask for at most {PIN_COUNT_MAX:,} pins together, not {asked:,}",
            field="requests",
            reason="TOO_MANY_PINS",
        )
    return list(_outcomes(recommender, queries, clock))


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
