"""
Numbers of a profile: Ward clusters, medoids, decayed importance.  Arrays in, arrays out.

All kernels release the GIL and are compiled once per machine (numba's cache).
"""

import numpy as np
from numba import njit

# Reassociation lets reductions use vector registers. Nothing here may meet NaN or infinity: callers
# hand over finite vectors, and "never" is a large finite number.
FAST = {"nnan", "ninf", "nsz", "arcp", "contract", "afn", "reassoc"}
FAR = np.float32(1e30)
NEVER = np.int32(0x7FFFFFFF)  # greater than the bits of any distance
EPSILON = 1.2e-7  # spacing of float32 at 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def ward_labels(vectors, gram, alpha):  # type: ignore[no-untyped-def]
    """
    Cut the Ward dendrogram at squared height *alpha* and name each point's cluster.

    Float32 is a filter, float64 is the judge: a comparison whose outcome lies within the rounding
    error of float32 (nearest neighbours that nearly tie, a height next to alpha) is decided from the
    cluster sums in float64, so the partition is that of float64 Ward.

    A cluster whose nearest neighbour is farther than alpha is finished at once: by reducibility no
    later merge comes nearer. For the same reason points fall apart into the connected components of
    "squared distance <= alpha" before any merging, and each component is clustered alone.

    Args:
        vectors: Points, float32[n, d], finite.
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
    slack = scale * np.float32(EPSILON) * (np.float32(8) + np.float32(vectors.shape[1]) / 32)
    queue = np.empty(n, np.int32)
    unvisited = squares.copy()
    done = 0
    clusters = 0
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
        clusters = _ward_component(
            vectors, gram, squares, members, block, alpha, slack, labels, clusters
        )
    return _renumber(labels, clusters), clusters


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _component(start, gram, squares, unvisited, limit, queue):  # type: ignore[no-untyped-def]
    """Collect into *queue* all points linked to *start* by squared distances <= *limit*; count them."""
    n = len(squares)
    queue[0] = start
    unvisited[start] = FAR
    head, tail = 0, 1
    while head < tail and tail < len(queue):
        i = queue[head]
        head += 1
        row = gram[i]
        bound = limit - squares[i]
        for low in range(0, n, 512):
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
def _fill_block(gram, squares, members, block):  # type: ignore[no-untyped-def]
    """Write the squared distances among *members* into *block*; *block* may be *gram*, if all are."""
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
def _unite_equal(vectors, members, bits, block, slack, gone, sizes, tails, nexts):  # type: ignore[no-untyped-def]
    """
    Start equal vectors as one cluster: they merge at height 0 before anything else.

    Returns the number of clusters that remain.
    """
    count = len(members)
    live = count
    limit = _bits(slack)
    for slot in range(count):
        nearest = _least(bits[slot], gone, count)
        if nearest > limit:
            continue
        for other in range(slot):
            if block[slot, other] <= slack and gone[other] == 0:
                if _equal(vectors[members[slot]], vectors[members[other]]):
                    gone[slot] = NEVER
                    sizes[slot] = 0
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
def _equal(a, b):  # type: ignore[no-untyped-def]
    """Whether two vectors are the same."""
    for k in range(len(a)):
        if a[k] != b[k]:
            return False
    return True


@njit(cache=True, nogil=True)
def _bits(value):  # type: ignore[no-untyped-def]
    """The bits of a float32 >= 0 as int32, which order as the numbers do."""
    return np.float32(value).view(np.int32)


@njit(cache=True, nogil=True)
def _least(row, gone, width):  # type: ignore[no-untyped-def]
    """
    Least entry of a row among the slots that are not gone.

    Works on the bits: LLVM vectorises a minimum of integers but not one of floats (30 times here).
    """
    nearest = NEVER
    for j in range(width):
        value = np.int32(row[j] | gone[j])
        nearest = value if value < nearest else nearest
    return nearest


@njit(cache=True, nogil=True)
def _first_and_last(row, gone, width, bound):  # type: ignore[no-untyped-def]
    """First and last slot whose entry is <= *bound*; one of them exists."""
    first, last = -1, -1
    for low in range(0, width, 128):
        # Slices, not ranges from low on: numba would guard each access against negative indices.
        left, right = row[low : min(low + 128, width)], gone[low : min(low + 128, width)]
        near = np.int32(0)
        for j in range(len(left)):
            near += np.int32(1) if np.int32(left[j] | right[j]) <= bound else np.int32(0)
        if near == 0:
            continue
        for j in range(len(left)):
            if (left[j] | right[j]) <= bound:
                first = low + j if first < 0 else first
                last = low + j
    return first, last


@njit(cache=True, nogil=True)
def _refresh(x, block, gone, merged, stamps, seen, step):  # type: ignore[no-untyped-def]
    """Bring row *x* up to date with the merges since it was last read."""
    row = block[x]
    for s in range(seen[x], step):
        j = merged[s]
        if stamps[j] == s and gone[j] == 0:
            row[j] = block[j, x]
    seen[x] = step


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _ward_component(vectors, gram, squares, members, block, alpha, slack, labels, clusters):  # type: ignore[no-untyped-def]
    """
    Nearest-neighbour chain over one component; writes labels from *clusters* on, returns the next.

    Clusters stand in the leading slots of *block*. Merged and finished ones are marked in *gone*, so
    that no column has to be overwritten, and the block is packed when a third of it is gone.
    """
    width = len(members)
    _fill_block(gram, squares, members, block)
    bits = block.view(np.int32)
    heads, tails = members.copy(), members.copy()
    nexts = np.full(len(labels), -1, np.int32)
    sizes = np.ones(width, np.float32)
    gone = np.zeros(width, np.int32)
    live = _unite_equal(vectors, members, bits, block, slack, gone, sizes, tails, nexts)
    chain = np.empty(width + 1, np.int32)
    sums = np.empty((0, vectors.shape[1]), np.float64)
    summed = np.zeros(width, np.bool_)
    merged = np.empty(width, np.int32)
    stamps = np.full(width, -1, np.int32)
    seen = np.zeros(width, np.int32)
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
        margin = slack + np.float32(EPSILON) * (2 * sizes[x] + 32 * nearest)
        y = -1
        height = np.float64(nearest)
        if nearest <= np.float32(alpha) + margin:
            bound = _bits(nearest + margin)
            first, last = _first_and_last(bits[x], gone, width, bound)
            y = first
            if first != last or nearest >= np.float32(alpha) - margin:
                if len(sums) == 0:
                    sums = np.empty((len(members), vectors.shape[1]), np.float64)
                height = np.float64(FAR)
                for j in range(first, last + 1):
                    if (bits[x, j] | gone[j]) <= bound:
                        exact = _exact_height(x, j, vectors, heads, nexts, sizes, sums, summed)
                        if exact < height or (exact == height and j == previous):
                            height, y = exact, j
        # The relative 1e-12 makes a height that equals alpha but for float64 rounding count as equal.
        if y < 0 or height > alpha * (1 + 1e-12):
            clusters = _finish(heads[x], nexts, labels, clusters)
            gone[x] = NEVER
            sizes[x] = 0
            live -= 1
            length -= 1
        elif y == previous or length == width:
            # A full chain cannot happen in exact arithmetic; merging its last link keeps it finite.
            a, b = min(x, previous), max(x, previous)
            _refresh(previous, block, gone, merged, stamps, seen, step)
            _merge(block, gone, sizes, a, b, np.float32(height), width)
            merged[step], stamps[a], seen[a] = a, step, step + 1
            step += 1
            nexts[tails[a]] = heads[b]
            tails[a] = tails[b]
            if summed[a] and summed[b]:
                sums[a] += sums[b]
            else:
                summed[a] = False
            live -= 1
            length -= 2
        else:
            chain[length] = y
            length += 1
    return clusters


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _merge(block, gone, sizes, a, b, height, width):  # type: ignore[no-untyped-def]
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
def _pack(block, gone, sizes, heads, tails, width):  # type: ignore[no-untyped-def]
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


@njit(cache=True, nogil=True)
def _sum_members(slot, vectors, heads, nexts, sums, summed):  # type: ignore[no-untyped-def]
    """Make sure that *sums* holds the sum of the slot's vectors."""
    if summed[slot]:
        return
    summed[slot] = True
    sums[slot] = 0
    i = heads[slot]
    while i >= 0:
        for k in range(vectors.shape[1]):
            sums[slot, k] += vectors[i, k]
        i = nexts[i]


