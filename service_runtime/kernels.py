"""Hashing, probing and gathering of string ids that lie joined in one array of bytes."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Slots = NDArray[np.uint64]

# Odd constants with well mixed bits (the golden ratio and two of splitmix64's).
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_A = np.uint64(0xBF58476D1CE4E5B9)
MIX_B = np.uint64(0x94D049BB133111EB)
ROW_BITS = np.uint64(0xFFFFFFFF)
# Ids looked up in step: what they prefetch (a cache line in each of three arrays) stays in L2.
BLOCK = 512
# How many ids ahead a gather asks for memory.
AHEAD = 16


def _prefetch(_typing: Any, array: Any, _index: Any) -> Any:
    """
    Ask for the cache line of array[index] (1-d, contiguous; int64 index) without waiting.

    Never faults, whatever the index. Only a hint: results do not depend on it.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        word, address = ir.IntType(32), ir.IntType(8).as_pointer()
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), address)
        insert: Any = cgutils.get_or_insert_function
        kind = ir.FunctionType(ir.VoidType(), [address, word, word, word])
        function = insert(builder.module, kind, "llvm.prefetch.p0")
        read, all_levels, is_data = word(0), word(3), word(1)
        builder.call(function, [pointer, read, all_levels, is_data])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


prefetch: Any = intrinsic(_prefetch)


