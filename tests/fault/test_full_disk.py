"""Disk or map full: RESOURCE_EXHAUSTED and the remedy; reads go on, what was promised is kept."""

import socket
from collections.abc import Callable
from pathlib import Path

import grpc

from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb
from corkboard.candidate.v1 import candidate_service_pb2_grpc as candidate_grpc
from corkboard.pipeline import Order, job_arguments, parse_report, run_module
from corkboard.profile.v1 import profile_service_pb2 as profile_pb
from corkboard.profile.v1 import profile_service_pb2_grpc as profile_grpc
from corkboard.ranking.v1 import ranking_service_pb2 as ranking_pb
from corkboard.ranking.v1 import ranking_service_pb2_grpc as ranking_grpc
from service_runtime.errors import CorkboardError, Exhausted
from service_runtime.grpc_errors import from_rpc_error
from tests.fault.disks import fill, small_disk
from tests.fault.processes import Victim, start
from tests.integration.world import AS_OF, copy_of_root
from tests.profile_service.worlds import message
from tests.service_runtime.test_supervisor import samples, wait_until

CALL_SECONDS = 30


class Writer:
    """Sends writes to a service and remembers what was acknowledged."""

    def __init__(self, victim: Victim, send: Callable[[grpc.Channel, list[str]], object]) -> None:
        """Open a channel to the victim."""
        self.channel = victim.channel()
        self.acknowledged: set[str] = set()
        self._send = send

    def __call__(self, name: str) -> CorkboardError | None:
        """Send some items in one call; returns why it was refused, None if it was acknowledged."""
        names = [f"{name} {number}" for number in range(20)]
        try:
            self._send(self.channel, names)
        except grpc.RpcError as error:
            return from_rpc_error(error)
        self.acknowledged.update(names)
        return None

    def until_refused(self) -> CorkboardError:
        """Send until one is refused; returns why."""
        for number in range(500):
            refused = self(f"many {number}")
            if refused is not None:
                return refused
        raise AssertionError("500 calls fit into what should be full")


def send_actions(channel: grpc.Channel, names: list[str]) -> None:
    """Record actions with some bulk."""
    actions = [message(name, "p" * 100) for name in names]
    request = profile_pb.RecordActionsRequest(actions=actions)
    profile_grpc.ProfileServiceStub(channel).RecordActions(request, timeout=CALL_SECONDS)


def send_pins(channel: grpc.Channel, names: list[str]) -> None:
    """Add pins with some bulk."""
    pins = [candidate_pb.PinRecord(pin_id=name, description="d" * 500) for name in names]
    request = candidate_pb.UpsertPinsRequest(pins=pins)
    candidate_grpc.CandidateServiceStub(channel).UpsertPins(request, timeout=CALL_SECONDS)


def confirm(channel: grpc.Channel, name: str) -> int:
    """Say that a list of two pins was shown; returns how many of them are new."""
    pins = [ranking_pb.ShownPin(pin_id=f"{n}".ljust(100, "p"), position=n) for n in range(2)]
    request = ranking_pb.RecordImpressionsRequest(list_id=name, pins=pins)
    answer = ranking_grpc.RankingServiceStub(channel).RecordImpressions(
        request, timeout=CALL_SECONDS
    )
    return int(answer.recorded_count)


def send_shown(channel: grpc.Channel, names: list[str]) -> None:
    """Say that some lists were shown."""
    for name in names:
        confirm(channel, name)


def recommended(channel: grpc.Channel) -> int:
    """How many of five pins ranking_service recommends."""
    request = ranking_pb.RecommendPinsRequest(user_id="ana", limit=5)
    stub = ranking_grpc.RankingServiceStub(channel)
    return len(stub.RecommendPins(request, timeout=CALL_SECONDS).pins)


def actions_of(channel: grpc.Channel) -> set[str]:
    """The actions that profile_service tells."""
    request = profile_pb.ListActionsRequest(user_id="anna", limit=10_000)
    answer = profile_grpc.ProfileServiceStub(channel).ListActions(request, timeout=CALL_SECONDS)
    return {action.action_id for action in answer.actions}


def known_pins(channel: grpc.Channel, names: set[str]) -> set[str]:
    """Those of some pins that candidate_service knows."""
    request = candidate_pb.GetPinsRequest(pin_ids=sorted(names))
    answer = candidate_grpc.CandidateServiceStub(channel).GetPins(request, timeout=CALL_SECONDS)
    return {pin.pin_id for pin in answer.pins if pin.is_known}


