"""Channels and calls, against real servers."""

import contextlib
import json
import socket
import struct
import threading
import time
from typing import Any

import grpc
import pytest

from service_runtime.call_context import Abandoned, current_request_id, remaining_seconds
from service_runtime.errors import DeadlineExceeded, Exhausted, NotFound, Unavailable
from service_runtime.grpc_client import _service_config, call, open_channel
from tests.service_runtime.echo import (
    Echo,
    Gate,
    connected,
    echo_method,
    make_server,
    raises,
    serving,
)


class FailsFirst:
    """A behavior that aborts the first calls with a status, and counts all of them."""

    def __init__(self, count: int, code: grpc.StatusCode) -> None:
        self.calls = 0
        self._count = count
        self._code = code

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Abort or answer."""
        self.calls += 1
        if self.calls <= self._count:
            context.abort(self._code, "not now")
        return request


def test_unavailable_server_is_asked_again() -> None:
    """Two failures with UNAVAILABLE are invisible to the caller: the third try answers."""
    behavior = FailsFirst(2, grpc.StatusCode.UNAVAILABLE)

    with serving(behavior) as (_, method):
        answer = call(method, Echo(text="x"), timeout_s=30)

    assert answer.text == "x"
    assert behavior.calls == 3


def test_tries_are_bounded() -> None:
    """A server that stays UNAVAILABLE is asked three times, then the caller is told."""
    behavior = FailsFirst(100, grpc.StatusCode.UNAVAILABLE)

    with serving(behavior) as (_, method), pytest.raises(Unavailable, match="not now"):
        call(method, Echo(text="x"), timeout_s=30)

    assert behavior.calls == 3


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_other_failures_are_not_repeated(code: grpc.StatusCode) -> None:
    """What fails for another reason would fail again, or make an overload worse."""
    behavior = FailsFirst(1, code)

    with serving(behavior) as (_, method), pytest.raises(Exception, match="not now"):
        call(method, Echo(text="x"), timeout_s=30)

    assert behavior.calls == 1


def test_answer_that_does_not_come_ends_with_the_deadline() -> None:
    """A caller waits as long as it said, not longer."""
    gate = Gate()

    with serving(gate) as (_, method):
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            call(method, Echo(text="x"), timeout_s=0.3)
        seconds = time.monotonic() - started
        gate.open()

    assert seconds >= 0.29


def test_server_that_is_not_there_is_unavailable() -> None:
    """Nobody listening is told at once, well within the deadline."""
    server = make_server()
    port = server.start()
    server.stop(0)

    with connected(port) as method, pytest.raises(Unavailable):
        call(method, Echo(text="x"), timeout_s=30)


def test_connection_reset_by_a_process_that_ends_costs_no_call() -> None:
    """As when one of several processes on a port closes its part of the queue: once, then well."""
    with serving() as (server, _), Resetting(server.port) as port, connected(port) as method:
        answer = call(method, Echo(text="x"), timeout_s=30)

    assert answer.text == "x"


class Resetting:
    """A port that resets the first connection and hands every later one on to another port."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []

    def __enter__(self) -> int:
        """Its number."""
        threading.Thread(target=self._run, daemon=True).start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            one.close()

    def _run(self) -> None:
        first, _ = self._listener.accept()
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        first.close()
        with contextlib.suppress(OSError):  # the end of the test
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += near, far
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(65536):
            target.sendall(content)


def test_channel_finds_a_restarted_server() -> None:
    """A channel survives its server: once the port answers again, so do calls."""
    first = make_server()
    port = first.start()
    with connected(port) as method:
        assert call(method, Echo(text="x"), timeout_s=30).text == "x"
        first.stop(0)
        with pytest.raises(Unavailable):
            call(method, Echo(text="x"), timeout_s=30)
        second = make_server(port=port)
        second.start()
        try:
            answer = call(method, Echo(text="y"), timeout_s=20, wait_for_ready=True)
        finally:
            second.stop(0)

    assert answer.text == "y"


def test_call_within_a_call_has_only_its_time() -> None:
    """A service that asks for 30 s on behalf of a caller with 2 s gets those 2 s."""
    gate, left, gave_up = Gate(), [], threading.Event()

    with serving(gate) as (_, inner):

        def behavior(request: Any, _: grpc.ServicerContext) -> Any:
            try:
                return call(inner, request, timeout_s=30)
            except (DeadlineExceeded, Abandoned):  # whichever clock is first
                left.append(remaining_seconds())
                gave_up.set()
                raise

        with serving(behavior, name="outer") as (_, outer):
            with pytest.raises(DeadlineExceeded):
                call(outer, Echo(text="x"), timeout_s=2)
            has_given_up = gave_up.wait(20)  # well before the 30 s it asked for
            gate.open()

    assert has_given_up

    assert left[0] < 0.5  # the inner call took all there was, but for two clocks' difference


