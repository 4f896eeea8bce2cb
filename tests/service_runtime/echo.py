"""A tiny service with constraints, made at run time: what tests of the runtime serve and call."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from buf.validate import validate_pb2
from service_runtime.config import ServiceConfig
from service_runtime.grpc_client import open_channel
from service_runtime.grpc_server import Server

SERVICE = "runtime_test.v1.EchoService"
METHOD = f"/{SERVICE}/Echo"


def _file() -> descriptor_pb2.FileDescriptorProto:
    """Echo { string text, 1 to 128 bytes; repeated Echo children; map<string, Echo> named }."""
    file = descriptor_pb2.FileDescriptorProto(
        name="runtime_test/v1/echo.proto",
        package="runtime_test.v1",
        syntax="proto3",
        dependency=["buf/validate/validate.proto"],
    )
    echo = file.message_type.add(name="Echo")
    text = echo.field.add(name="text", number=1, type=9, label=1)
    rules = text.options.Extensions[validate_pb2.field]
    rules.string.min_bytes, rules.string.max_bytes = 1, 128
    name = ".runtime_test.v1.Echo"
    echo.field.add(name="children", number=2, type=11, label=3, type_name=name)
    echo.field.add(name="named", number=3, type=11, label=3, type_name=f"{name}.NamedEntry")
    entry = echo.nested_type.add(name="NamedEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=11, label=1, type_name=name)
    service = file.service.add(name="EchoService")
    service.method.add(name="Echo", input_type=name, output_type=name)
    return file


def _echo_class() -> Any:
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(_file().SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("runtime_test.v1.Echo"))


Echo: Any = _echo_class()
Behavior = Callable[[Any, grpc.ServicerContext], Any]


def same(request: Any, _: grpc.ServicerContext) -> Any:
    """Answer with the request."""
    return request


def raises(error: Exception) -> Behavior:
    """A behavior that always fails."""

    def behavior(_: Any, __: grpc.ServicerContext) -> Any:
        raise error

    return behavior


def add_echo(behavior: Behavior) -> Callable[[grpc.Server], None]:
    """What registers the echo method, as generated code does."""

    def add(server: grpc.Server) -> None:
        handler = grpc.unary_unary_rpc_method_handler(
            behavior, Echo.FromString, Echo.SerializeToString
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Echo": handler}),)
        )
        server.add_registered_method_handlers(SERVICE, {"Echo": handler})  # type: ignore[attr-defined]

    return add


def make_config(**fields: Any) -> ServiceConfig:
    """Settings for a server in a test: any free port, no waiting at the end."""
    quick = {"worker_count": 2, "drain_wait_seconds": 0.0, "drain_seconds": 5.0}
    return ServiceConfig(**{**quick, **fields})


def make_server(behavior: Behavior = same, *, name: str = "echo", **arguments: Any) -> Server:
    """A server of the echo method, not started; arguments are a config's fields or Server's."""
    own = {"warm_up", "close", "metrics", "interceptors", "roles"} & set(arguments)
    chosen = {key: arguments.pop(key) for key in own}
    return Server(
        make_config(**arguments),
        name=name,
        add_services=add_echo(behavior),
        service_names=[SERVICE],
        **chosen,
    )


def echo_method(channel: grpc.Channel) -> Any:
    """The echo method as a stub has it."""
    return channel.unary_unary(METHOD, Echo.SerializeToString, Echo.FromString)


@contextmanager
def connected(port: int, **options: Any) -> Iterator[Any]:
    """The echo method of the server on a port, over a connection of its own."""
    alone = [("grpc.use_local_subchannel_pool", 1)]
    channel = open_channel(f"127.0.0.1:{port}", options=alone, **options)
    try:
        yield echo_method(channel)
    finally:
        channel.close()


@contextmanager
def serving(behavior: Behavior = same, **arguments: Any) -> Iterator[tuple[Server, Any]]:
    """A started server and its echo method; both end with the block."""
    server = make_server(behavior, **arguments)
    server.start()
    try:
        with connected(server.port) as method:
            yield server, method
    finally:
        server.stop(0)


class Gate:
    """A behavior that holds every call until it is opened, and tells how many have come in."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, request: Any, _: grpc.ServicerContext) -> Any:
        """Come in, wait, answer with the request."""
        self.entered.release()
        assert self._open.wait(30), "the test never opened the gate"
        return request

    def wait_entered(self, count: int = 1) -> None:
        """Return once *count* more calls are inside."""
        for _ in range(count):
            assert self.entered.acquire(timeout=30), "the call never came in"

    def open(self) -> None:
        """Let all calls go, now and later."""
        self._open.set()
