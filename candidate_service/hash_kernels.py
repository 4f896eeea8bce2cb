"""Hamming look-ups among 64-bit hashes: arrays in, arrays out."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def popcount(word: np.uint64) -> np.int64:
    """Return how many bits of *word* are set.

    Source: Warren 2012, Hacker's Delight, figure 5-2.
    """
    x = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def build_tables(
    hashes: NDArray[np.uint64], offsets: NDArray[np.int64], places: NDArray[np.int32]
) -> None:
    """Sort hashes by each of their four 16-bit parts.

    Args:
        hashes: uint64[n].
        offsets: Filled: places of part value v of part p lie from offsets[p, v] to
            offsets[p, v + 1] of places[p], int64[4, 65537].
        places: Filled, int32[4, n], ascending within a value.

    Cost: O(n), two passes.
    """
    n = len(hashes)
    for part in range(4):
        shift = np.uint64(16 * part)
        counts = offsets[part]
        counts[:] = 0
        for i in range(n):
            counts[np.int64((hashes[i] >> shift) & np.uint64(0xFFFF)) + 1] += 1
        for bucket in range(65536):
            counts[bucket + 1] += counts[bucket]
        begins = counts[:65536].copy()
        for i in range(n):
            value = np.int64((hashes[i] >> shift) & np.uint64(0xFFFF))
            places[part, begins[value]] = i
            begins[value] += 1


@njit(cache=True, nogil=True)
def find_within(
    hashes: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    places: NDArray[np.int32],
    masks: NDArray[np.uint16],
    query: np.uint64,
    distance_max: int,
    found: NDArray[np.int32],
) -> int:
    """Find the hashes that differ from *query* in at most *distance_max* bits.

    Hashes within r bits agree with the query up to r // 4 bits in at least one of four parts
    (pigeonhole), so only those parts' neighbours are compared.

    Args:
        hashes: uint64[n].
        offsets: As `build_tables` fills it.
        places: As `build_tables` fills it.
        masks: All 16-bit words with at most distance_max // 4 bits set, uint16[m].
        query: What to find.
        distance_max: >= 0.
        found: Filled with places, in no order, each once; room for n is always enough.

    Returns:
        How many were found, at most len(found).

    Cost: 4 m buckets of n / 65,536 hashes: m = 1 below 4 bits, 17 below 8, 137 below 12.
    Source: Norouzi, Punjani and Fleet 2012 (multi-index hashing).
    """
    radius = distance_max // 4
    count = 0
    for part in range(4):
        shift = np.uint64(16 * part)
        value = np.int64((query >> shift) & np.uint64(0xFFFF))
        for mask in masks:
            bucket = value ^ np.int64(mask)
            for at in range(offsets[part, bucket], offsets[part, bucket + 1]):
                place = places[part, at]
                difference = hashes[place] ^ query
                if popcount(difference) > distance_max:
                    continue
                is_seen = False
                for earlier in range(part):
                    piece = (difference >> np.uint64(16 * earlier)) & np.uint64(0xFFFF)
                    if popcount(piece) <= radius:
                        is_seen = True
                        break
                if not is_seen and count < len(found):
                    found[count] = place
                    count += 1
    return count


@njit(cache=True, nogil=True)
def group_by_leaders(
    hashes: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    places: NDArray[np.int32],
    masks: NDArray[np.uint16],
    order: NDArray[np.int64],
    distance_max: int,
    leaders: NDArray[np.int32],
) -> None:
    """Let each hash in turn gather those near it that nobody has gathered yet.

    Every member is within *distance_max* of its leader, so groups do not creep from picture to
    picture as chains of neighbours do.

    Args:
        hashes: uint64[n].
        offsets: As `build_tables` fills it.
        places: As `build_tables` fills it.
        masks: As for `find_within`.
        order: All places, those that shall lead first, int64[n].
        distance_max: >= 0.
        leaders: Filled: the place of each one's leader, itself if it leads, int32[n].
    """
    leaders[:] = -1
    found = np.empty(len(hashes), np.int32)
    for leader in order:
        if leaders[leader] >= 0:
            continue
        count = find_within(hashes, offsets, places, masks, hashes[leader], distance_max, found)
        leaders[leader] = leader
        for i in range(count):
            if leaders[found[i]] < 0:
                leaders[found[i]] = leader
