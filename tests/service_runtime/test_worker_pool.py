"""The threads that serve calls."""

import threading

from service_runtime.worker_pool import Pools, WorkerPool


def test_pool_tells_how_many_wait() -> None:
    """What a thread has taken up does not wait; what is behind it does."""
    may_end, began = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        may_end.wait(30)

    with WorkerPool(1) as pool:
        pool.submit(work)
        began.wait(30)
        waiting = [pool.submit(work) for _ in range(3)]
        count = pool.waiting_count()
        may_end.set()
        for future in waiting:
            future.result(30)

        assert count == 3
        assert pool.waiting_count() == 0


def test_pools_are_idle_once_their_work_is_done() -> None:
    """After shutting down, running work is waited for and waiting work is dropped."""
    may_end, began = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        may_end.wait(30)

    pools = Pools(1)
    running = pools.calls.submit(work)
    began.wait(30)
    waiting = pools.calls.submit(work)
    pools.shut_down()
    was_idle = pools.is_idle()
    may_end.set()
    running.result(30)
    while not pools.is_idle():
        threading.Event().wait(0.01)

    assert not was_idle
    assert waiting.cancelled()


def test_kinds_of_calls_have_threads_of_their_own() -> None:
    """While all workers are busy, probes and tools still find a thread."""
    may_end = threading.Event()
    pools = Pools(2)
    for _ in range(10):
        pools.calls.submit(may_end.wait, 30)

    others = [pool.submit(threading.get_ident) for pool in pools.all() if pool is not pools.calls]
    threads = {future.result(30) for future in others}
    may_end.set()
    pools.shut_down()

    assert len(threads) == 2
