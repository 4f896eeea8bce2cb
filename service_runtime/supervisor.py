"""
Several processes on one port: for several cores where calls wait for Python.

    supervisor                       binds the port without listening, so that nobody else takes it
    ├── process 1, 2, … processes    each the whole service, listening on that port (SO_REUSEPORT)
    └── metrics page                 the pages of all, each sample with the label `process`

The kernel spreads connections, not calls, over the processes; `connection_age_seconds_max` moves
them now and then. A process binds the port only after its warm-up, so nobody meets one that is not
ready. One that ends by itself is started anew, after a pause that doubles while it keeps ending
early; the others serve meanwhile. SIGHUP starts all anew, one after the other: new settings, files
and code without a moment in which nobody serves. SIGTERM and SIGINT go on to all processes. If the
supervisor is killed the processes see the end of their stdin and drain.

What the processes share is on disk; see `processes` in the README of each service.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from service_runtime.config import ServiceConfig
from service_runtime.errors import BindFailed, ProcessFailed
from service_runtime.process_pages import ProcessPages
from service_runtime.stop_requests import StopRequests
from service_runtime.telemetry import logger

PAUSE_SECONDS = 0.2
"""Before a process that ended is started anew; doubles with each end that comes early."""
PAUSE_SECONDS_MAX = 30.0
STEADY_SECONDS = 60.0
"""A process that has served so long has not ended early."""

log = logger("supervisor")


@dataclass(slots=True)
class _Slot:
    """One of the processes, over all its lives."""

    number: int
    process: "subprocess.Popen[str] | None" = None
    ready: dict[str, Any] = field(default_factory=dict)
    """Its ready line; empty until then."""
    started: float = 0.0
    due: float = 0.0
    """When to start it, monotonic seconds."""
    early_end_count: int = 0
    is_leaving: bool = False
    """Whether it was asked to end so that it can be started anew."""

    def is_alive(self) -> bool:
        return self.process is not None


class Supervisor:
    """
    Starts, watches and ends the processes of one service.

    Args:
        name: Of the service.
        config: Its settings; `processes` says how many.
        command: What starts one process; further settings are added to it.
    """

    def __init__(self, name: str, config: ServiceConfig, command: Sequence[str]) -> None:
        self._name = name
        self._config = config
        self._command = tuple(command)
        self._slots = [_Slot(number) for number in range(1, config.processes + 1)]
        self._events = StopRequests()
        self._to_renew: list[_Slot] = []
        self._is_stopping = False
        self._is_ready = False
        self._exit_code = 0
        self._pages = ProcessPages(name, self._metrics_ports)

    def run(self) -> int:
        """
        Run until asked to stop; from the main thread.

        Returns:
            Exit code: 0; or that of a process that could not start, or did not end in order.

        Raises:
            BindFailed: The port, or that of the metrics page, cannot be had.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)  # read from the events, where none is lost
        self._events.listen_to_signals()
        with _reserved(self._config) as port:
            try:
                if self._config.metrics_port:
                    self._pages.serve(self._config.host, self._config.metrics_port)
                for slot in self._slots:
                    self._start(slot, port)
                self._watch(port)
            finally:
                self._pages.close()
        log.info("supervisor.stopped", exit_code=self._exit_code)
        return self._exit_code

    def _watch(self, port: int) -> None:
        while any(slot.is_alive() for slot in self._slots) or not self._is_stopping:
            event = self._events.wait(self._seconds_to_next_start())
            if event in ("SIGTERM", "SIGINT"):
                self._is_stopping = True
                self._send(signal.Signals[event])
            if event == "SIGHUP":
                log.info("supervisor.renewal_asked")
                self._to_renew = list(self._slots)
            self._look_after()
            self._renew_next()
            if not self._is_ready and not self._is_stopping and all(s.ready for s in self._slots):
                self._is_ready = True
                self._say_ready(port)
            if not self._is_stopping:
                for slot in self._slots:
                    if not slot.is_alive() and time.monotonic() >= slot.due:
                        self._start(slot, port)

    def _renew_next(self) -> None:
        """Ask the next process to end, if one is to be renewed and all serve."""
        if self._to_renew and not self._is_stopping and all(slot.ready for slot in self._slots):
            slot = self._to_renew.pop(0)
            assert slot.process is not None
            slot.is_leaving, slot.ready = True, {}
            slot.process.send_signal(signal.SIGTERM)

    def _seconds_to_next_start(self) -> float | None:
        dues = [slot.due for slot in self._slots if not slot.is_alive()]
        if self._is_stopping or not dues:
            return None
        return max(0.0, min(dues) - time.monotonic())

    def _start(self, slot: _Slot, port: int) -> None:
        settings = (f"process_number={slot.number}", f"port={port}", "reuse_port=true")
        added = [part for setting in settings for part in ("--set", setting)]
        slot.ready, slot.started = {}, time.monotonic()
        slot.process = subprocess.Popen(  # noqa: S603  our own command line
            [*self._command, *added],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal reaches only us; we pass it on once
        )
        log.info("supervisor.started_process", process=slot.number, pid=slot.process.pid)
        reader = threading.Thread(target=self._read, args=(slot, slot.process), daemon=True)
        reader.start()

    def _read(self, slot: _Slot, process: "subprocess.Popen[str]") -> None:
        """Wait for the ready line, hand everything else on, and tell when the process has ended."""
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                ready = _ready_line(line)
                if not ready:
                    with contextlib.suppress(OSError):
                        print(line, end="", flush=True)  # noqa: T201  what the process printed
                elif slot.process is process:  # it may have ended, and another begun, meanwhile
                    slot.ready = ready
                    self._events.ask()
        process.wait()
        self._events.ask()

    def _look_after(self) -> None:
        """Notice the processes that have ended."""
        for slot in self._slots:
            code = slot.process.poll() if slot.process is not None else None
            if slot.process is None or code is None:
                continue
            if slot.process.stdin is not None:
                slot.process.stdin.close()
            slot.process = None
            was_ready, slot.ready = bool(slot.ready), {}
            if self._is_stopping:
                # One that has not begun to listen to signals ends by them, with nothing to tidy up.
                is_in_order = not was_ready and code in (-signal.SIGTERM, -signal.SIGINT)
                self._exit_code = self._exit_code or (0 if is_in_order else _exit_code(code))
            elif slot.is_leaving:
                slot.is_leaving, slot.due = False, 0.0
                log.info("supervisor.renews_process", process=slot.number, exit_code=code)
            elif not self._is_ready and not was_ready:
                self._give_up(slot, code)
            else:
                self._plan_restart(slot, code)

    def _give_up(self, slot: _Slot, code: int) -> None:
        """One could not start, so most likely none can: end as it did."""
        log.error("supervisor.start_failed", process=slot.number, exit_code=code)
        self._is_stopping = True
        self._exit_code = _exit_code(code) or 1
        self._send(signal.SIGTERM)

    def _plan_restart(self, slot: _Slot, code: int) -> None:
        is_early = time.monotonic() - slot.started < STEADY_SECONDS
        slot.early_end_count = slot.early_end_count + 1 if is_early else 0
        pause = min(PAUSE_SECONDS * 2**slot.early_end_count, PAUSE_SECONDS_MAX)
        slot.due = time.monotonic() + pause
        self._pages.restarts.inc()
        log.error(
            "supervisor.process_ended",
            process=slot.number,
            exit_code=code,
            restart_in_seconds=round(pause, 3),
        )

    def _send(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.process is not None:
                slot.process.send_signal(number)

    def _metrics_ports(self) -> dict[int, int]:
        """The metrics port of each process that serves, by its number."""
        ready = {slot.number: slot.ready for slot in self._slots}
        return {n: line["metrics_port"] for n, line in ready.items() if "metrics_port" in line}

    def _say_ready(self, port: int) -> None:
        line: dict[str, object] = {"event": "ready", "service": self._name, "port": port}
        if self._pages.port:
            line["metrics_port"] = self._pages.port
        line["processes"] = len(self._slots)
        with contextlib.suppress(OSError):
            print(json.dumps(line), flush=True)  # noqa: T201  whoever started us waits for it


def end_with_supervisor(ask_to_stop: Callable[[], None]) -> None:
    """Ask a process of a supervisor to stop when the supervisor is gone."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(
                0, 1
            ):  # not sys.stdin: its lock, held at the end, would abort the process
                pass
        ask_to_stop()

    threading.Thread(target=wait, name="supervisor-watch", daemon=True).start()


@contextlib.contextmanager
def _reserved(config: ServiceConfig) -> Iterator[int]:
    """Hold the port, without listening on it, for as long as processes come and go on it."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if config.port and not config.reuse_port:
            with socket.socket(kind) as probe:  # nobody else may have it, not even on our terms
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        with socket.socket(kind) as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(address)
            yield int(held.getsockname()[1])
    except OSError as error:
        raise BindFailed(f"cannot listen on {config.host}:{config.port}: {error}") from error


def _ready_line(line: str) -> dict[str, Any]:
    """A process's ready line as values; {} for any other line."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("event") == "ready" else {}


def _exit_code(code: int) -> int:
    """As a shell would say it: 128 and the signal's number for one that was killed."""
    return code if code >= 0 else 128 - code


def supervise(name: str, config: ServiceConfig) -> int:
    """Run a service as several processes, each started as this one was; returns the exit code."""
    try:
        return Supervisor(name, config, sys.orig_argv).run()
    except ProcessFailed as error:
        log.error("server.start_failed", error=error.message, hint=error.hint)  # noqa: TRY400  ours: the message says it all
        return error.EXIT_CODE
