"""The threads that serve calls, and the short queue in front of them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any


class WorkerPool(ThreadPoolExecutor):
    """A thread pool that can say how many calls wait in it."""

    def waiting_count(self) -> int:
        """Calls that no thread has taken up yet, >= 0; exact only at the moment of asking."""
        return self._work_queue.qsize()


class Pools:
    """
    The pools of one server, apart so that one kind of call cannot starve another.

    Args:
        worker_count: Threads for the service's own calls, >= 1.
    """

    def __init__(self, worker_count: int) -> None:
        self.calls = WorkerPool(worker_count, "call")
        # Probes must be answered while all workers are busy, or an orchestrator kills a server for
        # being popular.
        self.health = WorkerPool(1, "health")
        # Reflection streams hold their thread as long as the client likes.
        self.admin = WorkerPool(2, "admin")

    def all(self) -> tuple[WorkerPool, ...]:
        """Every pool."""
        return (self.calls, self.health, self.admin)

    def shut_down(self) -> None:
        """Take no more work; returns at once."""
        for pool in self.all():
            pool.shutdown(wait=False, cancel_futures=True)

    def is_idle(self) -> bool:
        """True when no thread is left; only after shut_down."""
        threads: list[Any] = [thread for pool in self.all() for thread in pool._threads]  # noqa: SLF001  the standard library offers no bounded wait
        return not any(thread.is_alive() for thread in threads)
