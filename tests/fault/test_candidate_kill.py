"""kill -9 of candidate_service and of its jobs: nothing acknowledged is lost or counted twice."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest

from candidate_service.catalogue import READABLE_VERSIONS, Catalogue, open_catalogue
from candidate_service.imported import open_saves
from candidate_service.jobs import build_catalogue, export_changes
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import make_context, write_pins, write_saves
from tests.fault.nursery import start_job, start_service
from tests.fault.rounds import kill_rounds, log_seed

KILLS = kill_rounds(4)
WRITERS = 3
JOB_SHARE = 0.25
"""Of the rounds in which generations are built meanwhile; in the first one always."""
SETTINGS = {"sources": '["popular"]', "generation_poll_seconds": 0.1}


@dataclass
class Told:
    """What the service acknowledged: newest title of each pin, pins deleted, saves and where."""

    titles: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    saves: dict[str, tuple[str, str]] = field(default_factory=dict)
    taken_back: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)


@pytest.mark.timeout(1800)
def test_every_acknowledged_change_survives_kill_9_and_is_counted_once(tmp_path: Path) -> None:
    """
    Writers add, change, delete and save while generations are exported, built and swapped in.

    The service is killed again and again, the jobs are killed in between. In the end one more run
    of the jobs gives a catalogue and saves that are exactly what was acknowledged.
    """
    write_pins(tmp_path, [{"pin_id": "imported", "title": "Imported"}])
    write_saves(tmp_path, [("board", "imported")])
    told = [Told() for _ in range(WRITERS)]
    run_jobs(tmp_path)
    dice = log_seed("kill -9 of candidate_service")
    for kill in range(KILLS):
        process, channel = start_service("candidate_service", tmp_path, **SETTINGS)
        with channel:
            stub = wire_grpc.CandidateServiceStub(channel)
            for one in told:
                check_served(stub, one)
            writers = [
                threading.Thread(target=write, args=(stub, f"{kill}-{n}", told[n]))
                for n in range(WRITERS)
            ]
            for writer in writers:
                writer.start()
            if builds := kill == 0 or dice.random() < JOB_SHARE:
                run_jobs(tmp_path)
            time.sleep(0.05 + 0.3 * dice.random())  # the swap may or may not have happened
            process.kill()
            for writer in writers:
                writer.join()
        if builds:
            kill_job(tmp_path, dice.choice(("export_changes", "build_catalogue")), dice)
    kill_job(tmp_path, "export_changes", dice)

    run_jobs(tmp_path)

    assert sum(len(one.titles) for one in told) > 5 * KILLS
    check_folded(tmp_path, told)


def check_served(stub: wire_grpc.CandidateServiceStub, told: Told) -> None:
    """After a restart the service says what it acknowledged before."""
    names = [name for name in told.titles if name not in told.unsure]
    for at in range(0, len(names), 5000):
        asked = names[at : at + 5000]
        answer = stub.GetPins(wire.GetPinsRequest(pin_ids=asked), timeout=30)
        for name, pin in zip(asked, answer.pins, strict=True):
            assert pin.is_known == (name not in told.deleted), name
            assert not pin.is_known or pin.title == told.titles[name]


def check_folded(root: Path, told: list[Told]) -> None:
    """Every pin has one row and its newest title, every save stands once where it was put."""
    catalogue = newest_catalogue(root)
    ids = catalogue.ids.ids(np.arange(len(catalogue)))
    assert len(set(ids)) == len(ids)
    titles = dict(zip(ids, catalogue.pins["title"].to_pylist(), strict=True))
    deleted = dict(zip(ids, catalogue.deleted().tolist(), strict=True))
    saves = exported_saves(root)
    for one in told:
        for name in set(one.titles) - one.unsure:
            assert titles[name] == one.titles[name]
            assert deleted[name] == (name in one.deleted), name
        for save_id in set(one.saves) - one.unsure:
            expected = [] if save_id in one.taken_back else [one.saves[save_id]]
            assert saves.get(save_id, []) == expected, save_id
    assert saves["a0"] == [("board", "imported")]


def write(stub: wire_grpc.CandidateServiceStub, writer: str, told: Told) -> None:
    """Add pins and saves, change some, remove some, until the connection breaks."""
    for call in range(10_000):
        names = [f"{writer}-{call}-{n}" for n in range(3)]
        try:
            told.unsure |= set(names)
            pins = [wire.PinRecord(pin_id=name, title=f"first {name}") for name in names]
            pins.append(wire.PinRecord(pin_id=names[0], title=f"last {name_of(names[0])}"))
            stub.UpsertPins(wire.UpsertPinsRequest(pins=pins), timeout=10)
            stub.DeletePins(wire.DeletePinsRequest(pin_ids=names[1:2]), timeout=10)
            saves = [
                wire.SaveRecord(save_id=f"s{name}", board_id=f"b{call % 7}", pin_id=name)
                for name in names
            ]
            told.unsure |= {save.save_id for save in saves}
            stub.UpsertSaves(wire.UpsertSavesRequest(saves=saves), timeout=10)
            stub.DeleteSaves(wire.DeleteSavesRequest(save_ids=[f"s{names[2]}"]), timeout=10)
        except grpc.RpcError:
            return
        told.titles |= {name: f"first {name}" for name in names}
        told.titles[names[0]] = f"last {name_of(names[0])}"
        told.deleted.add(names[1])
        told.saves |= {save.save_id: (save.board_id, save.pin_id) for save in saves}
        told.taken_back.add(f"s{names[2]}")
        told.unsure -= set(names) | {save.save_id for save in saves}
        time.sleep(0.002)


def name_of(name: str) -> str:
    """Return a name turned round, so that first and last titles differ in every letter."""
    return name[::-1]


def run_jobs(root: Path) -> None:
    """Export and build in this process, undisturbed."""
    for job in (export_changes, build_catalogue):
        context = make_context(root, as_of_us=time.time_ns() // 1000)
        job.run(context)
        context.close()


def kill_job(root: Path, job: str, dice: random.Random) -> None:
    """Start a job and kill it somewhere in its work."""
    process = start_job(f"candidate_service.jobs.{job}", root, as_of=time.time())
    time.sleep(0.4 * dice.random())
    process.kill()


def newest_catalogue(root: Path) -> Catalogue:
    """Return what serves next."""
    store = GenerationStore(root / "generations")
    return open_catalogue(store.open_latest_good("catalogue", format_version=READABLE_VERSIONS))


def exported_saves(root: Path) -> dict[str, list[tuple[str, str]]]:
    """Return board and pin of each save, as often as jobs see it."""
    now_us = time.time_ns() // 1000
    context = make_context(root, as_of_us=now_us)
    open_saves(context.engine, root, now_us)
    found: dict[str, list[tuple[str, str]]] = {}
    for row in context.engine.read("single_saves").to_pylist():
        found.setdefault(row["save_id"], []).append((row["board_id"], row["pin_id"]))
    context.close()
    return found
