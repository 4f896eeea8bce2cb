"""
Scoring a pool: V-QuickScorer against LightGBM's own predict, equal to the bit.

    python benchmarks/bench_gbdt.py [--rounds 9]

One table of CPU milliseconds a call on one thread, medians of interleaved rounds, and the ratio to
Booster.predict in the same run.  Fails if a single score differs in a single bit.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from ranking_service.ranker import GbdtRanker

FEATURE_COUNT = 40
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


def main() -> None:
    """Print the tables, and the figures once more as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--train-rows", type=int, default=30_000)
    arguments = parser.parse_args()
    report = {}
    for shape in SHAPES:
        lines = measure(shape, rounds=arguments.rounds, train_rows=arguments.train_rows)
        print(f"{shape[0]} trees x {shape[1]} leaves, {FEATURE_COUNT} features, CPU ms a call")
        print("rows    ours  LightGBM  ratio")
        for line in lines:
            print(
                f"{line['rows']:4.0f}  {line['ours_ms']:6.3f}  {line['lightgbm_ms']:8.3f}"
                f"  {line['ratio']:5.1f}x"
            )
        report[f"{shape[0]}x{shape[1]}"] = lines
    print(json.dumps(report))


if __name__ == "__main__":
    main()
