"""
Our errors on the wire: to a status with google.rpc details, and back to the same class.

The status message is for people (`actions[3].pin_id: must be 1 to 128 bytes`). The details are for
programs: ErrorInfo (reason, our family, hint), BadRequest (every field at fault), RetryInfo. They
travel in the trailing metadata, which HTTP/2 peers limit to 8 KiB, so both are bounded here.
"""

from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from service_runtime.errors import (
    CorkboardError,
    Corrupted,
    DeadlineExceeded,
    Exhausted,
    FieldViolation,
    Internal,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    NotReady,
    PermissionDenied,
    Unavailable,
)

MESSAGE_CHARS_MAX = 800
"""Longest status message."""
MESSAGE_BYTES_MAX = 1600
"""Most bytes of it on the wire, where all but printable ASCII takes three bytes for one."""
DETAILS_BYTES_MAX = 3000
"""Most bytes of field violations; base64 adds a third."""

FAMILIES: dict[type[CorkboardError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    NotAuthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    # Not UNAVAILABLE: clients and meshes retry that, and no retry publishes a missing generation.
    NotReady: grpc.StatusCode.FAILED_PRECONDITION,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Corrupted: grpc.StatusCode.DATA_LOSS,
    Internal: grpc.StatusCode.INTERNAL,
}
"""The status of each family of errors; a derived class has its family's."""

_CLASS_OF: dict[grpc.StatusCode, type[CorkboardError]] = {
    **{code: family for family, code in FAMILIES.items()},
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.CANCELLED: Unavailable,  # a server that is ending cancels what still runs
    grpc.StatusCode.ABORTED: Unavailable,
}


def family(error: CorkboardError) -> type[CorkboardError]:
    """The family of an error; Internal for one that belongs to none (a bug of its author)."""
    return next((base for base in type(error).__mro__ if base in FAMILIES), Internal)


def to_status(error: CorkboardError, *, domain: str, request_id: str = "") -> grpc.Status:
    """
    What to abort a call with.

    Args:
        error: Any of ours.
        domain: Name of the service that says no, for ErrorInfo.
        request_id: Goes into ErrorInfo, so that a caller can quote it; empty = left out.
    """
    kind = family(error)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=domain)
    labels = {"family": kind.__name__, "hint": error.hint, "request_id": request_id}
    info.metadata.update({key: value[:200] for key, value in labels.items() if value})
    details: list[Any] = [info]
    if isinstance(error, InvalidRequest) and error.violations:
        details.append(_bad_request(error))
    if isinstance(error, Exhausted) and error.retry_after_s > 0:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=FAMILIES[kind].value[0], message=_wire_message(str(error)))
    for detail in details:
        status.details.add().Pack(detail)
    return rpc_status.to_status(status)  # type: ignore[no-any-return]  # published without types


def from_rpc_error(error: grpc.RpcError) -> CorkboardError:
    """
    The error that the other side raised, of the same family, with hint and violations.

    Args:
        error: What a blocking call raised; it is a grpc.Call as well.

    Returns:
        Not raised: the caller decides, usually `raise from_rpc_error(error) from error`.
    """
    code, message = _code_and_message(error)
    info, violations, retry_after_s = _details(error)
    hint = info.metadata.get("hint", "")
    message = message.removesuffix(f" ({hint})") if hint else message
    kind = _CLASS_OF.get(code, Internal)
    if kind is Internal and code is not grpc.StatusCode.INTERNAL:
        message = f"{code.name}: {message}"
    if kind is InvalidRequest:
        return InvalidRequest(message, hint=hint, reason=info.reason, violations=violations)
    if kind is Exhausted:
        return Exhausted(message, hint=hint, reason=info.reason, retry_after_s=retry_after_s)
    return kind(message, hint=hint, reason=info.reason)


def from_code(code: str, message: str, *, reason: str = "") -> CorkboardError:
    """
    The error that a message tells of instead of a status.

    Args:
        code: Name of the status, such as `NOT_FOUND`; Internal where there is no such status.
        message: What is the case.
        reason: Stable word for machines.
    """
    status = grpc.StatusCode.__members__.get(code, grpc.StatusCode.INTERNAL)
    return _CLASS_OF.get(status, Internal)(message, reason=reason)


def _bad_request(error: InvalidRequest) -> error_details_pb2.BadRequest:
    """As many violations as fit into the budget of bytes; the first always does."""
    message, left = error_details_pb2.BadRequest(), DETAILS_BYTES_MAX
    for violation in error.violations:
        field = error_details_pb2.BadRequest.FieldViolation(
            field=_shortened(violation.field, 200),
            description=_shortened(violation.description, 400),
            reason=violation.reason[:63],
        )
        left -= field.ByteSize() + 3
        if left < 0:
            break
        message.field_violations.append(field)
    return message


def _code_and_message(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    call: Any = error
    if isinstance(call, grpc.Call):
        return call.code(), str(call.details() or "no message")
    return grpc.StatusCode.UNKNOWN, str(error)


def _details(
    error: grpc.RpcError,
) -> tuple[error_details_pb2.ErrorInfo, list[FieldViolation], float]:
    info, violations, retry_after_s = error_details_pb2.ErrorInfo(), [], 0.0
    for detail in _packed_details(error):
        bad_request, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(bad_request):
            violations = [
                FieldViolation(item.field, item.reason, item.description)
                for item in bad_request.field_violations
            ]
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
        else:
            detail.Unpack(info)
    return info, violations, retry_after_s


def _packed_details(error: grpc.RpcError) -> list[any_pb2.Any]:
    """The details as they came; none if absent, or if what came is no Status."""
    call: Any = error
    try:
        status = rpc_status.from_call(call) if isinstance(call, grpc.Call) else None
    except Exception:  # noqa: BLE001  a stranger's malformed trailer must not hide its status
        status = None
    return list(status.details) if status is not None else []


def _wire_message(text: str) -> str:
    """Cut to both bounds: trailers above 8 KiB are dropped now and then, with all their details."""
    text = _shortened(text, MESSAGE_CHARS_MAX)
    while _wire_bytes(text) > MESSAGE_BYTES_MAX:
        text = _shortened(text, len(text) * 3 // 4)
    return text


def _wire_bytes(text: str) -> int:
    """Bytes of a status message after gRPC's percent-encoding."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in text.encode())


def _shortened(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"
