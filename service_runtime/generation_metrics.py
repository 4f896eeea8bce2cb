"""Which generations a process serves, how old they are, and which it refused, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service_runtime.live import Live
from service_runtime.telemetry import Metrics


class GenerationMetrics(Collector):
    """
    Figures of live artifacts, read when the page is read.

    `<service>_generation_ready{artifact}` 1 or 0; `_generation_as_of_seconds` and
    `_generation_creation_seconds` (Unix time: ages are `time() - …`); `_generation_swaps_total`;
    `_generation_refusals_total`; `_generation_fetch_failures_total` (object store).

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
        name, label = f"{self._service}_generation", ["artifact"]
        ready = GaugeMetricFamily(f"{name}_ready", "1 where a generation serves.", labels=label)
        as_of = GaugeMetricFamily(
            f"{name}_as_of_seconds", "Unix time up to which its data reaches.", labels=label
        )
        made = GaugeMetricFamily(
            f"{name}_creation_seconds", "Unix time at which it was built.", labels=label
        )
        swaps = CounterMetricFamily(
            f"{name}_swaps", "Generations taken into service.", labels=label
        )
        refusals = CounterMetricFamily(f"{name}_refusals", "Generations found bad.", labels=label)
        failures = CounterMetricFamily(
            f"{name}_fetch_failures", "Looks at the object store that failed.", labels=label
        )
        for live in self._lives():
            at, snapshot = [live.artifact], live.snapshot()
            ready.add_metric(at, float(snapshot is not None))
            if snapshot is not None:
                manifest = snapshot[0].manifest
                as_of.add_metric(at, manifest.as_of_us / 1e6)
                made.add_metric(at, manifest.creation_time_us / 1e6)
            swaps.add_metric(at, live.swap_count)
            refusals.add_metric(at, live.refused_count)
            failures.add_metric(at, live.fetch_failure_count)
        yield from (ready, as_of, made, swaps, refusals, failures)
