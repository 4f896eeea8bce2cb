"""When a service is down the others answer in time with what they have, and say what is missing."""

import signal
import time
from collections.abc import Iterator

import pytest

from corkboard.questions import PinFilter, Rules, ShownPin
from corkboard.stack import Stack
from service_runtime.errors import Unavailable
from tests.fault.fuzz_words import PINS
from tests.integration.world import copy_of_root, make_stack
from tests.service_runtime.test_supervisor import wait_until

DEADLINE_S = 2.0
QUICK_MEMORY = [
    "memboost_refresh_seconds=0.1",
    "memboost_insert_impression_count_min=1",
    "memboost_insert_score_min=0.1",
]
"""One action is enough for a pin to be a remembered winner."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose parts are stopped and started again."""
    folder = tmp_path_factory.mktemp("degraded")
    scenarios = folder / "scenarios.toml"
    scenarios.write_text("[scenarios.few]\nsources = { popular = 10 }\n")
    settings = {"ranking_service": [*QUICK_MEMORY, f"scenario_file={scenarios}"]}
    with make_stack(copy_of_root(folder), settings=settings) as stack:
        yield stack


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_without_profile_service_popular_pins_are_answered(stack: Stack, number: int) -> None:
    """Nobody is recognised, everybody gets an answer, the missing part is named."""
    with stack.client() as client:
        client.recommend("ana")
        stack.stop_service("profile_service", number=number)
        begin = time.monotonic()
        answer = client.recommend("ana", limit=10, deadline_s=DEADLINE_S)
        seconds = time.monotonic() - begin
        related = client.related("typography-2", user_id="ana", limit=5, deadline_s=DEADLINE_S)
        stack.start_service("profile_service")

    assert len(answer.pins) == 10
    assert "profile" in {part.part for part in answer.degradations}
    assert seconds < DEADLINE_S
    assert related.pins
    assert "profile" in {part.part for part in related.degradations}


def test_without_candidate_service_the_last_lists_are_answered(stack: Stack) -> None:
    """What was shown lately is shown again, marked degraded."""
    with stack.client() as client:
        client.recommend("ana", limit=10)
        stack.stop_service("candidate_service")
        begin = time.monotonic()
        try:
            answer = client.recommend("ana", limit=10, deadline_s=DEADLINE_S)
        finally:
            seconds = time.monotonic() - begin
            stack.start_service("candidate_service")

    assert answer.pins
    assert "candidates" in {part.part for part in answer.degradations}
    assert seconds < DEADLINE_S


def test_without_candidate_service_strangers_get_what_is_popular(stack: Stack) -> None:
    """
    Who was never answered gets popular pins by ranking_service's own statistics, marked so.

    Under a filter, which it cannot judge, it says that it cannot answer.
    """
    filtered = Rules(filter=PinFilter(expression='language = "en"'))
    with stack.client() as client:
        stack.stop_service("candidate_service")
        begin = time.monotonic()
        answer = client.recommend("never seen", limit=10, deadline_s=DEADLINE_S)
        seconds = time.monotonic() - begin
        with pytest.raises(Unavailable):
            client.recommend("never seen", limit=10, rules=filtered, deadline_s=DEADLINE_S)
        stack.start_service("candidate_service")

    assert len(answer.pins) == 10
    (told,) = [part for part in answer.degradations if part.part == "candidates"]
    assert "popular" in told.reason
    assert {reason.source for pin in answer.pins for reason in pin.sources} == {"popular"}
    assert seconds < DEADLINE_S


def test_without_candidate_service_remembered_winners_are_answered(stack: Stack) -> None:
    """What was acted on under the query pin joins the last lists, though none of them has it."""
    query, few = "typography-2", Rules(scenario="few")
    with stack.client() as client:
        wait_until(lambda: not client.related(query, limit=100, rules=few).degradations)
        last = {pin.pin_id for pin in client.related(query, limit=100, rules=few).pins}
        winner = next(pin_id for pin_id in PINS if pin_id not in {*last, query})
        shown = [ShownPin(winner, 0)]
        client.record_impressions("won", shown, user_id="fan", query_pin_id=query)
        client.record("fan", winner, "save", list_id="won")
        client.recommend("fan")  # by it ranking_service hears of the save
        wait_until(lambda: client.memboost(query, winner).score.score > 0.1)
        stack.stop_service("candidate_service")
        answer = client.related(query, limit=100, rules=few, deadline_s=DEADLINE_S)
        stack.start_service("candidate_service")

    sources = {pin.pin_id: {reason.source for reason in pin.sources} for pin in answer.pins}
    assert sources[winner] == {"memboost"}
    assert set(sources) == {*last, winner}
    (told,) = [part for part in answer.degradations if part.part == "candidates"]
    assert "last lists" in told.reason


def test_without_both_an_answer_or_unavailable_comes_in_time(stack: Stack) -> None:
    """Never a hang, never an internal error."""
    with stack.client() as client:
        client.recommend("ana", limit=10)
        stack.stop_service("candidate_service")
        stack.stop_service("profile_service")
        begin = time.monotonic()
        try:
            answer = client.recommend("ana", limit=10, deadline_s=DEADLINE_S)
            assert {"profile", "candidates"} <= {part.part for part in answer.degradations}
        except Unavailable:
            pass
        finally:
            seconds = time.monotonic() - begin
            stack.start_service("profile_service")
            stack.start_service("candidate_service")

    assert seconds < DEADLINE_S + 0.5


def test_health_returns_when_the_services_do(stack: Stack) -> None:
    """A little after the restart answers are whole again, without restarting ranking_service."""
    deadline = time.monotonic() + 20
    with stack.client() as client:
        answer = client.recommend("ana", limit=10)
        while answer.degradations and time.monotonic() < deadline:
            time.sleep(0.2)
            answer = client.recommend("ana", limit=10)

    assert answer.degradations == ()
    assert not answer.is_cold_start


def test_answers_go_on_while_ranking_is_asked_by_many(stack: Stack) -> None:
    """Stopping profile_service in the middle of a burst breaks no call."""
    from concurrent.futures import ThreadPoolExecutor

    with stack.client() as client, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.recommend, "ben", limit=5) for _ in range(60)]
        stack.stop_service("profile_service", number=signal.SIGKILL)
        calls += [pool.submit(client.recommend, "ben", limit=5) for _ in range(60)]
        answers = [call.result() for call in calls]
        stack.start_service("profile_service")

    assert all(answer.pins for answer in answers)
    assert any(answer.degradations for answer in answers)
