"""kill -9 of ranking_service while clients say what they showed: what was acknowledged stays."""

from __future__ import annotations

import threading
import time
from argparse import Namespace
from pathlib import Path

import grpc
import pyarrow.parquet as pq
import pytest

from corkboard.ranking.v1 import ranking_service_pb2 as pb
from corkboard.ranking.v1.ranking_service_pb2_grpc import RankingServiceStub
from ranking_service.config import RankingConfig
from ranking_service.confirmations import confirmations_folder, decode
from ranking_service.jobs import export_impressions
from service_runtime.event_log import read_log
from service_runtime.job import JobContext
from tests.fault.processes import start
from tests.fault.rounds import kill_rounds, log_seed

ROUNDS = 4
WRITERS = 4
PINS = 5


@pytest.mark.timeout(7200)
def test_every_acknowledged_impression_survives_kill_9(tmp_path: Path) -> None:
    """
    Four writers confirm lists until the process is killed, again and again.

    After each restart, said once more, an acknowledged list is known already; at the end each
    acknowledged pin is in the log, none twice, a list that was not acknowledged is there whole or
    not at all, and the export has each once.
    """
    dice = log_seed("kill -9 under RecordImpressions")
    acknowledged: dict[str, list[str]] = {}
    sent: dict[str, list[str]] = {}
    for round_number in range(kill_rounds(ROUNDS)):
        victim = start("ranking_service", tmp_path / "data")
        with victim.channel() as channel:
            stub = RankingServiceStub(channel)
            repeated = dice.sample(sorted(acknowledged), min(20, len(acknowledged)))
            counts = [_confirm(stub, list_id, acknowledged[list_id]) for list_id in repeated]
            writers = [
                threading.Thread(
                    target=_write, args=(stub, f"{round_number}-{n}", acknowledged, sent)
                )
                for n in range(WRITERS)
            ]
            count = len(acknowledged)
            for writer in writers:
                writer.start()
            while len(acknowledged) == count and any(writer.is_alive() for writer in writers):
                time.sleep(0.001)  # a first call takes long on a busy machine
            time.sleep(dice.uniform(0.0, 0.3))
            victim.kill()
            for writer in writers:
                writer.join()
        assert counts == [0] * len(repeated)

    found: dict[str, list[str]] = {}
    for folder in confirmations_folder(tmp_path / "data").iterdir():
        for record in read_log(folder):
            told = decode(record.payload)
            found.setdefault(told.list_id, []).extend(pin.pin_id for pin in told.pins)
    assert len(acknowledged) > ROUNDS
    assert all(found[list_id] == pins for list_id, pins in acknowledged.items())
    assert all(found.get(list_id, pins) == pins for list_id, pins in sent.items())
    _export(tmp_path / "data")
    rows = pq.read_table(tmp_path / "data" / "events" / "shown").to_pylist()
    pairs = [(row["list_id"], row["pin_id"]) for row in rows]
    assert sorted(pairs) == sorted((name, pin) for name, pins in found.items() for pin in pins)


def test_two_processes_that_are_told_the_same_list_count_it_once(tmp_path: Path) -> None:
    """A client that hears nothing asks another replica: both have it on disk, Memboost once."""
    data = tmp_path / "data"
    pins = [f"pin {number}" for number in range(PINS)]
    victims = [
        start("ranking_service", data, impression_log_name=name, memboost_refresh_seconds=0.05)
        for name in ("one", "two")
    ]
    try:
        counts, shown = [], []
        for victim in victims:
            with victim.channel() as channel:
                counts.append(_confirm(RankingServiceStub(channel), "list", pins))
        for victim in victims:
            with victim.channel() as channel:
                shown.append(_impressions(RankingServiceStub(channel), pins[0]))
    finally:
        for victim in victims:
            victim.kill()

    assert counts == [PINS, PINS]
    assert shown == [1, 1]


def _confirm(stub: RankingServiceStub, list_id: str, pins: list[str]) -> int:
    """Say what was shown of a list; how many pins of it are new."""
    told = [pb.ShownPin(pin_id=pin, position=place) for place, pin in enumerate(pins)]
    request = pb.RecordImpressionsRequest(list_id=list_id, user_id="user", pins=told)
    return int(stub.RecordImpressions(request, timeout=10).recorded_count)


def _write(
    stub: RankingServiceStub,
    writer: str,
    acknowledged: dict[str, list[str]],
    sent: dict[str, list[str]],
) -> None:
    """Confirm lists until the connection breaks."""
    for call in range(10_000):
        list_id = f"{writer}-{call}"
        pins = [f"pin {list_id} {number}" for number in range(PINS)]
        sent[list_id] = pins
        try:
            count = _confirm(stub, list_id, pins)
        except grpc.RpcError:
            return
        assert count == PINS
        acknowledged[list_id] = pins


def _impressions(stub: RankingServiceStub, pin_id: str) -> int:
    """How often a pin counts as shown, once the live counters have both logs."""
    count, request = 0, pb.GetMemboostRequest(result_pin_id=pin_id)
    due = time.monotonic() + 10
    while time.monotonic() < due:
        count = int(stub.GetMemboost(request, timeout=10).score.impression_count)
        time.sleep(0.3 if count else 0.05)  # a second one would come with the next refresh
        if count:
            break
    return int(stub.GetMemboost(request, timeout=10).score.impression_count)


def _export(data_root: Path) -> None:
    config = RankingConfig(data_root=data_root)
    as_of_us = round((time.time() + 60) * 1e6)
    context = JobContext(config=config, as_of_us=as_of_us, arguments=Namespace(out=None))
    export_impressions.run(context)
