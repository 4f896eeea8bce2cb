"""Which generations a process serves, how old they are, and which it refused, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service_runtime.live import Live
from service_runtime.telemetry import Metrics

_GAUGES: Final = {
    "ready": "1 where a generation serves.",
    "refused": "1 where what is current was found bad, so that an older one or none serves.",
    "as_of_seconds": "Unix time up to which its data reaches.",
    "creation_seconds": "Unix time at which it was built.",
}
_COUNTERS: Final = {
    "swaps": "Generations taken into service.",
    "refusals": "Generations found bad.",
    "open_failures": "Tries to open one that this machine refused: files, memory, its disk.",
    "fetch_failures": "Looks at the object store that failed.",
}


class GenerationMetrics(Collector):
    """
    Figures of live artifacts, read when the page is read.

    `<service>_generation_ready{artifact}` and `_refused` 1 or 0; `_generation_as_of_seconds` and
    `_generation_creation_seconds` (Unix time: ages are `time() - …`); `_generation_swaps_total`;
    `_generation_refusals_total`; `_generation_open_failures_total`;
    `_generation_fetch_failures_total` (object store). Where several parts of a process follow one
    artifact it shows the one that is worst off, and counts of all together.

    Args:
        metrics: Of the service.
        lives: Gives the artifacts that it follows; asked each time.
    """

    def __init__(self, metrics: Metrics, lives: Callable[[], Sequence[Live[Any]]]) -> None:
        self._service = metrics.service
        self._lives = lives
        metrics.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metric families, for prometheus_client."""
        name = f"{self._service}_generation"
        gauges = {
            suffix: GaugeMetricFamily(f"{name}_{suffix}", told, labels=["artifact"])
            for suffix, told in _GAUGES.items()
        }
        counters = {
            suffix: CounterMetricFamily(f"{name}_{suffix}", told, labels=["artifact"])
            for suffix, told in _COUNTERS.items()
        }
        followers: dict[str, list[Live[Any]]] = {}
        for live in self._lives():
            followers.setdefault(live.artifact, []).append(live)
        for artifact, lives in followers.items():
            for suffix, value in _gauges(lives).items():
                gauges[suffix].add_metric([artifact], value)
            for suffix, count in _counts(lives).items():
                counters[suffix].add_metric([artifact], count)
        yield from (*gauges.values(), *counters.values())


def _gauges(lives: Sequence[Live[Any]]) -> dict[str, float]:
    """The gauges of one artifact; without times while none serves."""
    snapshots = [live.snapshot() for live in lives]
    manifests = [snapshot[0].manifest for snapshot in snapshots if snapshot is not None]
    found = {
        "ready": float(len(manifests) == len(lives)),
        "refused": float(any(live.refuses_current for live in lives)),
    }
    if manifests:
        found["as_of_seconds"] = min(one.as_of_us for one in manifests) / 1e6
        found["creation_seconds"] = min(one.creation_time_us for one in manifests) / 1e6
    return found


def _counts(lives: Sequence[Live[Any]]) -> dict[str, float]:
    """The counters of one artifact."""
    return {
        "swaps": sum(live.swap_count for live in lives),
        "refusals": sum(live.refused_count for live in lives),
        "open_failures": sum(live.open_failure_count for live in lives),
        "fetch_failures": sum(live.fetch_failure_count for live in lives),
    }
