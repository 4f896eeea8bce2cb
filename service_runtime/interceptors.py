"""
What happens around every call of a service, in one interceptor because each costs time.

In order: refuse when warming up or overloaded; request id; deadline budget; may the caller do this;
constraints of the request (protovalidate); the call; error to status; metrics; one log line. Only
calls with one request and one answer are dressed so; health, reflection and channelz get threads of
their own and are neither logged nor counted; where access is limited, the latter two are for
operators. What operators do is also written to the audit log (`audit.recorded`).

Metrics (with the service's name in front): `requests_total{method,code}`,
`request_seconds{method}`, `queue_seconds`, `requests_in_flight`, `requests_waiting`,
`requests_limit`, `requests_shed_total{reason}`.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from itertools import count
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from service_runtime.access import FORWARDED_KEY, TOKEN_KEY, Access, Credentials, Role
from service_runtime.call_context import (
    Abandoned,
    caller_var,
    current_request_id,
    deadline_var,
    remaining_seconds,
    request_id_var,
    trace_id_var,
)
from service_runtime.call_log import OWN_FAULTS, CallLog, CallNote
from service_runtime.call_metrics import CallMetrics
from service_runtime.concurrency_limit import ConcurrencyLimit
from service_runtime.config import ServiceConfig
from service_runtime.errors import (
    CorkboardError,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
)
from service_runtime.grpc_client import REQUEST_ID_KEY
from service_runtime.grpc_errors import to_status
from service_runtime.refusals import Reason, Refusals
from service_runtime.telemetry import Metrics, audit, logger
from service_runtime.tracing import TRACE_ID_KEY, TRACEPARENT_KEY, Tracing
from service_runtime.validation import check
from service_runtime.worker_pool import Pools, WorkerPool

__all__ = ["CallInterceptor", "current_request_id", "remaining_seconds"]

REQUEST_ID_CHARS_MAX = 128

_UNREADABLE = object()
"""Stands for a request that could not be decoded."""

_arrival_var: ContextVar[float] = ContextVar("arrival")

Behavior = Callable[[Any, grpc.ServicerContext], Any]
Handler = Any
"""A grpc.RpcMethodHandler: generic in the published types, not so at run time."""


class _Dressed(NamedTuple):
    """A method's handler as the service gave it, and the ones that stand in for it."""

    inner: Handler
    serve: Handler
    refuse: Mapping[Reason, Handler]
    """None for what is never refused."""


