"""The disk refuses to make things durable: what was not acknowledged may be lost, nothing else."""

import time
from pathlib import Path

import grpc
import pytest

from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb
from corkboard.candidate.v1 import candidate_service_pb2_grpc as candidate_grpc
from corkboard.pipeline import Order, job_arguments, parse_report, run_module
from corkboard.profile.v1 import profile_service_pb2 as profile_pb
from corkboard.profile.v1 import profile_service_pb2_grpc as profile_grpc
from corkboard.ranking.v1 import ranking_service_pb2 as ranking_pb
from corkboard.ranking.v1 import ranking_service_pb2_grpc as ranking_grpc
from service_runtime.errors import CorkboardError, Unavailable
from service_runtime.grpc_errors import from_rpc_error
from tests.fault.preload import Faults
from tests.fault.processes import start
from tests.integration.world import AS_OF, copy_of_root
from tests.profile_service.worlds import message


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    """A disk that fails when it is told to."""
    return Faults(tmp_path)


def record(stub: profile_grpc.ProfileServiceStub, name: str) -> CorkboardError | None:
    """Record an action; returns why it was refused, None if it was acknowledged."""
    try:
        stub.RecordActions(profile_pb.RecordActionsRequest(actions=[message(name)]), timeout=30)
    except grpc.RpcError as error:
        return from_rpc_error(error)
    return None


def recorded(stub: profile_grpc.ProfileServiceStub) -> set[str]:
    """The actions that the service tells."""
    request = profile_pb.ListActionsRequest(user_id="anna", limit=100)
    return {action.action_id for action in stub.ListActions(request, timeout=30).actions}


def test_profile_service_refuses_what_it_cannot_make_durable(
    tmp_path: Path, faults: Faults
) -> None:
    """
    A failed sync refuses one write. A failed write of LMDB's root ends the process.

    After both every acknowledged action is there.
    """
    root = tmp_path / "root"
    root.mkdir()
    victim = start("profile_service", root, environment=faults.environment)
    with victim.channel() as channel:
        stub = profile_grpc.ProfileServiceStub(channel)
        before = record(stub, "before")
        faults.fail_syncs(1)
        refused = record(stub, "refused")
        after = record(stub, "after")
        read = recorded(stub)
        faults.fail_syncs(1, spared=1)  # the pages are on disk, the root that names them is not
        torn = record(stub, "torn")
        told = record(stub, "told")
        code = victim.process.wait(30)
    again = start("profile_service", root)
    with again.channel() as channel:
        stub = profile_grpc.ProfileServiceStub(channel)
        survivors = recorded(stub)
        last = record(stub, "last")
    again.kill()

    assert faults.failed_syncs == 2
    assert before is after is last is None
    assert isinstance(refused, Unavailable)
    assert refused.reason == "DISK_FAILED"
    assert read == {"before", "after"}
    assert isinstance(torn, Unavailable)
    assert isinstance(told, Unavailable)
    assert code == 1
    assert "server.failed" in victim.said()
    assert {"before", "after"} <= survivors <= {"before", "after", "torn"}


def test_candidate_service_refuses_what_it_cannot_make_durable(
    tmp_path: Path, faults: Faults
) -> None:
    """A failed sync refuses the write; the next one is taken, and reading goes on."""
    root = copy_of_root(tmp_path)
    settings = {"sources": '["popular"]'}
    victim = start("candidate_service", root, environment=faults.environment, **settings)

    def upsert(stub: candidate_grpc.CandidateServiceStub, name: str) -> CorkboardError | None:
        pins = [candidate_pb.PinRecord(pin_id=name, title=name)]
        try:
            stub.UpsertPins(candidate_pb.UpsertPinsRequest(pins=pins), timeout=30)
        except grpc.RpcError as error:
            return from_rpc_error(error)
        return None

    def known(stub: candidate_grpc.CandidateServiceStub) -> list[bool]:
        request = candidate_pb.GetPinsRequest(pin_ids=["before", "after"])
        return [pin.is_known for pin in stub.GetPins(request, timeout=30).pins]

    with victim.channel() as channel:
        stub = candidate_grpc.CandidateServiceStub(channel)
        before = upsert(stub, "before")
        faults.fail_syncs(1)
        refused = upsert(stub, "refused")
        after = upsert(stub, "after")
        read = known(stub)
    victim.kill()
    again = start("candidate_service", root, **settings)
    with again.channel() as channel:
        survived = known(candidate_grpc.CandidateServiceStub(channel))
    again.kill()

    assert faults.failed_syncs == 1
    assert before is after is None
    assert isinstance(refused, Unavailable)
    assert refused.reason == "DISK_FAILED"
    assert read == survived == [True, True]


