"""The services as an operator meets them: health, reflection, drain, restart."""

import signal
import threading
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from corkboard import Client
from corkboard.health import SERVING, UNREACHABLE, check_health
from corkboard.stack import SERVICES, Stack, StackFailed
from tests.integration.world import copy_of_root, make_stack

FULL_NAMES = {
    "profile_service": "corkboard.profile.v1.ProfileService",
    "candidate_service": "corkboard.candidate.v1.CandidateService",
    "ranking_service": "corkboard.ranking.v1.RankingService",
}


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_serving_as_a_whole_and_by_name(stack: Stack, service: str) -> None:
    """Probes may ask either way."""
    target = stack.targets[service]

    assert check_health(target) == SERVING
    assert check_health(target, service=FULL_NAMES[service]) == SERVING


def test_health_of_nobody_is_unreachable() -> None:
    """Not an exception: an answer."""
    assert check_health("127.0.0.1:1", timeout_s=1) == UNREACHABLE


@pytest.mark.parametrize("service", SERVICES)
def test_reflection_lists_the_service(stack: Stack, service: str) -> None:
    """Grpcurl works without our .proto files."""
    with grpc.insecure_channel(stack.targets[service]) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = next(stub.ServerReflectionInfo(iter([question]), timeout=10))

    names = {listed.name for listed in answer.list_services_response.service}
    assert {FULL_NAMES[service], "grpc.health.v1.Health"} <= names


def test_terminated_services_drain_and_exit_with_0_keeping_what_they_acknowledged(
    tmp_path: Path,
) -> None:
    """SIGTERM under load: exit code 0, and every acknowledged save is there afterwards."""
    root = copy_of_root(tmp_path)
    acknowledged: list[str] = []
    with make_stack(root) as stack:
        stop = threading.Event()

        def save_on() -> None:
            from service_runtime.errors import CorkboardError

            with stack.client() as client:
                while not stop.is_set():
                    try:
                        recorded = client.record("drain", "cooking-1", "click")
                    except CorkboardError:
                        return
                    acknowledged.append(recorded.action_id)

        thread = threading.Thread(target=save_on)
        thread.start()
        while len(acknowledged) < 20:
            pass
        code = stack.stop_service("profile_service", number=signal.SIGTERM)
        stop.set()
        thread.join()
        stack.start_service("profile_service")
        with stack.client() as client:
            kept = {action.action_id for action in client.actions("drain", limit=10_000)}
        codes = stack.stop()

    assert code == 0
    assert set(codes.values()) == {0}
    assert set(acknowledged) <= kept


def test_killed_profile_service_comes_back_with_every_acknowledged_action(tmp_path: Path) -> None:
    """Kill -9, start again, ask."""
    root = copy_of_root(tmp_path)
    with make_stack(root) as stack, stack.client() as client:
        recorded = [client.record("crash", f"cooking-{n}").action_id for n in range(1, 9)]
        code = stack.stop_service("profile_service", number=signal.SIGKILL)
        stack.start_service("profile_service")
        kept = {action.action_id for action in client.actions("crash")}

    assert code == -signal.SIGKILL
    assert set(recorded) == kept


def test_dead_child_is_noticed_with_its_exit_code(tmp_path: Path) -> None:
    """What `corkboard up` says comes from here."""
    with make_stack(copy_of_root(tmp_path)) as stack:
        assert stack.dead() == {}
        stack.children["candidate_service"].process.kill()
        stack.children["candidate_service"].process.wait()

        assert stack.dead() == {"candidate_service": -signal.SIGKILL}


def test_taken_port_is_said_with_the_service_that_wants_it(stack: Stack, tmp_path: Path) -> None:
    """The message names the service and what it said; nothing is left running."""
    taken = int(stack.targets["ranking_service"].rsplit(":", 1)[1])
    second = Stack(data_root=copy_of_root(tmp_path), ports={"ranking_service": taken})

    with pytest.raises(StackFailed, match="ranking_service exited"):
        second.start()

    assert second.children == {}


def test_answer_carries_the_generations_it_was_made_from(client: Client) -> None:
    """So that any answer can be traced to its data."""
    generations = client.recommend("ana").generations

    assert {"catalogue", "profiles"} <= set(generations)
    assert all(generations.values())
