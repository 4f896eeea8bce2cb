"""The one place where a process learns what time it is."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Gives now in Unix seconds (float64, UTC). Handed in from the composition root; never global."""


def system_clock(fixed_time: float = 0.0) -> Clock:
    """
    The clock of this process: the machine's, or one that stands still.

    Args:
        fixed_time: Unix seconds at which the clock stands still, for replays and tests; 0 = the
            machine's clock.

    Returns:
        A function without arguments that gives Unix seconds.
    """
    if fixed_time > 0:
        return lambda: fixed_time
    return time.time
