"""Real services of two processes each, renewed and killed while callers go on calling."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Self

import pytest

from corkboard import Client
from corkboard.stack import SERVICES, Stack
from service_runtime.errors import CorkboardError
from tests.integration.world import copy_of_root, make_stack
from tests.service_runtime.test_supervisor import children, samples, wait_until

SETTINGS = ["processes=2", "worker_count=1", "queue_seconds_max=10", "drain_wait_seconds=0.2"]
"""A renewal must fail no call; on a busy machine the limit on waits would refuse some, rightly."""


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


PAGES = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
"""Port of the metrics page of each."""


def are_ready(service: str) -> bool:
    """Whether both processes of a service serve."""
    return samples(PAGES[service])[f"{service}_processes_ready", ""] == 2


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Services of two processes each, below a supervisor."""
    root = copy_of_root(tmp_path_factory.mktemp("several"))
    settings = {name: [*SETTINGS, f"metrics_port={port}"] for name, port in PAGES.items()}
    with make_stack(root, settings=settings) as stack:
        yield stack
        codes = stack.stop()
        assert codes == dict.fromkeys(SERVICES, 0)


class Callers:
    """Threads that call each service until told to stop, and remember what failed."""

    def __init__(self, stack: Stack) -> None:
        self.counts: dict[str, int] = {}
        self.failures: list[str] = []
        self.recorded: list[str] = []
        self._stack = stack
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, ask))
            for name, ask in (
                ("recommend", self._recommend),
                ("record", self._record),
                ("pins", self._pins),
            )
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: len(self.counts) == len(self._threads))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, ask: Callable[[Client], None]) -> None:
        with self._stack.client(deadline_s=30) as client:
            while not self._stop.is_set():
                try:
                    ask(client)
                except CorkboardError as error:
                    self.failures.append(f"{name}: {error}")
                self.counts[name] = self.counts.get(name, 0) + 1
                time.sleep(0.1)

    def _recommend(self, client: Client) -> None:
        if not client.recommend("ana", limit=5).pins:
            self.failures.append("recommend: nothing")

    def _record(self, client: Client) -> None:
        self.recorded.append(client.record("rolling", "cooking-1", "click").action_id)

    def _pins(self, client: Client) -> None:
        client.pins(["cooking-1", "cooking-2"])


@pytest.mark.parametrize("service", SERVICES)
def test_renewal_under_load_fails_no_call(stack: Stack, service: str) -> None:
    """SIGHUP: both processes of a service are replaced, one after the other; nobody notices."""
    supervisor = stack.children[service].process.pid
    before = children(supervisor)
    with Callers(stack) as callers:
        os.kill(supervisor, signal.SIGHUP)
        wait_until(lambda: not children(supervisor) & before)
        wait_until(lambda: are_ready(service))
        at_end = dict(callers.counts)
        wait_until(lambda: all(callers.counts[name] > at_end[name] + 5 for name in at_end))

    with stack.client() as client:
        kept = {action.action_id for action in client.actions("rolling", limit=10_000)}
    assert callers.failures == []
    assert set(callers.recorded) <= kept


def test_killed_process_is_replaced_and_loses_no_action(stack: Stack) -> None:
    """Kill -9 of one of two processes of profile_service: what was acknowledged is there."""
    supervisor = stack.children["profile_service"].process.pid
    wait_until(lambda: are_ready("profile_service"))
    victim = min(children(supervisor))
    with Callers(stack) as callers:
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(children(supervisor) - {victim}) == 2)
        wait_until(lambda: are_ready("profile_service"))
        at_end = dict(callers.counts)
        wait_until(lambda: all(callers.counts[name] > at_end[name] + 5 for name in at_end))

    with stack.client() as client:
        kept = {action.action_id for action in client.actions("rolling", limit=10_000)}
    assert set(callers.recorded) <= kept


def test_what_one_process_writes_the_other_answers_from(stack: Stack) -> None:
    """Over many connections a user's own actions are always seen."""
    for number in range(1, 9):
        with stack.client() as client:  # a connection of its own, to either process
            client.record("either", f"cooking-{number}")
        with stack.client() as client:
            assert len(client.actions("either")) == number
