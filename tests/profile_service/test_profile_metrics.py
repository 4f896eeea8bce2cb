"""What an operator sees of profiles and of the live log."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from profile_service.profile import Clusters, Profile
from profile_service.profile_metrics import LogFigures, ProfileFigures
from service_runtime.telemetry import Metrics
from tests.profile_service.worlds import action, open_log


def figures_of(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Each sample of the page: its name and its labels' values."""
    return {
        (sample.name.removeprefix("profile_service_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text())
        for sample in family.samples
    }


def test_log_figures_follow_the_log(tmp_path: Path) -> None:
    """Entries and lag grow with what is recorded; pages that were emptied are free, not used."""
    log, metrics = open_log(tmp_path), Metrics("profile_service")
    LogFigures(
        metrics,
        usage=log.usage,
        last_position=log.last_position,
        watermark=lambda: 5,
        commit_count=lambda: 1,
    )
    empty = figures_of(metrics)
    log.append([action(f"a{number}", user_id=f"u{number % 7}") for number in range(2000)])
    full = figures_of(metrics)
    for number in range(7):
        log.erase(f"u{number}", time_us=1, receipt_id="r")
    erased = figures_of(metrics)
    log.close()

    assert empty["batch_lag_actions",] == 0, "a generation may know more than a new log"
    assert full["live_entries", "actions"] == full["live_entries", "log"] == 2000
    assert full["batch_lag_actions",] == 1995
    assert full["live_pages", "used"] > empty["live_pages", "used"] + 50
    assert erased["live_entries", "actions"] == 0
    assert erased["live_entries", "erasures"] == 7
    assert erased["live_pages", "free"] > full["live_pages", "free"] + 50
    assert erased["live_map_used_ratio",] < full["live_map_used_ratio",]
    in_file = erased["live_pages", "free"] + erased["live_pages", "used"]
    assert in_file * 4096 == (tmp_path / "data.mdb").stat().st_size


def test_answered_profiles_are_counted_by_what_is_known() -> None:
    """Batch known, live only, nobody; the age is the batch part's."""
    metrics = Metrics("profile_service")
    figures = ProfileFigures(metrics)
    known = Profile(
        user_id="u",
        clusters=Clusters((), np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)),
        origins=np.empty(0, np.uint8),
        is_cold_start=False,
        batch_time_us=1_000_000_000,
        generation="g",
        online_action_count=0,
    )
    figures.note(known, now=1000.0 + 7200)
    figures.note(replace(known, batch_time_us=None, online_action_count=3), now=0)
    figures.note(replace(known, batch_time_us=None, is_cold_start=True), now=0)

    found = figures_of(metrics)
    for kind in ("known", "live_only", "cold_start"):
        assert found["profiles_answered_total", kind] == 1
    assert found["profile_age_seconds_bucket", "3600.0"] == 0
    assert found["profile_age_seconds_bucket", "10800.0"] == 1
    assert found["profile_live_actions_sum",] == 3
