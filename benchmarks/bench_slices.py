"""Which lists to train on where the answer is known: randomly ordered ones, all, or mixed.

    .venv/bin/python benchmarks/bench_slices.py

Made-up people with planted tastes are shown the best 25 of 200 candidates as `hand_tuned` orders
them, a share of them 25 at random; they read by the position curve. Models are trained on those
logs by our trainer, and then order fresh candidates for everybody: what such a list is worth, in
saves, is known.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from corkboard.simulate import SIMULATED
from corkboard.simulate.reading import examination
from corkboard.simulate.world import SimulatedWorld, Sizes, make_world
from ranking_service.examples import OBJECTIVES, Examples
from ranking_service.feature_table import FEATURE_NAMES
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.models.boosting import BoostSettings
from ranking_service.models.entries import RANKNET_GBDT, Recipe, fit
from ranking_service.models.example_split import Slice, split
from ranking_service.tree_ranker import POINTWISE_GBDT

POOL = 200
LIMIT = 25
NEWER_SHARE = 0.2
SHARES = (0.01, 0.05, 0.2)

Score = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def features_of(
    world: SimulatedWorld, user: int, pins: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """What a service would know of candidates: taste and quality through noise, float32[n, f]."""
    rows = np.zeros((len(pins), len(FEATURE_NAMES)), np.float32)
    affinities = world.affinities(user, pins)

    def noise(size: float) -> NDArray[np.float64]:
        return size * rng.standard_normal(len(pins))

    for name, values in (
        ("medoid_cosine_max", affinities + noise(0.2)),
        ("history_cosine_max", affinities + noise(0.2)),
        ("query_cosine", affinities + noise(0.3)),
        ("log_popularity", 2.0 + 0.6 * world.qualities[pins] + noise(0.8)),
        ("save_share", 0.1 + 0.02 * world.qualities[pins] + noise(0.03)),
        ("language_match", np.where(world.languages[pins] == world.user_languages[user], 1, -1)),
        ("action_count", np.full(len(pins), 3.0)),
    ):
        rows[:, FEATURE_NAMES.index(name)] = values
    return rows


def logs(world: SimulatedWorld, list_count: int, random_share: float, seed: int) -> Examples:
    """Lists that were shown and what their readers did."""
    rng = np.random.default_rng(seed)
    hand_tuned = make_hand_tuned()
    curve = examination(LIMIT)
    users = rng.integers(0, len(world.tastes), list_count)
    is_random = rng.random(list_count) < random_share
    parts, labels = [], []
    for user, at_random in zip(users.tolist(), is_random.tolist(), strict=True):
        pins = rng.choice(len(world.topics), POOL, replace=False)
        rows = features_of(world, user, pins, rng)
        order = rng.permutation(POOL) if at_random else np.argsort(-hand_tuned.logits(rows))
        shown = order[:LIMIT]
        chances = curve * world.save_chances(user, pins[shown])
        parts.append(rows[shown])
        labels.append(rng.random(LIMIT) < chances)
    lists = np.repeat(np.arange(list_count), LIMIT)
    saved = np.concatenate(labels).astype(np.int8)
    outcomes = np.zeros((saved.size, len(OBJECTIVES)), np.int8)
    outcomes[:, 0] = saved
    return Examples(
        features=np.concatenate(parts),
        labels=saved,
        times_us=lists.astype(np.int64),
        lists=lists,
        user_parts=np.repeat(users, LIMIT),
        positions=np.tile(np.arange(LIMIT), list_count),
        query_keys=np.repeat(users, LIMIT),
        pin_keys=np.arange(saved.size),
        outcomes=outcomes,
        is_randomised=np.repeat(is_random, LIMIT),
    )


def worths(world: SimulatedWorld, score: Score | None, count: int) -> NDArray[np.float64]:
    """Saves that each of *count* fresh lists is worth, float64[count]; None = the best there is."""
    rng = np.random.default_rng(1_000_003)
    curve = examination(LIMIT)
    found = np.empty(count)
    for number in range(count):
        user = int(rng.integers(0, len(world.tastes)))
        pins = rng.choice(len(world.topics), POOL, replace=False)
        rows = features_of(world, user, pins, rng)
        chances = world.save_chances(user, pins)
        scores = chances if score is None else score(rows)
        found[number] = curve @ chances[np.argsort(-scores, kind="stable")[:LIMIT]]
    return found


def compared(list_count: int, judged: int, trees: int) -> None:
    """Print the table."""
    world = make_world(Sizes(pins=5000, users=500), 0)
    hand_tuned = make_hand_tuned()
    known = worths(world, hand_tuned.logits, judged)
    chance = np.random.default_rng(7)
    at_random = worths(world, lambda rows: chance.random(len(rows)), judged)
    print("| random share | model | trained on | examples | worth of a list | / hand_tuned |")
    print("|---|---|---|---|---|---|")
    best = worths(world, None, judged)
    for name, values in (("at random", at_random), ("hand_tuned", known), ("the best", best)):
        print(f"| | {name} | | | {values.mean():.3f} | {values.mean() / known.mean():.2f} |")
    settings = BoostSettings(
        tree_count_max=trees,
        leaf_count_max=15,
        learning_rate=0.1,
        leaf_row_count_min=50,
        threads=1,
        seed=0,
        advance=lambda _: None,
    )
    for share in SHARES:
        examples = logs(world, list_count, share, 1)
        parts = split(examples, int((1 - NEWER_SHARE) * list_count))
        for model in (POINTWISE_GBDT, RANKNET_GBDT):
            for kind in Slice:
                training = parts.only(kind).training
                if not training.labels.any():
                    continue
                fitted = fit(Recipe(model=model, boosting=settings, slice=kind), parts)
                assert fitted.ranker is not None
                earned = worths(world, fitted.ranker.logits, judged)
                error = (earned - known).std() / np.sqrt(judged) / known.mean()
                print(
                    f"| {share:.0%} | {model} | {kind} | {len(training):,} | {earned.mean():.3f} | "
                    f"{earned.mean() / known.mean():.3f} ± {1.96 * error:.3f} |",
                    flush=True,
                )


def main() -> None:
    """Read the arguments and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--lists", type=int, default=10_000, help="lists that are logged")
    arguments = parser.parse_args()
    count, judged, trees = (300, 20, 5) if arguments.quick else (arguments.lists, 2000, 150)
    print(f"## Lists that train: {count:,} lists of {LIMIT}, worth in saves, known\n")
    print(f"{SIMULATED}\n")
    compared(count, judged, trees)


if __name__ == "__main__":
    main()
