"""The name of each call, the caller's own or a new one, and the trace that came with it."""

import os
from collections.abc import Iterable
from itertools import count
from typing import Any, Final

from service_runtime.grpc_client import REQUEST_ID_KEY
from service_runtime.tracing import TRACEPARENT_KEY

REQUEST_ID_CHARS_MAX: Final = 128


class RequestIds:
    """Finds or makes the ids of calls; safe from any number of threads."""

    def __init__(self) -> None:
        self._boot = os.urandom(6).hex()
        self._numbers = count()

    def of(self, metadata: Iterable[Any]) -> tuple[str, str]:
        """
        Request id and traceparent of a call.

        Args:
            metadata: Keys and values as the call sent them.

        Returns:
            An id that is new if the call brought none, or one that is too long; and the traceparent
            as it came, empty if none did.
        """
        request_id = traceparent = ""
        for key, value in metadata:
            if key == REQUEST_ID_KEY:
                request_id = value if isinstance(value, str) else ""
            elif key == TRACEPARENT_KEY:
                traceparent = value if isinstance(value, str) else ""
        if not 0 < len(request_id) <= REQUEST_ID_CHARS_MAX:  # gRPC itself lets only ASCII pass
            request_id = f"{self._boot}{next(self._numbers):x}"
        return request_id, traceparent
