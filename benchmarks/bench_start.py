"""From starting three processes to the first answer: kernels compiled anew, and from the cache."""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from bench_recommend import CACHE, prepare, quiet

from corkboard.client import Client
from corkboard.stack import Stack


def seconds_to_first_answer(root: Path, user_id: str) -> tuple[float, float]:
    """Start the stack and ask: seconds until SERVING, and until the first answer is read."""
    begin = time.monotonic()
    with Stack(data_root=root, settings=quiet()) as stack:
        serving = time.monotonic() - begin
        with Client(ranking=stack.targets["ranking_service"]) as client:
            client.recommend(user_id, limit=25, with_titles=False, deadline_s=60.0)
        return serving, time.monotonic() - begin


def main() -> None:
    """Measure one cold start and some warm ones on one world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the tiny world")
    parser.add_argument("--world", default="small")
    parser.add_argument("--no-jobs", action="store_true", help="take the artifacts that are there")
    options = parser.parse_args()
    name = "tiny" if options.quick else options.world
    root = CACHE / name if options.no_jobs else prepare(name)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NUMBA_CACHE_DIR"] = cache  # empty: every kernel is compiled
        _, cold = seconds_to_first_answer(root, "u1")
        warm = [seconds_to_first_answer(root, "u1") for _ in range(1 if options.quick else 5)]
    serving = statistics.median(s for s, _ in warm)
    first = statistics.median(s for _, s in warm)
    print(
        f"""## Start to first answer

World `{name}`; three processes started side by side on this machine; cold = an empty kernel cache.

| start | first answer after | goal |
|---|---|---|
| cold | {cold:.1f} s | |
| warm caches | {first:.1f} s = {first / cold:.2f}× cold | ≤ 0.25× |
| of these, until all three are SERVING | {serving:.1f} s | 5 s |"""
    )


if __name__ == "__main__":
    main()
