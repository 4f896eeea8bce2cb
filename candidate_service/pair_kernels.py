"""
The numbers of the pin-board graph before it is walked: rows of neighbours, pruning, pairs of pins.

A graph is an array of neighbours and an array of offsets: the neighbours of node i are
neighbours[offsets[i]:offsets[i + 1]] (compressed sparse rows).
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_U = np.uint64

Offsets = NDArray[Any]
"""int32 or int64[nodes + 1], from 0 to the number of edges, never falling."""


@njit(cache=True, nogil=True, error_model="numpy")
def hash_pair(left: Any, right: Any, seed: Any) -> Any:
    """Return a uniform uint64 that depends on nothing but its arguments (splitmix64 twice)."""
    z = _U(seed)
    for part in (_U(left), _U(right)):
        z = (z ^ part) + _U(0x9E37_79B9_7F4A_7C15)
        z = (z ^ (z >> _U(30))) * _U(0xBF58_476D_1CE4_E5B9)
        z = (z ^ (z >> _U(27))) * _U(0x94D0_49BB_1331_11EB)
        z ^= z >> _U(31)
    return z


@njit(cache=True, nogil=True, error_model="numpy")
def hash_pairs(
    lefts: NDArray[np.int32], rights: NDArray[np.int32], seed: int
) -> NDArray[np.uint64]:
    """Return `hash_pair` of each pair, uint64[e]."""
    hashes = np.empty(len(lefts), np.uint64)
    for e in range(len(lefts)):
        hashes[e] = hash_pair(lefts[e], rights[e], seed)
    return hashes


@njit(cache=True, nogil=True, error_model="numpy")
def compress_edges(
    sources: NDArray[np.int32], targets: NDArray[np.int32], source_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """
    Return offsets int64[source_count + 1] and neighbours int32[e] of a list of edges.

    A source's neighbours stand in the order of its edges. Cost: O(e).
    """
    offsets = np.zeros(source_count + 1, np.int64)
    for source in sources:
        offsets[source + 1] += 1
    for node in range(source_count):
        offsets[node + 1] += offsets[node]
    ends = offsets[:-1].copy()
    neighbours = np.empty(len(targets), np.int32)
    for e in range(len(sources)):
        neighbours[ends[sources[e]]] = targets[e]
        ends[sources[e]] += 1
    return offsets, neighbours


@njit(cache=True, nogil=True, error_model="numpy")
def transpose(
    offsets: Offsets, neighbours: NDArray[np.int32], order: NDArray[np.int64], target_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """
    Return the same edges from the other side; each target's sources stand in the given order.

    Args:
        offsets: Of the sources.
        neighbours: Targets, int32[e], each in [0, target_count).
        order: All sources once, int64[sources].
        target_count: Number of targets.
    """
    turned = np.zeros(target_count + 1, np.int64)
    for target in neighbours:
        turned[target + 1] += 1
    for node in range(target_count):
        turned[node + 1] += turned[node]
    ends = turned[:-1].copy()
    sources = np.empty(len(neighbours), np.int32)
    for source in order:
        for e in range(offsets[source], offsets[source + 1]):
            target = neighbours[e]
            sources[ends[target]] = source
            ends[target] += 1
    return turned, sources


@njit(cache=True, nogil=True, error_model="numpy")
def find_groups(
    offsets: Offsets, neighbours: NDArray[np.int32], labels: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """
    Find the runs of equal labels in each node's neighbours.

    Args:
        offsets: Of the nodes.
        neighbours: Of each node, by ascending label, int32[e].
        labels: Of each neighbour, int32.

    Returns:
        Group offsets int64[nodes + 1], label of each group, begin of each group and the end of
        the last, int64[groups + 1].
    """
    node_count = len(offsets) - 1
    group_offsets = np.zeros(node_count + 1, np.int64)
    group_labels = np.empty(len(neighbours), np.int32)
    begins = np.empty(len(neighbours) + 1, np.int64)
    group_count = 0
    for node in range(node_count):
        for e in range(offsets[node], offsets[node + 1]):
            label = labels[neighbours[e]]
            if e == offsets[node] or label != group_labels[group_count - 1]:
                group_labels[group_count], begins[group_count] = label, e
                group_count += 1
        group_offsets[node + 1] = group_count
    begins[group_count] = len(neighbours)
    return group_offsets, group_labels[:group_count].copy(), begins[: group_count + 1].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def dominant_labels(
    offsets: Offsets, neighbours: NDArray[np.int32], labels: NDArray[np.int16], label_count: int
) -> NDArray[np.int16]:
    """
    Return each node's most frequent known label, int16[nodes]: the lowest of equal ones, -1 = none.

    Args:
        offsets: Of the nodes.
        neighbours: Of each node, int32[e].
        labels: Of each neighbour, in [-1, label_count), -1 = unknown.
        label_count: Number of labels.
    """
    counts = np.zeros(label_count + 1, np.int64)
    found = np.full(len(offsets) - 1, np.int16(-1))
    for node in range(len(offsets) - 1):
        most = 0
        for e in range(offsets[node], offsets[node + 1]):
            label = labels[neighbours[e]]
            if label >= 0:
                counts[label] += 1
                most = max(most, counts[label])
        for e in range(offsets[node], offsets[node + 1]):
            label = labels[neighbours[e]]
            is_most = label >= 0 and counts[label] == most
            if is_most and (found[node] < 0 or label < found[node]):
                found[node] = label
        for e in range(offsets[node], offsets[node + 1]):
            counts[labels[neighbours[e]]] = 0
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def agree_on_topics(
    board_offsets: Offsets,
    board_pins: NDArray[np.int32],
    topic_offsets: NDArray[np.int64],
    topic_numbers: NDArray[np.int32],
    totals: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Compare each pin of each board with what the board is about.

    Args:
        board_offsets: Of the boards.
        board_pins: Pins of each board, int32[e].
        topic_offsets: Of the pins' topics, int64[pins + 1].
        topic_numbers: Topics of each pin, no number twice for a pin, int32[m].
        totals: Scratch, zeros float64[topics], and zeros again afterwards.

    Returns:
        Cosine of the topics of pin and board, float64[e], 0 where one has none; entropy of each
        board's topics in bits, float64[boards]. A pin spreads 1 evenly over its topics.
    """
    cosines, entropies = np.zeros(len(board_pins)), np.zeros(len(board_offsets) - 1)
    for board in range(len(board_offsets) - 1):
        total, square = 0.0, 0.0
        for e in range(board_offsets[board], board_offsets[board + 1]):
            pin = board_pins[e]
            first, last = topic_offsets[pin], topic_offsets[pin + 1]
            total += np.float64(last > first)
            for t in range(first, last):
                share = 1.0 / (last - first)
                was = totals[topic_numbers[t]]
                totals[topic_numbers[t]] = was + share
                square += share * (2.0 * was + share)
        for e in range(board_offsets[board], board_offsets[board + 1]):
            pin = board_pins[e]
            first, last = topic_offsets[pin], topic_offsets[pin + 1]
            for t in range(first, last):
                cosines[e] += totals[topic_numbers[t]]
            if last > first:
                cosines[e] = min(1.0, cosines[e] / np.sqrt((last - first) * square))
        for e in range(board_offsets[board], board_offsets[board + 1]):
            pin = board_pins[e]
            for t in range(topic_offsets[pin], topic_offsets[pin + 1]):
                share = totals[topic_numbers[t]] / total
                if share > 0.0:
                    entropies[board] -= share * np.log2(share)
                totals[topic_numbers[t]] = 0.0
    return cosines, entropies


