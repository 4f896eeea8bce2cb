"""
One log line a call, written in batches by a thread of its own; at high rates one for many.

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

from service_runtime.telemetry import hashed, logger

BATCH_SECONDS = 0.02
NOTE_COUNT_MAX = 10_000
THINNED_COUNT = 100
"""Of calls beyond the limit of lines, one in so many has a line. Guess."""

OWN_FAULTS = frozenset(
    {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"}
)
"""Statuses that someone on our side should look at; the rest are the caller's business."""


class CallNote(NamedTuple):
    """What the line of one call says; empty texts are left out."""

    ended: float
    """Unix seconds."""
    method: str
    code: str
    seconds: float
    queue_seconds: float
    peer: str
    request_id: str
    error: str
    trace_id: str = ""
    subject: str = ""
    """Whom the call is about; the line has a hash of it."""


class Sampling:
    """
    Which of many alike are kept: in each second the first few, then every hundredth.

    Args:
        count_max: How many of a kind are kept in a second before it thins them out, >= 1.
    """

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._second = 0
        self._counts: dict[tuple[str, str], int] = {}

    def weight(self, kind: tuple[str, str], now: float) -> int:
        """How many this one stands for, itself included; 0 = leave it out. *now*: Unix seconds."""
        if int(now) != self._second:
            self._second = int(now)
            self._counts.clear()
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if count <= self._count_max:
            return 1
        return THINNED_COUNT if (count - self._count_max) % THINNED_COUNT == 0 else 0


class CallLog:
    """
    Takes notes of calls and writes a line for each, soon; of very many alike for some.

    Args:
        lines_per_second_max: Of one method and status; beyond it, every hundredth call has a line,
            which says so (`stands_for`).
        subject_field: Field of requests that names whom they are about, `person_id`; its hash goes
            under `person`. Empty = none.
    """

    def __init__(self, *, lines_per_second_max: int = 200, subject_field: str = "") -> None:
        self._sampling = Sampling(lines_per_second_max)
        self._subject_key = subject_field.removesuffix("_id")
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
            weight = self._sampling.weight((note.method, note.code), note.ended)
            if not weight:
                continue
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
            if note.trace_id:
                line["trace_id"] = note.trace_id
            if note.subject:
                line[self._subject_key] = hashed(note.subject)
            if weight > 1:
                line["stands_for"] = weight
            write = self._log.warning if note.code in OWN_FAULTS else self._log.info
            write("call.finished", **line)
