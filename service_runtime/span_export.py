"""
Spans by OpenTelemetry, sent by OTLP over gRPC from a thread of their own; its only door.

A collector that is away or slow costs spans, never calls: they wait in a queue of 2,048 and are
dropped beyond it (the library says so in the log). The library's variables for what we do not set
hold as everywhere: `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`,
`OTEL_EXPORTER_OTLP_CERTIFICATE`.

The ready-made gRPC instrumentation is not used: its server half puts functions of its own around
ours, and so loses the threads that refusals and health checks have apart.
"""

import time
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from service_runtime.tracing import Value

SEND_SECONDS_MAX: Final = 3.0
"""How long one batch may take, and how long a server that ends waits for the last. Guess."""


class ExportedSpan:
    """A `tracing.Span` that is sent away when it ends."""

    __slots__ = ("_inner", "_tracer", "is_kept", "traceparent")

    def __init__(self, inner: OtelSpan, tracer: Tracer) -> None:
        at = inner.get_span_context()
        self._inner = inner
        self._tracer = tracer
        self.is_kept = inner.is_recording()
        self.traceparent = f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"

    def child(self, name: str, *, is_call: bool, **attributes: Value) -> "ExportedSpan":
        """See `tracing.Span.child`."""
        kind = SpanKind.CLIENT if is_call else SpanKind.INTERNAL
        above = set_span_in_context(self._inner)
        return ExportedSpan(self._tracer.start_span(name, above, kind, attributes), self._tracer)

    def tell(self, **attributes: Value) -> None:
        """See `tracing.Span.tell`."""
        self._inner.set_attributes(attributes)

    def end(self, fault: str = "") -> None:
        """See `tracing.Span.end`."""
        if fault:
            self._inner.set_status(Status(StatusCode.ERROR, fault))
        self._inner.end()


class ExportedSpans:
    """
    Makes the spans of one service's calls and sends them in batches.

    Args:
        endpoint: `http://host:port` of an OTLP receiver.
        share: Of the calls without a caller's trace that are kept, in [0, 1].
        service: Name of the service.
    """

    def __init__(self, endpoint: str, share: float, service: str) -> None:
        resource = Resource.create({"service.name": service, "service.version": _version()})
        self._provider = TracerProvider(
            ParentBasedTraceIdRatio(share), resource, shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint, timeout=SEND_SECONDS_MAX)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("corkboard")

    def begin(
        self, method: str, traceparent: str, waited_s: float, **attributes: Value
    ) -> ExportedSpan:
        """See `tracing.SpanSource.begin`; the span begins when the call came, not its work."""
        inner = self._tracer.start_span(
            method[1:],
            set_span_in_context(NonRecordingSpan(_remote(traceparent))) if traceparent else None,
            SpanKind.SERVER,
            {
                "rpc.system.name": "grpc",
                "rpc.method": method[1:],
                "corkboard.queue_seconds": waited_s,
                **{f"corkboard.{key}": value for key, value in attributes.items()},
            },
            start_time=time.time_ns() - round(waited_s * 1e9),
        )
        return ExportedSpan(inner, self._tracer)

    def close(self) -> None:
        """See `tracing.SpanSource.close`."""
        self._provider.force_flush(round(SEND_SECONDS_MAX * 1000))
        self._provider.shutdown()


def _remote(traceparent: str) -> SpanContext:
    """The caller's span, from a header that is well-formed."""
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )


def _version() -> str:
    try:
        return version("corkboard")
    except PackageNotFoundError:
        return "unknown"  # run from a folder, not installed
