"""The numbers of merging: many lists of rows into one table of candidates."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, boundscheck=False)
def distinct_rows(
    rows: NDArray[np.int32], excluded: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """
    Each row once, in order of first appearance, without excluded ones and those below 0.

    Args:
        rows: int32[c], with repeats.
        excluded: int32[e]; below 0 = none.

    Returns:
        The distinct rows, int32[n], and for each of *rows* its place among them, int64[c]; -1 where
        it was left out.

    Cost: O(c + e), an open addressing table at a load of at most one half.
    """
    bits = 4
    while (1 << bits) < 2 * (rows.size + excluded.size):
        bits += 1
    mask = (1 << bits) - 1
    keys = np.full(1 << bits, -1, np.int32)
    values = np.empty(1 << bits, np.int64)
    distinct = np.empty(rows.size, np.int32)
    places = np.empty(rows.size, np.int64)
    count = 0
    for i in range(excluded.size + rows.size):
        row = excluded[i] if i < excluded.size else rows[i - excluded.size]
        value = np.int64(-1)
        if row >= 0:
            # Fibonacci hashing in 64 bits: a row is below 2**31, so the product does not overflow.
            slot = ((np.int64(row) * 2_654_435_769) & 0xFFFF_FFFF) >> (32 - bits)
            while keys[slot] >= 0 and keys[slot] != row:
                slot = (slot + 1) & mask
            if keys[slot] < 0:
                keys[slot] = row
                values[slot] = -1
                if i >= excluded.size:
                    values[slot] = count
                    distinct[count] = row
                    count += 1
            value = values[slot]
        if i >= excluded.size:
            places[i - excluded.size] = value
    return distinct[:count], places


@njit(cache=True, nogil=True, boundscheck=False)
def spread_lists(
    places: NDArray[np.int64],
    is_kept: NDArray[np.bool_],
    starts: NDArray[np.int64],
    scores: NDArray[np.float32],
    query_indexes: NDArray[np.int32],
    count: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """
    Lay lists one behind the other out as one row a candidate and one column a list.

    Args:
        places: Row in the result of each proposal, int64[c], in [0, count) where it is kept.
        is_kept: Whether it is, bool[c].
        starts: First proposal of each list, and c at the end, int64[s + 1].
        scores: float32[c].
        query_indexes: int32[c].
        count: Rows of the result.

    Returns:
        Ranks int32[count, s], -1 = not in the list; scores float32[count, s], 0 = not in the list;
        query indexes int32[count, s], -1 = none.
    """
    lists = starts.size - 1
    ranks = np.full((count, lists), -1, np.int32)
    spread_scores = np.zeros((count, lists), np.float32)
    spread_queries = np.full((count, lists), -1, np.int32)
    for k in range(lists):
        for i in range(starts[k], starts[k + 1]):
            if is_kept[i] and ranks[places[i], k] < 0:
                ranks[places[i], k] = i - starts[k]
                spread_scores[places[i], k] = scores[i]
                spread_queries[places[i], k] = query_indexes[i]
    return ranks, spread_scores, spread_queries


@njit(cache=True, nogil=True, boundscheck=False)
def query_of_best_rank(
    ranks: NDArray[np.int32], query_indexes: NDArray[np.int32]
) -> NDArray[np.int32]:
    """
    Query index of each row in the list that ranks it best among those that have one.

    Args:
        ranks: int32[n, s]; read only where there is a query index.
        query_indexes: int32[n, s]; -1 = none.

    Returns:
        int32[n]; -1 where no list has one. Of equal ranks the first list counts.
    """
    result = np.full(ranks.shape[0], -1, np.int32)
    for i in range(ranks.shape[0]):
        best = np.iinfo(np.int32).max
        for k in range(ranks.shape[1]):
            if query_indexes[i, k] >= 0 and ranks[i, k] < best:
                best = ranks[i, k]
                result[i] = query_indexes[i, k]
    return result
