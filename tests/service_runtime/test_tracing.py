"""Traces: what comes in goes on, and what we add arrives at a real receiver."""

import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from corkboard.health import SERVING, check_health
from service_runtime.errors import NotFound
from service_runtime.grpc_client import call
from service_runtime.tracing import TRACE_ID_KEY, TracingFailed, span
from tests.service_runtime.collector import Collector, attributes, collecting
from tests.service_runtime.echo import SERVICE, Echo, connected, make_server, raises, serving

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
KEPT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
NOT_KEPT = f"00-{TRACE_ID}-b7ad6b7169203331-00"
NAME = f"{SERVICE}/Echo"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A receiver of this test."""
    with collecting() as collector:
        yield collector


def trailers(method: Any, **sent: str) -> dict[str, str]:
    """What comes back beside the answer."""
    _, done = method.with_call(Echo(text="x"), timeout=30, metadata=tuple(sent.items()))
    return dict(done.trailing_metadata())


class Relay:
    """A behavior that keeps the header that it saw, and asks another server if it has one."""

    def __init__(self, other: Any = None) -> None:
        self.seen = ""
        self._other = other

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Note the header, ask on, answer."""
        self.seen = str(dict(context.invocation_metadata()).get("traceparent", ""))
        return request if self._other is None else call(self._other, request, timeout_s=20)


def seen_beyond(header: str) -> str:
    """The header with which a call reaches the second of two servers."""
    last = Relay()
    with serving(last) as (_, far), serving(Relay(far)) as (_, near):
        trailers(near, traceparent=header)
    return last.seen


def test_without_spans_of_ours_a_trace_passes_through() -> None:
    """A mesh that traces gets its header back on the calls that we make, and in the trailers."""
    assert seen_beyond(KEPT) == KEPT
    with serving() as (_, method):
        assert trailers(method, traceparent=KEPT)[TRACE_ID_KEY] == TRACE_ID


def test_a_trace_that_nobody_keeps_is_handed_on_but_not_named() -> None:
    """Its id would lead nowhere."""
    assert seen_beyond(NOT_KEPT) == NOT_KEPT
    with serving() as (_, method):
        assert TRACE_ID_KEY not in trailers(method, traceparent=NOT_KEPT)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        KEPT.upper(),
        KEPT + "0",
        KEPT[:-3],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        "00-" * 50,
    ],
)
def test_malformed_header_is_no_trace(header: str) -> None:
    """What a stranger sends neither breaks a call nor travels on."""
    assert seen_beyond(header) == ""


def test_request_id_comes_back_with_every_answer() -> None:
    """Also with the one that was made here, also with an error."""
    with serving() as (_, method):
        assert trailers(method, **{"x-request-id": "mine"})["x-request-id"] == "mine"
        assert re.fullmatch("[0-9a-f]{13,}", trailers(method)["x-request-id"])
    with serving(raises(NotFound("absent"))) as (_, method):
        with pytest.raises(grpc.RpcError) as raised:
            trailers(method, traceparent=KEPT)
        back = dict(raised.value.trailing_metadata())  # type: ignore[attr-defined]

    assert {"x-request-id", TRACE_ID_KEY, "grpc-status-details-bin"} <= set(back)


def test_spans_of_two_servers_are_one_trace(collector: Collector) -> None:
    """Caller → server → call → server, each below the one before, with its status."""
    setting = {"trace_endpoint": collector.endpoint, "trace_share": 1.0}
    with (
        serving(name="far", **setting) as (_, far),
        serving(Relay(far), name="near", **setting) as (_, near),
    ):
        trace_id = trailers(near)[TRACE_ID_KEY]

    spans = collector.spans(NAME, trace_id=trace_id)
    by_id = {span.span_id: (service, span) for service, span in spans}
    chain = [(service, one) for service, one in spans if service == "far"]
    while chain[-1][1].parent_span_id:
        chain.append(by_id[chain[-1][1].parent_span_id])
    server, client = 2, 3
    assert [(service, one.kind) for service, one in chain] == [
        ("far", server),
        ("near", client),
        ("near", server),
    ]
    assert attributes(chain[0][1])["rpc.response.status_code"] == "OK"
    starts = [one.start_time_unix_nano for _, one in chain]
    assert starts == sorted(starts, reverse=True)


def test_parts_of_the_work_lie_below_their_call(collector: Collector) -> None:
    """With what they tell of themselves; what they raise marks them."""

    def work(request: Any, _: grpc.ServicerContext) -> Any:
        with span("outer", kind_of_work="a") as told:
            told(item_count=3)
            with span("inner"):
                if request.text == "bad":
                    raise NotFound("absent")
        return request

    with serving(work, trace_endpoint=collector.endpoint, trace_share=1.0) as (_, method):
        trailers(method)
        with pytest.raises(grpc.RpcError):
            method(Echo(text="bad"), timeout=30)

    (_, call_good), (_, call_bad) = collector.spans(NAME)
    (_, outer), (_, outer_bad) = collector.spans("outer")
    (_, inner), (_, inner_bad) = collector.spans("inner")
    assert inner.parent_span_id == outer.span_id
    assert outer.parent_span_id == call_good.span_id
    assert attributes(outer) == {"kind_of_work": "a", "item_count": 3}
    assert inner.status.code == outer.status.code == 0
    assert inner_bad.status.message == outer_bad.status.message == "NotFound: absent"
    assert call_bad.status.code == 0, "what the caller did wrong is no fault of ours"
    assert attributes(call_bad)["rpc.response.status_code"] == "NOT_FOUND"


def test_the_callers_decision_is_kept(collector: Collector) -> None:
    """Share 0 keeps what callers keep; share 1 does not keep what they do not."""
    setting = {"trace_endpoint": collector.endpoint}
    with serving(**setting, trace_share=0.0) as (_, method):
        assert TRACE_ID_KEY not in trailers(method)
        assert trailers(method, traceparent=KEPT)[TRACE_ID_KEY] == TRACE_ID
    with serving(**setting, trace_share=1.0) as (_, method):
        assert TRACE_ID_KEY not in trailers(method, traceparent=NOT_KEPT)

    assert [one.trace_id.hex() for _, one in collector.spans()] == [TRACE_ID]


def test_no_collector_costs_spans_not_calls() -> None:
    """Calls are answered, and the server ends within seconds."""
    with serving(trace_endpoint="http://127.0.0.1:1", trace_share=1.0) as (server, method):
        for _ in range(50):
            assert trailers(method)[TRACE_ID_KEY]
        started = time.monotonic()
        assert server.stop(0)

    assert time.monotonic() - started < 30, "it waited for a collector that is not there"


def test_missing_extra_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the first call, and with what to install."""
    monkeypatch.setitem(sys.modules, "service_runtime.span_export", None)

    with pytest.raises(TracingFailed, match="not installed") as raised:
        make_server(trace_endpoint="http://127.0.0.1:4317")

    assert "corkboard[tracing]" in raised.value.hint


def test_endpoint_must_be_an_address() -> None:
    """A host alone would be read as a scheme."""
    with pytest.raises(ValueError, match="http://collector:4317"):
        make_server(trace_endpoint="collector:4317")


def test_health_and_refusals_are_no_spans(collector: Collector) -> None:
    """Probes come every few seconds and would be most of what is kept."""
    with serving(trace_endpoint=collector.endpoint, trace_share=1.0) as (server, _):
        assert check_health(f"127.0.0.1:{server.port}") == SERVING
        with connected(server.port) as other:
            trailers(other)

    assert [one.name for _, one in collector.spans()] == [NAME]
