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

A process that stands still without ending keeps its share of the connections. So each must become
ready in `start_seconds_max`, end in its drain and a little, and answer in between: a byte on its
stdin asks, a line on its stdout answers. One that does not is killed and started anew.

What the processes share is on disk; see `processes` in the README of each service.
"""

import contextlib
import json
import math
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
ASKS_MAX = 3
"""Questions without an answer, one each quarter of `silent_seconds_max`; at the next it is killed.

Counted, not timed: after a machine that stood still as a whole the first answer comes first."""
CLOSE_SECONDS_MAX = 20.0
"""How long a process may take to close its stores after its drain; with the default drain it is
killed before Kubernetes kills the pod (`terminationGracePeriodSeconds`)."""
ASK = b"?"
ANSWER = {"event": "alive"}

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
    end_asked: float | None = None
    """When it was asked to end, monotonic seconds."""
    is_killed: bool = False
    unanswered_count: int = 0

    def is_alive(self) -> bool:
        return self.process is not None

    def ask_to_end(self, number: signal.Signals) -> None:
        """Send a signal; a process that is there has its drain from now on."""
        if self.process is not None:
            self.end_asked = self.end_asked or time.monotonic()
            self.process.send_signal(number)

    def due_by(self, config: ServiceConfig) -> tuple[float, str]:
        """By when it must have done what it is about, monotonic seconds, and what that is."""
        if self.process is None or self.is_killed:
            return math.inf, ""
        if self.end_asked is not None:
            drain = config.drain_wait_seconds + config.drain_seconds + CLOSE_SECONDS_MAX
            return self.end_asked + drain, "it did not end"
        if not self.ready:
            return self.started + config.start_seconds_max, "it did not become ready"
        return math.inf, ""


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
        self._next_ask = 0.0 if config.silent_seconds_max else math.inf
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
            event = self._events.wait(self._seconds_to_next_look())
            if event in ("SIGTERM", "SIGINT"):
                self._is_stopping = True
                self._send(signal.Signals[event])
            if event == "SIGHUP":
                log.info("supervisor.renewal_asked")
                self._to_renew = list(self._slots)
            self._look_after()
            self._end_the_stuck()
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
            slot.is_leaving, slot.ready = True, {}
            slot.ask_to_end(signal.SIGTERM)

    def _end_the_stuck(self) -> None:
        """Kill what has not become ready or ended in time, or answers no more."""
        now = time.monotonic()
        for slot in self._slots:
            due, fault = slot.due_by(self._config)
            if now >= due:
                self._kill(slot, fault)
        if now >= self._next_ask:
            self._next_ask = now + self._config.silent_seconds_max / (ASKS_MAX + 1)
            for slot in self._slots:
                self._ask(slot)

    def _ask(self, slot: _Slot) -> None:
        """Have a process that serves say that it lives; kill it if it did not, several times."""
        if slot.process is None or slot.process.stdin is None or not slot.ready:
            return
        if slot.unanswered_count >= ASKS_MAX:
            self._kill(slot, "it answers no more")
            return
        slot.unanswered_count += 1
        with contextlib.suppress(OSError):  # it is just ending
            os.write(slot.process.stdin.fileno(), ASK)

    def _kill(self, slot: _Slot, fault: str) -> None:
        assert slot.process is not None
        log.error(
            "supervisor.process_stuck", process=slot.number, pid=slot.process.pid, reason=fault
        )
        slot.is_killed, slot.ready = True, {}
        slot.process.kill()  # it does not hear anything else

    def _seconds_to_next_look(self) -> float | None:
        times = [slot.due_by(self._config)[0] for slot in self._slots]
        if not self._is_stopping:
            times += [slot.due for slot in self._slots if not slot.is_alive()]
            times += [self._next_ask] if any(slot.ready for slot in self._slots) else []
        soonest = min(times)
        return None if soonest == math.inf else max(0.0, soonest - time.monotonic())

    def _start(self, slot: _Slot, port: int) -> None:
        settings = (f"process_number={slot.number}", f"port={port}", "reuse_port=true")
        added = [part for setting in settings for part in ("--set", setting)]
        slot.ready, slot.started = {}, time.monotonic()
        slot.end_asked, slot.is_killed, slot.unanswered_count = None, False, 0
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
                told = _told(line)
                if not told:
                    with contextlib.suppress(OSError):
                        print(line, end="", flush=True)  # noqa: T201  what the process printed
                elif slot.process is not process:  # it has ended, and another begun, meanwhile
                    continue
                elif told == ANSWER:
                    slot.unanswered_count = 0
                elif not slot.is_killed and slot.end_asked is None:
                    slot.ready = told
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
            elif not self._is_ready and not was_ready and not slot.is_killed:
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
            slot.ask_to_end(number)

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
    """Answer a supervisor that asks whether we live, and ask to stop when it is gone."""

    def wait() -> None:
        answer = f"{json.dumps(ANSWER)}\n".encode()
        with contextlib.suppress(OSError):
            # Not sys.stdin and sys.stdout: a lock of theirs, held at the end, would abort us.
            while os.read(0, 1):
                os.write(1, answer)
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


def _told(line: str) -> dict[str, Any]:
    """A process's ready line, or its answer that it lives, as values; {} for any other line."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    is_ours = isinstance(found, dict) and (found == ANSWER or found.get("event") == "ready")
    return found if is_ours else {}


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
