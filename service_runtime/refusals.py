"""
Saying no before a call begins: the server is full, or not serving.

Under overload most calls end here, so what a refusal costs is taken from those that are served. It
is said in gRPC's own thread, from a status made beforehand, without reading the request: about a
third of what the way through a thread pool costs. A caller that the access file does not let in is
refused here too, where that is known so early (see `admission`).
"""

import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from itertools import cycle, repeat
from typing import Any, Final

import grpc

from service_runtime.call_log import CallLog, CallNote
from service_runtime.call_metrics import CallMetrics
from service_runtime.errors import CorkboardError, Exhausted, Unavailable
from service_runtime.grpc_client import REQUEST_ID_KEY
from service_runtime.grpc_errors import to_status
from service_runtime.request_ids import RequestIds

RETRY_AFTER_SECONDS = 1.0
"""What callers refused for overload are told to wait, on average. Guess."""
STATUS_COUNT = 64
"""Different waits, from half to one and a half of it: or all would come back together."""


class Reason(StrEnum):
    """Why a call was refused; label of `<service>_requests_shed_total`."""

    OVERLOAD = "overload"
    """Calls wait too long for workers, so fewer are let in (see `concurrency_limit`)."""
    QUEUE_FULL = "queue_full"
    """As many calls wait as ever may (`queue_count_max`)."""
    NOT_SERVING = "not_serving"
    """The server warms up, or drains."""


class Refusals:
    """
    Makes the handlers that refuse.

    Args:
        name: Of the service, domain of its errors.
        metrics: Where refusals are counted.
        lines: The log, which has them like other calls.
        ids: Names them, as it does other calls.
    """

    def __init__(self, name: str, metrics: CallMetrics, lines: CallLog, ids: RequestIds) -> None:
        self._name = name
        self._metrics = metrics
        self._lines = lines
        self._ids = ids
        for reason in Reason:
            metrics.expect(reason)
        spread = random.Random(0)
        waits = [RETRY_AFTER_SECONDS * spread.uniform(0.5, 1.5) for _ in range(STATUS_COUNT)]
        full: list[CorkboardError] = [
            Exhausted("too many calls are waiting", retry_after_s=wait) for wait in waits
        ]
        away = Unavailable("the server is not serving yet, or not any more")
        self._statuses = {
            Reason.OVERLOAD: cycle([to_status(error, domain=name) for error in full]),
            Reason.QUEUE_FULL: cycle([to_status(error, domain=name) for error in full]),
            Reason.NOT_SERVING: cycle([to_status(away, domain=name)]),
        }

    def handler(self, method: str, reason: Reason) -> Any:
        """
        What gRPC is given instead of a method's own handler.

        Args:
            method: Bare name.
            reason: Why.
        """
        return self._handler(method, self._statuses[reason], f"refused: {reason.value}", reason)

    def told(self, method: str, error: CorkboardError) -> Any:
        """
        The same for a call that may not come in, whatever the load.

        Args:
            method: Bare name.
            error: Why not.
        """
        return self._handler(method, repeat(to_status(error, domain=self._name)), str(error))

    def _handler(
        self, method: str, statuses: Iterator[grpc.Status], why: str, reason: str = ""
    ) -> Any:
        metrics, lines, ids = self._metrics, self._lines, self._ids

        def refuse(_: object, context: grpc.ServicerContext) -> None:
            status: Any = next(statuses)
            code, peer = status.code.name, context.peer()
            request_id = ids.of(context.invocation_metadata())[0]
            metrics.refuse(method, code, reason)
            lines.add(CallNote(time.time(), method, code, 0.0, 0.0, peer, request_id, why))
            named = (*status.trailing_metadata, (REQUEST_ID_KEY, request_id))
            context.abort_with_status(status._replace(trailing_metadata=named))

        # gRPC's only way to say who runs it.
        vars(refuse).update(experimental_thread_pool=_IN_PLACE)
        # To a method that takes a stream, gRPC hands the request unread.
        return grpc.stream_unary_rpc_method_handler(refuse)


class _InPlace(ThreadPoolExecutor):
    """Runs what it is given in the caller's own thread; has none itself."""

    def submit(self, work: Any, /, *arguments: Any, **named: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        done.set_result(work(*arguments, **named))
        return done


_IN_PLACE: Final = _InPlace()
