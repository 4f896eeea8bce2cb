"""The threads that ask sources: a pool whose hanging threads do not keep the process alive.

`ThreadPoolExecutor` waits for its threads when the interpreter ends; a source that hangs on a dead
disk would then outlive every signal but the last. These are daemon threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

_Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class SourceThreads:
    """A fixed number of daemon threads that take tasks in their order."""

    def __init__(self, count: int) -> None:
        """Start *count* threads, >= 1."""
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._count = count
        for number in range(count):
            Thread(target=self._work, name=f"source-{number}", daemon=True).start()

    def submit(self, task: Callable[..., T], *arguments: Any) -> Future[T]:
        """Hand a task to the next free thread; a cancelled one is never begun."""
        future: Future[T] = Future()
        self._tasks.put((future, task, arguments))
        return future

    def close(self) -> None:
        """Let each thread end after what is in the queue; returns at once."""
        for _ in range(self._count):
            self._tasks.put(None)

    def _work(self) -> None:
        while (item := self._tasks.get()) is not None:
            future, task, arguments = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(task(*arguments))
            except BaseException as fault:  # noqa: BLE001  told to whoever waits
                future.set_exception(fault)
            del item, future, task, arguments  # an idle thread holds on to nothing