class CallInterceptor(grpc.ServerInterceptor):
    """
    Dresses every unary call of a service. Must be the innermost interceptor.

    Args:
        name: Of the service, `profile_service`; domain of its errors.
        config: Deadlines and limits.
        metrics: Where the counts go.
        pools: Threads; the length of their queue decides on refusals.
        access: Who may call what; None = everybody everything.
        subject_field: Field of requests that says whom they are about, for the log; "" = none.
    """

    def __init__(
        self,
        name: str,
        config: ServiceConfig,
        metrics: Metrics,
        pools: Pools,
        access: Access | None = None,
        subject_field: str = "",
    ) -> None:
        self.is_ready = False
        self.tracing = Tracing(config, name)
        self._subject_field = subject_field
        self._access = access
        self._name = name
        self._config = config
        self._pools = pools
        self._dressed: dict[str, _Dressed] = {}
        self.lines = CallLog(
            lines_per_second_max=config.log_lines_per_second_max, subject_field=subject_field
        )
        self._log = logger("call").bind()
        self._boot = os.urandom(6).hex()
        self._numbers = count()
        self._waiting_count = pools.calls.waiting_count
        self._limit = ConcurrencyLimit(
            config.workers(), config.queue_count_max, config.queue_seconds_max
        )
        self._metrics = CallMetrics(
            metrics.service, metrics.registry, self._waiting_count, lambda: self._limit.count
        )
        self._refusals = Refusals(name, self._metrics, self.lines)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Pick who serves this call; runs in gRPC's own thread, in the call's context."""
        handler = continuation(handler_call_details)
        if handler is None:
            self._metrics.refuse("unknown", "UNIMPLEMENTED")
            return None
        method: str = handler_call_details.method
        dressed = self._dressed.get(method)
        if dressed is None or dressed.inner is not handler:
            dressed = self._dressed[method] = self._dress(method, handler)
        if dressed.refuse:
            if not self.is_ready:
                return dressed.refuse[Reason.NOT_SERVING]
            # A call on its way from the queue to its worker is in neither count: a few too many may
            # come in, none too few.
            inside = self._waiting_count() + self._metrics.in_flight
            if not self._limit.admits(inside):
                is_most = self._limit.count == self._limit.count_max
                return dressed.refuse[Reason.QUEUE_FULL if is_most else Reason.OVERLOAD]
        _arrival_var.set(time.monotonic())
        return dressed.serve

    def _dress(self, method: str, handler: Handler) -> _Dressed:
        if method.startswith("/grpc."):
            pool = self._pools.health if "/grpc.health." in method else self._pools.admin
            if self._access is not None and "/grpc.health." not in method:
                handler = _guarded(handler, self._operators_only)
            apart = _on_pool(handler, pool)
            return _Dressed(handler, apart, {})
        if handler.unary_unary is None:
            return _Dressed(handler, handler, {})
        serve = _with_behavior(handler, self._served(method, handler.unary_unary))
        name = method.rpartition("/")[2]
        refuse = {reason: self._refusals.handler(name, reason) for reason in Reason}
        return _Dressed(handler, serve, refuse)

    def _served(self, method: str, behavior: Behavior) -> Behavior:
        """The behavior with everything around it; the hot path of every service."""
        name, metrics, access = method.rpartition("/")[2], self._metrics, self._access
        is_audited = access is not None and access.needs(method) is Role.OPERATOR

        def serve(request: Any, context: grpc.ServicerContext) -> Any:
            started = time.monotonic()
            waited = started - _arrival_var.get(started)
            peer = context.peer()
            metrics.begin()
            error = caller = ""
            try:
                self._begin(method, context, waited)
                if access is not None:
                    caller = access.admit(method, _credentials(context), _count(request))
                _check_readable(request, name)
                check(request)
                return behavior(request, context)
            except Exception as exception:
                error = self._fail(name, exception, context)
                raise
            finally:
                # The context holds the call, and the call holds these variables: a circle that only
                # the collector would open, while the call's stream stays open on its connection.
                caller_var.set(None)
                code, seconds = _final_code(context), time.monotonic() - started
                metrics.end(name, code, seconds, waited)
                self._limit.note(waited, seconds, deadline_var.get() - started + waited)
                ids = request_id_var.get(), error, trace_id_var.get(), self._subject(request)
                self.lines.add(CallNote(time.time(), name, code, seconds, waited, peer, *ids))
                self.tracing.end(code, error if code in OWN_FAULTS else "")
                if is_audited:
                    audit(name, caller=caller, code=code)

        return serve

    def _begin(self, method: str, context: grpc.ServicerContext, waited_s: float) -> None:
        """Give the call its request id, its trace and its time budget."""
        request_id, traceparent = _ids(context)
        if not 0 < len(request_id) <= REQUEST_ID_CHARS_MAX:  # gRPC itself lets only ASCII pass
            request_id = f"{self._boot}{next(self._numbers):x}"
        request_id_var.set(request_id)
        self.tracing.begin(method, traceparent, waited_s=waited_s, request_id=request_id)
        context.set_trailing_metadata(_trailers())
        seconds = context.time_remaining()
        if seconds is None or seconds > 1e9:  # none was set
            seconds = self._config.deadline_seconds
        caller_var.set(context)
        deadline_var.set(time.monotonic() + min(seconds, self._config.deadline_seconds_max))
        if seconds <= 0:
            raise DeadlineExceeded("the deadline passed while the call waited for a worker")

    def _fail(self, method: str, error: Exception, context: grpc.ServicerContext) -> str:
        """Abort the call with the error's status (raises), unless the behavior aborted itself."""
        if type(error) is Exception and _code(context) != "OK":
            return str(_state(context).details() or "")
        if isinstance(error, Abandoned):
            codes = grpc.StatusCode
            code = codes.CANCELLED if remaining_seconds() > 0 else codes.DEADLINE_EXCEEDED
            with contextlib.suppress(Exception):  # this is how abort returns
                context.abort(code, "nobody waits for the answer any more")
            return ""
        if not isinstance(error, CorkboardError):
            self._log.error("call.crashed", method=method, exc_info=error)
            error = Internal(f"internal error; request id {current_request_id()}")
        status: Any = to_status(error, domain=self._name, request_id=current_request_id())
        status = status._replace(trailing_metadata=(*status.trailing_metadata, *_trailers()))
        with contextlib.suppress(Exception):  # this is how abort returns
            context.abort_with_status(status)
        return str(error)

    def _subject(self, request: Any) -> str:
        """Whom the call is about, if its request says so."""
        try:
            return str(getattr(request, self._subject_field))
        except AttributeError:
            return ""

    def _operators_only(self, context: grpc.ServicerContext) -> None:
        """Abort a call of reflection or channelz that does not come from an operator."""
        assert self._access is not None
        try:
            self._access.admit_role(Role.OPERATOR, _credentials(context))
        except CorkboardError as error:
            context.abort_with_status(to_status(error, domain=self._name))


