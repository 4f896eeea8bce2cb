"""What an operator sees of profiles and of the log behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from profile_service.log_usage import LogUsage
from profile_service.profile import Profile
from service_runtime.telemetry import Metrics

HOUR: Final = 3600.0
AGE_BUCKETS: Final = tuple(HOUR * hours for hours in (1, 3, 6, 12, 24, 36, 48, 72, 168, 720))
"""Upper bounds of the age of a profile's batch part, seconds: around the night's rhythm."""
COUNT_BUCKETS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
"""Upper bounds of the number of live actions in a profile."""


class ProfileFigures:
    """
    Counts the profiles that are answered: how old, how live, how empty.

    `profile_service_profile_age_seconds` (of the batch part), `_profile_live_actions`,
    `_profiles_answered_total{kind}` with kind `known`, `live_only` or `cold_start`.

    Args:
        metrics: Of the service.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._age = metrics.histogram(
            "profile_age_seconds", "Age of answered profiles' batch part.", buckets=AGE_BUCKETS
        )
        self._live = metrics.histogram(
            "profile_live_actions",
            "Live actions folded into answered profiles.",
            buckets=COUNT_BUCKETS,
        )
        answered = metrics.counter("profiles_answered", "Profiles answered.", ["kind"])
        self._kinds = {kind: answered.labels(kind) for kind in ("known", "live_only", "cold_start")}

    def note(self, profile: Profile, now: float) -> None:
        """One was answered at *now*, Unix seconds."""
        self._live.observe(profile.online_action_count)
        if profile.batch_time_us is not None:
            self._age.observe(max(0.0, now - profile.batch_time_us / 1e6))
        known = "live_only" if profile.batch_time_us is None else "known"
        self._kinds["cold_start" if profile.is_cold_start else known].inc()


class LogFigures(Collector):
    """
    The live action log's figures, read when the page is read.

    With `profile_service_` in front: `live_map_used_ratio`, `live_map_bytes`,
    `live_pages{state}` (`used`, `free`), `live_entries{database}`, `live_readers`,
    `live_last_position`, `live_commit_count` and `batch_lag_actions`, the actions that the serving
    generation does not know yet.

    Args:
        metrics: Of the service.
        usage: Reads the log's usage.
        last_position: Newest position of the log.
        watermark: Position up to which the serving generation knows the log; None = there is none.
        commit_count: Transactions committed since the start.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        usage: Callable[[], LogUsage],
        last_position: Callable[[], int],
        watermark: Callable[[], int | None],
        commit_count: Callable[[], int],
    ) -> None:
        self._service = metrics.service
        self._usage = usage
        self._last_position = last_position
        self._watermark = watermark
        self._commit_count = commit_count
        metrics.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metric families, for prometheus_client."""
        usage, last = self._usage(), self._last_position()
        lag = last - (self._watermark() or 0)
        for name, told, value in (
            ("live_map_used_ratio", "How full the live log's map is, 0 to 1.", usage.used_share),
            ("live_map_bytes", "Size of that map.", usage.map_pages * usage.page_bytes),
            ("live_readers", "Reader slots of the live log in use.", usage.reader_count),
            ("live_last_position", "Newest position of the live action log.", last),
            ("live_commit_count", "Transactions since the start.", self._commit_count()),
            ("batch_lag_actions", "Actions that the generation does not know.", max(0, lag)),
        ):
            yield GaugeMetricFamily(f"{self._service}_{name}", told, float(value))
        pages = GaugeMetricFamily(
            f"{self._service}_live_pages", "Pages of the live log's file.", labels=["state"]
        )
        pages.add_metric(["used"], usage.file_pages - usage.free_pages)
        pages.add_metric(["free"], usage.free_pages)
        entries = GaugeMetricFamily(
            f"{self._service}_live_entries", "Entries of the live log.", labels=["database"]
        )
        for database, count in usage.entries.items():
            entries.add_metric([database], count)
        yield from (pages, entries)
