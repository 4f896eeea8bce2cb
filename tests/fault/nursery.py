"""Processes that can be killed by the hundred: forked from one that has imported everything.

Each runs the very `__main__` of its module, with settings by command line, as a process of its own.
"""

import json
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import grpc

from corkboard.pipeline import STEPS, Order, job_arguments
from corkboard.stack import SERVICES
from service_runtime.grpc_client import open_channel

START_SECONDS_MAX: Final = 120.0

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [*(f"{service}.server" for service in SERVICES), *(step.module for step in STEPS)]
)


@dataclass(slots=True)
class Nursling:
    """A process and the end of a pipe that is its stdout."""

    process: BaseProcess
    _said: Connection
    _complaints: Path

    def line(self, timeout_s: float = START_SECONDS_MAX) -> str:
        """Its next line on stdout; fails with its stderr if it ended without one."""
        assert self._said.poll(timeout_s), "nothing was said in time"
        found = b""
        while not found.endswith(b"\n"):
            byte = os.read(self._said.fileno(), 1)
            assert byte, f"it ended without a word:\n{self._complaints.read_text()}"
            found += byte
        return found.decode()

    def kill(self) -> None:
        """Kill it (signal 9) and wait until it is gone."""
        self.process.kill()
        self.wait()

    def kill_and_read(self) -> list[str]:
        """Kill it; returns the whole lines that it had written and nobody had read."""
        self.process.kill()
        self.process.join()
        with os.fdopen(os.dup(self._said.fileno())) as rest:
            lines = rest.read().split("\n")[:-1]
        self.wait()
        return lines

    def wait(self) -> int | None:
        """Wait until it ends by itself; returns its exit code."""
        self.process.join()
        code = self.process.exitcode
        self._said.close()
        self.process.close()
        self._complaints.unlink()
        return code


def start_module(module: str, arguments: Sequence[str]) -> Nursling:
    """Run a module as `python -m` does."""
    reader, writer = _CONTEXT.Pipe(duplex=False)
    descriptor, complaints = tempfile.mkstemp(prefix="corkboard-nursery-")
    os.close(descriptor)
    process = _CONTEXT.Process(
        target=_become, args=(module, list(arguments), writer, complaints), daemon=True
    )
    process.start()
    writer.close()
    return Nursling(process, reader, Path(complaints))


def start_job(module: str, data_root: Path, *, as_of: float) -> Nursling:
    """Begin a batch job."""
    return start_module(module, [*job_arguments(Order(data_root, as_of)), "--quiet"])


def start_service(service: str, data_root: Path, **settings: Any) -> tuple[Nursling, grpc.Channel]:
    """Start a service and wait until it serves; returns it and a channel that tries calls once."""
    known = {"data_root": data_root, "port": 0, "metrics_port": 0, "log_level": "error", **settings}
    nursling = start_module(
        service, [part for name in known for part in ("--set", f"{name}={known[name]}")]
    )
    port = json.loads(nursling.line())["port"]
    return nursling, open_channel(f"127.0.0.1:{port}", attempts_max=1)


def _become(module: str, arguments: list[str], said: Connection, complaints: str) -> None:
    """Turn the forked process into the module's main."""
    os.dup2(said.fileno(), sys.stdout.fileno())
    said.close()
    os.dup2(os.open(complaints, os.O_WRONLY | os.O_APPEND), sys.stderr.fileno())
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
