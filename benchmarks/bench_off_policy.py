"""Off-policy estimates where the answer is known: simulated logs, and a real log of two policies.

    .venv/bin/python benchmarks/bench_off_policy.py --data FOLDER

where FOLDER holds impressions.parquet of the Open Bandit sample: the same days served by a random
and by a Thompson sampling policy, each with its chances. What one of them earned is estimated from
the other's log and compared with what it did earn. With `--obp PYTHON`, a Python that has the Open
Bandit Pipeline (see obp_estimates.py), the same problems are given to it as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from corkboard.evaluation.off_policy import (
    Estimate,
    Logged,
    doubly_robust,
    ips,
    on_policy_mean,
    overlap_shortfall,
    snips,
)
from corkboard.simulate import SIMULATED
from corkboard.simulate.bandit import BanditWorld

PRIOR_COUNT = 100.0
OUTSIDE = Path(__file__).with_name("obp_estimates.py")
OUTSIDE_SECONDS_MAX = 600


@dataclass(frozen=True)
class Problem:
    """Logged choices, and all that an estimator may know of them.

    Attributes:
        name: For the table.
        logged: The choices.
        actions: What was chosen, int64[n].
        target: What the other policy would choose there, float64[n, a].
        predicted: A model's rewards of each choice there, float64[n, a].
    """

    name: str
    logged: Logged
    actions: np.ndarray
    target: np.ndarray
    predicted: np.ndarray

    def estimates(self) -> list[Estimate]:
        """Ours."""
        rows = np.arange(len(self.actions))
        expected = (self.target * self.predicted).sum(axis=1)
        predicted = self.predicted[rows, self.actions]
        return [
            ips(self.logged),
            snips(self.logged),
            doubly_robust(self.logged, predicted=predicted, expected=expected),
        ]


def simulated(world_count: int, count: int) -> Iterator[str]:
    """Errors beside the known answer, and how often the intervals hold it."""
    errors: dict[str, list[float]] = {}
    held: dict[str, list[bool]] = {}
    for seed in range(world_count):
        rng = np.random.default_rng(seed)
        world = BanditWorld.draw(rng)
        logging, target = world.policy(4.0, rng), world.policy(12.0, rng)
        logged, situations, choices = world.log(logging, target, count, rng)
        model = 0.5 * world.rates + 0.05
        truth = world.value(target)
        expected = (target * model).sum(axis=1)[situations]
        for found in (
            on_policy_mean(logged),
            ips(logged),
            snips(logged),
            doubly_robust(logged, predicted=model[situations, choices], expected=expected),
        ):
            errors.setdefault(found.estimator, []).append((found.value - truth) / truth)
            held.setdefault(found.estimator, []).append(found.low <= truth <= found.high)
    for name, values in errors.items():
        root = float(np.sqrt(np.mean(np.square(values))))
        yield f"| {name} | {np.mean(values):+.3f} | {root:.3f} | {np.mean(held[name]):.0%} |"


def simulated_problem(count: int, seed: int = 0) -> Problem:
    """One of the simulated worlds, its reward model half right."""
    rng = np.random.default_rng(seed)
    world = BanditWorld.draw(rng)
    logging, target = world.policy(4.0, rng), world.policy(12.0, rng)
    logged, situations, choices = world.log(logging, target, count, rng)
    model = 0.5 * world.rates + 0.05
    return Problem("simulated", logged, choices, target[situations], model[situations])


def crossed_problem(table: Any, served: str, wanted: str) -> tuple[Problem, Estimate]:
    """What *wanted* earned, as a question to the log of *served*; and what it did earn."""
    policies = np.asarray(table["policy"])
    items = np.asarray(table["item_id"]).astype(np.int64)
    # Each campaign has things of its own, and each position chances of its own.
    _, campaigns = np.unique(np.asarray(table["campaign"]), return_inverse=True)
    places = 10 * campaigns + np.asarray(table["position"]).astype(np.int64)
    clicks = np.asarray(table["click"]).astype(np.float64)
    chances = np.asarray(table["propensity"])
    here, there = policies == served, policies == wanted
    item_count, place_count = items.max() + 1, places.max() + 1
    # What the wanted policy would have done: its mean chance of each item at each position.
    target = np.zeros((place_count, item_count))
    np.add.at(target, (places[there], items[there]), 1.0)
    target /= np.maximum(target.sum(axis=1, keepdims=True), 1.0)
    logged = Logged(
        clicks[here], chances[here], target[places[here], items[here]], np.arange(here.sum())
    )
    predicted = np.zeros((here.sum(), item_count))
    folds = np.arange(here.sum()) % 2
    for fold in (0, 1):  # a model of clicks by item, from the other half of the log
        known = folds != fold
        shown = np.bincount(items[here][known], minlength=item_count)
        clicked = np.bincount(items[here][known], weights=clicks[here][known], minlength=item_count)
        rate = (clicked + PRIOR_COUNT * clicks[here][known].mean()) / (shown + PRIOR_COUNT)
        predicted[folds == fold] = rate
    known_own = on_policy_mean(
        Logged(clicks[there], chances[there], chances[there], np.arange(there.sum()))
    )
    name = f"{wanted} from {served}"
    return Problem(name, logged, items[here], target[places[here]], predicted), known_own


def crossed(table: Any, served: str, wanted: str) -> Iterator[str]:
    """What *wanted* earned, estimated from the log of *served*."""
    problem, known = crossed_problem(table, served, wanted)
    yield row(f"{wanted} itself", known, known, "")
    note = f"shortfall {overlap_shortfall(problem.logged):+.3f}"
    for found in problem.estimates():
        yield row(f"{found.estimator} from {served}", found, known, note)


def outside(problem: Problem, python: Path) -> Iterator[str]:
    """Ours beside those of the Open Bandit Pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "problem.npz"
        np.savez(
            told,
            rewards=problem.logged.rewards,
            actions=problem.actions,
            chances=problem.logged.logged_chances,
            target=problem.target,
            predicted=problem.predicted,
        )
        said = subprocess.run(
            [python, OUTSIDE, told],
            check=True,
            capture_output=True,
            text=True,
            timeout=OUTSIDE_SECONDS_MAX,
        )
    theirs = json.loads(said.stdout)
    for found in problem.estimates():
        value, low, high = theirs[found.estimator]
        yield (
            f"| {problem.name} | {found.estimator} | {found.value:.8f} | {value:.8f} | "
            f"{abs(found.value / value - 1):.0e} | {found.low:.5f} to {found.high:.5f} | "
            f"{low:.5f} to {high:.5f} |"
        )


