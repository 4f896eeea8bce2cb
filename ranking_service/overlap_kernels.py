"""The numbers of shared boards and directions: candidates beside a set of one user's pins."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, boundscheck=False)
def board_overlap(
    rows: NDArray[np.int32],
    starts: NDArray[np.int64],
    pin_offsets: NDArray[np.int64],
    pin_boards: NDArray[np.int32],
    board_count_max: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """
    Gather the boards that some sets of pins are on, in one open addressing table.

    Args:
        rows: The sets one behind the other, int32[h]; rows that the graph does not have are left
            out.
        starts: Where each set starts, and h at the end, int64[s + 1].
        pin_offsets: Where each pin's boards start, int[N + 1].
        pin_boards: int32[e].
        board_count_max: Of a pin on more boards, so many at even steps stand for all.

    Returns:
        Keys int32[2**k], -1 = free, at most half of them taken; and for each key and set
        float32[2**k, s, 3]: pins of the set on that board, the sum of d**-1/2 and of 1 / d over
        them, where pin p is on d(p) boards.

    Cost: O(boards gathered).
    """
    pin_count = pin_offsets.size - 1
    set_count = starts.size - 1
    total = 1
    for row in rows:
        if 0 <= row < pin_count:
            total += min(pin_offsets[row + 1] - pin_offsets[row], board_count_max)
    bits = 4
    while (1 << bits) < 2 * total:
        bits += 1
    keys = np.full(1 << bits, -1, np.int32)
    values = np.zeros((1 << bits, set_count, 3), np.float32)
    mask = (1 << bits) - 1
    for number in range(set_count):
        for at in range(starts[number], starts[number + 1]):
            row = rows[at]
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
                values[slot, number, 0] += share
                values[slot, number, 1] += share * degree**-0.5
                values[slot, number, 2] += share / degree
    return keys, values


@njit(cache=True, nogil=True, boundscheck=False)
def overlap_scores(  # noqa: C901, PLR0912, PLR0915  one pass over the boards, or it is slow
    rows: NDArray[np.int32],
    keys: NDArray[np.int32],
    values: NDArray[np.float32],
    starts: NDArray[np.int64],
    pin_offsets: NDArray[np.int64],
    pin_boards: NDArray[np.int32],
    board_offsets: NDArray[np.int64],
    board_count_max: int,
) -> NDArray[np.float32]:
    """
    Score candidates by the boards they share with each of some sets of pins.

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

    A row's result depends on nothing but the row and the sets.

    Args:
        rows: Candidates, int32[n]; rows that the graph does not have score 0.
        keys: Of `board_overlap`.
        values: Alike.
        starts: As there.
        pin_offsets: int[N + 1].
        pin_boards: int32[e].
        board_offsets: int[boards + 1]; only the boards' sizes are read.
        board_count_max: As there.

    Returns:
        float32[n, s, 7], >= 0.

    Cost: O(boards of the candidates).
    Source: 0 Sarwar et al. 2001; 1 Paudel et al. 2017 (RP3beta); 3 Herlocker et al. 1999.
    """
    pin_count = pin_offsets.size - 1
    set_count = starts.size - 1
    mask = keys.size - 1
    bits = 0
    while (1 << bits) < keys.size:
        bits += 1
    result = np.zeros((rows.size, set_count, 7), np.float32)
    sums = np.empty((set_count, 7), np.float64)
    for i in range(rows.size):
        row = rows[i]
        if row < 0 or row >= pin_count:
            continue
        begin = pin_offsets[row]
        degree = pin_offsets[row + 1] - begin
        taken = min(degree, board_count_max)
        if taken == 0:
            continue
        is_met = False
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
            if not is_met:
                sums[:] = 0.0
                is_met = True
            rarity = size**-0.5
            for number in range(set_count):
                count = values[slot, number, 0]
                if count == 0:
                    continue
                cosine = count * rarity / np.sqrt(starts[number + 1] - starts[number])
                sums[number, 0] += values[slot, number, 1]
                sums[number, 1] += values[slot, number, 2] / size
                sums[number, 2] += values[slot, number, 1] * rarity
                sums[number, 3] += cosine * cosine
                sums[number, 4] = max(sums[number, 4], cosine)
                sums[number, 5] += 1.0
                if count >= 2:
                    sums[number, 6] += 1.0
        if not is_met:
            continue
        share = degree / taken
        damped = share * degree**-0.5
        walked = share * degree**-0.4
        for number in range(set_count):
            result[i, number, 0] = sums[number, 0] * damped
            result[i, number, 1] = sums[number, 1] * walked
            result[i, number, 2] = sums[number, 2] * damped
            result[i, number, 3] = sums[number, 3] * damped
            result[i, number, 4] = sums[number, 4]
            result[i, number, 5] = sums[number, 5] / taken
            result[i, number, 6] = sums[number, 6] / taken
    return result


@njit(cache=True, nogil=True, boundscheck=False)
def closest(cosines: NDArray[np.float32], begin: int, end: int) -> NDArray[np.float32]:
    """
    How near each row is to the nearest of some targets, and to all of them.

    Args:
        cosines: Of each row with each target, float32[n, m].
        begin: First of the targets that are looked at.
        end: One more than the last.

    Returns:
        float32[n, 2]: the largest cosine, and the sum of the squares of those above 0; 0 where
        there is no target.

    Cost: O(n (end - begin)).
    """
    result = np.zeros((cosines.shape[0], 2), np.float32)
    if begin >= end:
        return result
    for i in range(cosines.shape[0]):
        most, squares = cosines[i, begin], np.float32(0.0)
        for j in range(begin, end):
            dot = cosines[i, j]
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


@njit(cache=True, nogil=True, boundscheck=False)
def nearest(
    cosines: NDArray[np.float32], begin: int, end: int, shares: NDArray[np.float32]
) -> NDArray[np.float32]:
    """
    The target that each row is nearest to, and all of them by their shares.

    Args:
        cosines: Of each row with each target, float32[n, m].
        begin: First of the targets that are looked at.
        end: One more than the last; at least one.
        shares: Weight of each of them, float32[end - begin].

    Returns:
        float32[n, 3]: cosine and share of the nearest (the first of those that tie), and the sum
        of cosines times shares, summed in float64 from left to right.
    """
    result = np.empty((cosines.shape[0], 3), np.float32)
    for i in range(cosines.shape[0]):
        best, total = begin, 0.0
        for j in range(begin, end):
            if cosines[i, j] > cosines[i, best]:
                best = j
            total += np.float64(cosines[i, j]) * shares[j - begin]
        result[i, 0] = cosines[i, best]
        result[i, 1] = shares[best - begin]
        result[i, 2] = total
    return result


@njit(cache=True, nogil=True, boundscheck=False)
def source_features(
    ranks: NDArray[np.int32],
    scores: NDArray[np.float32],
    tops: NDArray[np.float32],
    rank_columns: NDArray[np.int64],
    score_columns: NDArray[np.int64],
    fused_columns: tuple[int, int],
    rank_offset: float,
    out: NDArray[np.float32],
) -> None:
    """
    Write what the candidate lists say of each candidate.

    Args:
        ranks: int32[n, s], -1 = not proposed.
        scores: float32[n, s].
        tops: Highest score of each source, float32[s].
        rank_columns: Column of 1 / (1 + rank) of each source, int64[s]; -1 = none.
        score_columns: Column of the score beside the top one, int64[s]; -1 = none.
        fused_columns: Columns of the number of sources and of the sum of o / (o + rank).
        rank_offset: That o.
        out: Result, float32[n, f].
    """
    for i in range(ranks.shape[0]):
        count, fused = 0, 0.0
        for k in range(ranks.shape[1]):
            rank = ranks[i, k]
            if rank >= 0:
                count += 1
                fused += rank_offset / (rank_offset + rank)
                if rank_columns[k] >= 0:
                    out[i, rank_columns[k]] = 1.0 / (1.0 + rank)
            if score_columns[k] >= 0:
                top = tops[k] if tops[k] > 0 else np.float32(1.0)
                out[i, score_columns[k]] = scores[i, k] / top
        out[i, fused_columns[0]] = count
        out[i, fused_columns[1]] = fused