def _count(request: Any) -> int:
    """How many calls a request stands for: a batch carries them in `requests`."""
    return max(1, len(getattr(request, "requests", ())))


def _check_readable(request: Any, method: str) -> None:
    """Refuse what could not be decoded (see `_tolerant`)."""
    if request is _UNREADABLE:
        raise InvalidRequest(
            f"these bytes are no {method}Request",
            hint="use the contract of this version: protos/ or reflection",
            reason="UNREADABLE",
        )


def _ids(context: grpc.ServicerContext) -> tuple[str, str]:
    """Request id and traceparent as the caller sent them; "" for one that it did not send."""
    request_id = traceparent = ""
    for key, value in context.invocation_metadata():
        if key == REQUEST_ID_KEY:
            request_id = value if isinstance(value, str) else ""
        elif key == TRACEPARENT_KEY:
            traceparent = value if isinstance(value, str) else ""
    return request_id, traceparent


def _trailers() -> tuple[tuple[str, str], ...]:
    """What every answer says about its call."""
    request_id = (REQUEST_ID_KEY, request_id_var.get())
    trace_id = trace_id_var.get()
    return (request_id, (TRACE_ID_KEY, trace_id)) if trace_id else (request_id,)


def _credentials(context: grpc.ServicerContext) -> Credentials:
    """What a call brings along to say who calls."""
    token = forwarded = ""
    for key, value in context.invocation_metadata():
        if key == TOKEN_KEY and isinstance(value, str) and value.lower().startswith("bearer "):
            token = value[7:].strip()
        elif key == FORWARDED_KEY and isinstance(value, str):
            forwarded = value
    auth: Mapping[str, Sequence[bytes]] = context.auth_context()  # type: ignore[assignment]
    names = [*auth.get("spiffe_id", ()), *auth.get("x509_subject_alternative_name", ())]
    commons = [b"cn:" + name for name in auth.get("x509_common_name", ())]
    identities = dict.fromkeys(name.decode("utf-8", "replace") for name in (*names, *commons))
    return Credentials(tuple(identities), token, forwarded)


def _guarded(handler: Handler, guard: Callable[[grpc.ServicerContext], None]) -> Handler:
    """The same handler behind a guard that aborts."""
    for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
        behavior = getattr(handler, kind)
        if behavior is not None:

            def guarded(request: Any, context: grpc.ServicerContext, *, to: Any = behavior) -> Any:
                guard(context)
                return to(request, context)

            make = getattr(grpc, f"{kind}_rpc_method_handler")
            return make(guarded, handler.request_deserializer, handler.response_serializer)
    return handler


def _final_code(context: grpc.ServicerContext) -> str:
    """The status the caller gets: what was set, or why nobody waits any more."""
    code = _code(context)
    if code == "OK" and not context.is_active():
        return "CANCELLED" if remaining_seconds() > 0 else "DEADLINE_EXCEEDED"
    return code


def _code(context: grpc.ServicerContext) -> str:
    """Name of the status set so far; OK if none is."""
    code = _state(context).code()
    return "OK" if code is None else str(getattr(code, "name", code))


def _state(context: Any) -> Any:
    """The same context; its getters code() and details() are missing from the published types."""
    return context


def _with_behavior(handler: Handler, behavior: Behavior) -> Handler:
    return grpc.unary_unary_rpc_method_handler(
        behavior, _tolerant(handler.request_deserializer), handler.response_serializer
    )


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The same, but a mark for bytes that are no message: gRPC would answer those INTERNAL."""

    def tolerant(content: bytes) -> Any:
        try:
            return deserialize(content)
        except DecodeError:
            return _UNREADABLE

    return tolerant


def _on_pool(handler: Handler, pool: WorkerPool) -> Handler:
    """The same handler, served by *pool* instead of the server's own threads."""
    for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
        behavior = getattr(handler, kind)
        if behavior is not None:
            make = getattr(grpc, f"{kind}_rpc_method_handler")
            moved = _moved(behavior, pool)
            made: Handler = make(moved, handler.request_deserializer, handler.response_serializer)
            return made
    return handler


def _moved(behavior: Callable[..., Any], pool: WorkerPool) -> Callable[..., Any]:
    def moved(*arguments: Any, **named: Any) -> Any:
        return behavior(*arguments, **named)

    # gRPC's only way to say which pool, and (for health's Watch) that no thread is held.
    is_non_blocking = getattr(behavior, "experimental_non_blocking", False)
    vars(moved).update(experimental_thread_pool=pool, experimental_non_blocking=is_non_blocking)
    return moved
