"""The best few of many scores that come in pieces."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, error_model="numpy")
def _is_worse(score: Any, index: Any, other_score: Any, other_index: Any) -> Any:
    return score < other_score or (score == other_score and index > other_index)


@njit(cache=True, nogil=True, error_model="numpy")
def _sift_down(indexes: Any, scores: Any, count: Any) -> None:
    """Put the root of a heap, whose root is the worst, into its place."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= count:
            return
        other = child + 1
        if other < count and _is_worse(
            scores[other], indexes[other], scores[child], indexes[child]
        ):
            child = other
        if not _is_worse(scores[child], indexes[child], scores[at], indexes[at]):
            return
        scores[at], scores[child] = scores[child], scores[at]
        indexes[at], indexes[child] = indexes[child], indexes[at]
        at = child


@njit(cache=True, nogil=True, error_model="numpy")
def _sift_up(indexes: Any, scores: Any, at: Any) -> None:
    while at > 0:
        parent = (at - 1) // 2
        if not _is_worse(scores[at], indexes[at], scores[parent], indexes[parent]):
            return
        scores[at], scores[parent] = scores[parent], scores[at]
        indexes[at], indexes[parent] = indexes[parent], indexes[at]
        at = parent


@njit(cache=True, nogil=True, error_model="numpy")
def keep_best(
    scores: NDArray[np.float32],
    first_target: int,
    first_source: int,
    kept: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]],
) -> None:
    """
    Offer each source the scores of some targets; it keeps the best, never itself.

    Args:
        scores: float32[sources, targets].
        first_target: Index of the first column.
        first_source: Index of the first row.
        kept: What each source has kept, as heaps whose root is the worst: indexes
            int32[sources, k], scores float32[sources, k], how many int64[sources]. Changed. Among
            equal scores the lower index is better.

    Cost: O(sources * targets), and O(log k) for each score that is kept.
    """
    indexes, best, counts = kept
    room = indexes.shape[1]
    for i in range(scores.shape[0]):
        own = first_source + i - first_target
        for j in range(scores.shape[1]):
            score = scores[i, j]
            count = counts[i]
            # Targets come in the order of their indexes, so an equal score is never better.
            if (count == room and score <= best[i, 0]) or j == own:
                continue
            if count < room:
                indexes[i, count], best[i, count] = first_target + j, score
                counts[i] = count + 1
                _sift_up(indexes[i], best[i], count)
            else:
                indexes[i, 0], best[i, 0] = first_target + j, score
                _sift_down(indexes[i], best[i], room)
