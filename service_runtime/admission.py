"""
Lets calls in by the access file, as early as what is known of their caller allows.

Where callers show no certificates, token and sidecar's header say who calls, and they are there
when the call arrives: whoever has none, or has used up its calls, is turned away before it takes a
place in the queue. The names of a certificate are known only once a worker has the call; strangers
got no further than the handshake by then.
"""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import grpc

from service_runtime.access import Access, KnownCaller, Role, check_role
from service_runtime.call_context import caller_name_var, request_id_var
from service_runtime.credentials import Credentials, sent_credentials, with_certificate
from service_runtime.errors import CorkboardError, Exhausted, NotAuthenticated, PermissionDenied
from service_runtime.request_ids import RequestIds
from service_runtime.telemetry import audit

_known_var: ContextVar[KnownCaller] = ContextVar("known_caller")


class Admission:
    """
    Decides over the calls of one server.

    Args:
        access: The access file.
        asks_certificates: Whether callers must show one.
        ids: Names calls.
        on_refused: Told method and error of a call of `operators_only` that was refused.
    """

    def __init__(
        self,
        access: Access,
        *,
        asks_certificates: bool,
        ids: RequestIds,
        on_refused: Callable[[str, CorkboardError, grpc.ServicerContext], None],
    ) -> None:
        self._access = access
        self._asks_certificates = asks_certificates
        self._ids = ids
        self._on_refused = on_refused

    def turn_away(self, metadata: Iterable[Any]) -> CorkboardError | None:
        """Why a call that arrives need not wait for a worker; None = it may."""
        if self._asks_certificates:
            return None
        try:
            caller = self._access.identify(sent_credentials(metadata))
            self._access.charge(caller, 0)
        except (NotAuthenticated, Exhausted) as error:
            return error
        _known_var.set(caller)
        return None

    def admit(self, method: str, context: grpc.ServicerContext, count: int) -> None:
        """
        Let a call through that a worker has taken up.

        Args:
            method: Full name.
            context: Of the call.
            count: How many calls it stands for, >= 1.

        Raises:
            CorkboardError: See `Access.admit`.
        """
        caller = self._identified(context, count)
        self._access.check_method(caller, method)

    def is_audited(self, method: str) -> bool:
        """Whether calls of a method are for operators, so that each leaves a line."""
        return self._access.needs(method) is Role.OPERATOR

    def operators_only(self, method: str, context: grpc.ServicerContext) -> None:
        """
        Let a call of reflection or channelz through if it comes from an operator.

        It has no line in the log and no interceptor around it, so what is told of it is told here.

        Raises:
            CorkboardError: See `Access.admit`.
        """
        request_id_var.set(self._ids.of(context.invocation_metadata())[0])
        name = method.rpartition("/")[2]
        try:
            check_role(self._identified(context, 1), Role.OPERATOR)
        except CorkboardError as error:
            self._on_refused(name, error, context)
            if isinstance(error, PermissionDenied):
                audit(name, code="PERMISSION_DENIED")
            raise
        audit(name, code="OK")

    def _identified(self, context: grpc.ServicerContext, count: int) -> KnownCaller:
        """The caller, from here on named in audit lines; strangers and floods leave none."""
        caller = _known_var.get(None) or self._access.identify(_credentials(context))
        self._access.charge(caller, count)
        caller_name_var.set(caller.name)
        return caller


def _credentials(context: grpc.ServicerContext) -> Credentials:
    """What a call brings along to say who calls."""
    auth: Any = context.auth_context()
    return with_certificate(sent_credentials(context.invocation_metadata()), auth)
