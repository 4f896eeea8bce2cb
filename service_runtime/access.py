"""
Who may call what: callers by certificate or token, roles by method, calls a second by caller.

Off unless `access_file` is set; then nothing is allowed that the file does not allow:

    trust_forwarded_identity = false        # true only behind a sidecar that sets the header itself

    [callers.ranking-service]
    identities = ["spiffe://cluster.local/ns/corkboard/sa/ranking-service"]   # or "cn:ranking"
    roles = ["reader"]

    [callers.shop]
    tokens_sha256 = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
    roles = ["reader", "writer"]
    calls_per_second_max = 200

The file holds hashes of tokens, never tokens. It is read again when it changes; one that cannot be
used is refused, counted and tried again, and the old one goes on deciding. Calls a second are
counted by each process for itself.
"""

import hashlib
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from service_runtime.credentials import FORWARDED_KEY, Credentials, forwarded_uris
from service_runtime.errors import (
    Exhausted,
    NotAuthenticated,
    PermissionDenied,
    ProcessFailed,
)
from service_runtime.telemetry import audit, logger

__all__ = ["Access", "AccessFailed", "Credentials", "KnownCaller", "Role", "check_role"]

BURST_SECONDS: Final = 1.0
"""How many seconds' worth of calls may come at once."""
DEBT_SECONDS_MAX: Final = 60.0
"""How long one call that asks for much may keep its caller out. Guess."""
CHECK_SECONDS: Final = 2.0
"""How often the file is looked at."""

log = logger("access")


class Role(StrEnum):
    """What a method needs, and what callers have; a caller may have several."""

    READER = "reader"
    """Asks."""
    WRITER = "writer"
    """Adds facts: actions, pins, saves, impressions."""
    OPERATOR = "operator"
    """Takes things back, or looks into the machine: erasure, resets, channelz."""


class AccessFailed(ProcessFailed):
    """The access file cannot be used."""

    HINT = "docs/security.md shows one"
    EXIT_CODE = 2


_Identity = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9+.-]*://|cn:).+")]
_Hash = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class _Caller(BaseModel):
    """One caller of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identities: tuple[_Identity, ...] = ()
    tokens_sha256: tuple[_Hash, ...] = ()
    roles: tuple[Role, ...] = Field(min_length=1)
    calls_per_second_max: float = Field(default=0.0, ge=0, le=1e6)


class _Policy(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trust_forwarded_identity: bool = False
    callers: Mapping[str, _Caller] = Field(min_length=1)

    def names(self) -> dict[str, str]:
        """The caller behind each identity and token hash."""
        found: dict[str, str] = {}
        for name, caller in self.callers.items():
            for key in (*caller.identities, *caller.tokens_sha256):
                if found.setdefault(key, name) != name:
                    raise ValueError(f"{name} and {found[key]} have {key} in common")
        return found


class _Bucket:
    """Lets so many calls a second through; safe from any number of threads."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._lock = threading.Lock()
        self._level = self._size = max(1.0, rate * BURST_SECONDS)
        self._time = now

    def take(self, now: float, count: int) -> float:
        """Take calls if there is one left; else seconds to wait for it. Those beyond are owed."""
        with self._lock:
            self._level = min(self._size, self._level + (now - self._time) * self.rate)
            self._time = now
            if self._level >= 1.0:
                self._level = max(self._level - count, -DEBT_SECONDS_MAX * self.rate)
                return 0.0
            return (1.0 - self._level) / self.rate


@dataclass(frozen=True, slots=True)
class KnownCaller:
    """
    A caller as the file had it when the call came.

    Attributes:
        name: In the file.
        roles: What it may do.
        bucket: Bounds its calls; None = no bound.
    """

    name: str
    roles: frozenset[Role]
    bucket: _Bucket | None


