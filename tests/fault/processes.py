"""Real service processes that are to be hurt."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from service_runtime.grpc_client import open_channel


@dataclass(slots=True)
class Victim:
    """A process that serves.

    Attributes:
        process: Of the operating system.
        port: Where it listens.
        log: The file that gets its log lines.
    """

    process: subprocess.Popen[str]
    port: int
    log: Path

    def channel(self) -> grpc.Channel:
        """A channel to it that tries each call once."""
        return open_channel(f"127.0.0.1:{self.port}", attempts_max=1)

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def said(self) -> str:
        """All its log lines so far."""
        return self.log.read_text(encoding="utf-8")


def start(
    service: str,
    data_root: Path,
    *,
    environment: Mapping[str, str] | None = None,
    log_folder: Path | None = None,
    **settings: Any,
) -> Victim:
    """
    Start a service as a process of its own and wait until it serves.

    Args:
        service: Its package.
        data_root: Of its files.
        environment: None = ours.
        log_folder: Where its log lines go; None = beside the data root.
        settings: By field of its configuration.

    Raises:
        AssertionError: It ended instead; the message has what it said.
    """
    known = {
        "data_root": data_root,
        "port": 0,
        "metrics_port": 0,
        "drain_wait_seconds": 0,
        "generation_poll_seconds": 0.1,
        **settings,
    }
    arguments = [part for name in known for part in ("--set", f"{name}={known[name]}")]
    log = (log_folder or data_root.parent) / f"{service}.log"
    with log.open("a", encoding="utf-8") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", service, *arguments],
            stdout=subprocess.PIPE,
            stderr=lines,
            text=True,
            env=dict(environment) if environment is not None else None,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"{service} did not start:\n{log.read_text(encoding='utf-8')}"
    return Victim(process, int(json.loads(line)["port"]), log)
