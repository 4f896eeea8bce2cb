"""
Every way in which our code says no.

```
CorkboardError
├── InvalidRequest     the caller must change the request     INVALID_ARGUMENT
├── NotFound           the named thing is not there           NOT_FOUND
├── NotAuthenticated   nobody knows who calls                 UNAUTHENTICATED
├── PermissionDenied   the caller may not do this             PERMISSION_DENIED
├── NotReady           an operator must do something first    FAILED_PRECONDITION
├── Exhausted          a limit is reached; later may work     RESOURCE_EXHAUSTED
├── Unavailable        the other side cannot be reached       UNAVAILABLE
├── DeadlineExceeded   the time given was too short           DEADLINE_EXCEEDED
├── Corrupted          stored data is damaged                 DATA_LOSS
├── Internal           a bug, here or on the other side       INTERNAL
└── ProcessFailed      a process cannot start or go on; never meets a call, has an exit code
    ├── BindFailed     the address cannot be had              exit code 1
    └── ConfigError    settings are wrong (config_draft.py)   exit code 2
```

A service derives its own from a family (`class ProfileCorrupted(Corrupted)`) and keeps its status.
The mapping to and from gRPC statuses is in `grpc_errors.py`. This file knows no gRPC, so that rules
and stores can raise without importing it. Every error has a *hint*: what the reader should do.
"""
# ruff: noqa: N818  the families are named after what is the case, not after being errors

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that breaks one rule."""

    field: str
    """Path from the request's root, as a programmer would write it: `actions[3].pin_id`."""
    reason: str
    """Stable word for machines, upper snake: `STRING_MAX_BYTES`."""
    description: str
    """What the value must be, for people, without the field's name: `must be 1 to 128 bytes`."""

    def __str__(self) -> str:
        """`actions[3].pin_id: must be 1 to 128 bytes`."""
        return f"{self.field}: {self.description}" if self.field else self.description


class CorkboardError(Exception):
    """
    Root of all errors that our code raises on purpose.

    Args:
        message: What is the case, one sentence, no full stop needed; shown to the caller.
        hint: What the reader should do; empty = the class's own `HINT`.
        field: Path of the request field that is at fault; empty if none is.
        reason: Stable upper snake word for machines; empty = derived from the class's name.
    """

    HINT: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str = "", field: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.HINT
        self.field = field
        self.reason = reason or reason_of(type(self))

    def __str__(self) -> str:
        """The message, with the hint in brackets if there is one."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidRequest(CorkboardError):
    """
    The request breaks a rule; the same request will always fail.

    Args:
        message: What is wrong; empty = put together from the violations.
        hint: See CorkboardError.
        field: Path of the one field at fault; empty if *violations* are given.
        reason: See CorkboardError.
        violations: All fields at fault; empty = one made of *field*, *reason* and *message*.
    """

    VIOLATIONS_SHOWN: ClassVar[int] = 3

    def __init__(
        self,
        message: str = "",
        *,
        hint: str = "",
        field: str = "",
        reason: str = "",
        violations: Sequence[FieldViolation] = (),
    ) -> None:
        if violations:
            field = field or violations[0].field
            reason = reason or violations[0].reason
            message = message or self._summary(violations)
        super().__init__(message or "the request is invalid", hint=hint, field=field, reason=reason)
        self.violations: tuple[FieldViolation, ...] = tuple(violations)
        if not violations and field:
            self.violations = (FieldViolation(field, self.reason, self.message),)
            self.message = str(self.violations[0])

    @classmethod
    def _summary(cls, violations: Sequence[FieldViolation]) -> str:
        shown = "; ".join(str(violation) for violation in violations[: cls.VIOLATIONS_SHOWN])
        more = len(violations) - cls.VIOLATIONS_SHOWN
        return f"{shown}; and {more} more" if more > 0 else shown


class NotFound(CorkboardError):
    """What the request names does not exist."""


class NotAuthenticated(CorkboardError):
    """The call brings no credentials, or none that are known."""


class PermissionDenied(CorkboardError):
    """The caller is known and may not do this."""


class NotReady(CorkboardError):
    """Something must be done before this can work, and repeating the call will not do it."""


class Exhausted(CorkboardError):
    """
    A limit is reached: disk, memory map, queue.

    Args:
        message: See CorkboardError.
        hint: See CorkboardError.
        field: See CorkboardError.
        reason: See CorkboardError.
        retry_after_s: When another try may work, seconds from now, >= 0; 0 = unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        field: str = "",
        reason: str = "",
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message, hint=hint, field=field, reason=reason)
        self.retry_after_s = retry_after_s


class Unavailable(CorkboardError):
    """The other side cannot be reached or is going away; another replica may answer."""


class DeadlineExceeded(CorkboardError):
    """The answer would come too late; whether the call had an effect is unknown."""


class Corrupted(CorkboardError):
    """Stored data is damaged or of an unknown format; it was refused, not repaired."""


class Internal(CorkboardError):
    """A bug. The message says where to look, never what was on the stack."""


class ProcessFailed(CorkboardError):
    """A process cannot start or go on; `main` turns it into an exit code, it never meets a call."""

    EXIT_CODE: ClassVar[int] = 1


class BindFailed(ProcessFailed):
    """The address cannot be listened on: taken by another process, or not ours."""

    HINT = "stop the process that holds it, or set another host or port"


def reason_of(error_class: type[CorkboardError]) -> str:
    """The upper snake word of an error class: `ProfileCorrupted` gives `PROFILE_CORRUPTED`."""
    return _WORD_START.sub("_", error_class.__name__).upper()
