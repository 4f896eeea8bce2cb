"""
What happens around every call of a service, in one interceptor because each costs time.

In order: refuse when warming up or overloaded, or when nobody known calls; request id; deadline
budget; may the caller do this; constraints of the request (protovalidate); the call; its answer in
bytes, if a message may have so many; error to status; metrics; one log line. Only calls with one
request and one answer are dressed so, and no others are served but health, reflection and channelz:
these get threads of their own and are neither logged nor counted; where access is limited, the
latter two are for operators. What operators do is also written to the audit log (`audit.recorded`).

Metrics (with the service's name in front): `requests_total{method,code}`,
`request_seconds{method}`, `queue_seconds`, `requests_in_flight`, `requests_waiting`,
`requests_limit`, `requests_shed_total{reason}`.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import grpc

from service_runtime.access import Access
from service_runtime.admission import Admission
from service_runtime.call_context import (
    Abandoned,
    caller_name_var,
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
    Exhausted,
    Internal,
    InvalidRequest,
)
from service_runtime.grpc_client import REQUEST_ID_KEY
from service_runtime.grpc_errors import FAMILIES, family, to_status
from service_runtime.handlers import (
    UNREADABLE,
    Behavior,
    Handler,
    guarded,
    on_pool,
    with_behavior,
)
from service_runtime.refusals import Reason, Refusals
from service_runtime.request_ids import RequestIds
from service_runtime.telemetry import Metrics, audit, logger
from service_runtime.tracing import TRACE_ID_KEY, Tracing
from service_runtime.validation import check
from service_runtime.worker_pool import Pools

__all__ = ["CallInterceptor", "current_request_id", "remaining_seconds"]

_arrival_var: ContextVar[float] = ContextVar("arrival")


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
        self._name = name
        self._config = config
        self._pools = pools
        self._dressed: dict[str, _Dressed] = {}
        self.lines = CallLog(
            lines_per_second_max=config.log_lines_per_second_max, subject_field=subject_field
        )
        self._log = logger("call").bind()
        self._ids = RequestIds()
        self._waiting_count = pools.calls.waiting_count
        self._limit = ConcurrencyLimit(
            config.workers(), config.queue_count_max, config.queue_seconds_max
        )
        self._metrics = CallMetrics(
            metrics.service, metrics.registry, self._waiting_count, lambda: self._limit.count
        )
        self._refusals = Refusals(name, self._metrics, self.lines, self._ids)
        self._admission = self._opened(access)

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
            if self._admission is not None:
                error = self._admission.turn_away(handler_call_details.invocation_metadata)
                if error is not None:
                    return self._refusals.told(method.rpartition("/")[2], error)
        _arrival_var.set(time.monotonic())
        return dressed.serve

    def _opened(self, access: Access | None) -> Admission | None:
        """What decides over calls; None where everybody may call everything."""
        if access is None:
            return None
        return Admission(
            access,
            asks_certificates=self._config.tls_client_ca_file is not None,
            ids=self._ids,
            on_refused=self._note_refused,
        )

    def _dress(self, method: str, handler: Handler) -> _Dressed:
        if method.startswith("/grpc."):
            pool = self._pools.health if "/grpc.health." in method else self._pools.admin
            inner = handler
            if self._admission is not None and "/grpc.health." not in method:
                handler = guarded(handler, partial(self._operators_only, self._admission, method))
            return _Dressed(inner, on_pool(handler, pool), {})
        if handler.unary_unary is None:
            raise TypeError(f"{method} streams: nothing here would limit, time or log its calls")
        serve = with_behavior(handler, self._served(method, handler))
        name = method.rpartition("/")[2]
        refuse = {reason: self._refusals.handler(name, reason) for reason in Reason}
        return _Dressed(handler, serve, refuse)

    def _served(self, method: str, handler: Handler) -> Behavior:
        """The behavior with everything around it; the hot path of every service."""
        behavior, serialize = handler.unary_unary, handler.response_serializer
        name, metrics, admission = method.rpartition("/")[2], self._metrics, self._admission
        is_audited = admission is not None and admission.is_audited(method)
        bytes_max = self._config.request_bytes_max

        def serve(request: Any, context: grpc.ServicerContext) -> Any:
            started = time.monotonic()
            waited = started - _arrival_var.get(started)
            peer = context.peer()
            metrics.begin()
            error = ""
            try:
                self._begin(method, context, waited)
                if admission is not None:
                    admission.admit(method, context, _count(request))
                _check_readable(request, name)
                check(request)
                return _fitting(serialize(behavior(request, context)), bytes_max)
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
                if is_audited and caller_name_var.get():
                    audit(name, code=code)

        return serve

    def _begin(self, method: str, context: grpc.ServicerContext, waited_s: float) -> None:
        """Give the call its request id, its trace and its time budget."""
        request_id, traceparent = self._ids.of(context.invocation_metadata())
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

    def _operators_only(
        self, admission: Admission, method: str, context: grpc.ServicerContext
    ) -> None:
        """Abort a call of reflection or channelz that does not come from an operator."""
        try:
            admission.operators_only(method, context)
        except CorkboardError as error:
            status: Any = to_status(error, domain=self._name, request_id=current_request_id())
            context.abort_with_status(status)

    def _note_refused(
        self, name: str, error: CorkboardError, context: grpc.ServicerContext
    ) -> None:
        """A line for a call of reflection or channelz that was refused."""
        code, ids = FAMILIES[family(error)].name, (current_request_id(), str(error))
        self.lines.add(CallNote(time.time(), name, code, 0.0, 0.0, context.peer(), *ids))


def _count(request: Any) -> int:
    """How many calls a request stands for: a batch carries them in `requests`."""
    return max(1, len(getattr(request, "requests", ())))


def _check_readable(request: Any, method: str) -> None:
    """Refuse what could not be decoded (see `handlers`)."""
    if request is UNREADABLE:
        raise InvalidRequest(
            f"these bytes are no {method}Request",
            hint="use the contract of this version: protos/ or reflection",
            reason="UNREADABLE",
        )


def _trailers() -> tuple[tuple[str, str], ...]:
    """What every answer says about its call."""
    request_id = (REQUEST_ID_KEY, request_id_var.get())
    trace_id = trace_id_var.get()
    return (request_id, (TRACE_ID_KEY, trace_id)) if trace_id else (request_id,)


def _fitting(answer: bytes, bytes_max: int) -> bytes:
    """The answer, if a message may have so many bytes: gRPC would refuse it after all was told."""
    if len(answer) <= bytes_max:
        return answer
    raise Exhausted(
        f"the answer has {len(answer)} bytes, more than the {bytes_max} of a message",
        hint="ask for fewer at a time, or raise request_bytes_max on both sides",
        reason="ANSWER_TOO_LARGE",
    )


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
