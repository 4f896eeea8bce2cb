"""The numbers of rules: an order that trades relevance for being unlike what stands before."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, boundscheck=False)
def marginal_order(
    relevances: NDArray[np.float64], vectors: NDArray[np.float32], diversity: float, count: int
) -> NDArray[np.int64]:
    """
    Order by maximal marginal relevance: (1 - d) * relevance - d * likeness to what was chosen.

    Args:
        relevances: In [0, 1], best first, float64[n].
        vectors: Unit length, or zero for none (like nothing), float32[n, dim].
        diversity: d, in [0, 1].
        count: How many to choose; the rest follow in their old order.

    Returns:
        All places, int64[n]. Equal gains keep the old order.

    Cost: O(count * n * dim).
    Source: Carbonell and Goldstein 1998.
    """
    n = relevances.size
    order = np.empty(n, np.int64)
    likeness = np.zeros(n, np.float64)
    is_chosen = np.zeros(n, np.bool_)
    chosen_count = min(count, n)
    for step in range(chosen_count):
        best, best_gain = -1, -np.inf
        for place in range(n):
            if not is_chosen[place]:
                gain = (1.0 - diversity) * relevances[place] - diversity * likeness[place]
                if gain > best_gain:
                    best, best_gain = place, gain
        order[step] = best
        is_chosen[best] = True
        for place in range(n):
            if not is_chosen[place]:
                cosine = np.float32(0.0)
                for column in range(vectors.shape[1]):
                    cosine += vectors[place, column] * vectors[best, column]
                likeness[place] = max(likeness[place], np.float64(cosine))
    at = chosen_count
    for place in range(n):
        if not is_chosen[place]:
            order[at] = place
            at += 1
    return order
