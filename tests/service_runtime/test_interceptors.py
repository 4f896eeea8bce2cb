"""What happens around every call, seen through a real server and a real connection."""

import io
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service_runtime.errors import (
    DeadlineExceeded,
    Exhausted,
    Internal,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from service_runtime.grpc_client import call, open_channel
from service_runtime.grpc_server import Server
from service_runtime.interceptors import current_request_id, remaining_seconds
from service_runtime.telemetry import configure_logging
from tests.service_runtime.echo import (
    METHOD,
    SERVICE,
    Echo,
    Gate,
    connected,
    make_server,
    raises,
    serving,
)


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    """The log lines of this test."""
    stream = io.BytesIO()
    configure_logging("info", "echo", stream=stream)
    yield stream
    configure_logging("warning", "tests")


def call_lines(log: io.BytesIO) -> list[dict[str, Any]]:
    """The lines about calls."""
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == "call.finished"]


def wait_for_lines(log: io.BytesIO, count: int) -> list[dict[str, Any]]:
    """The lines about calls, once there are *count*."""
    deadline = time.monotonic() + 30
    while len(lines := call_lines(log)) < count:
        assert time.monotonic() < deadline, lines
        threading.Event().wait(0.01)
    return lines


def request_id_seen(metadata: tuple[tuple[str, str], ...]) -> str:
    """The id that the service sees when a caller sends *metadata*."""
    seen: list[str] = []

    def behavior(request: Any, _: grpc.ServicerContext) -> Any:
        seen.append(current_request_id())
        return request

    with serving(behavior) as (_, method):
        method(Echo(text="x"), timeout=30, metadata=metadata)
    return seen[0]


def seconds_seen(timeout_s: float | None, **config: float) -> float:
    """The time budget that the service sees under a caller's deadline."""
    seen: list[float] = []

    def behavior(request: Any, _: grpc.ServicerContext) -> Any:
        seen.append(remaining_seconds())
        return request

    with serving(behavior, **config) as (_, method):
        method(Echo(text="x"), timeout=timeout_s)
    return seen[0]


def test_request_id_of_the_caller_is_kept() -> None:
    """The id a caller sends is the one that the service and its logs use."""
    assert request_id_seen((("x-request-id", "abc-123"),)) == "abc-123"


@pytest.mark.parametrize("given", ["", "x" * 129])
def test_unusable_request_id_is_replaced(given: str) -> None:
    """An empty or over-long id gives way to a new one."""
    assert re.fullmatch(r"[0-9a-f]{13,}", request_id_seen((("x-request-id", given),)))


def test_new_request_ids_differ() -> None:
    """Calls without an id get one each, also when they run at the same time."""
    seen: list[str] = []

    def behavior(request: Any, _: grpc.ServicerContext) -> Any:
        seen.append(current_request_id())
        return request

    with serving(behavior) as (_, method), ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: method(Echo(text="x"), timeout=30), range(100)))

    assert len(set(seen)) == 100


def test_time_budget_is_the_callers_deadline() -> None:
    """A service knows how much time its caller gives it."""
    assert 20.0 < seconds_seen(30.0) <= 30.1  # 10 s for a busy machine, 0.1 s between two clocks


def test_call_without_deadline_gets_the_default() -> None:
    """GRPC tells such a call it has 292 years; we do not believe it."""
    assert 10.0 < seconds_seen(None, deadline_seconds=20.0) <= 20.1


def test_long_deadline_is_cut() -> None:
    """No caller gets more than the configured longest time."""
    limits = {"deadline_seconds": 20.0, "deadline_seconds_max": 40.0}

    assert 30.0 < seconds_seen(1000.0, **limits) <= 40.1


def test_call_whose_time_is_up_is_not_begun() -> None:
    """A call that waited past its deadline costs no work."""
    gate, worked = Gate(), []

    def behavior(request: Any, context: grpc.ServicerContext) -> Any:
        worked.append(request.text)
        return gate(request, context)

    with serving(behavior, worker_count=1) as (server, method):
        first = method.future(Echo(text="first"), timeout=30)
        gate.wait_entered()
        with pytest.raises(DeadlineExceeded):
            call(method, Echo(text="late"), timeout_s=0.1)
        gate.open()
        first.result()
        call(method, Echo(text="after"), timeout_s=30)
        text = server.metrics.text()

    assert worked == ["first", "after"]
    assert 'echo_requests_total{code="OK",method="Echo"} 2.0' in text


def test_invalid_request_never_reaches_the_service() -> None:
    """Constraints are checked first; the caller learns field and rule."""
    worked: list[Any] = []

    with (
        serving(lambda request, _: worked.append(request) or request) as (_, method),
        pytest.raises(InvalidRequest) as caught,
    ):
        call(method, Echo(text="x" * 129), timeout_s=30)

    assert worked == []
    assert caught.value.field == "text"
    assert caught.value.reason == "STRING_MAX_BYTES"


