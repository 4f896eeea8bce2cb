"""Work for a caller who has hung up stops, over hops, and the time that is left shrinks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from service_runtime.call_context import Abandoned, stop_if_abandoned, when_ended
from service_runtime.errors import DeadlineExceeded
from service_runtime.grpc_client import call
from tests.service_runtime.echo import Echo, Gate, connected, make_server, serving


class Inner:
    """The service behind: holds its calls, and knows how long each may take and how it ended."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.ended = threading.Event()
        self.seconds: list[float] = []

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Wait until the caller is gone."""
        self.seconds.append(context.time_remaining())
        context.add_callback(self.ended.set)
        self.entered.release()
        self.ended.wait(30)
        return request


@contextmanager
def chain(inner: Any, **options: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The echo method of a server that asks another one; and what became of its calls."""
    seen: dict[str, Any] = {"errors": [], "done": threading.Event()}
    with serving(inner) as (_, behind):

        def behavior(request: Any, _: grpc.ServicerContext) -> Any:
            try:
                return call(behind, request, timeout_s=60, margin_s=0.5, **options)
            except Exception as error:
                seen["errors"].append(error)
                raise
            finally:
                seen["done"].set()

        server = make_server(behavior)
        server.start()
        seen["server"] = server
        try:
            with connected(server.port, attempts_max=1) as method:
                yield method, seen
        finally:
            server.stop(0)


def test_hanging_up_ends_the_call_behind() -> None:
    """The caller cancels; the service behind is told long before its own time is up."""
    inner = Inner()
    with chain(inner, ends_with_caller=True) as (method, seen):
        future = method.future(Echo(text="x"), timeout=60)
        assert inner.entered.acquire(timeout=30)
        future.cancel()
        assert inner.ended.wait(30), "the call behind went on"
        assert seen["done"].wait(30), "our own work went on"
        page = seen["server"].metrics

    assert [type(error) for error in seen["errors"]] == [Abandoned]
    assert 'echo_requests_total{code="CANCELLED",method="Echo"} 1.0' in page.text()


def test_time_that_is_left_shrinks_with_each_hop() -> None:
    """What the service behind gets is the caller's deadline less what is kept back."""
    inner = Inner()
    with chain(inner) as (method, seen):
        with pytest.raises(DeadlineExceeded):
            call(method, Echo(text="x"), timeout_s=1.0)
        assert seen["done"].wait(30)

    assert 0 < inner.seconds[0] <= 0.5


def test_nothing_new_is_asked_for_somebody_who_is_gone() -> None:
    """Between two calls to others it is noticed that nobody waits; the second is not made."""
    gate, asked = Gate(), []
    ended, done = threading.Event(), threading.Event()

    def behavior(request: Any, context: grpc.ServicerContext) -> Any:
        when_ended(ended.set)
        gate(request, context)
        try:
            stop_if_abandoned()
            asked.append(request)
        finally:
            done.set()
        return request

    with serving(behavior) as (_, method):
        future = method.future(Echo(text="x"), timeout=60)
        gate.wait_entered()
        future.cancel()
        assert ended.wait(30)
        gate.open()
        assert done.wait(30)

    assert asked == []


def test_outside_of_a_call_nobody_hangs_up() -> None:
    """Jobs and command lines may use the same code."""
    stop_if_abandoned()
    when_ended(lambda: pytest.fail("called"))
