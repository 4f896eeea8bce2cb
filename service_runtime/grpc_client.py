"""
The client side: a channel with keepalive and bounded retry, and a call that always has a deadline.

    channel = open_channel("127.0.0.1:50051")
    profile = call(ProfileServiceStub(channel).GetProfile, request, timeout_s=0.05)

`timeout` never stands in the service config: on some machines that fails every call at once.
Hedging is not used: gRPC Python accepts a hedging policy and ignores it.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import grpc

from service_runtime.call_context import (
    Abandoned,
    caller_var,
    current_request_id,
    remaining_seconds,
    stop_if_abandoned,
    traceparent_var,
    when_ended,
)
from service_runtime.config import ServiceConfig
from service_runtime.errors import DeadlineExceeded
from service_runtime.grpc_errors import from_rpc_error
from service_runtime.tls import ChannelSource, FollowingChannel, TlsFiles
from service_runtime.tracing import TRACEPARENT_KEY, span

REQUEST_ID_KEY = "x-request-id"
"""Metadata key under which the id of a request travels from service to service."""

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


def open_channel(
    target: str,
    *,
    message_bytes_max: int = 4 * 1024 * 1024,
    attempts_max: int = 3,
    keepalive_seconds: float = 30.0,
    watches_health: bool = False,
    options: Sequence[tuple[str, int | str]] = (),
    tls: TlsFiles | None = None,
    token_file: Path | None = None,
) -> grpc.Channel:
    """
    Open a channel; it connects at first use.

    Args:
        target: `host:port`, or any gRPC name; `dns:///name:port` spreads calls over all addresses.
        message_bytes_max: Largest request and answer, bytes.
        attempts_max: Tries of one call while the server is UNAVAILABLE or cancels calls because it
            ends, in [1, 5]; 1 = no retry. So every method must bear to be called twice.
            All tries share the call's deadline; when most calls fail, retrying stops by itself.
        keepalive_seconds: How often an idle connection is tested while calls are open, >= 10
            (servers close connections that ping more often).
        watches_health: Follow the health service of each address and skip those NOT_SERVING. For
            direct connections only: a proxy would answer with the health of one backend.
        options: Further channel arguments, stronger than the ones above.
        tls: Encrypt, with these certificates; they are read again when they change. None = plain:
            a mesh's sidecar encrypts, or nothing leaves this machine.
        token_file: File of a token to show with every call; read again when it changes.

    Returns:
        A channel to close when done; safe from all threads.

    Raises:
        TlsFailed: A certificate cannot be used.
    """
    base: list[tuple[str, int | str]] = [
        ("grpc.service_config", _service_config(attempts_max, watches_health=watches_health)),
        ("grpc.keepalive_time_ms", int(keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", 5000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_send_message_length", message_bytes_max),
        ("grpc.max_receive_message_length", message_bytes_max),
        # A refused connection is tried again after 0.1 s at first, at most 2 s (default: 120 s);
        # one that neither succeeds nor fails is given up after 5 s.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # When an address is lost the name is asked again, 2 s after the last time at the earliest
        # (default: 30 s, in which a rolling restart may have taken the other addresses as well).
        ("grpc.dns_min_time_between_resolutions_ms", 2000),
    ]
    names = {name for name, _ in options}
    kept = [*(pair for pair in base if pair[0] not in names), *options]
    shown = [] if token_file is None else [_Token(token_file)]
    if tls is None:
        return grpc.intercept_channel(grpc.insecure_channel(target, kept), *shown)
    source = ChannelSource(tls)
    # A changed certificate needs a new connection, and equal arguments would share the old one.
    alone = [*kept, ("grpc.use_local_subchannel_pool", 1)]

    def opened() -> grpc.Channel:
        channel = grpc.secure_channel(target, source.credentials(), alone)
        return grpc.intercept_channel(channel, *shown)

    return FollowingChannel(opened, source, clock=time.monotonic)


def channel_files(config: ServiceConfig) -> TlsFiles | None:
    """The certificates of a service's channels to other services; None = plain."""
    if config.tls_ca_file is None:
        return None
    return TlsFiles(config.tls_certificate_file, config.tls_key_file, config.tls_ca_file)


