"""
The numbers of candidates: walks on the pin-board graph, tallies of pins, pairs of pins.

A walk is a chain of loads that each wait for memory.  `walk` moves K walkers in step, stage by
stage, and asks for the next cache line of all of them before it touches the first (prefetch), so
that K waits overlap.  Visits are counted in a hash table of 64-bit entries

    epoch (11 bits) | united (1 bit) | pin row (31 bits) | number (21 bits)

An entry of another epoch counts as free: nothing is cleared between requests, and memory does not
depend on the size of the graph.  During a query pin's walk the number is the count of visits; when
`unite_visits` adds the walk to the request's tally, the entry becomes a united one, whose number is
the pin's place in that tally.  So the walks of a request share the table, and uniting them needs
no look-ups of its own.  Row p starts to look at slot (p * odd number) mod size, which is one-to-one
while rows are fewer than slots: small graphs never probe.

All chance is splitmix64 read at a position: walker k of K in round i takes number i * K + k of its
stream.  So a walk is a function of its arguments, and may be done in pieces.
"""

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

EPOCH_MAX: Final = 2**11 - 1
"""Epochs run from 1 to this; then the table has to be cleared."""

COUNT_MAX: Final = 2**21 - 1
"""The largest count, and the largest position, that an entry can hold."""

WALKER_COUNT: Final = 64
"""K: on a graph beyond the caches 32 are 10 % slower, 128 no faster (benchmarks/bench_walk.py)."""

_U = np.uint64
_ONE = _U(1)
_LOW_32 = _U(0xFFFF_FFFF)
_COUNT_BITS = _U(21)
_OTHER_PIN = _U((2**31 - 1) << 21)
_ROW_MASK = _U(2**31 - 1)
_EPOCH_SHIFT = _U(53)
_UNITED_SHIFT = _U(52)
_UNITED = _U(2**52)
_EPOCH_BIT = _U(2**53)
_COUNT_MASK = _U(COUNT_MAX)
_GOLDEN = _U(0x9E37_79B9_7F4A_7C15)
_MIX_1 = _U(0xBF58_476D_1CE4_E5B9)
_MIX_2 = _U(0x94D0_49BB_1331_11EB)