def test_bytes_that_are_no_message_are_the_callers_mistake() -> None:
    """What cannot be decoded is INVALID_ARGUMENT, not an error of ours."""
    with serving() as (server, _), open_channel(f"127.0.0.1:{server.port}") as channel:
        raw = channel.unary_unary(METHOD, bytes, bytes)
        with pytest.raises(InvalidRequest, match="no EchoRequest") as refused:
            call(raw, b"\xff\xff\xff", timeout_s=5)

    assert refused.value.reason == "UNREADABLE"


def test_abort_of_the_service_itself_is_kept() -> None:
    """A servicer that aborts by hand gets its own status through."""

    def behavior(_: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.ALREADY_EXISTS, "twice")

    with serving(behavior) as (_, method), pytest.raises(grpc.RpcError) as caught:
        method(Echo(text="x"), timeout=30)

    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert caught.value.details() == "twice"


def test_each_call_writes_one_line(log: io.BytesIO) -> None:
    """One line a call, with method, code, times, peer and request id."""
    with serving() as (_, method):
        method(Echo(text="x"), timeout=30, metadata=(("x-request-id", "abc"),))
        with pytest.raises(InvalidRequest):
            call(method, Echo(text=""), timeout_s=30)

    good, bad = call_lines(log)
    assert (good["method"], good["code"], good["level"]) == ("Echo", "OK", "info")
    assert good["request_id"] == "abc"
    assert good["peer"].startswith("ipv4:127.0.0.1:")
    assert 0 <= good["seconds"] < 5
    assert 0 <= good["queue_seconds"] < 5
    assert (bad["code"], bad["level"]) == ("INVALID_ARGUMENT", "info")
    assert bad["error"].startswith("text: ")


def test_crash_is_logged_with_its_place(log: io.BytesIO) -> None:
    """What the caller is not told stands in the log, under the id that the caller was told."""
    with (
        serving(raises(ZeroDivisionError("by nothing"))) as (_, method),
        pytest.raises(Internal) as caught,
    ):
        call(method, Echo(text="x"), timeout_s=30)

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (crash,) = [line for line in lines if line["event"] == "call.crashed"]
    assert crash["exception"][0]["exc_value"] == "by nothing"
    assert crash["request_id"] in caught.value.message
    assert call_lines(log)[0]["level"] == "warning"


def test_call_nobody_waits_for_is_not_counted_as_good(log: io.BytesIO) -> None:
    """A call that its caller gave up is CANCELLED, one over its deadline DEADLINE_EXCEEDED."""
    gate = Gate()

    with serving(gate) as (_, method):
        given_up = method.future(Echo(text="x"), timeout=30)
        gate.wait_entered()
        given_up.cancel()
        late = method.future(Echo(text="x"), timeout=0.3)
        gate.wait_entered()
        assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        time.sleep(0.5)  # the server's clock of this call started later than the caller's
        gate.open()
        codes = [line["code"] for line in wait_for_lines(log, 2)]

    assert sorted(codes) == ["CANCELLED", "DEADLINE_EXCEEDED"]


def test_calls_are_counted_by_method_and_code() -> None:
    """The metrics page tells good calls from bad ones, and unknown methods from both."""

    def behavior(request: Any, _: grpc.ServicerContext) -> Any:
        if request.text == "absent":
            raise NotFound("absent")
        return request

    with serving(behavior) as (server, method):
        for text in ("a", "b", "absent"):
            method.future(Echo(text=text), timeout=30).exception()
        with open_channel(f"127.0.0.1:{server.port}") as channel:
            other = channel.unary_unary(f"/{SERVICE}/Other")
            assert other.future(b"", timeout=30).code() is grpc.StatusCode.UNIMPLEMENTED
        page = server.metrics.text()

    assert 'echo_requests_total{code="OK",method="Echo"} 2.0' in page
    assert 'echo_requests_total{code="NOT_FOUND",method="Echo"} 1.0' in page
    assert 'echo_requests_total{code="UNIMPLEMENTED",method="unknown"} 1.0' in page
    assert 'echo_request_seconds_count{method="Echo"} 3.0' in page
    assert "echo_requests_in_flight 0.0" in page


