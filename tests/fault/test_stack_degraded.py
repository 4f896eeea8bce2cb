"""When a service is down the others answer in time with what they have, and say what is missing."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from corkboard.stack import Stack
from service_runtime.errors import Unavailable
from tests.integration.world import copy_of_root, make_stack

DEADLINE_S = 2.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose parts are stopped and started again."""
    root: Path = copy_of_root(tmp_path_factory.mktemp("degraded"))
    with make_stack(root) as stack:
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
