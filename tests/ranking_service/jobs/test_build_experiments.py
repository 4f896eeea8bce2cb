"""Arms are counted from the logs, and a losing one is stopped."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranking_service.config import RankingConfig
from ranking_service.experiment_results import ExperimentResults, Outcomes
from ranking_service.jobs import build_experiments, check_scenarios
from service_runtime.errors import Corrupted, InvalidRequest
from service_runtime.job import JobContext

BOOK = """
    [experiments.mix]
    control = "a"
    shares = { a = 0.5, b = 0.5 }
    guard_rail = { alpha = 0.01, user_count_min = 100 }
    [experiments.mix.arms.a]
    [experiments.mix.arms.b]
    diversity = 0.5
"""
START_US = 1_767_225_600_000_000


def write_world(root: Path, rates: dict[str, float], users: int = 400) -> None:
    """Each user sees four pins; whether one is saved depends on the arm alone."""
    rng = np.random.default_rng(1)
    shown, acts = [], []
    for number in range(users):
        arm = "ab"[number % 2]
        acted = rng.random() < rates[arm]
        shown += [
            {
                "list_id": f"l{number}",
                "user_id": f"u{number}",
                "pin_id": f"p{place}",
                "impression_time_us": START_US,
                "experiment_arms": json.dumps({"mix": arm}),
                "sources": ["ann", "pixie"] if place < 2 else ["pixie"],
            }
            for place in range(4)
        ]
        if acted:
            acts.append(("" if number % 3 else f"l{number}", f"u{number}", "p0", "save"))
        acts.append((f"l{number}", f"u{number}", "p1", "hide"))
    shown.append({**shown[0], "experiment_arms": "{}", "list_id": "outside"})
    path = root / "events/impressions/day=x"
    path.mkdir(parents=True)
    for name in ("a", "b"):  # told twice
        table = pa.Table.from_pylist(shown, schema=build_experiments.SHOWN_SCHEMA)
        pq.write_table(table, path / f"{name}.parquet")
    rows = [
        {
            "list_id": row[0],
            "user_id": row[1],
            "pin_id": row[2],
            "action_type": row[3],
            "action_time_us": START_US + 5,
        }
        for row in acts
    ]
    path = root / "events/actions/day=x"
    path.mkdir(parents=True)
    table = pa.Table.from_pylist(rows, schema=build_experiments.ACTION_SCHEMA)
    pq.write_table(table, path / "a.parquet")


def context_of(root: Path, **arguments: Any) -> JobContext[RankingConfig]:
    """A context of a job on this root."""
    (root / "book.toml").write_text(BOOK)
    config = RankingConfig(data_root=root, scenario_file=root / "book.toml")
    arguments.setdefault("scenarios", None)
    return JobContext(config=config, as_of_us=START_US + 10**9, arguments=Namespace(**arguments))


def run(root: Path) -> tuple[Any, ExperimentResults]:
    """Run the job; its report, and what a server sees."""
    context = context_of(root)
    report = build_experiments.run(context)
    context.close()
    return report, ExperimentResults(context.generations)


def test_arms_and_sources_are_counted(tmp_path: Path) -> None:
    """Against a count by hand: users, pins, saves, also of actions that name no list."""
    write_world(tmp_path, {"a": 0.5, "b": 0.5})

    report, results = run(tmp_path)

    outcome = results.of("mix")
    assert outcome is not None
    found = {(result.arm, result.source): result for result in outcome.results}
    assert found.keys() == {(arm, s) for arm in "ab" for s in ("", "ann", "pixie")}
    whole, ann = found["a", ""], found["a", "ann"]
    assert (whole.user_count, whole.impression_count) == (200, 800)
    assert (ann.user_count, ann.impression_count) == (200, 400)
    assert whole.volume.value == pytest.approx(whole.propensity.value * 1000 / 4)
    assert ann.volume.value == pytest.approx(2 * whole.volume.value)
    assert 0.4 < whole.propensity.value < 0.6
    assert report["experiments"]["mix"] == {"users": {"a": 200, "b": 200}, "stopped": {}}
    assert outcome.stopped == {}


def test_a_losing_arm_is_stopped_and_stays_so(tmp_path: Path) -> None:
    """With the figures in the reason; until the shares change."""
    write_world(tmp_path, {"a": 0.5, "b": 0.2})

    _, results = run(tmp_path)
    _, again = run(tmp_path)

    assert results.stopped("mix").keys() == {"b"}
    assert "propensity 0." in results.stopped("mix")["b"]
    assert again.stopped("mix") == results.stopped("mix")
    assert results.stopped("other") == {}


def test_a_winner_is_not_stopped(tmp_path: Path) -> None:
    """Nor is the control."""
    write_world(tmp_path, {"a": 0.2, "b": 0.5})

    assert run(tmp_path)[1].stopped("mix") == {}


def test_without_logs_there_are_no_figures(tmp_path: Path) -> None:
    """The arms are there, empty."""
    _, results = run(tmp_path)

    outcome = results.of("mix")
    assert outcome is not None
    assert {result.user_count for result in outcome.results} == {0}


def test_damaged_figures_are_refused(tmp_path: Path) -> None:
    """A cut file says so."""
    (tmp_path / "experiments.json").write_text('{"mix": {"shares"')

    with pytest.raises(Corrupted):
        Outcomes.open(tmp_path)


def test_a_dry_run_tells_what_would_change(tmp_path: Path) -> None:
    """And every fault of a bad file, before it serves."""
    new, bad = tmp_path / "new.toml", tmp_path / "bad.toml"
    new.write_text("[scenarios.home_feed]\ndiversity = 0.7\n[scenarios.shelf]\nscore_min = 0.1")
    bad.write_text("[scenarios.home_feed]\ndiversity = 7")

    report = check_scenarios.run(context_of(tmp_path, file=new))

    assert report["added"] == ["home_feed", "shelf"]
    assert report["changes"]["home_feed"] == {"diversity": {"now": 0.0, "then": 0.7}}
    assert "related_pins" not in report["changes"]
    assert report["scenarios"]["shelf"]["score_min"] == 0.1
    with pytest.raises(InvalidRequest, match="diversity"):
        check_scenarios.run(context_of(tmp_path, file=bad))
