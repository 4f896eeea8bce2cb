"""A method's handler, as gRPC wants it, around another one: other behavior, or other threads."""

from collections.abc import Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from service_runtime.worker_pool import WorkerPool

Behavior = Callable[[Any, grpc.ServicerContext], Any]
Handler = Any
"""A grpc.RpcMethodHandler: generic in the published types, not so at run time."""

UNREADABLE: Final = object()
"""Stands for a request that could not be decoded."""

_KINDS: Final = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def with_behavior(handler: Handler, behavior: Behavior) -> Handler:
    """
    The same unary handler with another behavior.

    Args:
        handler: Of a method with one request and one answer.
        behavior: Is given requests as messages, or `UNREADABLE`; answers with bytes.
    """
    return grpc.unary_unary_rpc_method_handler(
        behavior, _tolerant(handler.request_deserializer), None
    )


def guarded(handler: Handler, guard: Callable[[grpc.ServicerContext], None]) -> Handler:
    """The same handler of any kind behind a guard that aborts."""
    kind, behavior = _behavior(handler)

    def guarded_behavior(request: Any, context: grpc.ServicerContext) -> Any:
        guard(context)
        return behavior(request, context)

    return _made(kind, guarded_behavior, handler)


def on_pool(handler: Handler, pool: WorkerPool) -> Handler:
    """The same handler of any kind, served by *pool* instead of the server's own threads."""
    kind, behavior = _behavior(handler)

    def moved(*arguments: Any, **named: Any) -> Any:
        return behavior(*arguments, **named)

    # gRPC's only way to say which pool, and (for health's Watch) that no thread is held.
    is_non_blocking = getattr(behavior, "experimental_non_blocking", False)
    vars(moved).update(experimental_thread_pool=pool, experimental_non_blocking=is_non_blocking)
    return _made(kind, moved, handler)


def _behavior(handler: Handler) -> tuple[str, Callable[..., Any]]:
    """Which kind of method a handler serves, and with what."""
    return next((kind, getattr(handler, kind)) for kind in _KINDS if getattr(handler, kind))


def _made(kind: str, behavior: Callable[..., Any], like: Handler) -> Handler:
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    made: Handler = make(behavior, like.request_deserializer, like.response_serializer)
    return made


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The same, but a mark for bytes that are no message: gRPC would answer those INTERNAL."""

    def tolerant(content: bytes) -> Any:
        try:
            return deserialize(content)
        except DecodeError:
            return UNREADABLE

    return tolerant
