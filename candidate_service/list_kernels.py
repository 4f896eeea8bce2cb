"""The numbers after the walks: uniting tallies and lists of several query pins, the best few."""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from candidate_service.kernels import COUNT_MAX, prefetch

SHORTLIST_RANGE: Final = 4095
"""Bins of the histogram that tells the best from the others, less one."""

_U = np.uint64
_ONE = _U(1)
_COUNT_BITS = _U(21)
_EPOCH_SHIFT = _U(53)
_EPOCH_BIT = _U(2**53)
_COUNT_MASK = _U(COUNT_MAX)
_GOLDEN = _U(0x9E37_79B9_7F4A_7C15)
_LOW_32 = _U(0xFFFF_FFFF)
_ROW_MASK = _U(2**31 - 1)
_UNITED = _U(2**52)


@njit(cache=True, nogil=True, error_model="numpy")
def unite_visits(
    table: NDArray[np.uint64],
    touched: NDArray[np.uint64],
    touched_count: int,
    boost: int,
    query_index: int,
    united_count: int,
    united: tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.uint32], NDArray[np.int32]],
) -> int:
    """
    Add the tally of one query pin's walk to the request's, and ready the table for the next walk.

    Args:
        table: As `walk` left it.
        touched: As `walk` left it.
        touched_count: tally[0] of `walk`.
        boost: 1 adds square roots of counts, to be squared in the end (Eq. 3); 0 adds counts.
        query_index: Of the query pin, for the record.
        united_count: Pins in the request's tally so far.
        united: The request's tally: rows int32[m], scores float64[m], the largest count that one
            query pin contributed uint32[m], and that query pin int32[m] (the first of equal ones).
            Ordered by first visit.

    Returns:
        Pins in the request's tally now.

    Cost: one prefetched look at the table for each pin of the walk.
    Source: Eksombatchai et al. 2018, Eq. 3 and algorithm 3.
    """
    rows, scores, largest, query_indexes = united
    for i in range(touched_count):
        prefetch(table, touched[min(i + 32, touched_count - 1)] & _LOW_32)
        place, slot = touched[i] >> _U(32), touched[i] & _LOW_32
        entry = table[slot]
        count = entry & _COUNT_MASK
        share = np.sqrt(np.float64(count)) if boost else np.float64(count)
        if place == _U(0):
            united_count += 1
            place = _U(united_count)
            at = place - _ONE
            rows[at] = np.int32((entry >> _COUNT_BITS) & _ROW_MASK)
            scores[at] = share
            largest[at], query_indexes[at] = np.uint32(count), query_index
        else:
            at = place - _ONE
            scores[at] += share
            if count > _U(largest[at]):
                largest[at], query_indexes[at] = np.uint32(count), query_index
        table[slot] = ((entry | _UNITED) ^ count) | at
    return united_count


@njit(cache=True, nogil=True, error_model="numpy")
def merge_lists(
    bounds: NDArray[np.int64],
    rows: NDArray[np.int32],
    values: NDArray[np.float32],
    epoch: int,
    table: NDArray[np.uint64],
    merged: tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float32], NDArray[np.int32]],
) -> int:
    """
    Unite one list of pins for each query pin: add up values, remember the largest contribution.

    Args:
        bounds: List q is rows[bounds[q]:bounds[q + 1]], int64[lists + 1]; at most COUNT_MAX in
            all; no row twice in a list.
        rows: Pin rows, int32[m].
        values: What each list gives the pin, float32[m], > 0.
        epoch: In [1, EPOCH_MAX], in no entry of *table*.
        table: uint64[power of two], more than the distinct rows; entries hold positions.
        merged: Receives rows int32[m], scores float64[m], the largest contribution float32[m]
            and the query pin it came from int32[m] (the first of equal ones). Ordered by first
            appearance.

    Returns:
        How many distinct rows there are; -1 if *table* is full.

    Cost: one prefetched look at the table for each entry.
    """
    out_rows, out_scores, out_largest, out_query = merged
    tag, mask, count = _U(epoch), _U(len(table) - 1), 0
    last = bounds[len(bounds) - 1] - 1
    for q in range(len(bounds) - 1):
        for i in range(bounds[q], bounds[q + 1]):
            prefetch(table, (_U(rows[min(i + 16, last)]) * _GOLDEN) & mask)
            row, value = rows[i], values[i]
            base = (tag << _EPOCH_SHIFT) | (_U(row) << _COUNT_BITS)
            slot = (_U(row) * _GOLDEN) & mask
            difference = table[slot] ^ base
            probe_count = _U(0)
            while difference > _COUNT_MASK and difference < _EPOCH_BIT:
                slot = (slot + _ONE) & mask
                difference = table[slot] ^ base
                probe_count += _ONE
                if probe_count > mask:
                    return -1
            if difference >= _EPOCH_BIT:
                table[slot] = base | _U(count)
                out_rows[count], out_scores[count] = row, value
                out_largest[count], out_query[count] = value, q
                count += 1
                continue
            at = difference
            out_scores[at] += value
            if value > out_largest[at]:
                out_largest[at], out_query[at] = value, q
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def shortlist(scores: NDArray[np.float64], count: int, spread: float) -> NDArray[np.int64]:
    """
    Return the positions, ascending, of a few scores that include the *count* highest; int64[k].

    Args:
        scores: >= 0, float64[n].
        count: How many at least.
        spread: Brings them to [0, SHORTLIST_RANGE].

    Cost: two passes; a histogram tells nearly all of them apart from the best, as few are high.
    """
    histogram = np.zeros(SHORTLIST_RANGE + 1, np.int64)
    for score in scores:
        histogram[np.int64(min(score * spread, np.float64(SHORTLIST_RANGE)))] += 1
    least, found = SHORTLIST_RANGE + 1, 0
    while least > 0 and found < count:
        least -= 1
        found += histogram[least]
    positions = np.empty(found, np.int64)
    end = 0
    for i in range(len(scores)):
        if np.int64(scores[i] * spread) >= least:
            positions[end] = i
            end += 1
    return positions
