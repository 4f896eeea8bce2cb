"""Looks at the running services: do they serve, and what do their own figures say."""

import http.client
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from corkboard.doctor.finding import Finding, Level, graded
from corkboard.health import SERVING, UNREACHABLE, check_health
from service_runtime.tls import TlsFiles

AREA: Final = "services"
CLOCK_SECONDS_MAX: Final = 5.0
"""How far clocks may differ; the Date of a page has whole seconds. Guess."""
MAP_SHARE_MAX: Final = 0.8
FILES_SHARE_MAX: Final = 0.8
SKEW_SHARE_MAX: Final = 0.001


class Page(NamedTuple):
    """A service's metrics page."""

    time: float
    """Unix seconds of the machine that it came from."""
    figures: Mapping[str, float]
    """By name without the service's in front; of several series (sources, processes) the sum of
    what is counted and the largest of what is measured."""


class Seen(NamedTuple):
    """A figure that says something is wrong once it is above a bound."""

    name: str
    bound: float
    level: Level
    told: str
    """With `{0}` for the figure."""
    remedy: str


FIGURES: Final = (
    Seen(
        "generation_refused",
        0,
        Level.WARNING,
        "what is current of an artifact was found damaged; an older one serves, or none",
        "look for generation.refused in its log, and run that job again",
    ),
    Seen(
        "live_map_used_ratio",
        MAP_SHARE_MAX,
        Level.PROBLEM,
        "the live action log's map is {0:.0%} full",
        "raise PROFILE_SERVICE_LIVE_MAP_BYTES and restart profile_service",
    ),
    Seen(
        "impressions_dropped_total",
        0,
        Level.WARNING,
        "{0:.0f} answers were not logged since the start",
        "free the disk of the data root; training data is being lost",
    ),
    Seen(
        "upstream_failures_total",
        0,
        Level.WARNING,
        "{0:.0f} questions to other services got no answer since the start",
        "see whether they serve and are not shedding; answers did without them",
    ),
    Seen(
        "feature_skew_share",
        SKEW_SHARE_MAX,
        Level.PROBLEM,
        "{0:.2%} of the logged features differ when they are redone",
        "train no model from these logs before it is found: features.skewed in the log has names",
    ),
    Seen(
        "live_unreadable",
        0,
        Level.WARNING,
        "{0:.0f} records of the live log could not be read",
        "look for live.unreadable in its log: a disk or an older version wrote them",
    ),
)


def look_at_services(
    targets: Mapping[str, str],
    metrics: Mapping[str, str],
    clock: Callable[[], float] = time.time,
    tls: TlsFiles | None = None,
) -> Iterator[Finding]:
    """
    Health of each service, and what its metrics page says.

    Args:
        targets: `host:port` by service.
        metrics: `host:port` of the metrics page by service; one that has none is left out.
        clock: Unix seconds.
        tls: Certificates of our channels; None = plain.
    """
    for service, target in targets.items():
        health = check_health(target, tls=tls)
        yield graded(
            AREA,
            service,
            f"{target} is {health}",
            problem=health != SERVING,
            remedy="corkboard up starts it; is the address right, does a policy keep us away?"
            if health == UNREACHABLE
            else "its log says what it waits for; server.became_ready is the line to wait for",
        )
        if health != UNREACHABLE and service in metrics:
            yield from _figures(service, metrics[service], clock)


def _figures(service: str, address: str, clock: Callable[[], float]) -> Iterator[Finding]:
    check = f"{service} figures"
    try:
        page = read_page(address, service)
    except (OSError, ValueError, http.client.HTTPException) as error:
        told = f"no metrics at {address}: {error}"
        remedy = "set metrics_port, or say where it is in its environment; alerts need it as well"
        yield Finding(AREA, check, Level.WARNING, told, remedy)
        return
    ahead = page.time - clock()
    yield graded(
        AREA,
        f"{service} clock",
        f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours",
        problem=abs(ahead) > CLOCK_SECONDS_MAX,
        remedy="set both clocks (chrony, ntpd): decay, freshness and watermarks are times",
    )
    used = page.figures.get("process_open_fds", 0) / page.figures.get("process_max_fds", 1)
    yield graded(
        AREA,
        f"{service} open files",
        f"{used:.0%} of its limit",
        problem=used > FILES_SHARE_MAX,
        remedy="raise LimitNOFILE (ulimit -n) and restart it",
    )
    wrong = [seen for seen in FIGURES if page.figures.get(seen.name, 0.0) > seen.bound]
    for seen in wrong:
        told = seen.told.format(page.figures[seen.name])
        yield Finding(AREA, check, seen.level, told, seen.remedy)
    if not wrong:
        looked = sum(seen.name in page.figures for seen in FIGURES)
        yield Finding(AREA, check, Level.OK, f"all {looked} figures that tell of faults are good")


def read_page(address: str, service: str, *, timeout_s: float = 5.0) -> Page:
    """
    Read a metrics page.

    Args:
        address: `host:port`.
        service: Whose name stands in front of its metrics.
        timeout_s: > 0.

    Raises:
        OSError: It cannot be reached.
        http.client.HTTPException: What answers is no web server.
        ValueError: What it shows is no metrics page.
    """
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        date, text = answer.getheader("Date"), answer.read().decode()
    finally:
        connection.close()
    if answer.status != http.client.OK or date is None:
        raise ValueError(f"status {answer.status}")
    figures: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix(f"{service}_")
            if name.endswith("_total"):
                figures[name] += sample.value
            else:
                figures[name] = max(figures[name], sample.value)
    return Page(parsedate_to_datetime(date).timestamp(), figures)
