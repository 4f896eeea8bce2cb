"""How much of the truth a search finds while it serves: one question in so many is asked exactly.

The exact search runs behind the answer, in a thread of its own, one at a time: what comes while it
is at work is not sampled. So the meter costs the callers nothing but a core's spare time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from queue import Full, Queue
from threading import Lock, Thread
from typing import Final

from service_runtime.telemetry import logger

REMEMBERED_COUNT: Final = 200
"""Samples whose mean is told."""

_log = logger("recall_meter")

Check = Callable[[], float]


class RecallMeter:
    """Samples questions and tells the mean recall of the last ones; safe from any thread."""

    def __init__(self, every: int, *, on_sample: Callable[[float], None] = lambda _: None) -> None:
        """Sample nothing yet.

        Args:
            every: One question in so many is sampled, the first one too; 0 = none.
            on_sample: Told each sampled recall, in [0, 1].
        """
        self._every = every
        self._on_sample = on_sample
        self._numbers = count()
        self._samples: deque[float] = deque(maxlen=REMEMBERED_COUNT)
        self._checks: Queue[Check] = Queue(maxsize=1)
        self._thread: Thread | None = None
        self._lock = Lock()

    def wants_next(self) -> bool:
        """Count one question, and say whether it is to be sampled."""
        return self._every > 0 and next(self._numbers) % self._every == 0

    def offer(self, check: Check) -> None:
        """Have a question asked exactly, unless another one is waiting already.

        Args:
            check: Asks it, and returns the share of the truth that was found, in [0, 1].
        """
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._work, name="recall-meter", daemon=True)
                self._thread.start()
        try:
            self._checks.put_nowait(check)
        except Full:
            return

    def recall(self) -> float | None:
        """Return the mean of the last samples, in [0, 1]; None before the first."""
        samples = list(self._samples)
        return sum(samples) / len(samples) if samples else None

    def _work(self) -> None:
        while True:
            check = self._checks.get()
            try:
                recall = check()
            except Exception:  # noqa: BLE001  a sample that fails must not end the sampling
                _log.exception("recall.sample_failed")
            else:
                self._samples.append(recall)
                self._on_sample(recall)
            del check
