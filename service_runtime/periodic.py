"""Work that a server repeats beside its calls, on a thread of its own."""

import threading
from collections.abc import Callable

from service_runtime.telemetry import logger

log = logger("periodic")


class Periodic:
    """
    Repeats a piece of work until stopped; a failure is logged and the next turn comes all the same.

    Args:
        name: Of the work, for the thread and the log.
        work: What to do; also done once more when stopped, so that nothing waits for a next start.
        every_seconds: Pause between two turns; 0 = never, not even at the end.
    """

    def __init__(self, name: str, work: Callable[[], object], *, every_seconds: float) -> None:
        self._name = name
        self._work = work
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, with a pause."""
        if self._every_seconds > 0:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after one last turn."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stopped.wait(self._every_seconds):
            self._turn()
        self._turn()

    def _turn(self) -> None:
        try:
            self._work()
        except Exception:
            log.exception("periodic.failed", work=self._name)