_Signature = tuple[int, int]
"""Time and number of a file: different for another file, equal for the same."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """What one reading of the file says; replaced as a whole, so that a call meets one of them."""

    signature: _Signature
    trusts_forwarded: bool
    by_key: Mapping[str, KnownCaller]
    """Callers by identity and by hash of a token."""
    buckets: Mapping[str, _Bucket]


def _nothing() -> None:
    """Stands for a count that nobody wants."""


class Access:
    """
    Decides over calls; safe from any number of threads.

    Args:
        path: The access file.
        roles: What each method needs, by its full name; a method that is not named is refused.
        clock: Monotonic seconds.
        on_refused: Told each time that the changed file could not be used.

    Raises:
        AccessFailed: The file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        roles: Mapping[str, Role],
        *,
        clock: Callable[[], float] = time.monotonic,
        on_refused: Callable[[], None] = _nothing,
    ) -> None:
        self._path = path
        self._roles = dict(roles)
        self._clock = clock
        self._on_refused = on_refused
        self._following = threading.Lock()
        self._checked = clock()
        self._fault = ""
        self._rules = self._load({})

    def admit(self, method: str, credentials: Credentials, count: int = 1) -> str:
        """
        Let a call through: `identify`, `charge` and `check_method` in one.

        Args:
            method: Full name, `/corkboard.profile.v1.ProfileService/GetProfile`.
            credentials: What it brings along.
            count: How many calls it stands for, >= 1; the next ones wait for all of them.

        Returns:
            The caller's name in the file.

        Raises:
            NotAuthenticated: Nobody in the file has these credentials, or several have.
            Exhausted: The caller has used up its calls for now.
            PermissionDenied: The caller lacks the role that the method needs.
        """
        caller = self.identify(credentials)
        self.charge(caller, count)
        self.check_method(caller, method)
        return caller.name

    def identify(self, credentials: Credentials) -> KnownCaller:
        """
        Find out who calls.

        A certificate comes before a sidecar's header, and that before a token.

        Raises:
            NotAuthenticated: See `admit`.
        """
        self._follow()
        rules = self._rules
        forwarded: tuple[str, ...] = ()
        if credentials.forwarded and rules.trusts_forwarded:
            forwarded = forwarded_uris(credentials.forwarded)
            if len(forwarded) > 1:
                raise _unknown(f"the call's {FORWARDED_KEY} names several identities")
        caller = _only(rules, credentials.identities) or _only(rules, forwarded)
        if caller is None and credentials.token:
            token = hashlib.sha256(credentials.token.encode()).hexdigest()
            caller = rules.by_key.get(token)
        if caller is None:
            has_any = credentials.identities or forwarded or credentials.token
            brought = (
                "an unknown certificate or token" if has_any else "no certificate and no token"
            )
            raise _unknown(f"the call brings {brought}")
        return caller

    def charge(self, caller: KnownCaller, count: int = 1) -> None:
        """
        Take calls from what a caller may make.

        Args:
            caller: Who.
            count: How many; 0 only looks whether there is one left.

        Raises:
            Exhausted: See `admit`.
        """
        if caller.bucket is None:
            return
        wait = caller.bucket.take(self._clock(), count)
        if wait > 0:
            raise Exhausted(
                f"{caller.name} may make {caller.bucket.rate:g} calls a second",
                hint="slow down, or have an operator raise calls_per_second_max",
                reason="RATE_LIMITED",
                retry_after_s=wait,
            )

    def check_method(self, caller: KnownCaller, method: str) -> None:
        """
        Look whether a caller may call a method.

        Raises:
            PermissionDenied: See `admit`.
        """
        needed = self._roles.get(method)
        if needed is None:
            raise PermissionDenied(f"nobody may call {method.rpartition('/')[2]}")
        check_role(caller, needed)

    def needs(self, method: str) -> Role | None:
        """The role that a method needs; None = nobody may call it."""
        return self._roles.get(method)

    def _load(self, buckets: Mapping[str, _Bucket]) -> _Rules:
        """Read the file; a caller whose rate is as it was keeps its bucket."""
        signature = _signature(self._path)  # before the content: what is written later shows
        policy, now = _read(self._path), self._clock()
        kept: dict[str, _Bucket] = {}
        for name, caller in policy.callers.items():
            if rate := caller.calls_per_second_max:
                before = buckets.get(name)
                is_same = before is not None and before.rate == rate
                kept[name] = before if before is not None and is_same else _Bucket(rate, now)
        known = {
            name: KnownCaller(name, frozenset(caller.roles), kept.get(name))
            for name, caller in policy.callers.items()
        }
        by_key = {key: known[name] for key, name in policy.names().items()}
        return _Rules(signature, policy.trust_forwarded_identity, by_key, kept)

    def _follow(self) -> None:
        """Read the file again if it has changed; what cannot be used is not, and tried again."""
        now = self._clock()
        if now - self._checked < CHECK_SECONDS or not self._following.acquire(blocking=False):
            return
        try:
            self._checked = now
            if _signature(self._path) != self._rules.signature:
                self._rules = self._load(self._rules.buckets)
                log.info("access.reloaded", file=str(self._path))
                audit("access.reloaded", file=str(self._path))
            self._fault = ""
        except AccessFailed as error:
            self._on_refused()
            if error.message != self._fault:
                log.error("access.refused", error=error.message)  # noqa: TRY400  ours, says it all
            self._fault = error.message
        finally:
            self._following.release()


def check_role(caller: KnownCaller, role: Role) -> None:
    """
    Look whether a caller has a role.

    Raises:
        PermissionDenied: It has not.
    """
    if role not in caller.roles:
        raise PermissionDenied(
            f"{caller.name} may not do this: it needs the role {role}",
            hint="an operator can add the role in the access file",
        )


def _only(rules: _Rules, keys: Iterable[str]) -> KnownCaller | None:
    """The one caller that has these names; None if nobody has."""
    found = {caller.name: caller for key in keys if (caller := rules.by_key.get(key))}
    if len(found) > 1:
        raise _unknown(f"the call's certificate belongs to {' and '.join(sorted(found))}")
    return next(iter(found.values()), None)


def _unknown(message: str) -> NotAuthenticated:
    return NotAuthenticated(
        message,
        hint="send `authorization: Bearer <token>`, or use a certificate of the access file",
    )


def _signature(path: Path) -> _Signature:
    try:
        status = path.stat()
    except OSError as error:
        raise AccessFailed(f"cannot read {path}: {error.strerror}") from error
    return status.st_mtime_ns, status.st_ino


def _read(path: Path) -> _Policy:
    try:
        policy = _Policy.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        policy.names()
    except OSError as error:
        raise AccessFailed(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise AccessFailed(f"{path}: {faults}") from error
    except ValueError as error:  # TOML, UTF-8, a key in common
        raise AccessFailed(f"{path}: {error}") from error
    return policy
