"""What a server lets in over a connection: sizes, streams, and how long a connection lasts."""

import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from service_runtime.errors import CorkboardError, Exhausted, InvalidRequest
from service_runtime.grpc_client import call
from tests.service_runtime.echo import Echo, Gate, same, serving


def test_metadata_above_the_limit_is_refused() -> None:
    """Headers are held in memory before any code of ours sees a call, so they are bounded."""
    with serving(metadata_bytes_max=4096) as (_, method):
        call(method, Echo(text="x"), timeout_s=30, metadata=[("note", "n" * 3000)])
        with pytest.raises(Exhausted):
            call(method, Echo(text="x"), timeout_s=30, metadata=[("note", "n" * 5000)])
        after = call(method, Echo(text="x"), timeout_s=30)

    assert after.text == "x"


def test_request_above_the_limit_is_refused() -> None:
    """The status says that it is the size, and the server goes on."""
    large = Echo(text="x", children=[Echo(text="y" * 100) for _ in range(100)])
    with serving(request_bytes_max=4096) as (_, method):
        with pytest.raises(Exhausted, match="larger than max"):
            call(method, large, timeout_s=30)
        after = call(method, Echo(text="x"), timeout_s=30)

    assert after.text == "x"


def test_streams_above_the_limit_wait_at_the_caller() -> None:
    """One connection cannot fill the server: its third call is not sent before one has ended."""
    gate = Gate()
    with serving(gate, worker_count=4, stream_count_max=2) as (server, method):
        held = [method.future(Echo(text="x"), timeout=30) for _ in range(3)]
        gate.wait_entered(2)
        is_third_in = gate.entered.acquire(timeout=0.3)
        page = server.metrics.text()
        gate.open()
        answers = [one.result().text for one in held]

    assert not is_third_in
    assert "echo_requests_in_flight 2.0" in page
    assert answers == ["x", "x", "x"]


@pytest.mark.parametrize("error", [None, InvalidRequest("no"), ValueError("a bug")], ids=repr)
def test_a_call_that_has_ended_is_let_go(error: Exception | None) -> None:
    """Without the collector's help: a call that is held keeps its stream, until none is left."""
    contexts: list[Any] = []

    def behavior(request: Any, context: grpc.ServicerContext) -> Any:
        contexts.append(weakref.ref(context))
        if error is not None:
            raise type(error)(*error.args)
        return same(request, context)

    with serving(behavior, trace_endpoint="") as (_, method):
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                with contextlib.suppress(CorkboardError):
                    call(method, Echo(text="x"), timeout_s=30)
            wait_until(lambda: sum(context() is not None for context in contexts) <= 2)
        finally:
            gc.enable()

    assert len(contexts) == 20


def wait_until(is_so: Callable[[], bool]) -> None:
    """A worker may still hold what it has just done."""
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_connections_are_renewed_without_failing_a_call() -> None:
    """After their age connections end between calls: callers find new replicas, none notices."""
    peers: set[str] = set()
    failures: list[str] = []

    def behavior(request: Any, context: grpc.ServicerContext) -> Any:
        peers.add(context.peer())
        return same(request, context)

    with serving(behavior, connection_age_seconds_max=1.0) as (_, method):
        end = time.monotonic() + 3.5

        def ask() -> None:
            while time.monotonic() < end:
                try:
                    call(method, Echo(text="x"), timeout_s=30)
                except CorkboardError as error:
                    failures.append(str(error))
                time.sleep(0.002)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert failures == []
    assert len(peers) >= 3
