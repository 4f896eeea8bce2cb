"""
Training a ranker: the job itself, from impressions and actions on disk to a published generation.

Made-up lists with a planted taste are written as Parquet, as the export jobs write them; then
`train_ranker` runs as a process of its own and is timed: wall, CPU and the most memory it held.
Its progress bar is on stderr.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ranking_service.features import FEATURE_NAMES
from ranking_service.impressions import FEATURE_SET

LIST_LENGTH = 25
NOW_US = 1_767_225_600_000_000
DAY_US = 86_400_000_000
DAYS = 20
SAVE_SHARE = 0.06
"""About so many shown pins are saved."""
LISTS_A_FILE = 4_000


def write_lists(folder: Path, row_count: int, seed: int) -> int:
    """Impressions and saves of `row_count` shown pins; returns how many were saved."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal(12)
    saved_count = 0
    list_count = row_count // LIST_LENGTH
    for part, first in enumerate(range(0, list_count, LISTS_A_FILE)):
        lists = np.arange(first, min(first + LISTS_A_FILE, list_count))
        features = rng.random((lists.size * LIST_LENGTH, len(FEATURE_NAMES)), np.float32)
        features[:, FEATURE_NAMES.index("is_related")] = 0
        taste = (features[:, 30:42] - 0.5) @ weights + 4.0 * features[:, 50] * features[:, 51]
        chance = 1.0 / (1.0 + np.exp(-3.0 * (taste - np.quantile(taste, 1 - SAVE_SHARE))))
        is_saved = rng.random(chance.size) < chance
        times = NOW_US - DAYS * DAY_US + (lists * ((DAYS - 8) * DAY_US)) // list_count
        write_part(folder, part, lists, times, features, is_saved)
        saved_count += int(is_saved.sum())
    return saved_count


def write_part(root: Path, part: int, lists: Any, times: Any, features: Any, is_saved: Any) -> None:
    """One file of impressions, and one of saves."""
    count = features.shape[0]
    list_ids = pa.array([f"list-{number}" for number in lists]).take(
        pa.array(np.repeat(np.arange(lists.size), LIST_LENGTH))
    )
    users = pa.array([f"user-{number % 5_000}" for number in lists]).take(
        pa.array(np.repeat(np.arange(lists.size), LIST_LENGTH))
    )
    shown_times = np.repeat(times, LIST_LENGTH)
    pins = pa.array([f"pin-{number}" for number in np.arange(count) % 50_000])
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(features.shape[1])
    shown = pa.table(
        {
            "list_id": list_ids,
            "position": np.tile(np.arange(LIST_LENGTH, dtype=np.int32), lists.size),
            "impression_time_us": shown_times,
            "feature_time_us": shown_times,
            "generations_as_of_us": shown_times - DAY_US,
            "user_id": users,
            "surface": ["home_feed"] * count,
            "query_pin_id": [""] * count,
            "pin_id": pins,
            "is_randomised": np.zeros(count, np.bool_),
            "feature_set": [FEATURE_SET] * count,
            "features": pa.ListArray.from_arrays(offsets, features.ravel()),
        }
    )
    chosen = pa.array(np.flatnonzero(is_saved))
    saves = pa.table(
        {
            "action_id": [f"save-{part}-{number}" for number in chosen.to_pylist()],
            "user_id": users.take(chosen),
            "pin_id": pins.take(chosen),
            "action_type": ["save"] * len(chosen),
            "action_time_us": shown_times[is_saved] + 60_000_000,
            "list_id": list_ids.take(chosen),
        }
    )
    for name, table in (("impressions", shown), ("actions", saves)):
        folder = root / "events" / name
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / f"part-{part}.parquet", compression="zstd")


def train(root: Path, model: str, settings: list[str]) -> dict[str, Any]:
    """Run the job; its report with `wall_s`, `cpu_s` and `peak_gb`."""
    command = [sys.executable, "-m", "ranking_service.jobs.train_ranker", "--model", model]
    command += ["--data-root", str(root), "--as-of", repr(NOW_US / 1e6), "--surfaces", "home_feed"]
    environment = os.environ | dict(setting.split("=", 1) for setting in settings)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"train_ranker ended with {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report | {
        "wall_s": time.monotonic() - begin,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_gb": after.ru_maxrss / 1e6,
    }


def main() -> int:
    """Print the section; 1 if a trained model is no better than the hand-tuned one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, nothing to quote")
    parser.add_argument("--rows", type=int, default=1_300_000, help="four fifths of them train")
    parser.add_argument("--models", nargs="+", default=["pointwise_gbdt"])
    options = parser.parse_args()
    rows = 30_000 if options.quick else options.rows
    settings = ["RANKING_SERVICE_TREE_COUNT_MAX=20"] if options.quick else []
    with tempfile.TemporaryDirectory(prefix="bench-train-") as folder:
        root = Path(folder)
        saved = write_lists(root, rows, seed=1)
        reports = {model: train(root, model, settings) for model in options.models}
    print(f"## Training on {rows:,} shown pins\n")
    print(
        f"{len(FEATURE_NAMES)} features, lists of {LIST_LENGTH}, {saved:,} saves; from Parquet to "
        f"a published generation; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}.\n"
    )
    print("| model | trees | wall | CPU | most memory | NDCG@10 | hand-tuned |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    is_good = True
    for model, report in reports.items():
        own, other = (report["quality"][name]["ndcg_at_10"] for name in (model, "hand_tuned"))
        is_good &= own > other
        print(
            f"| `{model}` | {report['tree_count']} | {report['wall_s']:.0f} s "
            f"| {report['cpu_s']:.0f} s | {report['peak_gb']:.1f} GB | {own:.3f} | {other:.3f} |"
        )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
