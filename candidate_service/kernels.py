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
BEGIN_MASK: Final = _U(2**36 - 1)
"""Of the word of a live list: where it begins."""

DEGREE_SHIFT: Final = _U(36)
DEGREE_MASK: Final = _U(2**27 - 1)
"""Of the word of a live list, shifted: how many neighbours it has."""

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


@njit(inline="always")
def _sub_range(
    labels: Any,
    begins: Any,
    first: Any,
    last: Any,
    shift: Any,
    base: Any,
    begin: Any,
    degree: Any,
    coin: Any,
    ranges: Any,
) -> Any:
    """
    Return begin and degree of the neighbours that a hop keeps to; all of them if it keeps to none.

    Groups [first, last) of a node have ascending labels; group g begins at base + begins[g + shift]
    and ends where the next one begins; counting labels below a bound needs no branch. With *coin*
    below ranges[0] the neighbours with labels in [ranges[2], ranges[3]) are preferred, with *coin*
    below ranges[1] those in [ranges[4], ranges[5]), if there are any.
    """
    is_narrow = coin < ranges[0]
    low = np.int32(ranges[2] if is_narrow else ranges[4])
    high = np.int32(ranges[3] if is_narrow else ranges[5])
    left, right = first, first
    for g in range(first, last):
        left += _U(labels[g] < low)
        right += _U(labels[g] < high)
    if right == left and is_narrow and coin < ranges[1]:
        low, high = np.int32(ranges[4]), np.int32(ranges[5])
        left, right = first, first
        for g in range(first, last):
            left += _U(labels[g] < low)
            right += _U(labels[g] < high)
    if right > left:
        start = base + _U(begins[left + shift])
        return start, base + _U(begins[right + shift]) - start
    return begin, degree


@njit(inline="always")
def _list_of(offsets: Any, node: Any, word: Any) -> Any:
    """Return begin and degree of a node's list: live where *word* tells of one, else sealed."""
    if word == _U(0):
        begin = _U(offsets[node])
        return begin, _U(offsets[node + _ONE]) - begin
    return word & BEGIN_MASK, (word >> DEGREE_SHIFT) & DEGREE_MASK


@njit(inline="always")
def _live_sub_range(lists: Any, begin: Any, degree: Any, coin: Any, ranges: Any) -> Any:
    """As `_sub_range` of a live list, whose groups stand behind it: count, labels, begins."""
    first = begin + degree + _ONE
    last = first + _U(lists[begin + degree])
    return _sub_range(lists, lists, first, last, last - first, begin, begin, degree, coin, ranges)


