"""
Many writers, one transaction: the cost of making data durable is paid once for all who wait.

One thread takes whatever has queued up, runs it in one transaction, commits, and only then lets the
callers go. While it waits for the disk the next batch gathers.

Callers who were just let go often come back at once. A commit begun before they do makes two groups
that take turns, each half as large as it could be; so the thread waits for as many as there were,
but never longer than half the time that the last commit took, and not at all for a lone writer.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Lock, Thread
from time import monotonic
from typing import Any, Generic, TypeVar

from service_runtime.errors import Unavailable

T = TypeVar("T")

Change = Callable[[Any], T]
"""Applied to an open write transaction; may run twice, so it must depend on nothing else."""


class _Waiting(Generic[T]):
    """A caller who waits for a change to be durable."""

    __slots__ = ("change", "done", "fault", "result")

    def __init__(self, change: Change[T]) -> None:
        self.change = change
        self.done = Lock()
        self.done.acquire()
        self.fault: BaseException | None = None
        self.result: T | None = None


class GroupCommit:
    """
    Runs changes in the transactions of one thread.

    Args:
        run: Opens a transaction, hands it to its argument, commits and makes it durable; rolls all
            of it back if anything raises, also if the commit does.
    """

    def __init__(self, run: Callable[[Callable[[Any], None]], None]) -> None:
        self._run_transaction = run
        self._queue: list[_Waiting[Any]] = []
        self._wake = Condition(Lock())
        self._awaited = 1
        self._is_closed = False
        self.commit_count = 0
        self._thread = Thread(target=self._work, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, change: Change[T]) -> T:
        """
        Apply a change and return its result once it is durable.

        Raises:
            Unavailable: If the store was closed.
            Exception: What the change or the commit raised; then nothing of the change was kept.
        """
        waiting = _Waiting(change)
        with self._wake:
            if self._is_closed:
                raise Unavailable("what writes here is closed")
            self._queue.append(waiting)
            if len(self._queue) >= self._awaited:
                self._wake.notify()
        waiting.done.acquire()
        if waiting.fault is not None:
            raise waiting.fault
        return waiting.result  # type: ignore[return-value]  # set by the writer before it lets go

    def close(self) -> None:
        """Finish what is queued and end the thread; later submits are refused."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._thread.join()

    def _work(self) -> None:
        batch: list[_Waiting[Any]] = []
        seconds = 0.0
        while True:
            with self._wake:
                self._gather(len(batch) + len(self._queue), seconds / 2)
                batch, self._queue = self._queue, []
            if not batch:
                return
            start = monotonic()
            self._commit(batch)
            seconds = monotonic() - start
            for waiting in batch:
                waiting.done.release()

    def _gather(self, expected: int, seconds: float) -> None:
        """Wait for *expected* callers, but after so many seconds for one at least."""
        if expected > 1:
            self._awaited = expected
            self._wake.wait_for(lambda: len(self._queue) >= expected or self._is_closed, seconds)
            self._awaited = 1
        self._wake.wait_for(lambda: bool(self._queue) or self._is_closed)

    def _commit(self, batch: list[_Waiting[Any]]) -> None:
        """Commit a batch; if that fails, each of it alone, so that one bad change spoils none."""

        def apply(transaction: Any) -> None:
            for waiting in batch:
                waiting.result = waiting.change(transaction)

        try:
            self._run_transaction(apply)
            self.commit_count += 1
        except BaseException as fault:  # noqa: BLE001  it belongs to the waiting callers, not to this thread
            if len(batch) == 1:
                batch[0].fault = fault
                return
            for waiting in batch:
                self._commit([waiting])