def confirm(stub: ranking_grpc.RankingServiceStub, name: str) -> int | CorkboardError:
    """Say that a list of two pins was shown; returns how many of them are new, or the refusal."""
    pins = [ranking_pb.ShownPin(pin_id=f"{name} {n}", position=n) for n in range(2)]
    request = ranking_pb.RecordImpressionsRequest(list_id=name, user_id="ana", pins=pins)
    try:
        return int(stub.RecordImpressions(request, timeout=30).recorded_count)
    except grpc.RpcError as error:
        return from_rpc_error(error)


def reset(stub: ranking_grpc.RankingServiceStub, pin_id: str) -> CorkboardError | None:
    """Forget what is remembered of a pin; returns why it was refused, None if acknowledged."""
    try:
        request = ranking_pb.ResetMemboostRequest(result_pin_id=pin_id)
        stub.ResetMemboost(request, timeout=30)
    except grpc.RpcError as error:
        return from_rpc_error(error)
    return None


def shown_count(stub: ranking_grpc.RankingServiceStub, pin_id: str) -> int:
    """How often a pin counts as shown."""
    request = ranking_pb.GetMemboostRequest(result_pin_id=pin_id)
    return int(stub.GetMemboost(request, timeout=30).score.impression_count)


def counted(stub: ranking_grpc.RankingServiceStub, pin_id: str) -> int:
    """How often a pin counts as shown, once it does: the counters follow the log."""
    deadline = time.monotonic() + 30
    while not (count := shown_count(stub, pin_id)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return count


def test_ranking_service_refuses_what_it_cannot_make_durable(
    tmp_path: Path, faults: Faults
) -> None:
    """
    What was shown and what is to be forgotten: refused while syncs fail, reading goes on.

    What was refused is sent again when the disk works, as clients do. It counts once.
    """
    root = tmp_path / "root"
    settings = {"memboost_refresh_seconds": 0.05}
    victim = start("ranking_service", root, environment=faults.environment, **settings)
    with victim.channel() as channel:
        stub = ranking_grpc.RankingServiceStub(channel)
        before = confirm(stub, "before")
        faults.fail_syncs()
        refused = confirm(stub, "refused")
        refused_reset = reset(stub, "before 0")
        read = shown_count(stub, "before 0")
        faults.fail_syncs(0)
        again = confirm(stub, "refused")
        after = confirm(stub, "after")
    victim.kill()
    restarted = start("ranking_service", root, **settings)
    with restarted.channel() as channel:
        stub = ranking_grpc.RankingServiceStub(channel)
        known = [confirm(stub, name) for name in ("before", "refused", "after")]
        counts = [shown_count(stub, f"{name} 1") for name in ("before", "refused", "after")]
        accepted_reset = reset(stub, "after 1")
        forgotten = shown_count(stub, "after 1")
    restarted.kill()

    assert faults.failed_syncs > 0
    assert before == after == again == 2
    for fault in (refused, refused_reset):
        assert isinstance(fault, Unavailable)
        assert fault.reason == "DISK_FAILED"
    assert read == 1
    assert known == [0, 0, 0]
    assert counts == [1, 1, 1]
    assert accepted_reset is None
    assert forgotten == 0


@pytest.mark.parametrize("spared", [0, 2])
def test_job_that_cannot_publish_leaves_the_old_generation(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch, spared: int
) -> None:
    """Whichever sync fails, CURRENT is as before, no draft is left, and the report says why."""
    root = copy_of_root(tmp_path)
    folder = root / "generations" / "duplicates"
    before = (folder / "CURRENT").read_text()
    for name in ("LD_PRELOAD", "FAULT_CONTROL"):
        monkeypatch.setenv(name, faults.environment[name])
    faults.fail_syncs(spared=spared)
    arguments = job_arguments(Order(root, AS_OF.timestamp()))
    code, last_line, _ = run_module(
        "candidate_service.jobs.build_duplicates", arguments, lambda _: None
    )
    report = parse_report(last_line)

    assert faults.failed_syncs > 0
    assert code == 2
    assert report["reason"] == "DISK_FAILED"
    assert "dmesg" in str(report["hint"])
    assert (folder / "CURRENT").read_text() == before
    assert [path.name for path in folder.glob(".draft-*")] == []
