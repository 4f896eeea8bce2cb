"""How much of the truth a search finds: recall against a full scan, and the least effort for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SCAN_ROWS: Final = 65_536
_EFFORTS: Final = (32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024)
_ROUNDING: Final = np.float32(1e-6)
"""Sums in another order than the search takes them."""


def kth_best(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    queries: NDArray[np.float32],
    depth: int,
) -> NDArray[np.float32]:
    """Return the cosine that a pin needs to be among the *depth* nearest, float32[q].

    Recall is counted by cosine, not by id: pins that live on the same boards have equal vectors,
    and any of them is as right as the other.

    Args:
        vectors: float32[n, d] by row.
        rows: Those that can be found, int32[m], m >= depth.
        queries: float32[q, d].
        depth: Length of the lists, >= 1.

    Cost: O(m d q).
    """
    best = np.full((len(queries), depth), -np.inf, np.float32)
    for start in range(0, len(rows), _SCAN_ROWS):
        cosines = queries @ vectors[rows[start : start + _SCAN_ROWS]].T
        merged = np.concatenate([best, cosines], axis=1)
        best = -np.partition(-merged, depth - 1, axis=1)[:, :depth]
    return np.asarray(best.min(axis=1) - _ROUNDING)


def recall_of(
    found: Sequence[NDArray[np.float32]], bounds: NDArray[np.float32], depth: int
) -> float:
    """Return the share of the true neighbours that lists of cosines hold, in [0, 1]."""
    hits = sum(int((one[:depth] >= bound).sum()) for one, bound in zip(found, bounds, strict=True))
    return hits / max(1, depth * len(bounds))


def recall_against(found: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the share of the true list's cosines that a found one holds, in [0, 1].

    Args:
        found: Cosines, float32[n].
        truth: The best there are, float32[m], best first; empty: there is nothing to find.
    """
    if not len(truth):
        return 1.0
    return min(1.0, int((found >= truth[-1] - _ROUNDING).sum()) / len(truth))


def least_effort(found_at: Callable[[int], float], depth: int, target: float) -> tuple[int, float]:
    """Return the least search effort that reaches the target recall, or the greatest there is.

    Args:
        found_at: Recall at an effort.
        depth: Length of the lists; an effort below half of it is not tried.
        target: Recall to reach.
    """
    effort, recall = 0, 0.0
    for effort in _EFFORTS:
        if effort < depth / 2:
            continue
        recall = found_at(effort)
        if recall >= target:
            break
    return effort, recall
