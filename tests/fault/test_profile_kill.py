"""kill -9 of profile_service in the middle of writing: what was acknowledged stays."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable
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
ROUNDS_OF_USER = 10
"""After so many rounds others write: ListActions tells 10,000 actions of a user at the most."""
Batch = list[pb.Action]


class Ledger:
    """
    What was sent, and what the service said to it.

    Attributes:
        acknowledged: Batches that were recorded.
        in_flight: Batches that a kill left without an answer, and that were not sent again yet.
        user_ids: Everybody who ever did something.
    """

    def __init__(self) -> None:
        self.acknowledged: list[Batch] = []
        self.in_flight: list[Batch] = []
        self.user_ids: set[str] = set()

    def ids(self) -> set[str]:
        """All acknowledged action ids."""
        return {action.action_id for batch in self.acknowledged for action in batch}


@pytest.mark.timeout(7200)
def test_every_acknowledged_action_survives_kill_9(tmp_path: Path) -> None:
    """
    Again and again four writers send batches until the process is killed.

    After each restart and at the end every acknowledged action is there, none twice, and a batch
    that was not acknowledged is there whole or not at all. Sent again, it is recorded if it was
    lost and known if it was not; an acknowledged one sent again is known.
    """
    ledger = Ledger()
    dice = log_seed("kill -9 of profile_service")
    for kill in range(KILLS):
        # A slow disk makes kills hit open transactions.
        process, channel = start_service("profile_service", tmp_path, sync_delay_seconds=0.002)
        with channel:
            stub = pb_grpc.ProfileServiceStub(channel)
            check_and_send_again(stub, ledger, dice)
            writers = [
                threading.Thread(target=_write, args=(stub, kill, n, ledger))
                for n in range(WRITERS)
            ]
            for writer in writers:
                writer.start()
            time.sleep(0.02 + 0.2 * dice.random())
            process.kill()
            for writer in writers:
                writer.join()

    log = open_log(live_folder(tmp_path))
    found = [name for user in ledger.user_ids for name in log.actions_of(user).action_ids]
    log.close()
    assert len(ledger.acknowledged) > KILLS
    assert len(found) == len(set(found))
    assert ledger.ids() <= set(found)
    for batch in ledger.in_flight:
        names = {action.action_id for action in batch}
        assert not names & set(found) or names <= set(found)


def check_and_send_again(
    stub: pb_grpc.ProfileServiceStub, ledger: Ledger, dice: random.Random
) -> None:
    """What was acknowledged is there; what was not is known whole or is recorded now."""
    survivors = set(_recorded(stub, ledger.user_ids))
    assert ledger.ids() <= survivors
    for batch in ledger.in_flight:
        was_there = {action.action_id in survivors for action in batch}
        assert len(was_there) == 1
        expected = pb.ACTION_CODE_DUPLICATE if was_there == {True} else pb.ACTION_CODE_RECORDED
        assert _send(stub, batch) == [expected] * len(batch)
    ledger.acknowledged += ledger.in_flight
    ledger.in_flight.clear()
    for batch in dice.sample(ledger.acknowledged, min(5, len(ledger.acknowledged))):
        assert _send(stub, batch) == [pb.ACTION_CODE_DUPLICATE] * len(batch)
    again = _recorded(stub, ledger.user_ids)
    assert len(again) == len(set(again))
    assert ledger.ids() <= set(again)


def _send(stub: pb_grpc.ProfileServiceStub, batch: Batch) -> list[pb.ActionCode]:
    """Record a batch; returns the codes of its actions."""
    answer = stub.RecordActions(pb.RecordActionsRequest(actions=batch), timeout=10)
    return list(answer.codes)


def _write(stub: pb_grpc.ProfileServiceStub, kill: int, writer: int, ledger: Ledger) -> None:
    """Send batches until the connection breaks."""
    user_id = f"user {writer} {kill // ROUNDS_OF_USER}"
    ledger.user_ids.add(user_id)
    for call in range(10_000):
        names = [f"{kill}-{writer}-{call}-{n}" for n in range(5)]
        batch = [message(name, f"pin {name}", user_id=user_id) for name in names]
        try:
            codes = _send(stub, batch)
        except grpc.RpcError:
            ledger.in_flight.append(batch)
            return
        assert codes == [pb.ACTION_CODE_RECORDED] * len(batch)
        ledger.acknowledged.append(batch)


def _recorded(stub: pb_grpc.ProfileServiceStub, user_ids: Iterable[str]) -> list[str]:
    """All action ids that the service tells."""
    found: list[str] = []
    for user_id in user_ids:
        answer = stub.ListActions(pb.ListActionsRequest(user_id=user_id, limit=10_000), timeout=30)
        assert not answer.is_truncated
        found += [action.action_id for action in answer.actions]
    return found
