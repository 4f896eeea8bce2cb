"""
The audit log on disk: a JSON line for what takes something back, or changes data, models or rules.

    <data root>/audit/<who wrote it>-<host>.jsonl

Each process appends to a file of its own name, one write a line, synced; nothing is ever changed or
removed. A line that cannot be kept is told in the log and stops nobody: an erasure must not fail
because its trace does.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

FOLDER: Final = "audit"
"""Of the data root."""


class AuditTrail:
    """
    Appends to one file.

    Args:
        data_root: Folder of everything.
        writer: Name of the service, job or command.
    """

    def __init__(self, data_root: Path, writer: str) -> None:
        self._writer = writer
        self._path = data_root / FOLDER / f"{writer}-{socket.gethostname()}.jsonl"

    def add(self, action: str, facts: Mapping[str, object]) -> None:
        """
        Keep a line, durably.

        Args:
            action: What was done.
            facts: Who, to what, with which result; plain values.

        Raises:
            OSError: It cannot be written.
        """
        line = {
            "time": datetime.now(UTC).isoformat(),
            "by": self._writer,
            "action": action,
            **facts,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(
            self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640
        )
        try:
            os.write(descriptor, json.dumps(line, default=str).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_trail(data_root: Path) -> Iterator[dict[str, Any]]:
    """
    Every line of every writer, oldest first; one that was torn by a crash is left out.

    Args:
        data_root: Folder of everything.
    """
    lines: list[dict[str, Any]] = []
    for path in (data_root / FOLDER).glob("*.jsonl"):
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                lines.append(line)
    yield from sorted(lines, key=lambda line: str(line.get("time", "")))
