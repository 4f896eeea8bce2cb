"""The time of day jumps, back and forward, under three serving processes."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from corkboard.questions import PinRecord
from corkboard.stack import SERVICES, Stack
from service_runtime.errors import CorkboardError
from tests.fault.preload import Faults
from tests.fault.stacks import patient
from tests.integration.world import AS_OF, build, copy_of_root, make_stack

DAY = 86_400.0
JUMPS = (-2 * DAY, 0.0, 30 * DAY, -400 * DAY, 0.0)
CALLS_BETWEEN_JUMPS = 5


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """A clock that starts where the tiny world's data ends."""
    faults = Faults(tmp_path)
    for name in ("LD_PRELOAD", "FAULT_CONTROL"):
        monkeypatch.setenv(name, faults.environment[name])
    put(faults, 0.0)
    return faults


def put(faults: Faults, seconds: float) -> None:
    """Put the services' clocks so far from the end of the tiny world's data."""
    faults.shift_clock(AS_OF.timestamp() + seconds - time.time())


@pytest.fixture
def stack(tmp_path: Path, faults: Faults) -> Iterator[Stack]:
    """Three services whose clocks run."""
    del faults
    running = {service: ["fixed_time=0"] for service in SERVICES}
    with make_stack(copy_of_root(tmp_path), settings=patient(**running)) as stack:
        yield stack


def test_clock_that_jumps_breaks_no_call_and_loses_no_order(faults: Faults, stack: Stack) -> None:
    """
    After each jump answers are whole and in time, writes are taken, and the last write wins.

    A clock that was put back makes the new title the older one by its time; the log's own order
    counts. A generation that is built then is served, though its time is before the old one's.
    """
    titles = []
    with stack.client() as client:
        for number, jump in enumerate(JUMPS):
            put(faults, jump)
            answers = [client.recommend("ana", limit=10) for _ in range(CALLS_BETWEEN_JUMPS)]
            client.record("ana", f"typography-{1 + number}", action_id=f"jump {number}")
            client.upsert_pins([PinRecord("jumping", title=f"title {number}")])
            titles.append(client.pins(["jumping"])[0].title)
            assert all(len(answer.pins) == 10 for answer in answers), jump
            assert [answer.degradations for answer in answers] == [()] * len(answers), jump
        told = {action.action_id for action in client.actions("ana", limit=1000)}
        put(faults, -DAY)
        build(stack.data_root, "build_catalogue")
        current = (stack.data_root / "generations/catalogue/CURRENT").read_text().strip()
        deadline = time.monotonic() + 60
        while client.recommend("ana").generations["catalogue"] != current:
            assert time.monotonic() < deadline, "the generation was never served"
            time.sleep(0.1)

    assert titles == [f"title {number}" for number in range(len(JUMPS))]
    assert {f"jump {number}" for number in range(len(JUMPS))} <= told


def test_calls_under_way_while_the_clock_jumps_end_in_time(faults: Faults, stack: Stack) -> None:
    """Deadlines are measured by a clock that does not jump."""
    stopped = threading.Event()

    def jump() -> None:
        number = 0
        while not stopped.wait(0.01):
            number += 1
            put(faults, 3600.0 * (number % 3 - 1))

    jumping = threading.Thread(target=jump)
    faulty: list[CorkboardError] = []
    with stack.client() as client:
        jumping.start()
        try:
            for _ in range(60):
                try:
                    client.recommend("ben", limit=5)
                except CorkboardError as fault:
                    faulty.append(fault)
        finally:
            stopped.set()
            jumping.join()

    assert faulty == []