def row(name: str, found: Estimate, known: Estimate, note: str) -> str:
    """One line of the table: clicks for a thousand choices."""
    low, value, high = (1e3 * figure for figure in (found.low, found.value, found.high))
    meets = "yes" if found.low <= known.high and known.low <= found.high else "no"
    return (
        f"| {name} | {value:.2f} | {low:.2f} to {high:.2f} | {found.value / known.value:.2f} | "
        f"{meets} | {found.effective_count:,.0f} | {note} |"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the Open Bandit sample")
    parser.add_argument("--obp", type=Path, help="a Python that has the Open Bandit Pipeline")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    count, worlds = (1000, 10) if arguments.quick else (10_000, 100)
    print(f"## Off-policy estimates: {worlds} simulated worlds of {count:,} choices\n")
    print(f"{SIMULATED}\n")
    print("| estimator | mean error / truth | root mean square | 95 % interval holds the truth |")
    print("|---|---|---|---|")
    print(*simulated(worlds, count), sep="\n")
    table = None
    if arguments.data:
        table = pq.read_table(arguments.data / "impressions.parquet")
        print(f"\n## Off-policy estimates: Open Bandit sample, {table.num_rows:,} impressions\n")
        print("Clicks for 1,000 choices; the answer is what that policy did earn on those days.\n")
        print("| | estimate | 95 % interval | / known | intervals meet | effective choices | |")
        print("|---|---|---|---|---|---|---|")
        for served, wanted in (("random", "bts"), ("bts", "random")):
            print(*crossed(table, served, wanted), sep="\n")
    if arguments.obp:
        problems = [simulated_problem(count, seed) for seed in range(3)]
        if table is not None:
            problems.append(crossed_problem(table, "random", "bts")[0])
            problems.append(crossed_problem(table, "bts", "random")[0])
        print("\n## Off-policy estimates beside the Open Bandit Pipeline's\n")
        print("| log | estimator | ours | obp | difference | our interval | obp's bootstrap |")
        print("|---|---|---|---|---|---|---|")
        for problem in problems:
            print(*outside(problem, arguments.obp), sep="\n")


if __name__ == "__main__":
    main()
