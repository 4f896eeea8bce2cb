"""The numbers of rules: orders that trade relevance for being unlike what stands before."""

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
    _append_rest(order, is_chosen, chosen_count)
    return order


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, boundscheck=False)
def determinantal_order(
    relevances: NDArray[np.float64],
    vectors: NDArray[np.float32],
    diversity: float,
    count: int,
    own_share: float,
) -> NDArray[np.int64]:
    """
    Order by greedy maximum a posteriori of a determinantal point process.

    Each next place has the largest (1 - d) * relevance + d * log(v) / log(1 / s), where v is what
    is left of its variance once all that was chosen is known: the whole set counts, not the most
    alike one alone. Likeness is (1 - s) * (1 + cosine) / 2, of a place with itself 1; one without a
    vector is like nothing. So v lies in [s, 1], and a copy of what was chosen loses d, as under
    maximal marginal relevance.

    Args:
        relevances: In [0, 1], best first, float64[n].
        vectors: Unit length, or zero for none, float32[n, dim].
        diversity: d, in [0, 1].
        count: How many to choose; the rest follow in their old order.
        own_share: s, in (0, 1): variance that no other place explains.

    Returns:
        All places, int64[n]. Equal gains keep the old order.

    Cost: O(count * n * (dim + count)), count * n float64 of memory.
    Source: Chen, Zhang and Zhou 2018, algorithm 1, with their trade-off (section 5) and likeness.
    """
    n = relevances.size
    chosen_count = min(count, n)
    order = np.empty(n, np.int64)
    is_chosen = np.zeros(n, np.bool_)
    variances = np.ones(n)
    factors = np.zeros((n, chosen_count))
    scale = diversity / np.log(1.0 / own_share)
    for step in range(chosen_count):
        best, best_gain = -1, -np.inf
        for place in range(n):
            if not is_chosen[place]:
                gain = (1.0 - diversity) * relevances[place] + scale * np.log(variances[place])
                if gain > best_gain:
                    best, best_gain = place, gain
        order[step] = best
        is_chosen[best] = True
        _explain(variances, factors, vectors, best, step, own_share)
    _append_rest(order, is_chosen, chosen_count)
    return order


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, boundscheck=False)
def _explain(
    variances: NDArray[np.float64],
    factors: NDArray[np.float64],
    vectors: NDArray[np.float32],
    chosen: int,
    step: int,
    own_share: float,
) -> None:
    """Take from every place's variance what knowing one more place explains: a Cholesky step."""
    dimension = vectors.shape[1]
    if not np.any(vectors[chosen]):
        return
    root = np.sqrt(variances[chosen])
    for place in range(variances.size):
        if place == chosen or not np.any(vectors[place]):
            continue
        cosine = np.float32(0.0)
        for column in range(dimension):
            cosine += vectors[place, column] * vectors[chosen, column]
        known = (1.0 - own_share) * 0.5 * (1.0 + np.float64(cosine))
        for before in range(step):
            known -= factors[place, before] * factors[chosen, before]
        factors[place, step] = known / root
        left = variances[place] - factors[place, step] ** 2
        variances[place] = max(left, own_share)  # rounding may take it below


@njit(cache=True, nogil=True)
def _append_rest(order: NDArray[np.int64], is_chosen: NDArray[np.bool_], at: int) -> None:
    """Write the places that were not chosen behind the first *at* of an order."""
    for place in range(order.size):
        if not is_chosen[place]:
            order[at] = place
            at += 1
