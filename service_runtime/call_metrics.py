"""
Counts and times of calls, cheap enough for every call.

prometheus_client's own counters walk through several layers for each number; a call changes five.
Here they change under one lock in plain lists, and turn into metric families when the page is read.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

from service_runtime.telemetry import SECONDS_BUCKETS


class _Times:
    """One histogram: how often a time fell into each bucket, and the sum of all."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS_BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound (inclusive) and the number of times not above it, as Prometheus wants."""
        bounds = [*map(str, SECONDS_BUCKETS), "+Inf"]
        sums, total = [], 0
        for bound, count in zip(bounds, self.counts, strict=True):
            total += count
            sums.append((bound, float(total)))
        return sums


class CallMetrics(Collector):
    """
    The numbers of all calls of one server.

    They are `<service>_requests_total{method,code}`, `_request_seconds{method}`, `_queue_seconds`,
    `_requests_in_flight`, `_requests_waiting`, `_requests_limit` and
    `_requests_shed_total{reason}`.

    Args:
        service: Name in front of every metric.
        registry: Where the page is made from.
        waiting_count: Gives the number of calls that wait for a worker.
        limit_count: Gives the number of calls that may be inside now.
    """

    def __init__(
        self,
        service: str,
        registry: CollectorRegistry,
        waiting_count: Callable[[], int],
        limit_count: Callable[[], int],
    ) -> None:
        self._service = service
        self._waiting_count = waiting_count
        self._limit_count = limit_count
        self._lock = threading.Lock()
        self.in_flight = 0
        self._ended: dict[tuple[str, str], int] = {}
        self._shed: dict[str, int] = {}
        self._times: dict[str, _Times] = {}
        self._queued = _Times()
        registry.register(self)

    def begin(self) -> None:
        """A worker took up a call."""
        with self._lock:
            self.in_flight += 1

    def end(self, method: str, code: str, seconds: float, queue_seconds: float) -> None:
        """The call that began is over."""
        key = (method, code)
        with self._lock:
            self.in_flight -= 1
            self._ended[key] = self._ended.get(key, 0) + 1
            times = self._times.get(method)
            if times is None:
                times = self._times[method] = _Times()
            times.add(seconds)
            self._queued.add(queue_seconds)

    def refuse(self, method: str, code: str, reason: str = "") -> None:
        """A call was turned away without beginning; *reason* is empty if load had no part in it."""
        with self._lock:
            self._ended[method, code] = self._ended.get((method, code), 0) + 1
            if reason:
                self._shed[reason] = self._shed.get(reason, 0) + 1

    def expect(self, reason: str) -> None:
        """Show a reason for refusals before there is one: a rate sees the first."""
        self._shed.setdefault(reason, 0)

    def collect(self) -> Iterator[Metric]:
        """The metric families, for prometheus_client."""
        name = self._service
        ended = CounterMetricFamily(f"{name}_requests", "Calls ended.", labels=("method", "code"))
        seconds = HistogramMetricFamily(
            f"{name}_request_seconds", "Time of a call.", labels=("method",)
        )
        shed = CounterMetricFamily(f"{name}_requests_shed", "Calls refused.", labels=("reason",))
        queued = HistogramMetricFamily(f"{name}_queue_seconds", "Time calls waited for a worker.")
        with self._lock:
            for labels, count in self._ended.items():
                ended.add_metric(labels, count)
            for method, times in self._times.items():
                seconds.add_metric([method], times.buckets(), times.total)
            queued.add_metric([], self._queued.buckets(), self._queued.total)
            for reason, count in self._shed.items():
                shed.add_metric([reason], count)
            in_flight = self.in_flight
        yield from (ended, seconds, queued, shed)
        yield GaugeMetricFamily(f"{name}_requests_in_flight", "Calls being served.", in_flight)
        yield GaugeMetricFamily(
            f"{name}_requests_waiting", "Calls waiting for a worker.", self._waiting_count()
        )
        yield GaugeMetricFamily(
            f"{name}_requests_limit", "Calls that may be inside at once.", self._limit_count()
        )
