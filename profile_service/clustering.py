"""
Actions to clusters: the one function behind last night's profiles and behind today's.

A user's points are the *set* of pins acted on (Pal et al. 2020: "the set of action pins"): a pin
clicked, opened and saved is one point, whose actions all add to its cluster's importance. So a
burst of actions on one pin makes its interest weighty, but neither splits nor moves clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profile_service import cluster_kernels, kernels


@dataclass(frozen=True, slots=True)
class PinClusters:
    """
    Clusters of actions on pins that are given as numbers, most important first.

    Attributes:
        medoids: Number of each cluster's medoid, int[c].
        importances: float64[c], >= 0.
        action_counts: int64[c], >= 1.
        newest_times: Unix seconds, float64[c].
        labels: Cluster of each action, int32[n].
    """

    medoids: NDArray[np.integer[Any]]
    importances: NDArray[np.float64]
    action_counts: NDArray[np.int64]
    newest_times: NDArray[np.float64]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.medoids)


def cluster_actions(
    pins: NDArray[np.integer[Any]],
    vectors: NDArray[np.float32],
    times: NDArray[np.float64],
    strengths: NDArray[np.float32],
    *,
    now: float,
    alpha: float,
    decay_per_day: float,
) -> PinClusters:
    """
    Group a user's actions into interests by Ward's method, cut at squared height *alpha*.

    The result does not depend on the order of the actions: points are taken in the order of their
    numbers. There is no cap on the number of clusters; a pin that merges with nothing is a cluster
    of one, and so is a pin without a vector (a zero row).

    Args:
        pins: Number of the pin of each action, int[n]; equal numbers are one pin.
        vectors: Vector of the pin of each action, float32[n, d], unit length or zero.
        times: When each action happened, Unix seconds, float64[n]; later than *now* counts as now.
        strengths: What each action says, float32[n], >= 0.
        now: The moment for which importance is wanted, Unix seconds.
        alpha: Greatest squared Ward height within a cluster. Two unit vectors at cosine c merge if
            2 (1 - c) <= alpha.
        decay_per_day: Lambda, >= 0.

    Returns:
        Clusters ordered by importance, then newest action, then medoid.

    Cost: O(m^2) time and 4 m^2 to 8 m^2 bytes for m distinct pins; the GIL is free while it runs.
    Source: Pal et al. 2020, Algorithms 1 and 2, Eqs. 1 to 3.
    """
    points, first, point_of = np.unique(pins, return_index=True, return_inverse=True)
    vectors = np.ascontiguousarray(vectors[first])
    labels, count = label_points(vectors, alpha)
    medoids = points[cluster_kernels.medoids(vectors, labels, count)]
    action_labels = labels[point_of].astype(np.int32)
    importances = cluster_kernels.importances(
        times, strengths, action_labels, count, now, decay_per_day
    )
    newest = np.full(count, -np.inf)
    np.maximum.at(newest, action_labels, times)
    order = np.lexsort((medoids, -newest, -importances))
    place = np.empty(count, np.int32)
    place[order] = np.arange(count, dtype=np.int32)
    return PinClusters(
        medoids[order],
        importances[order],
        np.bincount(action_labels, minlength=count)[order],
        newest[order],
        place[action_labels],
    )


def label_points(vectors: NDArray[np.float32], alpha: float) -> tuple[NDArray[np.int32], int]:
    """
    Name the Ward cluster of each point; points without a vector are alone.

    Args:
        vectors: float32[n, d], C order, finite, unit or zero rows. Equal rows are distinct points.
        alpha: As in cluster_actions.

    Returns:
        int32[n] labels in [0, count), numbered by first point, and the count.
    """
    has_vector = vectors.any(axis=1)
    if has_vector.all():
        if len(vectors) == 0:
            return np.empty(0, np.int32), 0
        labels, count = kernels.ward_labels(vectors, vectors @ vectors.T, float(alpha))
        return labels, int(count)
    labels = np.arange(len(vectors), dtype=np.int32) + len(vectors)
    labels[has_vector] = label_points(vectors[has_vector], alpha)[0]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[inverse].astype(np.int32), len(first)
