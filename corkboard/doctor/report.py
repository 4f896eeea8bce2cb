"""All that is looked at, in the order in which it is told."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from corkboard.doctor.data import look_at_data
from corkboard.doctor.finding import Finding
from corkboard.doctor.machine import look_at_machine
from corkboard.doctor.services import look_at_services
from corkboard.doctor.settings import Settings, look_at_settings, read_all_settings
from corkboard.doctor.store import look_at_store
from service_runtime.tls import TlsFiles

LIVE_MAP_SETTING: Final = "live_map_bytes"
STORE_SETTING: Final = "generations_url"


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
    yield from look_at_machine(data_root)
    settings = read_all_settings()
    yield from look_at_settings(settings)
    map_bytes = settings["profile_service"].values.get(LIVE_MAP_SETTING)
    yield from look_at_data(data_root, live_map_bytes=map_bytes)
    for url in dict.fromkeys(one.values.get(STORE_SETTING) for one in settings.values()):
        if url:
            yield from look_at_store(data_root, url)
    if targets is not None:
        yield from look_at_services(targets, _metrics_of(targets, settings), tls=tls)


def _metrics_of(targets: Mapping[str, str], settings: Mapping[str, Settings]) -> dict[str, str]:
    """Where the metrics pages should be; without those of services that are set to have none."""
    pages = {}
    for service, target in targets.items():
        host = target.rpartition("/")[2].rpartition(":")[0]
        if port := settings[service].values.get("metrics_port"):
            pages[service] = f"{host}:{port}"
    return pages
