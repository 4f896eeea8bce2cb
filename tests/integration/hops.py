"""A gRPC proxy between two services that notes what passes, and can hold it."""

import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc


class Passed(NamedTuple):
    """One call that came by."""

    method: str
    seconds_left: float
    """Until its deadline, as it came in."""


class Hop(grpc.GenericRpcHandler):
    """Hands every unary call on to a target, byte for byte, with the time that it has left."""

    def __init__(self) -> None:
        self.target = ""
        """Where to; set before the first call."""
        self.passed: list[Passed] = []
        self.is_holding = False
        """Whether calls are kept until their caller is gone, instead of handed on."""
        self.held = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """What serves a call: `_pass_on`, for any method."""
        method = handler_call_details.method

        def behavior(request: bytes, context: grpc.ServicerContext) -> bytes:
            return self._pass_on(method, request, context)

        return grpc.unary_unary_rpc_method_handler(behavior)

    def _pass_on(self, method: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        seconds = context.time_remaining()
        self.passed.append(Passed(method.rpartition("/")[2], seconds))
        if self.is_holding:
            self.held.release()
            while context.is_active():
                time.sleep(0.005)
            self.let_go.release()
            return b""
        with grpc.insecure_channel(self.target) as channel:
            try:
                answer: bytes = channel.unary_unary(method)(request, timeout=seconds)
            except grpc.RpcError as error:
                call: grpc.Call = error  # type: ignore[assignment]
                context.abort(call.code(), call.details() or "")
            return answer

    def close(self) -> None:
        """End it."""
        self._server.stop(None).wait()


@contextmanager
def hops(count: int) -> Iterator[list[Hop]]:
    """Some proxies."""
    made = [Hop() for _ in range(count)]
    try:
        yield made
    finally:
        for hop in made:
            hop.close()