def _load_word(_typing: Any, array: Any, _index: Any) -> Any:
    """Return the eight bytes of a uint8 array from an int64 index on as one uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        word = ir.IntType(64)
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), word.as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(array, types.int64), generate


load_word: Any = intrinsic(_load_word)


@njit(cache=True, nogil=True, inline="always")
def _mix(word: np.uint64) -> np.uint64:
    """
    Spread every bit over all bits.

    Source: Steele, Lea, Flood 2014, splitmix64's finaliser.
    """
    word = (word ^ (word >> np.uint64(30))) * MIX_A
    word = (word ^ (word >> np.uint64(27))) * MIX_B
    return word ^ (word >> np.uint64(31))


@njit(cache=True, nogil=True, inline="always")
def _hash(data: Bytes, start: int, stop: int, seed: np.uint64) -> np.uint64:
    """64-bit hash of data[start:stop] under a seed; a host of any byte order has its own files."""
    length = stop - start
    state = seed ^ (np.uint64(length) * GOLDEN)
    at = start
    while at + 8 <= stop:
        state = (state ^ load_word(data, at)) * MIX_A
        state ^= state >> np.uint64(29)
        at += 8
    tail = np.uint64(0)
    if at < stop:
        if length >= 8:  # the last eight bytes again, without those that were taken already
            tail = load_word(data, stop - 8) >> np.uint64(8 * (8 - (stop - at)))
        else:
            for place in range(stop - 1, at - 1, -1):
                tail = (tail << np.uint64(8)) | np.uint64(data[np.uint64(place)])
    return _mix((state ^ tail) * MIX_B + GOLDEN)


@njit(cache=True, nogil=True, inline="always")
def _home(code: np.uint64, slot_count: int) -> np.int64:
    """First slot of a hash: its upper half scaled to the table, so any slot count will do."""
    return np.int64(((code >> np.uint64(32)) * np.uint64(slot_count)) >> np.uint64(32))


@njit(cache=True, nogil=True, inline="always")
def _equal(a: Bytes, a_start: int, b: Bytes, b_start: int, length: int) -> bool:
    """Compare two runs of bytes."""
    step = 0
    while step + 8 <= length:
        if load_word(a, a_start + step) != load_word(b, b_start + step):
            return False
        step += 8
    while step < length:
        if a[np.uint64(a_start + step)] != b[np.uint64(b_start + step)]:
            return False
        step += 1
    return True


@njit(cache=True, nogil=True)
def insert_ids(
    data: Bytes, offsets: Places, first_row: int, slots: Slots, seed: np.uint64
) -> tuple[int, int, int]:
    """
    Put ids into an open addressing table, linear probing.

    A slot is 0 when empty, else the hash's lower 32 bits (tag) above the row + 1.

    Args:
        data: All ids, each followed by one separator byte, uint8[b].
        offsets: Start of each id, then the end of the last, int64[n + 1].
        first_row: Rows before it are in the table already.
        slots: The table, uint64[m], m >= 2 n; changed.
        seed: Of the hash, uint64.

    Returns:
        (row, twin, longest): the first id that is already there and the row it has, or -1 and -1;
        and the longest probe that was needed.
    """
    slot_count = slots.shape[0]
    longest = 0
    for row in range(first_row, offsets.shape[0] - 1):
        start = offsets[row]
        stop = offsets[row + 1] - 1
        code = _hash(data, start, stop, seed)
        tag = code << np.uint64(32)
        at = int(_home(code, slot_count))
        probes = 1
        while slots[at] != 0:
            slot = slots[at]
            if ((slot ^ tag) >> np.uint64(32)) == 0:
                other = np.int64(slot & ROW_BITS) - 1
                length = offsets[other + 1] - 1 - offsets[other]
                if length == stop - start and _equal(data, start, data, offsets[other], length):
                    return row, int(other), longest
            at += 1
            if at == slot_count:
                at = 0
            probes += 1
        slots[at] = tag | np.uint64(row + 1)
        longest = max(longest, probes)
    return -1, -1, longest


@njit(cache=True, nogil=True)
def _probe_on(
    asked: Bytes,
    start: int,
    stop: int,
    code: np.uint64,
    data: Bytes,
    offsets: Places,
    slots: Slots,
) -> int:
    """Look one id up by comparing bytes at every equal tag: for the rare tag that lied."""
    length = stop - start
    tag = code << np.uint64(32)
    at = int(_home(code, slots.shape[0]))
    while length >= 0 and slots[at] != 0:
        if ((slots[at] ^ tag) >> np.uint64(32)) == 0:
            row = np.int64(slots[at] & ROW_BITS) - 1
            if offsets[row + 1] - 1 - offsets[row] == length and _equal(
                asked, start, data, offsets[row], length
            ):
                return int(row)
        at = at + 1 if at + 1 < slots.shape[0] else 0
    return -1


@njit(cache=True, nogil=True)
def find_rows(
    asked: Bytes,
    starts: Places,
    stops: Places,
    data: Bytes,
    offsets: Places,
    slots: Slots,
    seed: np.uint64,
) -> NDArray[np.int32]:
    """
    Look ids up.

    Args:
        asked: Bytes of the ids asked for, uint8[a].
        starts: Start of each in *asked*, int64[k].
        stops: End of each (exclusive), int64[k]; before the start = answer -1.
        data: Ids of the table with one separator after each, uint8[b].
        offsets: int64[n + 1] into *data*.
        slots: uint64[m].
        seed: uint64.

    Returns:
        int32[k], the row of each, -1 where unknown.

    Cost: pass by pass (hash, slot, bytes) over blocks of ids, so that cache misses overlap; an
    unknown id touches no string in all but one of 2^32 cases, as its tag differs.
    """
    count = starts.shape[0]
    slot_count = slots.shape[0]
    rows = np.full(count, -1, np.int32)
    codes = np.empty(BLOCK, np.uint64)
    places = np.empty(BLOCK, np.int64)
    for first in range(0, count, BLOCK):
        last = min(first + BLOCK, count)
        for index in range(first, last):
            if stops[index] >= starts[index]:
                codes[index - first] = _hash(asked, starts[index], stops[index], seed)
                prefetch(slots, _home(codes[index - first], slot_count))
        for index in range(first, last):
            if stops[index] < starts[index]:
                continue
            tag = codes[index - first] << np.uint64(32)
            at = int(_home(codes[index - first], slot_count))
            while slots[at] != 0 and ((slots[at] ^ tag) >> np.uint64(32)) != 0:
                at = at + 1 if at + 1 < slot_count else 0
            row = np.int64(slots[at] & ROW_BITS) - 1
            rows[index] = row
            if row >= 0:
                prefetch(offsets, row)
        for index in range(first, last):
            if rows[index] >= 0:
                places[index - first] = offsets[rows[index]]
                prefetch(data, places[index - first])
        for index in range(first, last):
            row = np.int64(rows[index])
            if row < 0:
                continue
            length = stops[index] - starts[index]
            place = places[index - first]
            if offsets[row + 1] - 1 - place == length and _equal(
                asked, starts[index], data, place, length
            ):
                continue
            rows[index] = _probe_on(
                asked, starts[index], stops[index], codes[index - first], data, offsets, slots
            )
    return rows


@njit(cache=True, nogil=True)
def gather_ids(rows: NDArray[np.int32], data: Bytes, offsets: Places) -> Bytes:
    """
    Copy the ids of rows, each with its separator, into one array of bytes.

    Args:
        rows: Each in [0, n), int32[k].
        data: uint8[b].
        offsets: int64[n + 1].

    Returns:
        uint8[total].
    """
    count = rows.shape[0]
    total = 0
    for index in range(count):
        if index + AHEAD < count:
            prefetch(offsets, np.int64(rows[index + AHEAD]))
        total += offsets[rows[index] + 1] - offsets[rows[index]]
    out = np.empty(total, np.uint8)
    at = 0
    for index in range(count):
        if index + AHEAD < count:
            prefetch(data, offsets[rows[index + AHEAD]])
        for source in range(offsets[rows[index]], offsets[rows[index] + 1]):
            out[np.uint64(at)] = data[np.uint64(source)]
            at += 1
    return out


@njit(cache=True, nogil=True)
def join_ids(
    source: Bytes, starts: Places, stops: Places, separator: int, out: Bytes, out_offsets: Places
) -> None:
    """
    Lay ids one after another with a separator after each.

    Args:
        source: uint8[s].
        starts: int64[n] into *source*.
        stops: int64[n] into *source*, exclusive.
        separator: One byte.
        out: uint8[sum of lengths + n]; filled.
        out_offsets: int64[n + 1]; filled.
    """
    at = 0
    for index in range(starts.shape[0]):
        out_offsets[index] = at
        for place in range(starts[index], stops[index]):
            out[at] = source[place]
            at += 1
        out[at] = separator
        at += 1
    out_offsets[starts.shape[0]] = at


@njit(cache=True, nogil=True)
def find_bad_id(source: Bytes, starts: Places, stops: Places, bytes_max: int) -> tuple[int, int]:
    """
    Find the first id that is empty, too long or has a control character (of ASCII).

    Args:
        source: UTF-8 bytes, uint8[s].
        starts: int64[n].
        stops: int64[n], exclusive.
        bytes_max: Longest id allowed.

    Returns:
        (index, reason): reason 1 = empty, 2 = too long, 3 = control character; (-1, 0) = all good.
    """
    for index in range(starts.shape[0]):
        length = stops[index] - starts[index]
        if length <= 0:
            return index, 1
        if length > bytes_max:
            return index, 2
        for place in range(starts[index], stops[index]):
            if source[place] < 0x20 or source[place] == 0x7F:
                return index, 3
    return -1, 0
