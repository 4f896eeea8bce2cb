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
used is refused and the old one goes on deciding.
"""

import hashlib
import re
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from service_runtime.errors import (
    Exhausted,
    NotAuthenticated,
    PermissionDenied,
    ProcessFailed,
)
from service_runtime.telemetry import audit, logger

TOKEN_KEY: Final = "authorization"  # noqa: S105  a header's name
"""Metadata key of a token: `authorization: Bearer <token>`."""
FORWARDED_KEY: Final = "x-forwarded-client-cert"
"""Metadata key under which a sidecar tells the identity of the caller that it has checked."""
BURST_SECONDS: Final = 1.0
"""How many seconds' worth of calls may come at once."""
DEBT_SECONDS_MAX: Final = 60.0
"""How long one call that asks for much may keep its caller out. Guess."""
CHECK_SECONDS: Final = 2.0
"""How often the file is looked at."""

_URI = re.compile(r'(?:^|;)URI="?([^;",]+)"?')

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


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call brings along.

    Attributes:
        identities: Of the client's certificate: `spiffe://…` and other URIs, `cn:<common name>`.
        token: Without `Bearer `; empty = none.
        forwarded: The sidecar's header; empty = none.
    """

    identities: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    forwarded: str = ""


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
    """Lets so many calls a second through."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._level = self._size = max(1.0, rate * BURST_SECONDS)
        self._time = now

    def take(self, now: float, count: int) -> float:
        """Take calls if there is one left; else seconds to wait for it. Those beyond are owed."""
        self._level = min(self._size, self._level + (now - self._time) * self._rate)
        self._time = now
        if self._level >= 1.0:
            self._level = max(self._level - count, -DEBT_SECONDS_MAX * self._rate)
            return 0.0
        return (1.0 - self._level) / self._rate


class Access:
    """
    Decides over calls; safe from any number of threads.

    Args:
        path: The access file.
        roles: What each method needs, by its full name; a method that is not named is refused.
        clock: Monotonic seconds.

    Raises:
        AccessFailed: The file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        roles: Mapping[str, Role],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._roles = dict(roles)
        self._clock = clock
        self._lock = threading.Lock()
        self._mtime = 0
        self._checked = clock()
        self._load()

    def _load(self) -> None:
        self._mtime = _mtime(self._path)
        policy = _read(self._path)
        self._policy, self._names = policy, policy.names()
        now = self._clock()
        self._buckets = {
            name: _Bucket(caller.calls_per_second_max, now)
            for name, caller in policy.callers.items()
            if caller.calls_per_second_max > 0
        }

    def _follow(self) -> None:
        """Read the file again if it has changed; what cannot be used is not."""
        now = self._clock()
        if now - self._checked < CHECK_SECONDS:
            return
        with self._lock:
            self._checked = now
            try:
                if _mtime(self._path) != self._mtime:
                    self._load()
                    log.info("access.reloaded", file=str(self._path))
                    audit("access.reloaded", file=str(self._path))
            except AccessFailed as error:
                log.error("access.refused", error=error.message)  # noqa: TRY400  ours, says it all

    def admit(self, method: str, credentials: Credentials, count: int = 1) -> str:
        """
        Let a call through.

        Args:
            method: Full name, `/corkboard.profile.v1.ProfileService/GetProfile`.
            credentials: What it brings along.
            count: How many calls it stands for, >= 1; the next ones wait for all of them.

        Returns:
            The caller's name in the file.

        Raises:
            NotAuthenticated: Nobody in the file has these credentials.
            PermissionDenied: The caller lacks the role that the method needs.
            Exhausted: The caller has used up its calls for now.
        """
        needed = self._roles.get(method)
        if needed is None:
            raise PermissionDenied(f"nobody may call {method.rpartition('/')[2]}")
        caller = self.admit_role(needed, credentials)
        bucket = self._buckets.get(caller)
        if bucket is not None:
            with self._lock:
                wait = bucket.take(self._clock(), count)
            if wait > 0:
                limit = self._policy.callers[caller].calls_per_second_max
                raise Exhausted(
                    f"{caller} may make {limit:g} calls a second",
                    hint="slow down, or have an operator raise calls_per_second_max",
                    reason="RATE_LIMITED",
                    retry_after_s=wait,
                )
        return caller

    def admit_role(self, role: Role, credentials: Credentials) -> str:
        """
        Find the caller, who must have a role; returns its name.

        Raises:
            NotAuthenticated: See `admit`.
            PermissionDenied: See `admit`.
        """
        self._follow()
        caller = self._caller(credentials)
        if role not in self._policy.callers[caller].roles:
            raise PermissionDenied(
                f"{caller} may not do this: it needs the role {role}",
                hint="an operator can add the role in the access file",
            )
        return caller

    def needs(self, method: str) -> Role | None:
        """The role that a method needs; None = nobody may call it."""
        return self._roles.get(method)

    def _caller(self, credentials: Credentials) -> str:
        keys = [*credentials.identities]
        if credentials.forwarded and self._policy.trust_forwarded_identity:
            # The last element was added by the nearest proxy, ours; those before it by others.
            keys += _URI.findall(credentials.forwarded.rsplit(",", 1)[-1])
        if credentials.token:
            keys.append(hashlib.sha256(credentials.token.encode()).hexdigest())
        for key in keys:
            if key in self._names:
                return self._names[key]
        brought = "an unknown certificate or token" if keys else "no certificate and no token"
        raise NotAuthenticated(
            f"the call brings {brought}",
            hint="send `authorization: Bearer <token>`, or use a certificate of the access file",
        )


def _mtime(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise AccessFailed(f"cannot read {path}: {error.strerror}") from error


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
