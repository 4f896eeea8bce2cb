"""Ward clustering, medoid and importance, slow and obvious."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def ward_partition(vectors: NDArray[np.float32], alpha: float) -> list[list[int]]:
    """Merge the two nearest clusters as long as their squared Ward height is <= alpha."""
    points = vectors.astype(np.float64)
    clusters = [[row] for row in range(len(points))]
    while len(clusters) > 1:
        height, i, j = min(
            (ward_height(points[clusters[i]], points[clusters[j]]), i, j)
            for i in range(len(clusters))
            for j in range(i)
        )
        if height > alpha:
            break
        clusters[j] += clusters.pop(i)
    return sorted(sorted(cluster) for cluster in clusters)


def ward_height(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Squared Ward height of two clusters of points."""
    distance = float(((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum())
    return 2 * len(a) * len(b) / (len(a) + len(b)) * distance


def medoid(vectors: NDArray[np.float32], members: Sequence[int]) -> int:
    """The member with the least sum of squared distances to the others."""
    return min(members, key=lambda member: spread(vectors, member, members))


def spread(vectors: NDArray[np.float32], member: int, members: Sequence[int]) -> float:
    """Sum of squared distances of one member to all."""
    points = vectors.astype(np.float64)
    return sum(float(((points[member] - points[other]) ** 2).sum()) for other in members)


def importance(
    times: Sequence[float], strengths: Sequence[float], now: float, decay_per_day: float
) -> float:
    """Sum of strength x exp(-decay x age in days)."""
    return sum(
        strength * math.exp(-decay_per_day * max(0.0, now - time) / 86_400)
        for time, strength in zip(times, strengths, strict=True)
    )
