"""
What every piece of code may ask about the call that it works for, without knowing gRPC.

Set by the server interceptor at the edge; each call runs in a context of its own, so nothing has to
be reset. Work handed to another thread keeps it only through `contextvars.copy_context().run`.
"""

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

request_id_var: ContextVar[str] = ContextVar("request_id", default="")
"""Written by the interceptor only."""
caller_name_var: ContextVar[str] = ContextVar("caller_name", default="")
"""Who calls, by the access file; empty where access is not limited. Written by admission only."""
trace_id_var: ContextVar[str] = ContextVar("trace_id", default="")
"""Trace that the call belongs to, 32 hex digits; empty if nobody keeps it. Written by tracing."""
traceparent_var: ContextVar[str] = ContextVar("traceparent", default="")
"""What goes with calls to other services so that they join the trace. Written by tracing."""
deadline_var: ContextVar[float] = ContextVar("deadline", default=math.inf)
"""When the call's time is up, seconds of time.monotonic(). Written by the interceptor only."""


class Caller(Protocol):
    """Whoever waits for the answer; gRPC's context of a call is one."""

    def is_active(self) -> bool:
        """Whether anybody still waits."""

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have something done when the call ends in any way; False if it has ended already."""


class Abandoned(Exception):  # noqa: N818  what is the case, as in errors.py
    """Nobody waits for the answer any more. No CorkboardError: no fallback should catch it."""


caller_var: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""Who waits for the call. Written by the interceptor only."""


def current_request_id() -> str:
    """Id of the call being served, 1 to 128 printable characters; empty outside of a call."""
    return request_id_var.get()


def remaining_seconds(margin_s: float = 0.0) -> float:
    """
    How much time the call being served has left.

    Args:
        margin_s: Kept back for what comes after, for example merging and encoding; >= 0.

    Returns:
        Seconds, never negative; infinite outside of a call.
    """
    return max(0.0, deadline_var.get() - time.monotonic() - margin_s)


def stop_if_abandoned() -> None:
    """
    Look whether the caller has hung up; for work between two long steps.

    Raises:
        Abandoned: Nobody waits for the call being served any more.
    """
    caller = caller_var.get()
    if caller is not None and not caller.is_active():
        raise Abandoned


def when_ended(callback: Callable[[], None]) -> None:
    """Have *callback* run once when the call being served ends, from another thread, in any way."""
    caller = caller_var.get()
    if caller is not None and not caller.add_callback(callback):
        callback()
