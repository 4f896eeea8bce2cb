"""
Traces: which call led to which over all services, and where the time went.

A call that comes with a `traceparent` (W3C Trace Context) belongs to that trace and hands it on to
the calls that it makes, whether or not we add spans ourselves: so a mesh's trace is not cut in two.
With `trace_endpoint` set, a call gets a span, each call to another service one below it, and so
does each part that is named by `span`:

    with span("source ann") as told:
        found = retrieve()
        told(candidate_count=len(found))

Outside of a traced call that costs a look at a variable. OpenTelemetry itself lies behind
`span_export`, which is imported only when it is switched on.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Final, Protocol

from service_runtime.call_context import trace_id_var, traceparent_var
from service_runtime.errors import ProcessFailed
from service_runtime.sight_config import SightConfig

TRACEPARENT_KEY: Final = "traceparent"
"""Metadata key of W3C Trace Context: version, trace id, id of the span above, flags."""
TRACE_ID_KEY: Final = "x-trace-id"
"""Metadata key under which an answer names the trace that it belongs to, if that is kept."""

Value = str | int | float | bool
Tell = Callable[..., None]
"""Adds attributes to a span: `told(candidate_count=7)`."""

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class TracingFailed(ProcessFailed):
    """Traces are asked for and cannot be made."""


class Span(Protocol):
    """One step of a trace."""

    traceparent: str
    """What goes with the calls that this step makes."""
    is_kept: bool
    """Whether it is recorded; one that is not only carries the decision on."""

    def child(self, name: str, *, is_call: bool, **attributes: Value) -> "Span":
        """Begin a step below this one; a call to another service, or a part of our own work."""

    def tell(self, **attributes: Value) -> None:
        """Add attributes."""

    def end(self, fault: str = "") -> None:
        """It is over; *fault* says what went wrong, if anything did."""


class SpanSource(Protocol):
    """Where the spans of calls come from, and what sends them away."""

    def begin(self, method: str, traceparent: str, waited_s: float, **attributes: Value) -> Span:
        """Begin the span of a call of ours, `/package.Service/Method`; "" = without a caller's."""

    def close(self) -> None:
        """Send what is left, within a few seconds."""


_span_var: ContextVar[Span | None] = ContextVar("span", default=None)


class Tracing:
    """
    The traces of one server.

    Args:
        config: Where spans go and how many calls begin a trace.
        service: Name of the service, on each of its spans.

    Raises:
        TracingFailed: Spans are to be sent and the extra is not installed.
    """

    def __init__(self, config: SightConfig, service: str) -> None:
        self._spans = _open_spans(config, service)

    def begin(self, method: str, traceparent: str, *, waited_s: float, request_id: str) -> None:
        """
        Let the call being served belong to a trace.

        Args:
            method: Full name, `/package.Service/Method`.
            traceparent: As it came; "" if none did. One that is malformed counts as none.
            waited_s: How long the call waited before it was taken up, >= 0.
            request_id: Goes on the span, to find its log line.
        """
        match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
        if self._spans is None:
            if match is not None:
                _belong(traceparent)
            return
        given = traceparent if match is not None else ""
        span = self._spans.begin(method, given, waited_s, request_id=request_id)
        _belong(span.traceparent)
        if span.is_kept:
            _span_var.set(span)

    def end(self, code: str, fault: str) -> None:
        """The call being served is over, with this status; *fault*: what was wrong on our side."""
        span = _span_var.get()
        if span is not None:
            span.tell(**{"rpc.response.status_code": code})
            span.end(fault)

    def close(self) -> None:
        """Send what is left; after the last call."""
        if self._spans is not None:
            self._spans.close()


def span(name: str, *, is_call: bool = False, **attributes: Value) -> AbstractContextManager[Tell]:
    """
    Time a part of the work for the call being served; does nothing outside of a trace.

    Args:
        name: Of a small, closed set; what varies goes into attributes.
        is_call: Whether it is a call to another service: what that one does comes below it.
        attributes: Facts to filter by; never what people did, never their names.

    Returns:
        To be entered; gives a function that adds attributes. What is raised inside marks the span.
    """
    above = _span_var.get()
    if above is None:
        return _UNTRACED
    return _below(above.child(name, is_call=is_call, **attributes), is_call=is_call)


def _tell_nobody(**_: Value) -> None:
    """Stands for `Span.tell` where there is no trace."""


_UNTRACED: Final = nullcontext[Tell](_tell_nobody)


@contextmanager
def _below(inner: Span, *, is_call: bool) -> Iterator[Tell]:
    token = _span_var.set(inner)
    header = traceparent_var.set(inner.traceparent) if is_call else None
    fault = ""
    try:
        yield inner.tell
    except BaseException as error:
        fault = f"{type(error).__name__}: {error}"
        raise
    finally:
        inner.end(fault)
        _span_var.reset(token)
        if header is not None:
            traceparent_var.reset(header)


def _belong(traceparent: str) -> None:
    """Hand this on from here; name the trace in the log only if someone keeps it."""
    traceparent_var.set(traceparent)
    if int(traceparent[-2:], 16) & 1:
        trace_id_var.set(traceparent[3:35])


def _open_spans(config: SightConfig, service: str) -> SpanSource | None:
    if not config.trace_endpoint:
        return None
    try:
        from service_runtime.span_export import ExportedSpans
    except ImportError as error:
        raise TracingFailed(
            f"trace_endpoint is set, and {error.name} is not installed",
            hint="pip install 'corkboard[tracing]', or leave trace_endpoint empty",
        ) from error
    return ExportedSpans(config.trace_endpoint, config.trace_share, service)
