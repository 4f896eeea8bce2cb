"""
Ward clusters of one user's pins.  Arrays in, labels out.

Float32 is a filter, float64 is the judge: distances live in float32, where a row of them streams
through vector registers, and any comparison that float32's rounding could decide wrongly is decided
from the cluster sums in float64. So the partition is that of float64 Ward.

All kernels release the GIL and are compiled once per machine (numba's cache).
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

# Reassociation lets reductions use vector registers. Nothing here may meet NaN or infinity: callers
# hand over finite vectors, and "never" is a large finite number.
FAST = {"nnan", "ninf", "nsz", "arcp", "contract", "afn", "reassoc"}
FAR = np.float32(1e30)
NEVER = np.int32(0x7FFFFFFF)  # greater than the bits of any distance
EPSILON = 1.2e-7  # spacing of float32 at 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def ward_labels(vectors: Floats, gram: Floats, alpha: float) -> tuple[Ints, int]:
    """
    Cut the Ward dendrogram at squared height *alpha* and name each point's cluster.

    A cluster whose nearest neighbour is farther than alpha is finished at once: by reducibility no
    later merge comes nearer. For the same reason points fall apart into the connected components of
    "squared distance <= alpha" before any merging, and each component is clustered alone.

    Args:
        vectors: Points, float32[n, d], n >= 1, finite.
        gram: vectors @ vectors.T, float32[n, n], symmetric to the bit; destroyed.
        alpha: Greatest squared height of a merge, >= 0. Two single points merge at their squared
            distance; clusters of n and m points at 2nm/(n+m) times that of their centroids.

    Returns:
        int32[n] labels, numbered by each cluster's first point, and the number of clusters.

    Cost: O(n^2) time; memory 4 n^2 bytes for the Gram matrix and at most as much again.
    Source: Pal et al. 2020, Algorithm 1 (nearest-neighbour chain) and Eq. 1 (Lance-Williams).
    """
    n = vectors.shape[0]
    labels = np.full(n, -1, np.int32)
    squares = np.empty(n, np.float32)
    scale = np.float32(0)
    for i in range(n):
        squares[i] = gram[i, i]
        scale = max(scale, squares[i])
    # Rounding error of a squared distance; grows with the dimension as dot products do.
    slack = scale * np.float32(EPSILON) * (np.float32(8) + np.float32(vectors.shape[1]) / 32)
    queue = np.empty(n, np.int32)
    unvisited = squares.copy()
    done, clusters = 0, 0
    for i in range(n):
        if unvisited[i] == FAR:
            continue
        end = _component(i, gram, squares, unvisited, np.float32(alpha) + slack, queue[done:])
        members = queue[done : done + end]
        done += end
        if end == 1:
            labels[i] = clusters
            clusters += 1
            continue
        members.sort()
        block = gram if end == n else np.empty((end, end), np.float32)
        _fill_block(gram, squares, members, block)
        clusters = _chain(vectors, members, block, alpha, slack, labels, clusters)
    return _renumber(labels, clusters), clusters


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _component(
    start: int, gram: Floats, squares: Floats, unvisited: Floats, limit: Any, queue: Ints
) -> int:
    """Collect in *queue* what hangs together with *start* by distances <= *limit*; count it."""
    n = len(squares)
    queue[0] = start
    unvisited[start] = FAR
    head, tail = 0, 1
    while head < tail < len(queue):
        i = queue[head]
        head += 1
        row = gram[i]
        bound = limit - squares[i]
        for low in range(0, n, 512):
            # Slices: with ranges from low on numba guards each access against negative indices.
            left, right = unvisited[low : low + 512], row[low : low + 512]
            hits = np.int32(0)
            for j in range(len(left)):
                hits += np.int32(1) if left[j] - 2 * right[j] <= bound else np.int32(0)
            if hits == 0:
                continue
            for j in range(len(left)):
                if left[j] - 2 * right[j] <= bound:
                    left[j] = FAR
                    queue[tail] = low + j
                    tail += 1
    return tail


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _fill_block(gram: Floats, squares: Floats, members: Ints, block: Floats) -> None:
    """Write the squared distances among *members* to *block*, which may be *gram* if all are."""
    count = len(members)
    for slot in range(count):
        row, target = gram[members[slot]], block[slot]
        square = squares[members[slot]]
        if count == len(squares):
            for j in range(count):
                value = square + squares[j] - 2 * row[j]
                target[j] = value if value > 0 else np.float32(0)
        else:
            for j in range(count):
                value = square + squares[members[j]] - 2 * row[members[j]]
                target[j] = value if value > 0 else np.float32(0)
        target[slot] = FAR


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _chain(
    vectors: Floats,
    members: Ints,
    block: Floats,
    alpha: float,
    slack: Any,
    labels: Ints,
    clusters: int,
) -> int:
    """
    Follow nearest-neighbour chains over one component, writing labels from *clusters* on.

    Clusters stand in the leading slots of *block*. Merged and finished ones are marked in *gone*,
    so that no column has to be overwritten; the block is packed when two fifths of it are gone.
    """
    width = len(members)
    bits = block.view(np.int32)
    heads, tails = members.copy(), members.copy()
    nexts = np.full(len(labels), -1, np.int32)
    sizes, gone = np.ones(width, np.float32), np.zeros(width, np.int32)
    live = _unite_equal(vectors, members, block, slack, sizes, gone, tails, nexts)
    sums, summed = np.empty((0, vectors.shape[1]), np.float64), np.zeros(width, np.bool_)
    merged, stamps = np.empty(width, np.int32), np.full(width, -1, np.int32)
    seen, chain = np.zeros(width, np.int32), np.empty(width + 1, np.int32)
    length, start, step = 0, 0, 0
    while live > 0:
        if length == 0:
            if live < 0.6 * width and width > 16:
                for i in range(width):
                    if gone[i] == 0:
                        _refresh(i, block, gone, merged, stamps, seen, step)
                width = _pack(block, gone, sizes, heads, tails, width)
                gone[:width], stamps[:width], seen[:width] = 0, -1, 0
                summed[:] = False
                start, step = 0, 0
            while gone[start] != 0:
                start += 1
            chain[0] = start
            length = 1
        x = chain[length - 1]
        previous = chain[length - 2] if length > 1 else -1
        _refresh(x, block, gone, merged, stamps, seen, step)
        nearest = np.int32(_least(bits[x], gone, width)).view(np.float32)
        # Bound of float32's error here: a Ward height is 2nm/(n+m) <= 2n times a mean of entries.
        margin = slack * (1 + sizes[x]) + np.float32(EPSILON) * 32 * nearest
        y = -1
        height = float(nearest)
        if nearest <= np.float32(alpha) + margin:
            bound = _bits(nearest + margin)
            rivals, slot_sum = _near(bits[x], gone, width, bound)
            y = int(slot_sum)  # of one slot: that slot
            if rivals > 1 or nearest >= np.float32(alpha) - margin:
                if len(sums) == 0:
                    sums = np.empty((len(members), vectors.shape[1]), np.float64)
                height = float(FAR)
                for j in range(width):
                    if (bits[x, j] | gone[j]) <= bound:
                        exact = _exact_height(x, j, vectors, heads, nexts, sizes, sums, summed)
                        if exact < height or (exact == height and j == previous):
                            height, y = exact, j
        # The 1e-12 makes a height that equals alpha but for float64's rounding count as equal.
        if y < 0 or height > alpha * (1 + 1e-12):
            clusters = _finish(heads[x], nexts, labels, clusters)
            gone[x], sizes[x] = NEVER, 0
            live -= 1
            length -= 1
        elif y == previous or length == width:
            a, b = min(x, y), max(x, y)
            _refresh(y, block, gone, merged, stamps, seen, step)
            _merge(block, gone, sizes, a, b, np.float32(height), width)
            merged[step], stamps[a], seen[a] = a, step, step + 1
            nexts[tails[a]] = heads[b]
            tails[a] = tails[b]
            if summed[a] and summed[b]:
                sums[a] += sums[b]
            else:
                summed[a] = False
            step += 1
            live -= 1
            # A chain that fills the whole block would mean a circle, which float64 does not make;
            # were there one, a fresh start keeps the result a partition.
            length = length - 2 if y == previous else 0
        else:
            chain[length] = y
            length += 1
    return clusters


@njit(cache=True, nogil=True)
def _bits(value: Any) -> Any:
    """The bits of a float32 >= 0 as int32, which order as the numbers do."""
    return np.float32(value).view(np.int32)


@njit(cache=True, nogil=True)
def _least(row: Ints, gone: Ints, width: int) -> Any:
    """
    Least entry of a row among the slots that are not gone.

    Works on the bits: LLVM vectorises a minimum of integers but not one of floats (30 times here).
    """
    nearest = NEVER
    for j in range(width):
        value = np.int32(row[j] | gone[j])
        nearest = value if value < nearest else nearest  # noqa: FURB136  min() is not vectorised
    return nearest


@njit(cache=True, nogil=True)
def _near(row: Ints, gone: Ints, width: int, bound: Any) -> tuple[Any, Any]:
    """How many slots that are not gone have an entry <= *bound*, and the sum of their numbers."""
    count, total = np.int32(0), np.int32(0)
    for j in range(width):
        is_near = np.int32(row[j] | gone[j]) <= bound
        count += np.int32(1) if is_near else np.int32(0)
        total += np.int32(j) if is_near else np.int32(0)
    return count, total


@njit(cache=True, nogil=True)
def _refresh(
    x: int, block: Floats, gone: Ints, merged: Ints, stamps: Ints, seen: Ints, step: int
) -> None:
    """Bring row *x* up to date with the merges since it was last read."""
    row = block[x]
    for s in range(seen[x], step):
        j = merged[s]
        if stamps[j] == s and gone[j] == 0:
            row[j] = block[j, x]
    seen[x] = step


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _merge(
    block: Floats, gone: Ints, sizes: Floats, a: int, b: int, height: Any, width: int
) -> None:
    """
    Put the union of slots *a* and *b* into row *a* (Lance-Williams for Ward) and take *b* away.

    Column *a* is left stale: writing down a column costs a cache miss an entry, so other rows fetch
    what they need when they are next read (`_refresh`).
    """
    left, right = block[a], block[b]
    na, nb = sizes[a], sizes[b]
    gone[b] = NEVER
    sizes[b] = 0  # a slot that is gone then only averages, so stale values stay bounded
    for j in range(width):
        size = sizes[j]
        value = (na + size) * left[j] + (nb + size) * right[j] - size * height
        left[j] = (value if value > 0 else np.float32(0)) / (na + nb + size)
    left[a] = FAR
    sizes[a] = na + nb


@njit(cache=True, nogil=True)
def _pack(block: Floats, gone: Ints, sizes: Floats, heads: Ints, tails: Ints, width: int) -> int:
    """Move the live slots to the front of *block*, in order; return their number."""
    keep = np.nonzero(gone[:width] == 0)[0]
    for i in range(len(keep)):
        source, target = block[keep[i]], block[i]
        for j in range(len(keep)):
            target[j] = source[keep[j]]
        sizes[i] = sizes[keep[i]]
        heads[i] = heads[keep[i]]
        tails[i] = tails[keep[i]]
    return len(keep)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _unite_equal(
    vectors: Floats,
    members: Ints,
    block: Floats,
    slack: Any,
    sizes: Floats,
    gone: Ints,
    tails: Ints,
    nexts: Ints,
) -> int:
    """
    Start equal vectors as one cluster: they merge at height 0 before anything else.

    Returns the number of clusters that remain.
    """
    count = len(members)
    live = count
    bits = block.view(np.int32)
    for slot in range(count):
        if _least(bits[slot], gone, count) > _bits(slack):
            continue
        for other in range(slot):
            is_near = block[slot, other] <= slack and gone[other] == 0
            if is_near and _equal(vectors[members[slot]], vectors[members[other]]):
                gone[slot], sizes[slot] = NEVER, 0
                sizes[other] += 1
                nexts[tails[other]] = members[slot]
                tails[other] = members[slot]
                live -= 1
                break
    if live < count:
        for i in range(count):
            for j in range(count):
                if i != j and gone[i] == 0 and gone[j] == 0:
                    block[i, j] *= 2 * sizes[i] * sizes[j] / (sizes[i] + sizes[j])
    return live


@njit(cache=True, nogil=True)
def _equal(a: Floats, b: Floats) -> bool:
    """Whether two vectors are the same."""
    for k in range(len(a)):  # noqa: SIM110  numba compiles this form best
        if a[k] != b[k]:
            return False
    return True


@njit(cache=True, nogil=True)
def _exact_height(
    a: int,
    b: int,
    vectors: Floats,
    heads: Ints,
    nexts: Ints,
    sizes: Floats,
    sums: NDArray[np.float64],
    summed: NDArray[np.bool_],
) -> float:
    """Squared Ward height of merging slots *a* and *b*, in float64 from the vectors."""
    for place in range(2):
        slot = a if place == 0 else b
        if not summed[slot]:
            summed[slot] = True
            sums[slot] = 0
            i = heads[slot]
            while i >= 0:
                for k in range(vectors.shape[1]):
                    sums[slot, k] += vectors[i, k]
                i = nexts[i]
    na, nb = np.float64(sizes[a]), np.float64(sizes[b])
    total = 0.0
    for k in range(vectors.shape[1]):
        difference = sums[a, k] / na - sums[b, k] / nb
        total += difference * difference
    return 2 * na * nb / (na + nb) * total


@njit(cache=True, nogil=True)
def _finish(head: int, nexts: Ints, labels: Ints, clusters: int) -> int:
    """Label the points of a finished cluster; return the next free label."""
    i = head
    while i >= 0:
        labels[i] = clusters
        i = nexts[i]
    return clusters + 1


@njit(cache=True, nogil=True)
def _renumber(labels: Ints, clusters: int) -> Ints:
    """Number clusters by their first point."""
    names = np.full(clusters, -1, np.int32)
    fresh = 0
    for i in range(len(labels)):
        if names[labels[i]] < 0:
            names[labels[i]] = fresh
            fresh += 1
        labels[i] = names[labels[i]]
    return labels
