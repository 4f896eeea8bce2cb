"""Scans over pin vectors: arrays in, arrays out."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, fastmath=True)
def scan_cosines(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply every vector with every query in one pass over memory.

    Args:
        vectors: Unit rows, float32[n, d], contiguous.
        queries: Unit rows, float32[q, d], contiguous, q small.

    Returns:
        float32[q, n]. Sums are taken in another order than BLAS does: equal to about 1e-6.

    Cost: O(n d q) time; memory is read once for all queries, which is why it beats q products.
    """
    n, d = vectors.shape
    q = queries.shape[0]
    cosines = np.empty((q, n), np.float32)
    for i in range(n):
        row = vectors[i]
        for j in range(q):
            query = queries[j]
            total = np.float32(0.0)
            for k in range(d):
                total += row[k] * query[k]
            cosines[j, i] = total
    return cosines


@njit(cache=True, nogil=True, fastmath=True)
def scan_rows(
    vectors: NDArray[np.float32], rows: NDArray[np.int32], queries: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Multiply some vectors with every query.

    Args:
        vectors: float32[n, d], contiguous.
        rows: Which of them, int32[m], each in [0, n).
        queries: float32[q, d], contiguous, q small.

    Returns:
        float32[q, m]; to about 1e-6.

    Cost: O(m d q) time; each vector is read once for all queries.
    """
    m, d = len(rows), vectors.shape[1]
    q = queries.shape[0]
    cosines = np.empty((q, m), np.float32)
    for i in range(m):
        row = vectors[rows[i]]
        for j in range(q):
            query = queries[j]
            total = np.float32(0.0)
            for k in range(d):
                total += row[k] * query[k]
            cosines[j, i] = total
    return cosines