def _prefetch(_typing: Any, array: Any, _index: Any) -> Any:
    """
    Ask for the cache line of array[index] (1-d, contiguous; uint64 index) without waiting.

    Never faults, whatever the index.  Only a hint: results do not depend on it.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        word, address = ir.IntType(32), ir.IntType(8).as_pointer()
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), address)
        insert: Any = cgutils.get_or_insert_function
        kind = ir.FunctionType(ir.VoidType(), [address, word, word, word])
        function = insert(builder.module, kind, "llvm.prefetch.p0")
        # Second-level cache: as good as the first on a small graph, 12 % better on a large one.
        read, second_level, is_data = word(0), word(2), word(1)
        builder.call(function, [pointer, read, second_level, is_data])
        return context.get_dummy_value()

    return types.void(array, types.uint64), generate


prefetch: Any = intrinsic(_prefetch)


@njit(inline="always")
def _random(stream: Any, position: Any) -> Any:
    """
    Return number *position* of a stream of uniform uint64.

    Source: splitmix64 (Steele, Lea and Flood 2014), whose state is a counter.
    """
    z = stream + position * _GOLDEN
    z = (z ^ (z >> _U(30))) * _MIX_1
    z = (z ^ (z >> _U(27))) * _MIX_2
    return z ^ (z >> _U(31))


@njit(cache=True, nogil=True, error_model="numpy")
def walk(
    pin_edges: tuple[NDArray[Any], NDArray[np.int32]],
    board_edges: tuple[NDArray[Any], NDArray[np.int32]],
    pin_groups: tuple[NDArray[Any], NDArray[np.int16], NDArray[Any]] | None,
    board_groups: tuple[NDArray[Any], NDArray[np.int16], NDArray[Any]] | None,
    language: int | None,
    bias: np.uint64,
    restart: np.uint64,
    start: int,
    seed: np.uint64,
    rounds: tuple[int, int],
    early_stop: tuple[int, int],
    epoch: int,
    table: NDArray[np.uint64],
    touched: NDArray[np.uint64],
    lanes: tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]],
    tally: NDArray[np.int64],
) -> int:
    """
    Walk pin → board → pin with K walkers for some rounds and count the pins arrived at.

    Args:
        pin_edges: Offsets int32 or int64[pins + 1] and boards int32[edges] of the pins.
        board_edges: Offsets [boards + 1] and pins int32[edges] of the boards. Every board of a
            pin has that pin and the other way round.
        pin_groups: Each pin's boards stand grouped by language: group offsets [pins + 1],
            language int16[groups], begin of the group [groups + 1]. None if language is None.
        board_groups: The same of each board's pins.
        language: The viewer's; None for an unbiased walk (compiled without a trace of the bias).
        bias: A hop keeps to neighbours of that language, if there are any, with chance
            bias / 2**32.
        restart: After each step a walker goes back to the start with chance restart / 2**32.
        start: The query pin's row; it has at least one board.
        seed: Of the request; each query pin has a stream of its own.
        rounds: First and last + 1; a walk begins at 0 and may be continued where it ended.
        early_stop: n_v and n_p: end when n_p pins have been seen n_v times (looked at once a
            round).
        epoch: In [1, EPOCH_MAX], the request's; before its first walk in no entry of *table*.
        table: uint64[power of two], at least twice as many as pins that the request may visit.
        touched: Receives, for `unite_visits`, the slot of each pin in the order of first visit and
            above 32 bits its place in the request's tally + 1, 0 = none yet; uint64[m].
        lanes: Scratch, uint64[K] and three uint32[K]; the second carries positions between calls.
        tally: int64[2]: pins touched, pins seen n_v times; zeros before round 0, then carried.

    Returns:
        The round at which it ended: rounds[1], or less after an early stop or when *touched* is
        full; -1 if *table* is full of this epoch's entries from elsewhere.

    Cost: five overlapped cache misses a step; no allocation.
    Source: Eksombatchai et al. 2018, algorithms 1 and 2; walk lengths are geometric.
    """
    # Arrays stay in this frame: handing them to a helper would cost atomic reference counts.
    pin_offsets, pin_boards = pin_edges
    board_offsets, board_pins = board_edges
    if pin_groups is not None and board_groups is not None:
        pin_group_offsets, pin_group_languages, pin_group_begins = pin_groups
        board_group_offsets, board_group_languages, board_group_begins = board_groups
    draws, positions, slots, arrivals = lanes
    K, tag, home, mask = _U(len(draws)), _U(epoch), _U(start), _U(len(table) - 1)
    often, enough, room = _U(early_stop[0]), _U(early_stop[1]), _U(len(touched))
    touched_count, often_count = _U(tally[0]), _U(tally[1])
    stream = _random(_random(seed, _U(0)), home)
    if rounds[0] == 0:
        positions[:] = np.uint32(start)
    done: Any = _U(rounds[1])
    for i in range(_U(rounds[0]), _U(rounds[1])):
        if touched_count + K > room or often_count >= enough:
            done = i
            break
        for k in range(K):
            draws[k] = _random(stream, i * K + k)
        for k in range(K):  # Choose a board: high half of a 32 x 32 bit product.
            pin = _U(positions[k])
            begin = _U(pin_offsets[pin])
            degree = _U(pin_offsets[pin + _ONE]) - begin
            if language is not None:
                first = _U(pin_group_offsets[pin])
                last = _U(pin_group_offsets[pin + _ONE])
                if (_random(~stream, i * K + k) & _LOW_32) >= bias:
                    last = first
                for g in range(first, last):
                    if pin_group_languages[g] == language:
                        begin = _U(pin_group_begins[g])
                        degree = _U(pin_group_begins[g + _ONE]) - begin
            slot = begin + (((draws[k] & _LOW_32) * degree) >> _U(32))
            slots[k] = np.uint32(slot)
            prefetch(pin_boards, slot)
        for k in range(K):
            board = _U(pin_boards[_U(slots[k])])
            positions[k] = np.uint32(board)
            prefetch(board_offsets, board)
            if language is not None:
                prefetch(board_group_offsets, board)
        for k in range(K):  # Choose a pin; what is left of the product decides on the restart.
            board = _U(positions[k])
            begin = _U(board_offsets[board])
            degree = _U(board_offsets[board + _ONE]) - begin
            if language is not None:
                first = _U(board_group_offsets[board])
                last = _U(board_group_offsets[board + _ONE])
                if (_random(~stream, i * K + k) >> _U(32)) >= bias:
                    last = first
                for g in range(first, last):
                    if board_group_languages[g] == language:
                        begin = _U(board_group_begins[g])
                        degree = _U(board_group_begins[g + _ONE]) - begin
            product = (draws[k] >> _U(32)) * degree
            draws[k] = product & _LOW_32
            slot = begin + (product >> _U(32))
            slots[k] = np.uint32(slot)
            prefetch(board_pins, slot)
        for k in range(K):
            pin = _U(board_pins[_U(slots[k])])
            arrivals[k] = np.uint32(pin)
            slot = (pin * _GOLDEN) & mask
            slots[k] = np.uint32(slot)
            prefetch(table, slot)
            if draws[k] < restart:
                pin = home
            positions[k] = np.uint32(pin)
            prefetch(pin_offsets, pin)
            if language is not None:
                prefetch(pin_group_offsets, pin)
        for k in range(K):  # Count, without a branch on whether the pin is new: it often is.
            base = (tag << _EPOCH_SHIFT) | (_U(arrivals[k]) << _COUNT_BITS)
            slot = _U(slots[k])
            difference = table[slot] ^ base
            probe_count = _U(0)
            while (difference & _OTHER_PIN) != _U(0) and difference < _EPOCH_BIT:
                slot = (slot + _ONE) & mask
                difference = table[slot] ^ base
                probe_count += _ONE
                if probe_count > mask:
                    return -1
            is_new = _U(difference > _COUNT_MASK)
            number = difference & _COUNT_MASK
            is_united = _U((difference >> _UNITED_SHIFT) == _ONE)
            touched[touched_count] = slot | (((number + _ONE) * is_united) << _U(32))
            touched_count += is_new
            count = (number & (is_new - _ONE)) + _ONE
            table[slot] = base | count
            often_count += _U(count == often)
    tally[0], tally[1] = touched_count, often_count
    return int(done)


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
def shortlist(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """
    Return the positions, ascending, of a few scores that include the *count* highest; int64[k].

    Cost: two passes; most scores of a walk are small whole numbers, so a histogram of whole parts
    tells nearly all of them apart from the best.
    """
    histogram = np.zeros(4096, np.int64)
    for score in scores:
        histogram[np.int64(min(score, 4095.0))] += 1
    least, found = 4096, 0
    while least > 0 and found < count:
        least -= 1
        found += histogram[least]
    positions = np.empty(found, np.int64)
    end = 0
    for i in range(len(scores)):
        if scores[i] >= least:
            positions[end] = i
            end += 1
    return positions
