"""Looks at the settings as the services would read them here, and at the files that they name."""

import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from corkboard.doctor.finding import Finding, Level, graded
from corkboard.stack import SERVICES
from service_runtime.access import Access, AccessFailed
from service_runtime.certificate_expiry import expiry_of

AREA: Final = "settings"
DAY: Final = 24 * 3600.0
CERTIFICATE_DAYS_MIN: Final = 14.0
"""Days before its end at which a certificate should have been renewed. Guess."""
SECONDS_MAX: Final = 120.0
"""How long a service may take to print its settings; it loads its libraries first."""


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What a service would be set to if it started here and now.

    Attributes:
        values: Every setting that has a value, by name; empty if any is wrong.
        faults: Everything that is wrong, one sentence each.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    faults: Sequence[str] = ()


def read_all_settings() -> dict[str, Settings]:
    """The settings of each service, as the service itself prints them, from this environment."""
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        return dict(zip(SERVICES, pool.map(_read, SERVICES), strict=True))


def _read(service: str) -> Settings:
    command = [sys.executable, "-m", service, "--print-config"]
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and modules
            command, check=False, capture_output=True, text=True, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return Settings(faults=(f"it did not print its settings within {SECONDS_MAX:g} s",))
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        faults = [line.strip() for line in lines if line.startswith("  ")]
        return Settings(faults=faults or lines[-1:] or [f"it ended with {done.returncode}"])
    return Settings(values=tomllib.loads(done.stdout))


NAMED_FILES = ("tls_client_ca_file", "tls_ca_file", "token_file", "log_key_file")
"""Settings that name a file which must be there, beside the certificate."""


def look_at_settings(
    settings: Mapping[str, Settings], clock: Callable[[], float] = time.time
) -> Iterator[Finding]:
    """
    Every service's settings, and certificates, tokens, keys and access files that they name.

    Args:
        settings: By service.
        clock: Unix seconds.
    """
    for service, read in settings.items():
        for fault in read.faults:
            remedy = f"correct it; python -m {service} --print-config shows every setting"
            yield Finding(AREA, service, Level.PROBLEM, fault, remedy)
        if read.faults:
            continue
        yield Finding(AREA, service, Level.OK, "every setting is as it may be")
        yield from _certificate(service, read.values, clock())
        for name in NAMED_FILES:
            if name in read.values:
                yield _readable(service, name, Path(read.values[name]))
        if "access_file" in read.values:
            yield _access(service, Path(read.values["access_file"]))


def _certificate(service: str, values: Mapping[str, Any], now: float) -> Iterator[Finding]:
    if "tls_certificate_file" not in values:
        return
    certificate, key = Path(values["tls_certificate_file"]), Path(values["tls_key_file"])
    check = f"{service} certificate"
    try:
        days = (expiry_of(certificate, key) - now) / DAY
    except (OSError, ssl.SSLError) as error:
        told = f"{certificate} with {key} cannot be used: {error}"
        remedy = "name a PEM chain and its own private key, readable by the service's user"
        yield Finding(AREA, check, Level.PROBLEM, told, remedy)
        return
    yield graded(
        AREA,
        check,
        f"{certificate} has ended" if days < 0 else f"{certificate} ends in {days:.1f} days",
        problem=days < 0,
        warning=days < CERTIFICATE_DAYS_MIN,
        remedy="renew it: the service takes the new files at the next handshake, no restart needed",
    )


def _readable(service: str, name: str, path: Path) -> Finding:
    try:
        is_empty, why = not path.read_bytes().strip(), "is empty"
    except OSError as error:
        is_empty, why = True, f"cannot be read: {error.strerror}"
    return graded(
        AREA,
        f"{service} {name}",
        f"{path} {why}" if is_empty else f"{path} can be read",
        problem=is_empty,
        remedy=f"put it there, or leave {name} unset",
    )


def _access(service: str, path: Path) -> Finding:
    """Whether the access file can be used, read as the service itself reads it."""
    try:
        Access(path, {})
    except AccessFailed as fault:
        told, is_bad = fault.message, True
    else:
        told, is_bad = f"{path} can be used", False
    return graded(
        AREA,
        f"{service} access_file",
        told,
        problem=is_bad,
        remedy=f"correct it ({AccessFailed.HINT}): it would not start with it, and where it runs "
        "the rules before it go on",
    )