class _Details(NamedTuple):
    """What gRPC tells an interceptor of a call, with more metadata."""

    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]]
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Token(grpc.UnaryUnaryClientInterceptor):  # type: ignore[type-arg,unused-ignore]
    """Shows a token with every call, as the file holds it at that time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mtime = -1
        self._token = ""

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        """Add the token and go on."""
        details = client_call_details
        shown = (*(details.metadata or ()), ("authorization", f"Bearer {self._current()}"))
        return continuation(
            _Details(
                details.method,
                details.timeout,
                shown,
                details.credentials,
                details.wait_for_ready,
                details.compression,
            ),
            request,
        )

    def _current(self) -> str:
        try:
            mtime = self._path.stat().st_mtime_ns
            if mtime != self._mtime:
                self._token, self._mtime = self._path.read_text(encoding="utf-8").strip(), mtime
        except OSError:
            pass  # being replaced just now: the one we had may still do
        return self._token


def call(
    method: "grpc.UnaryUnaryMultiCallable[RequestT, AnswerT]",
    request: RequestT,
    *,
    timeout_s: float,
    margin_s: float = 0.0,
    metadata: Sequence[tuple[str, str | bytes]] = (),
    wait_for_ready: bool = False,
    ends_with_caller: bool = False,
) -> AnswerT:
    """
    Call another service and wait for its answer; inside a call of ours, within that one's time.

    Args:
        method: A method of a stub.
        request: Its request.
        timeout_s: Most seconds to wait, > 0; less is used when the call being served has less left.
        margin_s: Seconds of that call's time to keep back for what comes after; >= 0.
        metadata: Sent along, with the request id and the trace of the call being served.
        wait_for_ready: Wait for a connection, up to the deadline, instead of failing at once.
        ends_with_caller: Cancel it at once when the caller of the call being served hangs up.
            Costs 0.1 to 0.3 ms of CPU (a thread of gRPC's), so for work that takes longer.

    Raises:
        Abandoned: Nobody waits for the call being served any more.
        CorkboardError: What the other side raised, of the same family; Unavailable if it cannot be
            reached; DeadlineExceeded if time ran out, also before the call was sent.
    """
    stop_if_abandoned()
    seconds = min(timeout_s, remaining_seconds(margin_s))
    if seconds <= 0:
        raise DeadlineExceeded("no time left to ask another service")
    is_bound = ends_with_caller and caller_var.get() is not None
    ask = _while_wanted(method) if is_bound else method
    sent = tuple(metadata)
    if request_id := current_request_id():
        sent = (*sent, (REQUEST_ID_KEY, request_id))
    with span(_name_of(method), is_call=True):
        if traceparent := traceparent_var.get():
            sent = (*sent, (TRACEPARENT_KEY, traceparent))
        try:
            return ask(request, timeout=seconds, metadata=sent, wait_for_ready=wait_for_ready)
        except grpc.RpcError as error:
            stop_if_abandoned()
            raise from_rpc_error(error) from error


def _while_wanted(method: Any) -> Any:
    """The same method, cancelled when nobody waits for the call being served any more."""

    def ask(request: Any, **options: Any) -> Any:
        future = method.future(request, **options)
        when_ended(future.cancel)
        try:
            return future.result()
        except grpc.FutureCancelledError:
            raise Abandoned from None

    return ask


def _name_of(method: Any) -> str:
    """`package.Service/Method` as a trace shows it; gRPC keeps it, and gives no way to ask."""
    name = getattr(method, "_method", b"")
    return (name if isinstance(name, str) else bytes(name).decode()).lstrip("/") or "call"


def _service_config(attempts_max: int, *, watches_health: bool) -> str:
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if attempts_max > 1:
        retry = {
            "maxAttempts": attempts_max,
            # Another replica at once; then later than a lost connection is tried again (0.12 s at
            # the latest): where there is one address, all tries would fail before.
            "initialBackoff": "0.01s",
            "maxBackoff": "0.2s",
            "backoffMultiplier": 18,
            # A server that shuts down cancels calls that reach it before its clients know.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        }
        config["methodConfig"] = [{"name": [{}], "retryPolicy": retry}]
        config["retryThrottling"] = {"maxTokens": 100, "tokenRatio": 0.1}
    if watches_health:
        config["healthCheckConfig"] = {"serviceName": ""}
    return json.dumps(config)
