"""All that is looked at, in the order in which it is told."""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from corkboard.doctor.data import look_at_data
from corkboard.doctor.finding import Finding
from corkboard.doctor.machine import look_at_machine
from corkboard.doctor.services import look_at_services
from corkboard.doctor.settings import look_at_settings, settings_of
from profile_service.config import ProfileConfig
from service_runtime.config import load_config
from service_runtime.tls import TlsFiles


def look(
    data_root: Path, targets: Mapping[str, str] | None, tls: TlsFiles | None = None
) -> Iterator[Finding]:
    """
    Look at everything, finding by finding.

    Args:
        data_root: Folder of everything.
        targets: `host:port` by service; None = do not look at running services. Their metrics pages
            are looked for on the same host, at the port that they are set to here.
        tls: Certificates of our channels; None = plain.
    """
    settings = settings_of("profile_service")
    if not isinstance(settings, ProfileConfig):
        settings = load_config(ProfileConfig, environment={})  # they are wrong, and told to be
    parts = [
        look_at_machine(data_root),
        look_at_settings(),
        look_at_data(data_root, live_map_bytes=settings.live_map_bytes),
    ]
    if targets is not None:
        parts.append(look_at_services(targets, _metrics_of(targets), tls=tls))
    return chain.from_iterable(parts)


def _metrics_of(targets: Mapping[str, str]) -> dict[str, str]:
    """Where the metrics pages should be; without those of services that are set to have none."""
    pages = {}
    for service, target in targets.items():
        settings, host = settings_of(service), target.rpartition("/")[2].rpartition(":")[0]
        if settings is not None and settings.metrics_port:
            pages[service] = f"{host}:{settings.metrics_port}"
    return pages
