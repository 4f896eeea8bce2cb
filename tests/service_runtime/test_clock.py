"""The clock of a process."""

import time

from service_runtime.clock import system_clock


def test_system_clock_is_the_machines() -> None:
    """Without a fixed time a clock gives what the machine says, between two looks at it."""
    before = time.time()

    now = system_clock()()

    assert before <= now <= time.time()


def test_fixed_clock_stands_still(now: float) -> None:
    """With a fixed time every look gives exactly that time."""
    clock = system_clock(now)

    assert [clock(), clock()] == [now, now]