@njit(cache=True, nogil=True, error_model="numpy")
def count_pairs(
    pin_edges: tuple[Offsets, NDArray[np.int32]],
    board_edges: tuple[Offsets, NDArray[np.int32]],
    board_weights: NDArray[np.float32],
    pin_scales: NDArray[np.float32],
    pins: tuple[int, int],
    neighbour_count: int,
    totals: NDArray[np.float64],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """
    Find the pins that share most boards with each of some pins, exactly.

    The score of q for p: scale of p times scale of q times the summed weights of shared boards.

    Args:
        pin_edges: Offsets and boards of the pins.
        board_edges: Offsets and pins of the boards.
        board_weights: float32[boards], > 0.
        pin_scales: float32[pins], > 0.
        pins: First pin and last + 1.
        neighbour_count: How many to keep for each pin.
        totals: Scratch, zeros float64[pins], and zeros again afterwards.

    Returns:
        How many each pin has, int32[m], then rows and scores of all of them one after another,
        best first; among equal scores the lower row.

    Cost: O(sum over those pins' boards of the board's pins).
    """
    pin_offsets, pin_boards = pin_edges
    board_offsets, board_pins = board_edges
    counts = np.zeros(pins[1] - pins[0], np.int32)
    rows = np.empty((pins[1] - pins[0]) * neighbour_count, np.int32)
    scores = np.empty(len(rows), np.float32)
    met = np.empty(len(totals), np.int32)
    end = 0
    for p in range(pins[0], pins[1]):
        met_count = 0
        for e in range(pin_offsets[p], pin_offsets[p + 1]):
            board = pin_boards[e]
            for f in range(board_offsets[board], board_offsets[board + 1]):
                q = board_pins[f]
                if totals[q] == 0.0:
                    met[met_count] = q
                    met_count += 1
                totals[q] += board_weights[board]
        found = np.sort(met[:met_count])
        found = found[found != p]
        found_scores = np.empty(len(found), np.float32)
        for i in range(len(found)):
            found_scores[i] = np.float32(totals[found[i]] * pin_scales[p] * pin_scales[found[i]])
        for q in met[:met_count]:
            totals[q] = 0.0
        if len(found) > neighbour_count:
            worst = np.partition(found_scores, len(found) - neighbour_count)
            kept = found_scores >= worst[len(found) - neighbour_count]
            found, found_scores = found[kept], found_scores[kept]
        order = np.argsort(-found_scores, kind="mergesort")[:neighbour_count]
        counts[p - pins[0]] = len(order)
        for i in order:
            rows[end], scores[end] = found[i], found_scores[i]
            end += 1
    return counts, rows[:end].copy(), scores[:end].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def sample_pairs(
    boards: NDArray[np.int32],
    offsets: NDArray[np.int32],
    pins: NDArray[np.int32],
    degrees: NDArray[np.int32],
    pair_count: int,
    seed: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """
    Sample pairs of pins of some boards so that every pin gets about the same number in all.

    A pin on d boards asks each for ceil(pair_count / d) of its other pins, drawn without
    replacement (a board with no more than that gives all). A pair carries the inverse of its
    chance, so that sums over boards estimate the count of shared boards without bias.

    Args:
        boards: int32[b]; the sample depends on the board, its list and the seed alone.
        offsets: Where each board's list begins, int32[b + 1].
        pins: Lists of pins, each in a fixed order, no pin twice.
        degrees: Of each of *pins*: on how many boards it is, >= 1.
        pair_count: About how many pairs each pin is to have, >= 1.
        seed: Any.

    Returns:
        Pins and neighbours int32[m] and weights float64[m], >= 1.

    Cost: O(list lengths + m): one shuffle a board, then each pin takes those that follow it.
    """
    total = 0
    for b in range(len(boards)):
        others = offsets[b + 1] - offsets[b] - 1
        for i in range(offsets[b], offsets[b + 1]):
            total += min(others, -(-pair_count // degrees[i]))
    lefts, rights = np.empty(total, np.int32), np.empty(total, np.int32)
    weights = np.empty(total)
    end = 0
    for b in range(len(boards)):
        begin, size = offsets[b], offsets[b + 1] - offsets[b]
        order = np.arange(begin, offsets[b + 1])
        for i in range(size - 1, 0, -1):
            j = np.int64(hash_pair(boards[b], i, seed) % _U(i + 1))
            order[i], order[j] = order[j], order[i]
        for i in range(size):
            quota = min(size - 1, -(-pair_count // degrees[order[i]]))
            for k in range(1, quota + 1):
                lefts[end], rights[end] = pins[order[i]], pins[order[(i + k) % size]]
                weights[end] = (size - 1) / (quota * size)
                end += 1
    return lefts, rights, weights