def test_margin_is_kept_back() -> None:
    """With a margin above what is left the other service is not even asked."""
    asked: list[Any] = []

    with serving(lambda request, _: asked.append(request) or request) as (_, inner):

        def behavior(request: Any, _: grpc.ServicerContext) -> Any:
            return call(inner, request, timeout_s=60, margin_s=25.0)

        with (
            serving(behavior, name="outer") as (_, outer),
            pytest.raises(DeadlineExceeded, match="no time left to ask"),
        ):
            call(outer, Echo(text="x"), timeout_s=20)

    assert asked == []


def test_request_id_travels_on() -> None:
    """Both services of a two-step call log the same id."""
    seen: list[str] = []

    def inner_behavior(request: Any, _: grpc.ServicerContext) -> Any:
        seen.append(current_request_id())
        return request

    with serving(inner_behavior) as (_, inner):

        def behavior(request: Any, _: grpc.ServicerContext) -> Any:
            seen.append(current_request_id())
            return call(inner, request, timeout_s=30)

        with serving(behavior, name="outer") as (_, outer):
            call(outer, Echo(text="x"), timeout_s=30, metadata=(("x-request-id", "abc"),))

    assert seen == ["abc", "abc"]


def test_error_of_the_inner_service_reaches_the_caller() -> None:
    """What one service raises another can let through: class, message and hint stay."""
    error = NotFound("no such shelf", hint="list them")

    with serving(raises(error)) as (_, inner):

        def behavior(request: Any, _: grpc.ServicerContext) -> Any:
            return call(inner, request, timeout_s=30)

        with serving(behavior, name="outer") as (_, outer), pytest.raises(NotFound) as caught:
            call(outer, Echo(text="x"), timeout_s=30)

    assert (caught.value.message, caught.value.hint) == ("no such shelf", "list them")


def test_calls_are_spread_over_all_addresses() -> None:
    """Round robin: each of two servers gets half of the calls."""
    counts = [0, 0]

    def counting(index: int) -> Any:
        def behavior(request: Any, _: grpc.ServicerContext) -> Any:
            counts[index] += 1
            return request

        return behavior

    with serving(counting(0)) as (one, _), serving(counting(1)) as (two, _):
        target = f"ipv4:127.0.0.1:{one.port},127.0.0.1:{two.port}"
        with open_channel(target) as channel:
            method = echo_method(channel)
            _call_until(method, lambda: min(counts) > 0)  # both connections stand
            before = list(counts)
            for _ in range(100):
                call(method, Echo(text="x"), timeout_s=30)

    assert [now - then for now, then in zip(counts, before, strict=True)] == [50, 50]


def test_health_watching_channel_skips_who_is_not_serving() -> None:
    """With watches_health no call goes to a server that is still warming up."""
    may_end = threading.Event()
    cold = make_server(warm_up=may_end.wait)
    starting = threading.Thread(target=cold.start)
    starting.start()
    try:
        with serving() as (warm, _):
            while not cold.port:
                may_end.wait(0.01)
            target = f"ipv4:127.0.0.1:{warm.port},127.0.0.1:{cold.port}"
            with open_channel(target, watches_health=True, attempts_max=1) as channel:
                method = echo_method(channel)
                answers = [
                    call(method, Echo(text="x"), timeout_s=30, wait_for_ready=True).text
                    for _ in range(20)
                ]
    finally:
        may_end.set()
        starting.join()
        cold.stop(0)

    assert answers == ["x"] * 20


def test_large_message_is_refused_on_both_sides() -> None:
    """Beyond the configured size a request is RESOURCE_EXHAUSTED, up to it it passes."""
    children = [Echo(text="y" * 100)] * 100

    with serving(request_bytes_max=20_000) as (server, method):
        assert len(call(method, Echo(text="x", children=children), timeout_s=30).children) == 100
        with pytest.raises(Exhausted):
            call(method, Echo(text="x", children=children * 2), timeout_s=30)
        with (
            connected(server.port, message_bytes_max=5_000) as small,
            pytest.raises(Exhausted),
        ):
            call(small, Echo(text="x", children=children), timeout_s=30)


def test_service_config_never_holds_a_timeout() -> None:
    """A timeout there fails every call at once on some machines."""
    text = _service_config(3, watches_health=True)

    assert "timeout" not in text.lower()
    assert json.loads(text)["methodConfig"][0]["name"] == [{}]


def _call_until(method: Any, is_done: Any) -> None:
    deadline = time.monotonic() + 30
    while not is_done():
        assert time.monotonic() < deadline
        call(method, Echo(text="x"), timeout_s=30)
