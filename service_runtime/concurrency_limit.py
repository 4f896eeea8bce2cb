"""
How many calls may be inside a server at once: adapts, so that those let in do not wait for long.

Beyond some load every further call only makes all others wait. A fixed bound cannot know where that
point is: 100 waiting calls are nothing where one takes a tenth of a millisecond, and two seconds
where it takes 40. So the limit follows what it is there for, the wait for a worker:

    wait > goal                      limit *= (goal + run) / (wait + run)
    else, if the limit was reached   limit += sqrt(limit)

`run` is how long calls take once a worker has them, `wait` the 90th percentile of the wait, `goal`
the longest that it should be: a setting, or a quarter of the time that callers give us if that is
shorter. The first line is the gradient of Netflix's concurrency-limits and of Envoy's adaptive
concurrency filter (latency without load / latency now). Those must guess the latency without load
and hold traffic back to measure it; a call here notes its wait and its run apart, so we know it.

Never fewer than the workers and as many again: with less, a worker would idle between two calls and
throughput would be lost. Nor fewer than half of what the workers take up within the goal, so that
a hiccup of the machine does not make the next burst of quick calls meet a closed door. So what
adapts is the queue; how much runs at once is `worker_count`.
"""

import math
import threading
import time
from collections.abc import Callable

WINDOW_SECONDS = 0.1
"""Least time between two changes."""
WINDOW_CALL_COUNT = 10
"""Least number of calls that a change is based on; nor fewer than the limit itself, up to the
number remembered: the queue must have filled or emptied before its effect can be seen."""
SAMPLE_COUNT_MAX = 500
"""Calls of one window that are remembered; a percentile needs no more."""
DECREASE_MIN = 0.5
"""Most that one change takes away, as a factor."""
BUDGET_SHARE = 0.25
"""Share of a caller's time that may be spent waiting."""
START_COUNT_PER_WORKER = 16
"""Calls a worker that may wait before anything was measured. Guess."""
FLOOR_SHARE = 0.5
"""Share of the calls that the workers take up within the goal, which always may come in."""


class ConcurrencyLimit:
    """
    Decides how many calls may be inside; safe from any number of threads.

    Args:
        worker_count: Calls that run at once, >= 1.
        queue_count_max: Most calls that may ever wait, >= 0.
        wait_seconds_max: How long nine of ten calls should wait at most, > 0.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        worker_count: int,
        queue_count_max: int,
        wait_seconds_max: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker_count = worker_count
        self.count_max = worker_count + queue_count_max
        self.count_min = min(2 * worker_count, self.count_max)
        self.count = min(worker_count * (1 + START_COUNT_PER_WORKER), self.count_max)
        """Calls that may be inside now, running and waiting."""
        self._exact = float(self.count)
        self._wait_seconds_max = wait_seconds_max
        self._clock = clock
        self._lock = threading.Lock()
        self._was_reached = False
        self._begin_window(clock())

    def admits(self, inside_count: int) -> bool:
        """Whether one more call may come in while so many are inside."""
        if inside_count < self.count:
            return True
        self._was_reached = True
        return False

    def note(self, wait_s: float, run_s: float, budget_s: float) -> None:
        """
        Learn from a call that a worker is done with.

        Args:
            wait_s: How long it waited for the worker.
            run_s: How long the worker had it.
            budget_s: How much time its caller gave it, counted from its arrival.
        """
        now = self._clock()
        with self._lock:
            # What came in under an earlier limit says nothing about this one.
            if now - wait_s - run_s >= self._began and len(self._waits) < SAMPLE_COUNT_MAX:
                self._waits.append(wait_s)
                self._budgets.append(budget_s)
                self._run_total += run_s
            is_over = now - self._began >= WINDOW_SECONDS
            if is_over and len(self._waits) >= self._needed_count:
                self._adapt()
                self._begin_window(now)

    def _begin_window(self, now: float) -> None:
        self._began = now
        self._waits: list[float] = []
        self._budgets: list[float] = []
        self._run_total = 0.0
        self._needed_count = max(WINDOW_CALL_COUNT, min(self.count, SAMPLE_COUNT_MAX))

    def _adapt(self) -> None:
        count = len(self._waits)
        wait = sorted(self._waits)[count * 9 // 10]
        budget = sorted(self._budgets)[count // 10]
        run = self._run_total / count
        goal = min(self._wait_seconds_max, max(0.0, budget) * BUDGET_SHARE)
        if wait > goal:
            self._exact *= max(DECREASE_MIN, (goal + run) / (wait + run))
        elif self._was_reached:
            self._exact += math.sqrt(self._exact)
        self._was_reached = False
        floor = FLOOR_SHARE * self._worker_count * (1 + goal / max(run, 1e-6))
        self._exact = min(max(self._exact, self.count_min, floor), self.count_max)
        self.count = int(self._exact)
