"""Many requests in one call: each answered on its own, in order, within the time of the call."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from ranking_service.answer import Answer
from ranking_service.batch import PIN_COUNT_MAX, Batches
from ranking_service.config import RankingConfig
from ranking_service.query import Surface
from service_runtime.call_context import deadline_var
from service_runtime.errors import DeadlineExceeded, Exhausted, InvalidRequest, NotFound
from tests.ranking_service.test_recommend import PIN_COUNT, ask, make
from tests.ranking_service.worlds import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random world."""
    return make_store(tmp_path_factory.mktemp("world"), PIN_COUNT)


@pytest.fixture
def a_minute() -> Iterator[None]:
    """A call that has a minute left."""
    token = deadline_var.set(time.monotonic() + 60)
    yield
    deadline_var.reset(token)


def ticking(*times: float) -> Any:
    """A clock that shows these, one after the other."""
    return iter(times).__next__


def test_each_is_answered_as_alone(store: Any) -> None:
    """The same lists in the same order, and each is logged."""
    queries = [ask(request_id=f"r{n}", user_id=f"u{n}", limit=n + 1) for n in range(3)]
    recommender, _, impressions = make(store)
    alone, _, _ = make(store)

    together = Batches(recommender, count_max=1).recommend(queries)

    assert together == [alone.recommend(query) for query in queries]
    assert len(impressions.kept) == 3


def test_one_that_fails_does_not_fail_the_others(store: Any) -> None:
    """Why it has no answer stands where its answer would."""
    related = ask(surface=Surface.RELATED_PINS, query_pin_id="nobody-knows-it")
    recommender, _, _ = make(store)

    first, second, third = Batches(recommender, count_max=1).recommend(
        [ask(), related, ask(seed=8)]
    )

    assert isinstance(first, Answer)
    assert isinstance(second, NotFound)
    assert isinstance(third, Answer)


@pytest.mark.usefixtures("a_minute")
def test_what_cannot_be_ready_in_time_is_not_begun(store: Any) -> None:
    """Of a minute the first took 50 s: nothing else is begun, and the answer still arrives."""
    recommender, _, impressions = make(store)

    batches = Batches(recommender, count_max=1, clock=ticking(0.0, 50.0))
    outcomes = batches.recommend([ask(), ask(), ask()])

    assert isinstance(outcomes[0], Answer)
    assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes[1:])
    assert len(impressions.kept) == 1


def test_one_batch_too_many_is_refused_at_once(store: Any) -> None:
    """While one is being answered; when it is, the next may come."""
    recommender, _, _ = make(store)
    begun, go_on = Event(), Event()

    def stop_the_clock() -> float:
        begun.set()
        assert go_on.wait(60)
        return 0.0

    batches = Batches(recommender, count_max=1, clock=stop_the_clock)
    with ThreadPoolExecutor(1) as other:
        first = other.submit(batches.recommend, [ask()])
        assert begun.wait(60)
        with pytest.raises(Exhausted, match="are being answered") as refused:
            batches.recommend([ask()])
        go_on.set()
        first.result(60)

    assert refused.value.retry_after_s > 0
    assert len(batches.recommend([ask()])) == 1


@pytest.mark.parametrize(("workers", "batches"), [(1, 1), (2, 1), (8, 7)])
def test_batches_leave_a_worker_free(workers: int, batches: int) -> None:
    """By default; whoever wants it otherwise says so."""
    assert RankingConfig(worker_count=workers).batches() == batches
    assert RankingConfig(worker_count=workers, batch_count_max=5).batches() == 5


def test_too_many_pins_are_refused(store: Any) -> None:
    """Before anything is asked."""
    recommender, upstream, impressions = make(store)
    queries = [ask(limit=500) for _ in range(PIN_COUNT_MAX // 500)]

    with pytest.raises(InvalidRequest, match="2,500 pins together, not 2,501"):
        Batches(recommender, count_max=1).recommend([*queries, ask(limit=1)])

    assert not impressions.kept
    assert not upstream.asked
