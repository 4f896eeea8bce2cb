"""`corkboard simulate` through the real services, and a model from its logs to live requests."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from corkboard.answers import Model
from corkboard.client import Client
from corkboard.simulate import MARK_FILE, SIMULATED
from corkboard.simulate.world import user_name
from corkboard.stack import Stack

USERS = 40
DAYS = 2


def run(*arguments: str) -> str:
    """A command in a process of its own, that must succeed; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A simulated data root, and what the command said."""
    root = tmp_path_factory.mktemp("simulated") / "root"
    sizes = ["--users", str(USERS), "--pins", "200", "--topics", "4", "--days", str(DAYS)]
    said = run("corkboard", "simulate", str(root), *sizes, "--random-share", "0.4", "--json")
    return root, json.loads(said)


@pytest.mark.timeout(900)
def test_days_of_made_up_traffic_leave_what_real_ones_would(simulated: tuple[Path, Any]) -> None:
    """Answers by the real services, read by the curve, under the names of their lists."""
    root, said = simulated
    shown = pq.read_table(root / "events" / "impressions")
    actions = pq.read_table(root / "events" / "actions")
    acted = actions.filter(pc.is_in(actions["list_id"], pc.unique(shown["list_id"])))
    days = said["days"]

    assert said["warning"] == SIMULATED
    assert (root / MARK_FILE).read_text().strip() == SIMULATED
    assert len(days) == DAYS
    assert shown.num_rows == sum(day["shown"] for day in days)
    assert acted.num_rows == sum(count for day in days for count in day["acts"].values()) > 20
    pairs = set(zip(shown["list_id"].to_pylist(), shown["pin_id"].to_pylist(), strict=True))
    done = set(zip(acted["list_id"].to_pylist(), acted["pin_id"].to_pylist(), strict=True))
    assert done <= pairs
    # What was ordered is worth more than what was not, by the planted tastes: twice, as a rule.
    assert sum(day["expected"] for day in days) > 1.2 * sum(day["expected_random"] for day in days)
    assert {True, False} == set(shown["is_randomised"].to_pylist())


@pytest.mark.timeout(900)
def test_a_model_is_staged_looked_at_promoted_and_rolled_back(simulated: tuple[Path, Any]) -> None:
    """From the simulated logs to live requests of running services, which never stop answering."""
    root, _ = simulated
    job = [
        "--data-root",
        str(root),
        "--set",
        "label_horizon_days=0.25",
        "--set",
        "tree_count_max=5",
    ]
    report = json.loads(run("ranking_service.jobs.train_ranker", *job, "--stage", "--force"))
    settings = {"ranking_service": ["shadow_share=1", "generation_poll_seconds=0.1"]}
    settings["ranking_service"] += ["random_share=0"]
    with Stack(data_root=root, settings=settings) as stack, stack.client(deadline_s=30) as client:
        before = [client.recommend(user_name(user), limit=10) for user in range(12)]
        seen = _wait(client, lambda models: models[0].shadow.get("request_count", 0) >= 10)
        first = _promote(root)
        _wait(client, lambda models: _serving(models) == first)
        promoted = client.recommend(user_name(1), limit=10)
        second = _promote(root)
        _wait(client, lambda models: _serving(models) == second)
        run("corkboard", "rollback", "ranker", "--data-root", str(root))
        _wait(client, lambda models: _serving(models) == first)
        targets = [
            part
            for service, target in stack.targets.items()
            for part in (f"--{service.removesuffix('_service')}-target", target)
        ]
        status = run("corkboard", *targets, "status", "--data-root", str(root))

    staged = seen[0]
    assert {answer.model for answer in before} == {"hand_tuned"}
    assert staged.is_staged
    assert staged.generation == report["generation"]
    assert staged.shadow["failed_count"] == 0
    assert 0 <= staged.shadow["shown_overlap"] <= 1
    assert -1 <= staged.shadow["rank_correlation"] <= 1
    assert promoted.model == "pointwise_gbdt"
    assert promoted.generations["ranker"] == first
    assert "staged beside it" in status
    assert "SIMULATION" in status


def _promote(root: Path) -> str:
    """Promote what is staged; the generation that it became."""
    said = json.loads(run("corkboard", "promote", "--data-root", str(root), "--json"))
    return str(said["generation"])


def _serving(models: Sequence[Model]) -> str:
    """The generation that serves."""
    return next((model.generation for model in models if model.is_serving), "")


def _wait(client: Client, is_done: Any) -> Sequence[Model]:
    """Ask for the models until something holds of them."""
    due = time.monotonic() + 60
    while not is_done(models := client.models()):
        assert time.monotonic() < due, models
        time.sleep(0.1)
    return models