def build_duplicates(root: Path) -> tuple[int, dict[str, object]]:
    """Run a small job; returns its exit code and its report."""
    arguments = job_arguments(Order(root, AS_OF.timestamp()))
    code, last_line, _ = run_module(
        "candidate_service.jobs.build_duplicates", arguments, lambda _: None
    )
    return code, parse_report(last_line)


def test_full_disk_refuses_writes_and_nothing_else(tmp_path: Path) -> None:
    """Both writing services and a job; when there is room again they go on by themselves."""
    with small_disk(tmp_path / "disk", "24m") as disk:
        root = copy_of_root(disk)
        current = root / "generations" / "duplicates" / "CURRENT"
        generation = current.read_text()
        profile = start("profile_service", root, log_folder=tmp_path)
        candidate = start("candidate_service", root, log_folder=tmp_path)
        actions, pins = Writer(profile, send_actions), Writer(candidate, send_pins)
        before = [actions("before"), pins("before")]
        ballast = fill(disk)
        refused = [actions.until_refused(), pins.until_refused()]
        code, report = build_duplicates(root)
        generation_then = current.read_text()
        read_then = actions_of(actions.channel), known_pins(pins.channel, pins.acknowledged)
        known_then = set(actions.acknowledged), set(pins.acknowledged)
        ballast.unlink()
        after = [actions("after"), pins("after")]
        code_after, report_after = build_duplicates(root)
        for victim in (profile, candidate):
            victim.kill()
        profile = start("profile_service", root, log_folder=tmp_path)
        candidate = start("candidate_service", root, log_folder=tmp_path)
        with profile.channel() as channel:
            survived = actions_of(channel)
        with candidate.channel() as channel:
            survived_pins = known_pins(channel, pins.acknowledged)
        for victim in (profile, candidate):
            victim.kill()

    assert before == after == [None, None]
    for fault in refused:
        assert isinstance(fault, Exhausted)
        assert fault.reason == "DISK_FULL"
        assert "make room" in fault.hint
    assert read_then == known_then
    assert (code, report["reason"]) == (2, "DISK_FULL")
    assert generation_then == generation
    assert code_after == 0, report_after
    assert actions.acknowledged <= survived
    assert survived_pins == pins.acknowledged


def test_full_disk_stops_no_answer_of_ranking_service(tmp_path: Path) -> None:
    """
    Recommendations go on, their log lines are dropped and counted; confirmations are refused.

    When there is room again all goes on by itself, and what was acknowledged is known.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        page = int(taken.getsockname()[1])
    alone = {"profile_target": "127.0.0.1:1", "candidate_target": "127.0.0.1:1"}
    with small_disk(tmp_path / "disk", "24m") as disk:
        root = copy_of_root(disk)
        victim = start("ranking_service", root, log_folder=tmp_path, metrics_port=page, **alone)
        shown = Writer(victim, send_shown)
        before = shown("before")
        answered = [recommended(shown.channel)]
        ballast = fill(disk)
        refused = shown.until_refused()
        answered += [recommended(shown.channel) for _ in range(5)]
        wait_until(lambda: samples(page)["ranking_service_impressions_dropped_total", ""] > 0)
        ballast.unlink()
        after = shown("after")
        written = samples(page)["ranking_service_impressions_written_total", ""]
        answered.append(recommended(shown.channel))
        wait_until(lambda: samples(page)["ranking_service_impressions_written_total", ""] > written)
        victim.kill()
        victim = start("ranking_service", root, log_folder=tmp_path, **alone)
        with victim.channel() as channel:
            again = {name for name in shown.acknowledged if confirm(channel, name)}
        victim.kill()

    assert before is after is None
    assert isinstance(refused, Exhausted)
    assert refused.reason == "DISK_FULL"
    assert "make room" in refused.hint
    assert answered == [5] * 7
    assert again == set()


def test_full_map_refuses_actions_until_it_is_made_larger(tmp_path: Path) -> None:
    """Reads go on, what was acknowledged is there, and the remedy that is told works."""
    root = tmp_path / "root"
    root.mkdir()
    victim = start("profile_service", root, live_map_bytes=1 << 20)
    actions = Writer(victim, send_actions)
    refused = actions.until_refused()
    read = actions_of(actions.channel)
    victim.kill()
    larger = start("profile_service", root, live_map_bytes=1 << 24)
    more = Writer(larger, send_actions)
    survived = actions_of(more.channel)
    after = more("after")
    larger.kill()

    assert isinstance(refused, Exhausted)
    assert refused.reason == "LIVE_MAP_FULL"
    assert "live_map_bytes" in refused.hint
    assert read == survived == actions.acknowledged
    assert after is None