@njit(cache=True, nogil=True, error_model="numpy")
def walk(
    pin_edges: tuple[NDArray[Any], NDArray[np.int32]],
    board_edges: tuple[NDArray[Any], NDArray[np.int32]],
    bias: tuple[Any, Any, NDArray[np.int64]] | None,
    live: tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int32]] | None,
    counts_boards: int | None,
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
        bias: None for a walk without preferences (compiled without a trace of them). Else how each
            pin's boards and each board's pins stand grouped by label (group offsets [nodes + 1],
            labels int32[groups], begins [groups + 1]), and int64[6]: a hop keeps to the first range
            of labels with chance [0] / 2**32, else to the second with chance [1] / 2**32 (less
            that of the first), where there are such neighbours; the ranges are [2] to [3] and [4]
            to [5], ends excluded.
        live: None where nothing has changed since the graph was built (compiled without a trace of
            it). Else a word for each pin and each board, and the lists that they point to
            (`live_kernels`); rows from the end of the offsets on have nothing but that.
        counts_boards: None counts the pins arrived at, any number the boards passed instead.
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

    Cost: five overlapped cache misses a step, with live lists seven; no allocation.
    Source: Eksombatchai et al. 2018, algorithms 1 and 2; walk lengths are geometric. Sharma et al.
    2016 (GraphJet) for a small live segment beside the sealed one.
    """
    # Arrays stay in this frame: handing them to a helper would cost atomic reference counts.
    pin_offsets, pin_boards = pin_edges
    board_offsets, board_pins = board_edges
    if bias is not None:
        (pin_group_offsets, pin_group_labels, pin_group_begins) = bias[0]
        (board_group_offsets, board_group_labels, board_group_begins) = bias[1]
        chances = bias[2]
        ranges = (chances[0], chances[1], chances[2], chances[3], chances[4], chances[5])
        limit = max(chances[0], chances[1])
    if live is not None:
        pin_words, board_words, lists = live
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
        if bias is not None:
            for k in range(K):
                group = _U(pin_group_offsets[_U(positions[k])])
                prefetch(pin_group_labels, group)
                prefetch(pin_group_begins, group)
        for k in range(K):  # Choose a board: high half of a 32 x 32 bit product.
            pin = _U(positions[k])
            word = _U(0)
            if live is not None:
                word = pin_words[pin]
            begin, degree = _list_of(pin_offsets, pin, word)
            if bias is not None:
                coin = limit
                if limit > 0:
                    coin = np.int64(_random(~stream, i * K + k) & _LOW_32)
                if coin >= limit:
                    pass
                elif word == _U(0):
                    first, last = _U(pin_group_offsets[pin]), _U(pin_group_offsets[pin + _ONE])
                    begin, degree = _sub_range(
                        pin_group_labels,
                        pin_group_begins,
                        first,
                        last,
                        _U(0),
                        _U(0),
                        begin,
                        degree,
                        coin,
                        ranges,
                    )
                elif live is not None:
                    begin, degree = _live_sub_range(lists, begin, degree, coin, ranges)
            slot = begin + (((draws[k] & _LOW_32) * degree) >> _U(32))
            slots[k] = np.uint32(slot)
            if live is not None:
                arrivals[k] = np.uint32(word != _U(0))
                if word != _U(0):
                    prefetch(lists, slot)
                else:
                    prefetch(pin_boards, slot)
            else:
                prefetch(pin_boards, slot)
        for k in range(K):
            if live is not None and arrivals[k] != 0:
                board = _U(lists[_U(slots[k])])
            else:
                board = _U(pin_boards[_U(slots[k])])
            positions[k] = np.uint32(board)
            prefetch(board_offsets, board)
            if bias is not None:
                prefetch(board_group_offsets, board)
            if live is not None:
                prefetch(board_words, board)
        if bias is not None:
            for k in range(K):
                group = _U(board_group_offsets[_U(positions[k])])
                prefetch(board_group_labels, group)
                prefetch(board_group_begins, group)
        for k in range(K):  # Choose a pin; what is left of the product decides on the restart.
            board = _U(positions[k])
            word = _U(0)
            if live is not None:
                word = board_words[board]
            begin, degree = _list_of(board_offsets, board, word)
            if bias is not None:
                coin = limit
                if limit > 0:
                    coin = np.int64(_random(~stream, i * K + k) >> _U(32))
                if coin >= limit:
                    pass
                elif word == _U(0):
                    first = _U(board_group_offsets[board])
                    last = _U(board_group_offsets[board + _ONE])
                    begin, degree = _sub_range(
                        board_group_labels,
                        board_group_begins,
                        first,
                        last,
                        _U(0),
                        _U(0),
                        begin,
                        degree,
                        coin,
                        ranges,
                    )
                elif live is not None:
                    begin, degree = _live_sub_range(lists, begin, degree, coin, ranges)
            product = (draws[k] >> _U(32)) * degree
            draws[k] = product & _LOW_32
            slot = begin + (product >> _U(32))
            slots[k] = np.uint32(slot)
            if live is not None:
                arrivals[k] = np.uint32(word != _U(0))
                if word != _U(0):
                    prefetch(lists, slot)
                else:
                    prefetch(board_pins, slot)
            else:
                prefetch(board_pins, slot)
        for k in range(K):
            if live is not None and arrivals[k] != 0:
                pin = _U(lists[_U(slots[k])])
            else:
                pin = _U(board_pins[_U(slots[k])])
            arrival = pin
            if counts_boards is not None:
                arrival = _U(positions[k])
            arrivals[k] = np.uint32(arrival)
            slot = (arrival * _GOLDEN) & mask
            slots[k] = np.uint32(slot)
            prefetch(table, slot)
            if draws[k] < restart:
                pin = home
            positions[k] = np.uint32(pin)
            prefetch(pin_offsets, pin)
            if bias is not None:
                prefetch(pin_group_offsets, pin)
            if live is not None:
                prefetch(pin_words, pin)
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