@njit(cache=True, nogil=True)
def _exact_height(a, b, vectors, heads, nexts, sizes, sums, summed):  # type: ignore[no-untyped-def]
    """Squared Ward height of merging slots *a* and *b*, in float64 from the vectors."""
    _sum_members(a, vectors, heads, nexts, sums, summed)
    _sum_members(b, vectors, heads, nexts, sums, summed)
    na, nb = np.float64(sizes[a]), np.float64(sizes[b])
    total = 0.0
    for k in range(vectors.shape[1]):
        difference = sums[a, k] / na - sums[b, k] / nb
        total += difference * difference
    return 2 * na * nb / (na + nb) * total


@njit(cache=True, nogil=True)
def _finish(head, nexts, labels, clusters):  # type: ignore[no-untyped-def]
    """Label the points of a finished cluster; return the next free label."""
    i = head
    while i >= 0:
        labels[i] = clusters
        i = nexts[i]
    return clusters + 1


@njit(cache=True, nogil=True)
def _renumber(labels, clusters):  # type: ignore[no-untyped-def]
    """Number clusters by their first point."""
    names = np.full(clusters, -1, np.int32)
    fresh = 0
    for i in range(len(labels)):
        if names[labels[i]] < 0:
            names[labels[i]] = fresh
            fresh += 1
        labels[i] = names[labels[i]]
    return labels


