"""A collector of traces as others have one: the OTLP receiver of opentelemetry-proto's contract."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.port = 0
        self._spans: list[tuple[str, Any]] = []
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """Where it listens, as a setting has it."""
        return f"http://127.0.0.1:{self.port}"

    def Export(  # noqa: N802  the contract's name
        self, request: trace_service_pb2.ExportTraceServiceRequest, _: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Take a batch."""
        with self._lock:
            for resource in request.resource_spans:
                names = {item.key: item.value.string_value for item in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self._spans += [(names["service.name"], span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self, name: str = "", *, trace_id: str = "") -> list[tuple[str, Any]]:
        """Service and span of those whose name ends so, of one trace or of all."""
        with self._lock:
            return [
                (service, span)
                for service, span in self._spans
                if span.name.endswith(name) and trace_id in {"", span.trace_id.hex()}
            ]

    def wait(self, name: str, *, trace_id: str = "") -> tuple[str, Any]:
        """The first such span, once it is there."""
        deadline = time.monotonic() + 30
        while not (found := self.spans(name, trace_id=trace_id)):
            assert time.monotonic() < deadline, [span.name for _, span in self.spans()]
            time.sleep(0.05)
        return found[0]


def attributes(span: Any) -> dict[str, Any]:
    """What a span says of itself."""
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes
    }


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens on a free port of this machine."""
    server = grpc.server(ThreadPoolExecutor(2))
    collector = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector
    finally:
        server.stop(0).wait()
