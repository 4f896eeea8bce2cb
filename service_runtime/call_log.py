"""
One log line a call, written in batches by a thread of its own.

Building a line between the work of calls costs several times what it costs in a row, as its code
has left the processor's caches by then. So a call only leaves a note, and lines are made together,
50 times a second while there are calls. What that gives up: the notes of the last 20 ms when the
process is killed, and notes beyond 10,000 when the lines cannot be written fast enough.
"""

import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import NamedTuple

from service_runtime.telemetry import logger

BATCH_SECONDS = 0.02
NOTE_COUNT_MAX = 10_000

_OWN_FAULTS = frozenset(
    {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"}
)
"""Statuses that someone on our side should look at; the rest are the caller's business."""


class CallNote(NamedTuple):
    """What the line of one call says."""

    ended: float
    """Unix seconds."""
    method: str
    code: str
    seconds: float
    queue_seconds: float
    peer: str
    request_id: str
    error: str


class CallLog:
    """Takes notes of calls and writes a line for each, soon."""

    def __init__(self) -> None:
        self._notes: deque[CallNote] = deque(maxlen=NOTE_COUNT_MAX)
        self._is_closed = False
        self._wake = threading.Event()
        self._log = logger("call").bind()
        self._thread = threading.Thread(target=self._run, name="call-log", daemon=True)
        self._thread.start()

    def add(self, note: CallNote) -> None:
        """Have a line written; returns at once, never fails."""
        self._notes.append(note)
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._is_closed = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.wait()
            if not self._is_closed:
                time.sleep(BATCH_SECONDS)
            self._wake.clear()  # before looking: a note that comes now wakes us again
            self._write_notes()
        self._write_notes()

    def _write_notes(self) -> None:
        while self._notes:
            note = self._notes.popleft()
            line: dict[str, object] = {
                "time": datetime.fromtimestamp(note.ended, UTC),
                "method": note.method,
                "code": note.code,
                "seconds": round(note.seconds, 6),
                "queue_seconds": round(note.queue_seconds, 6),
                "peer": note.peer,
                "request_id": note.request_id,
            }
            if note.error:
                line["error"] = note.error
            write = self._log.warning if note.code in _OWN_FAULTS else self._log.info
            write("call.finished", **line)