@njit(cache=True, nogil=True)
def medoids(vectors, labels, cluster_count):  # type: ignore[no-untyped-def]
    """
    Find the member of each cluster with the least sum of squared distances to the others.

    That member is the one nearest to the centroid, so no pairwise distance is needed.

    Args:
        vectors: Points, float32[n, d].
        labels: Cluster of each point, int32[n], each in [0, cluster_count) and each used.
        cluster_count: Number of clusters.

    Returns:
        int32[cluster_count]; the first of equals.

    Cost: O(n d).
    Source: Pal et al. 2020, Eq. 2.
    """
    n, d = vectors.shape
    centroids = np.zeros((cluster_count, d), np.float64)
    sizes = np.zeros(cluster_count, np.float64)
    for i in range(n):
        sizes[labels[i]] += 1
        for k in range(d):
            centroids[labels[i], k] += vectors[i, k]
    best = np.full(cluster_count, np.inf)
    found = np.full(cluster_count, -1, np.int32)
    for i in range(n):
        label = labels[i]
        square = 0.0
        dot = 0.0
        for k in range(d):
            square += np.float64(vectors[i, k]) * vectors[i, k]
            dot += vectors[i, k] * centroids[label, k]
        # ||v - c/s||^2 * s  =  s v.v - 2 v.c + constant
        distance = sizes[label] * square - 2 * dot
        # Equal vectors must stay equal here: the first of them is taken.
        if distance < best[label]:
            best[label] = distance
            found[label] = i
    return found


@njit(cache=True, nogil=True)
def importances(times, strengths, labels, cluster_count, now, decay_per_day):  # type: ignore[no-untyped-def]
    """
    Sum strength * exp(-decay * age in days) of the actions in each cluster.

    Args:
        times: When each action happened, float64[n], Unix seconds. Later than *now* counts as now.
        strengths: How much each action says, float32[n], >= 0.
        labels: Cluster of each action, int32[n].
        cluster_count: Number of clusters.
        now: Unix seconds.
        decay_per_day: Lambda, >= 0; 0 counts actions without regard to age.

    Returns:
        float64[cluster_count], each >= 0; a cluster without actions has 0.

    Cost: O(n).
    Source: Pal et al. 2020, Eq. 3; the weight by strength is ours.
    """
    total = np.zeros(cluster_count, np.float64)
    for i in range(len(times)):
        age_days = max(0.0, now - times[i]) / 86400.0
        total[labels[i]] += strengths[i] * np.exp(-decay_per_day * age_days)
    return total
