"""
What describes a cluster: its medoid and its importance.  Arrays in, arrays out.

All kernels release the GIL and are compiled once per machine (numba's cache).
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def medoids(
    vectors: NDArray[np.float32], labels: NDArray[np.int32], cluster_count: int
) -> NDArray[np.int32]:
    """
    Find the member of each cluster with the least sum of squared distances to the others.

    That member is the one nearest to the centroid, so no pairwise distance is needed.

    Args:
        vectors: Points, float32[n, d].
        labels: Cluster of each point, int32[n], each in [0, cluster_count) and each used.
        cluster_count: Number of clusters.

    Returns:
        int32[cluster_count]; the first of those that are equally near.

    Cost: O(n d).
    Source: Pal et al. 2020, Eq. 2.
    """
    n, d = vectors.shape
    centroids = np.zeros((cluster_count, d), np.float64)
    sizes = np.zeros(cluster_count, np.float64)
    for i in range(n):
        sizes[labels[i]] += 1
        for k in range(d):
            centroids[labels[i], k] += vectors[i, k]
    best = np.full(cluster_count, np.inf)
    found = np.full(cluster_count, -1, np.int32)
    for i in range(n):
        label = labels[i]
        square = 0.0
        dot = 0.0
        for k in range(d):
            square += np.float64(vectors[i, k]) * vectors[i, k]
            dot += vectors[i, k] * centroids[label, k]
        # s ||v - c/s||^2 = s v.v - 2 v.c + constant. Both members of a pair are equally near, so a
        # tie must not be left to rounding: float32 vectors are known to about 1e-7.
        distance = sizes[label] * square - 2 * dot
        if distance < best[label] - 1e-6 * sizes[label] * square:
            best[label] = distance
            found[label] = i
    return found


@njit(cache=True, nogil=True)
def importances(
    times: NDArray[np.float64],
    strengths: NDArray[np.float32],
    labels: NDArray[np.int32],
    cluster_count: int,
    now: float,
    decay_per_day: float,
) -> NDArray[np.float64]:
    """
    Sum strength * exp(-decay * age in days) of the actions in each cluster.

    Args:
        times: When each action happened, float64[n], Unix seconds. Later than *now* counts as now.
        strengths: How much each action says, float32[n], >= 0.
        labels: Cluster of each action, int32[n].
        cluster_count: Number of clusters.
        now: Unix seconds.
        decay_per_day: Lambda, >= 0; 0 counts actions without regard to age.

    Returns:
        float64[cluster_count], each >= 0; a cluster without actions has 0.

    Cost: O(n).
    Source: Pal et al. 2020, Eq. 3; the weight by strength is ours.
    """
    total = np.zeros(cluster_count, np.float64)
    for i in range(len(times)):
        age_days = max(0.0, now - times[i]) / 86400.0
        total[labels[i]] += strengths[i] * np.exp(-decay_per_day * age_days)
    return total
