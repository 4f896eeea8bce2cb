"""kill -9 of profile_service in the middle of writing: what was acknowledged stays."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import grpc
import pytest

from corkboard.profile.v1 import profile_service_pb2 as pb
from corkboard.profile.v1 import profile_service_pb2_grpc as pb_grpc
from profile_service.store import live_folder
from tests.fault.nursery import start_service
from tests.fault.rounds import kill_rounds, log_seed
from tests.profile_service.worlds import message, open_log

KILLS = kill_rounds(8)
WRITERS = 4


@pytest.mark.timeout(1800)
def test_every_acknowledged_action_survives_kill_9(tmp_path: Path) -> None:
    """
    Again and again four writers send batches until the process is killed.

    After each restart and at the end every acknowledged action is there, none twice, and a batch
    that was not acknowledged is there whole or not at all.
    """
    acknowledged: set[str] = set()
    sent: dict[str, list[str]] = {}
    dice = log_seed("kill -9 of profile_service")
    for kill in range(KILLS):
        # A slow disk makes kills hit open transactions.
        process, channel = start_service("profile_service", tmp_path, sync_delay_seconds=0.002)
        with channel:
            stub = pb_grpc.ProfileServiceStub(channel)
            survivors = _recorded(stub)
            assert acknowledged <= survivors
            writers = [
                threading.Thread(target=_write, args=(stub, f"{kill}-{n}", acknowledged, sent))
                for n in range(WRITERS)
            ]
            for writer in writers:
                writer.start()
            time.sleep(0.02 + 0.2 * dice.random())
            process.kill()
            for writer in writers:
                writer.join()

    log = open_log(live_folder(tmp_path))
    found = [name for n in range(WRITERS) for name in log.actions_of(f"user {n}").action_ids]
    log.close()
    assert len(acknowledged) > KILLS
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert all(set(batch) <= set(found) or not set(batch) & set(found) for batch in sent.values())


def _write(
    stub: pb_grpc.ProfileServiceStub,
    writer: str,
    acknowledged: set[str],
    sent: dict[str, list[str]],
) -> None:
    """Send batches until the connection breaks."""
    user_id = f"user {writer.split('-')[1]}"
    for call in range(10_000):
        names = [f"{writer}-{call}-{n}" for n in range(5)]
        sent[f"{writer}-{call}"] = names
        actions = [message(name, f"pin {name}", user_id=user_id) for name in names]
        try:
            answer = stub.RecordActions(pb.RecordActionsRequest(actions=actions), timeout=10)
        except grpc.RpcError:
            return
        assert list(answer.codes) == [pb.ACTION_CODE_RECORDED] * 5
        acknowledged.update(names)


def _recorded(stub: pb_grpc.ProfileServiceStub) -> set[str]:
    """All action ids that the service tells."""
    found: set[str] = set()
    for n in range(WRITERS):
        answer = stub.ListActions(
            pb.ListActionsRequest(user_id=f"user {n}", limit=10_000), timeout=10
        )
        assert not answer.is_truncated
        found.update(action.action_id for action in answer.actions)
    return found
