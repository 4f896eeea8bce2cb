"""The three services as child processes on this machine.

```python
with Stack(data_root=Path("corkboard-data")) as stack, stack.client() as client:
    print(client.recommend("u1"))
```

Children live in sessions of their own, so that a Ctrl-C in the terminal reaches only us and we end
them in order: ranking_service first, since it calls the others.
"""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from corkboard.client import Client
from corkboard.health import SERVING, check_health
from service_runtime.errors import ProcessFailed
from service_runtime.tls import TlsFiles

SERVICES = ("profile_service", "candidate_service", "ranking_service")
DEFAULT_PORTS = {"profile_service": 50051, "candidate_service": 50052, "ranking_service": 50053}
HOST = "127.0.0.1"
READY_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 20.0
LINES_KEPT = 200
LINES_IN_ERROR = 12
ATTEMPTS = 3

OnLine = Callable[[str, str], None]
"""Told every line that a service writes: its name and the line without its end."""


class StackFailed(ProcessFailed):
    """A service did not come up; the message ends with the last lines that it wrote."""


@dataclass(slots=True)
class Child:
    """One service's process and what it said.

    Attributes:
        service: Its name.
        port: Where it listens; known once it is ready.
        process: Of the operating system.
        lines: The last lines of its stdout and stderr.
        ready: Set by the ready line, or when the output ends.
        readers: The threads that read its output.
    """

    service: str
    port: int
    process: subprocess.Popen[str]
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    ready: threading.Event = field(default_factory=threading.Event)
    is_ready: bool = False
    readers: list[threading.Thread] = field(default_factory=list)

    @property
    def target(self) -> str:
        """host:port."""
        return f"{HOST}:{self.port}"


