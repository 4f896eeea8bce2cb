"""The numbers of agreement: how alike the words or topics of two pins are, over whole lists."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, error_model="numpy")
def agree(
    offsets: NDArray[np.int64],
    rows: NDArray[np.int32],
    first_pin: int,
    traits: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]],
    scratch: NDArray[np.float32],
    cosines: NDArray[np.float32],
) -> None:
    """
    Compare each pin's traits with those of its neighbours.

    Args:
        offsets: Pin first_pin + i has the neighbours rows[offsets[i]:offsets[i + 1]], int64[n + 1].
        rows: Neighbours, int32[m].
        first_pin: The pin that has the first list.
        traits: Where each pin's begin, int64[pins + 1], their numbers and their weights; a pin's
            weights have length 1, or it has none.
        scratch: Zeros float32[traits], and zeros again afterwards.
        cosines: Receives the cosine of pin and neighbour, float32[m], 0 where one has no traits.

    Cost: O(traits of the pins and of all their neighbours).
    """
    starts, numbers, weights = traits
    for i in range(len(offsets) - 1):
        p = first_pin + i
        for t in range(starts[p], starts[p + 1]):
            scratch[numbers[t]] = weights[t]
        for e in range(offsets[i], offsets[i + 1]):
            total = np.float32(0.0)
            for t in range(starts[rows[e]], starts[rows[e] + 1]):
                total += weights[t] * scratch[numbers[t]]
            cosines[e] = min(total, np.float32(1.0))
        for t in range(starts[p], starts[p + 1]):
            scratch[numbers[t]] = np.float32(0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def keep_best(
    offsets: NDArray[np.int64],
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    is_gone: NDArray[np.bool_],
    count: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """
    Order each list by score and cut it.

    Args:
        offsets: Of the lists, int64[pins + 1].
        rows: int32[m].
        scores: float32[m].
        is_gone: Pins that are left out, bool[pins].
        count: How many to keep of each.

    Returns:
        Offsets, rows and scores, best first; among equal scores the one that was first.
    """
    kept_offsets = np.zeros(len(offsets), np.int64)
    kept_rows, kept_scores = np.empty(len(rows), np.int32), np.empty(len(rows), np.float32)
    end = 0
    for p in range(len(offsets) - 1):
        part = slice(offsets[p], offsets[p + 1])
        taken = 0
        for i in np.argsort(-scores[part], kind="mergesort"):
            at: Any = offsets[p] + i
            if taken < count and not is_gone[rows[at]]:
                kept_rows[end], kept_scores[end] = rows[at], scores[at]
                end += 1
                taken += 1
        kept_offsets[p + 1] = end
    return kept_offsets, kept_rows[:end].copy(), kept_scores[:end].copy()