def health_of(server: Server) -> str:
    """What the health service says."""
    with open_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=30)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def test_overload_is_refused_at_once_and_probes_still_answer(log: io.BytesIO) -> None:
    """With all workers busy and the queue full, callers hear so at once; health is not in line."""
    gate = Gate()

    with serving(gate, worker_count=1, queue_count_max=2) as (server, method):
        held = [method.future(Echo(text="x"), timeout=30)]
        gate.wait_entered()
        held += [method.future(Echo(text="x"), timeout=30) for _ in range(20)]
        refused = [c for c in held if c is not held[0]]
        done = _wait_until(lambda: [c for c in refused if c.done()], at_least=18)
        health = health_of(server)
        page = server.metrics.text()
        gate.open()
        codes = [c.code() for c in held]

    assert len(done) == 18
    assert {c.code() for c in done} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes.count(grpc.StatusCode.OK) == 3
    assert health == "SERVING"
    assert "echo_requests_waiting 2.0" in page
    assert 'echo_requests_total{code="RESOURCE_EXHAUSTED",method="Echo"} 18.0' in page
    told = {line["error"] for line in call_lines(log) if line["code"] == "RESOURCE_EXHAUSTED"}
    assert told <= {"refused: queue_full", "refused: overload"}
    assert told, "the log has no line of those that were turned away"


def test_refusal_says_when_to_come_again() -> None:
    """A refused caller gets a delay, so that it does not make things worse."""
    gate = Gate()

    with serving(gate, worker_count=1, queue_count_max=0) as (_, method):
        held = method.future(Echo(text="x"), timeout=30)
        gate.wait_entered()
        with pytest.raises(Exhausted, match="too many calls") as caught:
            call(method, Echo(text="x"), timeout_s=30)
        gate.open()
        assert held.code() is grpc.StatusCode.OK

    assert caught.value.retry_after_s > 0


def test_refusal_has_a_request_id_like_any_call(log: io.BytesIO) -> None:
    """The caller's own, or a new one: in the line and in the trailers."""
    gate, ids = Gate(), []

    with serving(gate, worker_count=1, queue_count_max=0) as (_, method):
        held = method.future(Echo(text="x"), timeout=30)
        gate.wait_entered()
        for sent in ((("x-request-id", "abc"),), ()):
            refused = method.future(Echo(text="x"), timeout=30, metadata=sent)
            assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            ids.append(dict(refused.trailing_metadata())["x-request-id"])
        gate.open()
        held.result()

    assert ids[0] == "abc"
    assert re.fullmatch(r"[0-9a-f]{13,}", ids[1])
    lines = [line for line in call_lines(log) if line["code"] == "RESOURCE_EXHAUSTED"]
    assert [line["request_id"] for line in lines] == ids


def test_answer_above_the_limit_is_told_as_what_it_is(log: io.BytesIO) -> None:
    """Caller, log and metrics all hear that the answer is too large, and what to do."""
    large = Echo(text="x", children=[Echo(text="y" * 100) for _ in range(100)])

    def behavior(request: Any, _: grpc.ServicerContext) -> Any:
        return large if request.text == "large" else request

    with serving(behavior, request_bytes_max=4096) as (server, method):
        with pytest.raises(Exhausted, match="request_bytes_max on both sides") as caught:
            call(method, Echo(text="large"), timeout_s=30)
        future = method.future(Echo(text="large"), timeout=30, metadata=(("x-request-id", "abc"),))
        assert future.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailers = dict(future.trailing_metadata())
        after = call(method, Echo(text="x"), timeout_s=30)
        page = server.metrics.text()

    assert caught.value.reason == "ANSWER_TOO_LARGE"
    assert trailers["x-request-id"] == "abc"
    assert after.text == "x"
    assert 'echo_requests_total{code="RESOURCE_EXHAUSTED",method="Echo"} 2.0' in page
    assert [line["code"] for line in call_lines(log)] == ["RESOURCE_EXHAUSTED"] * 2 + ["OK"]


def test_answer_of_just_the_limit_is_sent() -> None:
    """The bound is the channel's: so many bytes still pass."""
    exact = Echo(text="x", children=[Echo(text="y" * 99) for _ in range(39)])
    exact.children.add(text="y" * (4096 - exact.ByteSize() - 4))
    assert exact.ByteSize() == 4096

    with serving(lambda _, __: exact, request_bytes_max=4096) as (_, method):
        assert method(Echo(text="x"), timeout=30) == exact


def test_server_that_warms_up_refuses_calls() -> None:
    """Until it is ready a server says UNAVAILABLE, so that clients turn to another."""
    server = make_server(warm_up=(may_end := threading.Event()).wait)
    starting = threading.Thread(target=server.start)
    starting.start()
    try:
        _wait_until(lambda: [server.port] if server.port else [], at_least=1)
        with connected(server.port, attempts_max=1) as method:
            with pytest.raises(Unavailable, match="not serving yet"):
                call(method, Echo(text="x"), timeout_s=30, wait_for_ready=True)
            may_end.set()
            starting.join()
            assert call(method, Echo(text="x"), timeout_s=30).text == "x"
    finally:
        may_end.set()
        starting.join()
        server.stop(0)


def _wait_until(find: Any, *, at_least: int) -> Any:
    """What *find* finds, once it is enough."""
    deadline = time.monotonic() + 30
    while len(found := find()) < at_least:
        assert time.monotonic() < deadline, found
        threading.Event().wait(0.01)
    return found
