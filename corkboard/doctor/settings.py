"""Looks at the settings as the services would read them here, and at the files that they name."""

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from candidate_service.config import CandidateConfig
from corkboard.doctor.finding import Finding, Level, graded
from profile_service.config import ProfileConfig
from ranking_service.config import RankingConfig
from service_runtime.certificate_expiry import expiry_of
from service_runtime.config import ServiceConfig, load_config
from service_runtime.config_draft import ConfigError

AREA: Final = "settings"
CONFIGS: Final[dict[str, type[ServiceConfig]]] = {
    "profile_service": ProfileConfig,
    "candidate_service": CandidateConfig,
    "ranking_service": RankingConfig,
}
DAY: Final = 24 * 3600.0
CERTIFICATE_DAYS_MIN: Final = 14.0
"""Days before its end at which a certificate should have been renewed. Guess."""


def settings_of(service: str) -> ServiceConfig | None:
    """The settings of a service from its file and this environment; None if they are wrong."""
    try:
        return load_config(CONFIGS[service])
    except ConfigError:
        return None


def look_at_settings(clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Every service's settings, and certificates, tokens and access files that they name."""
    for service, config_class in CONFIGS.items():
        try:
            config = load_config(config_class)
        except ConfigError as error:
            for fault in error.faults:
                remedy = f"correct it; python -m {service} --print-config shows every setting"
                yield Finding(AREA, service, Level.PROBLEM, str(fault), remedy)
            continue
        yield Finding(AREA, service, Level.OK, "every setting is as it may be")
        yield from _certificate(service, config, clock())
        for name in ("tls_client_ca_file", "tls_ca_file", "token_file", "access_file"):
            path = getattr(config, name)
            if path is not None:
                yield _readable(service, name, path)


def _certificate(service: str, config: ServiceConfig, now: float) -> Iterator[Finding]:
    certificate, key = config.tls_certificate_file, config.tls_key_file
    if certificate is None or key is None:
        return
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
