"""Off-policy estimates where the answer is known: simulated logs, and a real log of two policies.

    .venv/bin/python benchmarks/bench_off_policy.py --data FOLDER

where FOLDER holds impressions.parquet of the Open Bandit sample: the same days served by a random
and by a Thompson sampling policy, each with its chances. What one of them earned is estimated from
the other's log and compared with what it did earn.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
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


def crossed(table: Any, served: str, wanted: str) -> Iterator[str]:
    """What *wanted* earned, estimated from the log of *served*."""
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
    predicted, expected = np.zeros(here.sum()), np.zeros(here.sum())
    folds = np.arange(here.sum()) % 2
    for fold in (0, 1):  # a model of clicks by item, from the other half of the log
        known, asked = folds != fold, folds == fold
        shown = np.bincount(items[here][known], minlength=item_count)
        clicked = np.bincount(items[here][known], weights=clicks[here][known], minlength=item_count)
        rate = (clicked + PRIOR_COUNT * clicks[here][known].mean()) / (shown + PRIOR_COUNT)
        predicted[asked] = rate[items[here][asked]]
        expected[asked] = (target @ rate)[places[here][asked]]
    known_own = on_policy_mean(
        Logged(clicks[there], chances[there], chances[there], np.arange(there.sum()))
    )
    yield row(f"{wanted} itself", known_own, known_own, "")
    note = f"shortfall {overlap_shortfall(logged):+.3f}"
    for found in (ips(logged), snips(logged)):
        yield row(f"{found.estimator} from {served}", found, known_own, note)
    robust = doubly_robust(logged, predicted=predicted, expected=expected)
    yield row(f"dr from {served}", robust, known_own, note)


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
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    count, worlds = (1000, 10) if arguments.quick else (10_000, 100)
    print(f"## Off-policy estimates: {worlds} simulated worlds of {count:,} choices\n")
    print(f"{SIMULATED}\n")
    print("| estimator | mean error / truth | root mean square | 95 % interval holds the truth |")
    print("|---|---|---|---|")
    print(*simulated(worlds, count), sep="\n")
    if arguments.data:
        table = pq.read_table(arguments.data / "impressions.parquet")
        print(f"\n## Off-policy estimates: Open Bandit sample, {table.num_rows:,} impressions\n")
        print("Clicks for 1,000 choices; the answer is what that policy did earn on those days.\n")
        print("| | estimate | 95 % interval | / known | intervals meet | effective choices | |")
        print("|---|---|---|---|---|---|---|")
        for served, wanted in (("random", "bts"), ("bts", "random")):
            print(*crossed(table, served, wanted), sep="\n")


if __name__ == "__main__":
    main()
