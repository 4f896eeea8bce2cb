"""
Ward clusters of one user and of many, against SciPy's pdist + linkage + fcluster.

    python benchmarks/bench_ward.py [--quick]

CPU milliseconds on one thread, medians of interleaved rounds, and ratios within the run. Fails if
one partition differs from SciPy's. Two cuts are measured: the default alpha, and one above every
height, for which all merges must be made (the worst case; nobody clusters so).
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # one thread, as on a busy server; read at import

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from profile_service.cluster_kernels import importances, medoids
from profile_service.clustering import cluster_actions, label_points
from profile_service.config import ProfileConfig

ALPHA = float(ProfileConfig().alpha)
WHOLE_TREE = 1e6
Floats = npt.NDArray[np.float32]


def interests(n: int, d: int, rng: np.random.Generator) -> Floats:
    """Pins of one user: unit vectors around n^0.4 directions, cosine about 0.74 within one."""
    centres = rng.standard_normal((max(2, int(n**0.4)), d))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    points = centres[rng.integers(0, len(centres), n)]
    points = points + rng.standard_normal((n, d)) * (0.6 / np.sqrt(d))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.ascontiguousarray(points, dtype=np.float32)


def cpu_ms(work: Callable[[], Any], repeats: int) -> float:
    """CPU time of one call in milliseconds."""
    begin = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - begin) * 1e3 / repeats


def scipy_labels(vectors: Floats, alpha: float) -> npt.NDArray[np.int32]:
    """The partition as SciPy cuts it, numbered by first point."""
    found = fcluster(linkage(pdist(vectors), "ward"), np.sqrt(alpha), "distance")
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[inverse].astype(np.int32)


def scipy_profile(vectors: Floats, times: npt.NDArray[np.float64]) -> Any:
    """Clusters, medoids and importances with SciPy's Ward and vectorised NumPy."""
    labels = scipy_labels(vectors, ALPHA)
    count = int(labels.max()) + 1
    sums = np.zeros((count, vectors.shape[1]), np.float32)
    np.add.at(sums, labels, vectors)
    sizes = np.bincount(labels, minlength=count)
    squares = np.einsum("ij,ij->i", vectors, vectors)
    spread = sizes[labels] * squares - 2 * np.einsum("ij,ij->i", vectors, sums[labels])
    order = np.lexsort((spread, labels))
    chosen = order[np.searchsorted(labels[order], np.arange(count))]
    return chosen, np.bincount(labels, np.exp(-0.01 * (times.max() - times) / 86_400))


def kernel_profile(vectors: Floats, times: npt.NDArray[np.float64], ones: Floats) -> Any:
    """The same with our kernels."""
    labels, count = label_points(vectors, ALPHA)
    now = float(times.max())
    return medoids(vectors, labels, count), importances(times, ones, labels, count, now, 0.01)


def measure_users(sizes: tuple[int, ...], rounds: int) -> None:
    """One user of each size and dimension."""
    print("| actions | dimension | cut | SciPy ms | ours ms | ratio | clusters |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rng = np.random.default_rng(7)
    for n in sizes:
        for d in (64, 256):
            samples = [interests(n, d, rng) for _ in range(3)]
            repeats = max(1, 1000 // n)
            for name, alpha in (("default", ALPHA), ("whole tree", WHOLE_TREE)):
                theirs, ours, counts = [], [], []
                for turn in range(rounds):
                    vectors = samples[turn % 3]
                    if turn < 3:
                        labels, count = label_points(vectors, alpha)
                        assert np.array_equal(labels, scipy_labels(vectors, alpha)), (n, d, alpha)
                        counts.append(count)
                    theirs.append(cpu_ms(lambda v=vectors: linkage(pdist(v), "ward"), repeats))
                    ours.append(cpu_ms(lambda v=vectors, a=alpha: label_points(v, a), 3 * repeats))
                a, b = float(np.median(theirs)), float(np.median(ours))
                print(
                    f"| {n} | {d} | {name} | {a:.2f} | {b:.2f} | {a / b:.1f} "
                    f"| {int(np.median(counts))} |"
                )


def measure_many(user_count: int, rounds: int) -> None:
    """Users of log-normal histories (median 100, sigma 1, at most 3,000 actions)."""
    print()
    print(
        "| dimension | SciPy pipeline, users/s | our kernels | ratio | `cluster_actions` | ratio |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    rng = np.random.default_rng(11)
    ones = np.ones(3000, np.float32)
    for d in (64, 256):
        lengths = np.clip(np.exp(rng.normal(np.log(100), 1.0, user_count)).astype(int), 5, 3000)
        users = [(interests(int(n), d, rng), rng.random(n) * 90 * 86_400) for n in lengths]
        works: dict[str, Callable[[Floats, Any], Any]] = {
            "scipy": scipy_profile,
            "kernels": lambda v, t: kernel_profile(v, t, ones[: len(t)]),
            "whole": lambda v, t: cluster_actions(
                np.arange(len(t)), v, t, ones[: len(t)], now=9e6, alpha=ALPHA, decay_per_day=0.01
            ),
        }
        speeds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(rounds):
            for name, work in works.items():
                begin = time.process_time()
                for vectors, times in users:
                    work(vectors, times)
                speeds[name].append(user_count / (time.process_time() - begin))
        scipy, ours, whole = (float(np.median(speeds[name])) for name in works)
        print(
            f"| {d} | {scipy:.0f} | {ours:.0f} | {ours / scipy:.1f} "
            f"| {whole:.0f} | {whole / scipy:.1f} |"
        )


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    quick = parser.parse_args().quick
    print("## Ward clustering")
    print()
    print(
        f"Partitions equal SciPy's in every case (alpha {ALPHA:g} and whole tree). SciPy's time is "
        "that of `linkage(pdist(X), 'ward')` without the cut; ours is Gram matrix and cut."
    )
    print()
    label_points(interests(50, 64, np.random.default_rng(0)), 1.0)
    measure_users((50, 200) if quick else (200, 1000, 3000), 3 if quick else 7)
    measure_many(20 if quick else 300, 2 if quick else 5)


if __name__ == "__main__":
    main()
