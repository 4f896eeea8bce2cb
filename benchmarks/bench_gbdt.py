"""
Scoring a pool: V-QuickScorer against LightGBM's own predict, equal to the bit.

One table of CPU milliseconds a call on one thread, medians of interleaved rounds, and the ratio to
Booster.predict in the same run.  Fails if a single score differs in a single bit.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from ranking_service.ranker import GbdtRanker

FEATURE_COUNT = 40
RATIO_MIN = 6.0
ROW_COUNTS = (1, 100, 500, 1000)
Shape = tuple[int, int]
SHAPES: tuple[Shape, ...] = ((300, 31), (300, 64))
"""Trees and leaves of each model."""


def make_rows(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Mostly continuous features, ten with few values, and a label with crosses."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, FEATURE_COUNT)).astype(np.float32)
    x[:, 30:] = np.floor(x[:, 30:] * 3)
    signal = x[:, :10] @ rng.standard_normal(10) + 2 * np.sin(3 * x[:, 10])
    y = signal + 0.3 * x[:, 30] * x[:, 31] + rng.standard_normal(count) > 0
    return x, y.astype(np.int64)


def train(shape: Shape, row_count: int) -> str:
    """Model text of so many trees of so many leaves."""
    x, y = make_rows(row_count, seed=0)
    parameters = {
        "objective": "binary",
        "num_leaves": shape[1],
        "learning_rate": 0.05,
        "min_data_in_leaf": 5,
        "verbose": -1,
        "num_threads": 2,
        "seed": 0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(lightgbm.train(parameters, lightgbm.Dataset(x, y), shape[0]).model_to_string())


def cpu_ms(work: Callable[[], Any], repeats: int) -> float:
    """CPU time of one call in milliseconds."""
    begin = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - begin) / repeats * 1e3


def measure(shape: Shape, *, rounds: int, train_rows: int) -> list[dict[str, float]]:
    """One line a row count for one model shape."""
    text = train(shape, train_rows)
    booster = lightgbm.Booster(model_str=text)
    ranker = GbdtRanker(text)
    assert ranker.fallback_reason == "", ranker.fallback_reason
    pool, _ = make_rows(10_000, seed=1)
    lines = []
    for n in ROW_COUNTS:
        times: dict[str, list[float]] = {"lightgbm": [], "ours": []}
        for number in range(rounds):
            first = number * 700 % (len(pool) - n)
            rows = np.ascontiguousarray(pool[first : first + n])
            assert (
                ranker.raw_scores(rows).tobytes()
                == booster.predict(rows, raw_score=True, num_threads=1).tobytes()
            )
            repeats = max(3, 2000 // n)
            times["ours"].append(cpu_ms(lambda rows=rows: ranker.raw_scores(rows), repeats))
            times["lightgbm"].append(
                cpu_ms(
                    lambda rows=rows: booster.predict(rows, raw_score=True, num_threads=1),
                    max(2, repeats // 5),
                )
            )
        ours, peer = (float(np.median(times[name])) for name in ("ours", "lightgbm"))
        lines.append({"rows": n, "ours_ms": ours, "lightgbm_ms": peer, "ratio": peer / ours})
    return lines


def main() -> int:
    """Print the section; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, nothing to quote")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    rounds, train_rows = (1, 2_000) if options.quick else (options.rounds, 30_000)
    print("## Scoring a pool with boosted trees\n")
    print(
        f"V-QuickScorer with the trees' bit vectors in registers against `Booster.predict`, one "
        f"thread, {FEATURE_COUNT} features, CPU ms a call, medians; every score equal to the bit.\n"
    )
    print("| trees x leaves | rows | ours | LightGBM | ratio |")
    print("| --- | --- | --- | --- | --- |")
    goal = 0.0
    for trees, leaves in SHAPES:
        shape = (trees // 10 if options.quick else trees, leaves)
        for line in measure(shape, rounds=rounds, train_rows=train_rows):
            print(
                f"| {shape[0]} x {leaves} | {line['rows']:.0f} | {line['ours_ms']:.3f} "
                f"| {line['lightgbm_ms']:.3f} | {line['ratio']:.1f}x |"
            )
            if (trees, leaves, line["rows"]) == (*SHAPES[0], 500):
                goal = line["ratio"]
    is_met = options.quick or goal >= RATIO_MIN
    print(f"\nGoal: 500 rows, 300 trees at least {RATIO_MIN:g}x: {'met' if is_met else 'MISSED'}.")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