class Stack:
    """Starts, watches and stops the three services on one data root.

    Args:
        data_root: Folder of logs, catalogue, live state and generations.
        ports: Port of each service; one that is missing or 0 gets any free port.
        settings: Further settings of a service as `field=value`, by service name.
        fixed_time: Unix seconds at which the services' clocks stand still; 0 = as their settings
            say, which is that they run.
        services: Which of the three to start, in their order.
        tls: How to ask them, where their settings say that they speak TLS; None = plain.
        on_line: Told every line that a service writes, from a thread of its own.
    """

    def __init__(
        self,
        *,
        data_root: Path,
        ports: Mapping[str, int] | None = None,
        settings: Mapping[str, Sequence[str]] | None = None,
        fixed_time: float = 0.0,
        services: Sequence[str] = SERVICES,
        tls: TlsFiles | None = None,
        on_line: OnLine | None = None,
    ) -> None:
        self.data_root = data_root
        self.children: dict[str, Child] = {}
        self._asked_ports = dict(ports or {})
        self._settings = {name: tuple(values) for name, values in (settings or {}).items()}
        self._fixed_time = fixed_time
        self._tls = tls
        self._on_line = on_line
        self._services = tuple(service for service in SERVICES if service in services)
        self._ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def targets(self) -> dict[str, str]:
        """host:port by service name."""
        return {name: f"{HOST}:{port}" for name, port in self._ports.items()}

    def client(self, *, deadline_s: float = 10.0) -> Client:
        """A new client of this stack; the caller closes it."""
        return Client(
            profile=self.targets["profile_service"],
            candidate=self.targets["candidate_service"],
            ranking=self.targets["ranking_service"],
            deadline_s=deadline_s,
            tls=self._tls,
        )

    def start(self, *, timeout_s: float = READY_SECONDS_MAX) -> None:
        """Start them side by side and return when each is SERVING.

        Raises:
            StackFailed: One exited, or was not ready in time; the others have been stopped.
        """
        for attempt in range(ATTEMPTS):
            self._ports = self._choose_ports()
            try:
                for service in self._services:
                    self._spawn(service)
                for service in self._services:
                    self._wait_ready(service, timeout_s)
            except StackFailed as error:
                self.stop()
                # A free port may be taken by another process before its service binds it.
                if "listen" in str(error) and attempt + 1 < ATTEMPTS and not self._asked_ports:
                    continue
                raise
            except BaseException:
                self.stop()
                raise
            return

    def start_service(self, service: str, *, timeout_s: float = READY_SECONDS_MAX) -> None:
        """Start one service again, on the port that it had.

        Raises:
            StackFailed: It exited, or was not ready in time.
        """
        self._spawn(service)
        self._wait_ready(service, timeout_s)

    def stop_service(self, service: str, *, number: int = signal.SIGTERM) -> int:
        """Send a signal to one service and return its exit code (negative: killed by a signal)."""
        child = self.children.pop(service)
        _signal(child, number)
        return _reap(child)

    def stop(self) -> dict[str, int]:
        """Let every service drain and end, ranking first; kill what does not end in time.

        Returns:
            The exit code of each; empty if nothing was running.
        """
        children = [self.children[name] for name in reversed(SERVICES) if name in self.children]
        self.children = {}
        for child in children:
            _signal(child, signal.SIGTERM)
        return {child.service: _reap(child) for child in children}

    def dead(self) -> dict[str, int]:
        """The services that have ended by themselves, each with its exit code."""
        codes = {name: child.process.poll() for name, child in self.children.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def last_lines(self, service: str) -> list[str]:
        """What a service wrote last; [] if it never ran."""
        child = self.children.get(service)
        return list(child.lines) if child else []

    def _choose_ports(self) -> dict[str, int]:
        """The ports asked for, and free ones where none was."""
        with contextlib.ExitStack() as held:
            chosen = {}
            for service in SERVICES:
                port = self._asked_ports.get(service, 0)
                if not port:
                    free = held.enter_context(socket.socket())
                    free.bind((HOST, 0))
                    port = int(free.getsockname()[1])
                chosen[service] = port
            return chosen

    def _spawn(self, service: str) -> None:
        settings = [
            f"data_root={self.data_root}",
            f"host={HOST}",
            f"port={self._ports[service]}",
        ]
        if self._fixed_time:
            settings.append(f"fixed_time={self._fixed_time!r}")
        if not self._asked_ports.get(service):
            settings.append("metrics_port=0")  # several such stacks may run side by side
        if service == "ranking_service":
            settings.append(f"profile_target={self.targets['profile_service']}")
            settings.append(f"candidate_target={self.targets['candidate_service']}")
        settings.extend(self._settings.get(service, ()))
        command = [sys.executable, "-m", service]
        for setting in settings:
            command += ["--set", setting]
        process = subprocess.Popen(  # noqa: S603  our own interpreter and modules
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        child = Child(service, self._ports[service], process)
        self.children[service] = child
        for stream in (process.stdout, process.stderr):
            reader = threading.Thread(target=self._read, args=(child, stream), daemon=True)
            reader.start()
            child.readers.append(reader)

    def _read(self, child: Child, stream: object) -> None:
        """Hand on every line of one stream until it ends."""
        with stream:  # type: ignore[attr-defined]
            for line in stream:  # type: ignore[attr-defined]
                text = line.rstrip("\n")
                child.lines.append(text)
                if is_ready_line(text):
                    child.is_ready = True
                    child.ready.set()
                if self._on_line is not None:
                    with contextlib.suppress(OSError, ValueError):  # its file may be closed
                        self._on_line(child.service, text)
        child.ready.set()

    def _wait_ready(self, service: str, timeout_s: float) -> None:
        child = self.children[service]
        end = time.monotonic() + timeout_s
        child.ready.wait(timeout_s)
        while child.is_ready and child.process.poll() is None and time.monotonic() < end:
            if check_health(child.target, tls=self._tls) == SERVING:
                return
        raise StackFailed(_failure(child, timeout_s))


def is_ready_line(line: str) -> bool:
    """Whether a line is the one that a service prints when it serves."""
    if not line.startswith("{") or '"ready"' not in line:
        return False
    try:
        return bool(json.loads(line).get("event") == "ready")
    except ValueError:
        return False


def _failure(child: Child, timeout_s: float) -> str:
    """Why a service is not up, with what it wrote last."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(timeout=2)
    code = child.process.poll()
    happened = f"was not ready within {timeout_s:g} s" if code is None else f"exited with {code}"
    for reader in child.readers:
        reader.join(timeout=1)
    said = "\n".join(f"  {line}" for line in list(child.lines)[-LINES_IN_ERROR:])
    return f"{child.service} {happened}" + (f"; it said last:\n{said}" if said else "")


def _signal(child: Child, number: int) -> None:
    if child.process.poll() is None:
        child.process.send_signal(number)


def _reap(child: Child) -> int:
    """Wait for a process that was told to end, kill it if it does not, and close its streams."""
    try:
        code = child.process.wait(timeout=STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        child.process.kill()
        code = child.process.wait()
    for reader in child.readers:
        reader.join(timeout=2)
    return code
