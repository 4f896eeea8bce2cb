"""What code may ask about the call it works for."""

import contextvars
import math
import time

from service_runtime.call_context import (
    current_request_id,
    deadline_var,
    remaining_seconds,
    request_id_var,
)


def test_outside_of_a_call_there_is_no_id_and_no_deadline() -> None:
    """A job or a test that calls serving code sees an empty id and endless time."""
    assert current_request_id() == ""
    assert remaining_seconds() == math.inf


def test_remaining_time_keeps_the_margin_and_never_goes_below_zero() -> None:
    """Time left is the deadline less the margin; a deadline in the past leaves nothing."""

    def seen() -> tuple[float, float, float]:
        deadline_var.set(time.monotonic() + 100.0)
        plain, less = remaining_seconds(), remaining_seconds(40.0)
        deadline_var.set(time.monotonic() - 1.0)
        return plain, less, remaining_seconds()

    plain, less, past = contextvars.copy_context().run(seen)

    assert 99.0 < plain <= 100.0
    assert 59.0 < less <= 60.0
    assert past == 0.0


def test_context_travels_by_copy_only() -> None:
    """What one call sets is invisible to the next, and visible to work run in its copy."""

    def call() -> tuple[str, str]:
        request_id_var.set("one")
        return current_request_id(), contextvars.copy_context().run(current_request_id)

    assert contextvars.copy_context().run(call) == ("one", "one")
    assert current_request_id() == ""
