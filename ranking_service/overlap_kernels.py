"""The numbers of shared boards and directions: candidates beside a set of one user's pins."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, boundscheck=False)
def board_overlap(
    rows: NDArray[np.int32],
    pin_offsets: NDArray[np.int64],
    pin_boards: NDArray[np.int32],
    board_count_max: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """
    Gather the boards that a set of pins is on, in an open addressing table.

    Args:
        rows: The set, int32[h]; rows that the graph does not have are left out.
        pin_offsets: Where each pin's boards start, int[N + 1].
        pin_boards: int32[e].
        board_count_max: Of a pin on more boards, so many at even steps stand for all.

    Returns:
        Keys int32[2**k], -1 = free, at most half of them taken; and for each key float32[2**k, 3]:
        pins of the set on that board, the sum of d**-1/2 and of 1 / d over them, where pin p is on
        d(p) boards.

    Cost: O(boards gathered).
    """
    pin_count = pin_offsets.size - 1
    total = 1
    for row in rows:
        if 0 <= row < pin_count:
            total += min(pin_offsets[row + 1] - pin_offsets[row], board_count_max)
    bits = 4
    while (1 << bits) < 2 * total:
        bits += 1
    keys = np.full(1 << bits, -1, np.int32)
    values = np.zeros((1 << bits, 3), np.float32)
    mask = (1 << bits) - 1
    for row in rows:
        if row < 0 or row >= pin_count:
            continue
        begin = pin_offsets[row]
        degree = pin_offsets[row + 1] - begin
        taken = min(degree, board_count_max)
        if taken == 0:
            continue
        share = degree / taken
        for k in range(taken):
            board = pin_boards[begin + k * degree // taken]
            slot = ((np.int64(board) * 2_654_435_769) & 0xFFFF_FFFF) >> (32 - bits)
            while keys[slot] >= 0 and keys[slot] != board:
                slot = (slot + 1) & mask
            keys[slot] = board
            values[slot, 0] += share
            values[slot, 1] += share * degree**-0.5
            values[slot, 2] += share / degree
    return keys, values


@njit(cache=True, nogil=True, boundscheck=False)
def overlap_scores(
    rows: NDArray[np.int32],
    keys: NDArray[np.int32],
    values: NDArray[np.float32],
    set_size: int,
    pin_offsets: NDArray[np.int64],
    pin_boards: NDArray[np.int32],
    board_offsets: NDArray[np.int64],
    board_count_max: int,
) -> NDArray[np.float32]:
    """
    Score candidates by the boards they share with a set of pins.

    With m(b) pins of the set S on board b of n(b) pins, and candidate c on d(c) boards:

    0. item-based neighbours: sum over b of sum d(a)**-1/2, times d(c)**-1/2: the sum of the cosines
       of c's boards and those of each pin a of the set
    1. walk of three steps from the set, discounted by popularity: sum of sum 1/d(a) / n(b), times
       d(c)**-0.4
    2. neighbours with small boards counting more: as 0, each board times n(b)**-1/2
    3. user-based neighbours: sum of (m(b) / sqrt(n(b) |S|))**2, times d(c)**-1/2
    4. the most alike board: max of m(b) / sqrt(n(b) |S|)
    5. share of c's boards that hold a pin of the set
    6. share of c's boards that hold two or more

    A row's result depends on nothing but the row and the set.

    Args:
        rows: Candidates, int32[n]; rows that the graph does not have score 0.
        keys: Of `board_overlap`.
        values: Alike.
        set_size: Pins of the set, >= 1.
        pin_offsets: int[N + 1].
        pin_boards: int32[e].
        board_offsets: int[boards + 1]; only the boards' sizes are read.
        board_count_max: As there.

    Returns:
        float32[n, 7], >= 0.

    Cost: O(boards of the candidates).
    Source: 0 Sarwar et al. 2001; 1 Paudel et al. 2017 (RP3beta); 3 Herlocker et al. 1999.
    """
    pin_count = pin_offsets.size - 1
    mask = keys.size - 1
    bits = 0
    while (1 << bits) < keys.size:
        bits += 1
    result = np.zeros((rows.size, 7), np.float32)
    for i in range(rows.size):
        row = rows[i]
        if row < 0 or row >= pin_count:
            continue
        begin = pin_offsets[row]
        degree = pin_offsets[row + 1] - begin
        taken = min(degree, board_count_max)
        if taken == 0:
            continue
        near, walked, small, alike, most = 0.0, 0.0, 0.0, 0.0, 0.0
        one, two = 0, 0
        for k in range(taken):
            board = pin_boards[begin + k * degree // taken]
            slot = ((np.int64(board) * 2_654_435_769) & 0xFFFF_FFFF) >> (32 - bits)
            while keys[slot] >= 0 and keys[slot] != board:
                slot = (slot + 1) & mask
            if keys[slot] < 0:
                continue
            size = board_offsets[board + 1] - board_offsets[board]
            if size <= 0:
                continue
            near += values[slot, 1]
            walked += values[slot, 2] / size
            small += values[slot, 1] / np.sqrt(size)
            cosine = values[slot, 0] / np.sqrt(np.float64(size) * set_size)
            alike += cosine * cosine
            most = max(most, cosine)
            one += 1
            if values[slot, 0] >= 2:
                two += 1
        share = degree / taken
        damped = share * degree**-0.5
        result[i, 0] = near * damped
        result[i, 1] = walked * share * degree**-0.4
        result[i, 2] = small * damped
        result[i, 3] = alike * damped
        result[i, 4] = most
        result[i, 5] = one / taken
        result[i, 6] = two / taken
    return result


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, boundscheck=False)
def closest(
    vectors: NDArray[np.float32], rows: NDArray[np.int32], targets: NDArray[np.float32]
) -> NDArray[np.float32]:
    """
    How near each row is to the nearest of some targets, and to all of them.

    Args:
        vectors: float32[N, d], unit length or zero.
        rows: int32[n], each in [-1, N); -1 counts as a zero vector.
        targets: float32[m, d], alike.

    Returns:
        float32[n, 2]: the largest cosine, and the sum of the squares of those above 0; 0 where
        there is no target or no vector.

    Cost: O(n m d).
    """
    n, m, d = rows.size, targets.shape[0], targets.shape[1]
    result = np.zeros((n, 2), np.float32)
    for i in range(n):
        row = rows[i]
        if row < 0 or m == 0:
            continue
        most, squares = np.float32(-2.0), np.float32(0.0)
        for j in range(m):
            dot = np.float32(0.0)
            for k in range(d):
                dot += vectors[row, k] * targets[j, k]
            most = max(most, dot)
            if dot > 0:
                squares += dot * dot
        result[i, 0] = most
        result[i, 1] = squares
    return result


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, boundscheck=False)
def paired_cosines(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    targets: NDArray[np.float32],
    places: NDArray[np.int32],
) -> NDArray[np.float32]:
    """
    Cosine of each row's vector with the target at its place.

    Args:
        vectors: float32[N, d], unit length or zero.
        rows: int32[n], each in [-1, N); -1 counts as a zero vector.
        targets: float32[m, d], alike.
        places: int32[n], each in [-1, m); -1 = no target.

    Returns:
        float32[n]; 0 where either side is missing.
    """
    result = np.zeros(rows.size, np.float32)
    for i in range(rows.size):
        row, place = rows[i], places[i]
        if row < 0 or place < 0:
            continue
        dot = np.float32(0.0)
        for k in range(vectors.shape[1]):
            dot += vectors[row, k] * targets[place, k]
        result[i] = dot
    return result
