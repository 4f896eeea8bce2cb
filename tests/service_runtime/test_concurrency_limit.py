"""The limit on calls inside, tried on simulated servers whose true capacity is known."""

import heapq
import random
from collections import deque
from typing import NamedTuple

import pytest

from service_runtime.concurrency_limit import ConcurrencyLimit


class Run(NamedTuple):
    """How a simulated server did after it had settled."""

    served_per_second: float
    wait_p90_s: float
    refused_share: float
    limit: int


def simulate(
    limit_of: dict[str, float],
    *,
    worker_count: int,
    run_s: float,
    load: float,
    seconds: float = 20.0,
    budget_s: float = 10.0,
) -> Run:
    """
    Serve Poisson arrivals with exponential run times, first come first served.

    Args:
        limit_of: `queue_count_max` and `wait_seconds_max` of the limit.
        worker_count: Of the server.
        run_s: Mean time that a worker has a call.
        load: Arrivals as a share of what the workers can do.
        seconds: Simulated time; the second half is measured.
        budget_s: What callers give.
    """
    now = 0.0
    dice = random.Random(42)
    limit = ConcurrencyLimit(
        worker_count,
        int(limit_of["queue_count_max"]),
        limit_of["wait_seconds_max"],
        clock=lambda: now,
    )
    rate = load * worker_count / run_s
    waiting: deque[float] = deque()
    running: list[tuple[float, float, float]] = []  # end, arrival, start
    waits: list[float] = []
    refused = served = arrived = 0
    next_arrival = dice.expovariate(rate)
    while now < seconds:
        is_end = running and running[0][0] <= next_arrival
        now = running[0][0] if is_end else next_arrival
        is_measured = now > seconds / 2
        if is_end:
            _, arrival, start = heapq.heappop(running)
            limit.note(start - arrival, now - start, budget_s)
            served += is_measured
        else:
            arrived += is_measured
            if limit.admits(len(waiting) + len(running)):
                waiting.append(now)
            else:
                refused += is_measured
            next_arrival += dice.expovariate(rate)
        while waiting and len(running) < worker_count:
            arrival = waiting.popleft()
            if is_measured:
                waits.append(now - arrival)
            heapq.heappush(running, (now + dice.expovariate(1 / run_s), arrival, now))
    waits.sort()
    return Run(
        served / (seconds / 2), waits[len(waits) * 9 // 10], refused / max(1, arrived), limit.count
    )


@pytest.mark.parametrize(
    ("worker_count", "run_s", "load"),
    [
        (2, 0.01, 1.5),
        (2, 0.01, 3.0),
        (2, 0.01, 10.0),
        (4, 0.002, 3.0),
        (2, 0.04, 3.0),
        (16, 0.02, 3.0),
    ],
)
def test_overload_keeps_workers_busy_and_waits_short(
    worker_count: int, run_s: float, load: float
) -> None:
    """Whatever calls cost, what is let in fills the workers and waits about as long as it may."""
    limits = {"queue_count_max": 10_000, "wait_seconds_max": 0.1}
    seconds = 8000 * run_s / worker_count  # some 4,000 calls are measured
    run = simulate(limits, worker_count=worker_count, run_s=run_s, load=load, seconds=seconds)

    assert run.served_per_second > 0.93 * worker_count / run_s
    assert run.wait_p90_s < 2 * max(0.1, run_s)


def test_fixed_bound_alone_lets_calls_wait_for_seconds() -> None:
    """What the limit is there for: with a goal that is never missed, only the bound is left."""
    limits = {"queue_count_max": 500, "wait_seconds_max": 60.0}
    run = simulate(limits, worker_count=2, run_s=0.01, load=3.0)

    assert run.wait_p90_s > 1.0


def test_load_below_capacity_is_not_refused() -> None:
    """At nine tenths of what the workers can do nearly every call gets in."""
    limits = {"queue_count_max": 128, "wait_seconds_max": 0.2}
    run = simulate(limits, worker_count=2, run_s=0.005, load=0.9)

    assert run.refused_share < 0.01


def test_impatient_callers_shorten_the_queue() -> None:
    """Where callers give little time, waiting gets a quarter of it at most."""
    limits = {"queue_count_max": 10_000, "wait_seconds_max": 0.5}
    patient = simulate(limits, worker_count=2, run_s=0.005, load=3.0, budget_s=10.0)
    hasty = simulate(limits, worker_count=2, run_s=0.005, load=3.0, budget_s=0.2)

    assert hasty.wait_p90_s < 0.1 < patient.wait_p90_s
    assert hasty.served_per_second > 0.95 * patient.served_per_second


def test_bounds_are_kept() -> None:
    """Never fewer than twice the workers, never more than workers and queue."""
    slow = {"queue_count_max": 128, "wait_seconds_max": 0.001}
    quick = {"queue_count_max": 20, "wait_seconds_max": 60.0}

    assert simulate(slow, worker_count=3, run_s=0.05, load=5.0).limit == 6
    assert simulate(quick, worker_count=3, run_s=0.001, load=5.0, seconds=4.0).limit == 23


def test_no_queue_means_no_queue() -> None:
    """With queue_count_max 0 only as many come in as run."""
    limit = ConcurrencyLimit(4, 0, 0.1)

    assert [limit.admits(count) for count in (3, 4)] == [True, False]


def test_single_slow_call_changes_nothing() -> None:
    """One call is no evidence, however long it waited."""
    now = 0.0
    limit = ConcurrencyLimit(2, 100, 0.1, clock=lambda: now)
    before = limit.count
    now = 60.0
    limit.note(20.0, 20.0, 60.0)

    assert limit.count == before
