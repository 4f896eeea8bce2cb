"""
The numbers of live lists: what a pin's boards, or a board's pins, are after a change.

Each changed node has a list of its own, written once behind those that are there and never changed;
a word says where it is.  So whoever reads needs no lock: until the word is replaced it finds the
old list.  A word is

    gone (1 bit) | number of neighbours (27 bits) | begin (36 bits)

and 0 where nothing has changed.  A list is the neighbours by ascending label, then the number of
groups, the label of each group, and where each begins, relative to the list, with the end of the
last.  A node that lost its last neighbour keeps its last list and is marked as gone: nobody comes
to it any more, and a walker that stands on it finds its way off.
"""

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from candidate_service.kernels import BEGIN_MASK, DEGREE_MASK, DEGREE_SHIFT

GONE: Final = np.uint64(2**63)
"""Bit of a word: the node has no neighbours left."""

_U = np.uint64


@njit(cache=True, nogil=True, error_model="numpy")
def degrees_of(rows: NDArray[np.int32], offsets: Any, words: NDArray[np.uint64]) -> Any:
    """
    Return the number of neighbours of some nodes now, int64[n]; 0 for rows beyond *words*.

    Args:
        rows: int32[n].
        offsets: Of the sealed graph, [sealed nodes + 1].
        words: Of the live lists, uint64[m], m >= sealed nodes.
    """
    degrees = np.zeros(len(rows), np.int64)
    for i in range(len(rows)):
        row = rows[i]
        if row < 0 or row >= len(words):
            continue
        word = words[row]
        if word == _U(0):
            if row < len(offsets) - 1:
                degrees[i] = np.int64(offsets[row + 1]) - np.int64(offsets[row])
        elif (word & GONE) == _U(0):
            degrees[i] = np.int64((word >> DEGREE_SHIFT) & DEGREE_MASK)
    return degrees


@njit(cache=True, nogil=True, error_model="numpy")
def neighbours_of(
    row: int,
    sealed: tuple[NDArray[Any], NDArray[np.int32]],
    words: NDArray[np.uint64],
    lists: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Return the neighbours of a node now, int32[n], in the order in which walks choose."""
    offsets, neighbours = sealed
    word = words[row]
    if (word & GONE) != _U(0):
        return np.empty(0, np.int32)
    if word != _U(0):
        begin = np.int64(word & BEGIN_MASK)
        return lists[begin : begin + np.int64((word >> DEGREE_SHIFT) & DEGREE_MASK)].copy()
    if row >= len(offsets) - 1:
        return np.empty(0, np.int32)
    return neighbours[offsets[row] : offsets[row + 1]].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def write_lists(
    nodes: NDArray[np.int32],
    changes: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]],
    sealed: tuple[NDArray[Any], NDArray[np.int32]],
    labels: NDArray[np.int32],
    words: NDArray[np.uint64],
    lists: NDArray[np.int32],
    end: int,
) -> tuple[NDArray[np.uint64], int]:
    """
    Write the new lists of changed nodes behind those that are there.

    Args:
        nodes: int32[n], distinct.
        changes: Node i's changes are at offsets[i] to offsets[i + 1]: neighbours int32[c], none
            twice for a node, and whether each is there now, bool[c].
        sealed: Offsets and neighbours of the graph.
        labels: Label of each possible neighbour, int32; empty where the graph has no groups.
        words: Of all nodes, uint64; not written to.
        lists: All lists, int32[room].
        end: Where to write: the end of what is there.

    Returns:
        New word of each node, uint64[n], and the new end; -1 as the end if the room is too small.

    Cost: O(their neighbours), and sorting these by label where there are groups.
    """
    offsets, neighbours, is_there = changes
    found = np.empty(len(nodes), np.uint64)
    for i in range(len(nodes)):
        part = slice(offsets[i], offsets[i + 1])
        old = neighbours_of(nodes[i], sealed, words, lists)
        new = _changed(old, neighbours[part], is_there[part])
        found[i] = (_U(len(new)) << DEGREE_SHIFT) | _U(end)
        if len(new) == 0 and words[nodes[i]] != _U(0):
            found[i] = words[nodes[i]] | GONE
            continue
        if len(new) == 0:  # Its last list is the sealed one.
            found[i] = (_U(len(old)) << DEGREE_SHIFT) | _U(end) | GONE
            new = old
        size = len(new)
        if end + 3 * size + 2 > len(lists):
            return found, -1
        if len(labels):
            new = new[np.argsort(labels[new], kind="mergesort")]
        lists[end : end + size] = new
        end = _write_groups(new, labels, lists, end + size)
    return found, end


@njit(cache=True, nogil=True, error_model="numpy")
def _changed(
    old: NDArray[np.int32], changed: NDArray[np.int32], is_there: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Return the old neighbours that did not change, then the changed ones that are there."""
    new, size = np.empty(len(old) + len(changed), np.int32), 0
    in_order = np.sort(changed)
    for neighbour in old:
        at = np.searchsorted(in_order, neighbour)
        if at == len(changed) or in_order[at] != neighbour:
            new[size] = neighbour
            size += 1
    for c in range(len(changed)):
        if is_there[c]:
            new[size] = changed[c]
            size += 1
    return new[:size].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def _write_groups(
    members: NDArray[np.int32], labels: NDArray[np.int32], lists: NDArray[np.int32], at: int
) -> int:
    """Write the groups of a list behind it; return the end."""
    starts = np.empty(len(members) + 1, np.int32)
    count = 0
    for m in range(len(members)):
        if len(labels) and (m == 0 or labels[members[m]] != labels[members[m - 1]]):
            starts[count] = m
            count += 1
    starts[count] = len(members)
    lists[at] = count
    for g in range(count):
        lists[at + 1 + g] = labels[members[starts[g]]]
    if count == 0:
        return at + 1
    lists[at + 1 + count : at + 2 + 2 * count] = starts[: count + 1]
    return at + 2 + 2 * count


@njit(cache=True, nogil=True, error_model="numpy")
def list_lengths(words: NDArray[np.uint64], lists: NDArray[np.int32]) -> int:
    """Return how many entries the lists of some nodes take, groups and all."""
    total = 0
    for word in words:
        if word != _U(0):
            total += _length(word, lists)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def move_lists(
    words: NDArray[np.uint64], lists: NDArray[np.int32], target: NDArray[np.int32], end: int
) -> int:
    """Copy the lists of some nodes one after another, change their words, and return the end."""
    for node in range(len(words)):
        word = words[node]
        if word != _U(0):
            begin, length = np.int64(word & BEGIN_MASK), _length(word, lists)
            target[end : end + length] = lists[begin : begin + length]
            words[node] = (word & ~BEGIN_MASK) | _U(end)
            end += length
    return end


@njit(cache=True, nogil=True, error_model="numpy")
def _length(word: Any, lists: NDArray[np.int32]) -> int:
    """Return how many entries a list takes."""
    degree = np.int64((word >> DEGREE_SHIFT) & DEGREE_MASK)
    count = np.int64(lists[np.int64(word & BEGIN_MASK) + degree])
    return int(degree + 1 if count == 0 else degree + 2 + 2 * count)
