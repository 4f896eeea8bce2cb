"""The numbers of Memboost: look many results of one query up at once."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, boundscheck=False)
def find_pairs(
    keys: NDArray[np.uint64], begin: int, end: int, wanted: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """
    Where each wanted key stands in an ascending stretch of keys.

    Args:
        keys: Ascending in [begin, end), distinct there.
        begin: First place of the stretch.
        end: Place after its last one.
        wanted: Any keys, uint64[n].

    Returns:
        int64[n], places in *keys*; -1 where the stretch does not have it.

    Cost: O(n log(end - begin)).
    """
    found = np.full(wanted.size, -1, np.int64)
    for place in range(wanted.size):
        key = wanted[place]
        low, high = begin, end
        while low < high:
            middle = (low + high) >> 1
            if keys[middle] < key:
                low = middle + 1
            else:
                high = middle
        if low < end and keys[low] == key:
            found[place] = low
    return found
