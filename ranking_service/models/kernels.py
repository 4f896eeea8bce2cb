"""The numbers of training and of the linear models."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def ranknet_gradients(
    scores: NDArray[np.float64],
    labels: NDArray[np.float64],
    starts: NDArray[np.int64],
    gradients: NDArray[np.float64],
    hessians: NDArray[np.float64],
) -> None:
    """
    First and second derivatives of the RankNet loss, list by list.

    With s = scores and every pair (i, j) of one list where i's label is above j's, the loss is
    the mean over the pairs of log(1 + exp(s_j - s_i)), weighted so that a list counts as much as
    it has positives.

    Args:
        scores: float64[n], examples of a list side by side.
        labels: float64[n].
        starts: First example of each list, and n at the end, int64[lists + 1].
        gradients: Result, float64[n].
        hessians: Result, float64[n], > 0.

    Cost: O(positives * negatives) a list.
    Source: Burges et al. 2005, "Learning to rank using gradient descent", equations 3 and 4.
    """
    gradients[:] = 0.0
    hessians[:] = 1e-9
    for group in range(starts.size - 1):
        begin, end = starts[group], starts[group + 1]
        above = 0
        for i in range(begin, end):
            if labels[i] > 0:
                above += 1
        below = (end - begin) - above
        if above == 0 or below == 0:
            continue
        weight = 1.0 / below
        for i in range(begin, end):
            if labels[i] <= 0:
                continue
            for j in range(begin, end):
                if labels[j] >= labels[i]:
                    continue
                chance = 1.0 / (1.0 + np.exp(scores[i] - scores[j]))
                slope = weight * chance
                curve = weight * chance * (1.0 - chance)
                gradients[i] -= slope
                gradients[j] += slope
                hessians[i] += curve
                hessians[j] += curve


@njit(cache=True, nogil=True)
def bucket_codes(
    features: NDArray[np.float32],
    columns: NDArray[np.int64],
    edges: NDArray[np.float32],
    bucket_count: int,
) -> NDArray[np.int32]:
    """
    In which bucket each value of some columns falls.

    Args:
        features: float32[n, f].
        columns: Which, int64[k].
        edges: Upper ends, ascending, float32[k, bucket_count - 1]; a value on an end is below it.
        bucket_count: Buckets of a column.

    Returns:
        int32[n, k], each in [0, bucket_count).
    """
    n, k = features.shape[0], columns.size
    codes = np.empty((n, k), np.int32)
    for i in range(n):
        for c in range(k):
            value = features[i, columns[c]]
            low, high = 0, bucket_count - 1
            while low < high:
                middle = (low + high) // 2
                if value <= edges[c, middle]:
                    high = middle
                else:
                    low = middle + 1
            codes[i, c] = low
    return codes


@njit(cache=True, nogil=True)
def bucket_sums(
    codes: NDArray[np.int32],
    weights: NDArray[np.float64],
    crosses: NDArray[np.int64],
    cross_weights: NDArray[np.float64],
    bucket_count: int,
    bias: float,
) -> NDArray[np.float64]:
    """
    Sum the weights of each row's buckets and of its crossed buckets.

    Args:
        codes: int32[n, k].
        weights: float64[k, bucket_count].
        crosses: Pairs of columns of *codes*, int64[c, 2].
        cross_weights: float64[c, bucket_count * bucket_count].
        bucket_count: Buckets of a column.
        bias: Added to each sum.

    Returns:
        float64[n].
    """
    sums = np.empty(codes.shape[0], np.float64)
    for i in range(codes.shape[0]):
        total = bias
        for c in range(codes.shape[1]):
            total += weights[c, codes[i, c]]
        for c in range(crosses.shape[0]):
            first, second = codes[i, crosses[c, 0]], codes[i, crosses[c, 1]]
            total += cross_weights[c, first * bucket_count + second]
        sums[i] = total
    return sums
