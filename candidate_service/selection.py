"""From found rows to a candidate list: drop, unite, order, cut; whole arrays at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candidate_service.candidate import CandidateList

UNGROUPED = -1
"""Group of a pin that no cap counts."""


@dataclass(frozen=True, slots=True)
class Cap:
    """At most so many pins of one group in a list.

    Attributes:
        groups_of: The group of each row, int64[n]; UNGROUPED where it has none.
        count_max: How many of a group may stay, >= 1.
    """

    groups_of: Callable[[NDArray[np.int32]], NDArray[np.int64]]
    count_max: int


@dataclass(frozen=True, slots=True)
class Screen:
    """What a source's list must pass before it is shown.

    Attributes:
        excluded: Rows that must not be shown, int32[m], ascending.
        row_count: Rows that the answer is told in; an artifact may know younger ones.
        allowed: Which rows may be shown, bool[n], n >= row_count or nothing beyond n; None = all.
        caps: How many of one owner or board may be shown.
    """

    excluded: NDArray[np.int32]
    row_count: int
    allowed: NDArray[np.bool_] | None = None
    caps: Sequence[Cap] = ()


def is_in(rows: NDArray[np.int32], sorted_rows: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Say which of *rows* are among *sorted_rows* (ascending), bool[n].

    Cost: O(n log m); 500 among 20,000 take about 25 us.
    """
    if not len(sorted_rows):
        return np.zeros(len(rows), np.bool_)
    at = np.searchsorted(sorted_rows, rows)
    at[at == len(sorted_rows)] = 0
    return np.asarray(sorted_rows[at] == rows)


def is_allowed(rows: NDArray[np.int32], allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Say which of *rows* (>= 0) a mask allows, bool[n]; none beyond its end, all without one."""
    if allowed is None:
        return np.ones(len(rows), np.bool_)
    if not len(rows) or int(rows.max()) < len(allowed):
        return allowed[rows]
    known = rows < len(allowed)
    found = np.zeros(len(rows), np.bool_)
    found[known] = allowed[rows[known]]
    return found


def best_of(
    source: str,
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    query_indexes: NDArray[np.int32],
    limit: int,
) -> CandidateList:
    """Unite what several query pins found: each pin once, with its best score, best first.

    Args:
        source: Who found them.
        rows: int32[n], repeats allowed.
        scores: float32[n], comparable with each other.
        query_indexes: Which query pin found each, int32[n].
        limit: How many to keep.

    Returns:
        The list; among equal scores the lower query index and then the lower row comes first.
    """
    order = np.lexsort((rows, query_indexes, -scores))
    _, first = np.unique(rows[order], return_index=True)
    kept = order[np.sort(first)[:limit]]
    return CandidateList(source, rows[kept], scores[kept], query_indexes[kept])


def screened(found: CandidateList, screen: Screen, limit: int) -> CandidateList:
    """Drop what must not be shown and what a cap leaves no room for, then cut.

    The list keeps its order; where nothing is dropped it is the same object.
    """
    dropped = is_in(found.rows, screen.excluded)
    if len(found) and int(found.rows.max()) >= screen.row_count:
        dropped |= found.rows >= screen.row_count
    if screen.allowed is not None:
        dropped |= ~is_allowed(found.rows, screen.allowed)
    if not dropped.any() and not screen.caps:
        if len(found) <= limit:
            return found
        kept = np.arange(limit)
    else:
        kept = np.flatnonzero(~dropped)
        for cap in screen.caps:
            kept = kept[is_within(cap.groups_of(found.rows[kept]), cap.count_max)]
        kept = kept[:limit]
    return CandidateList(
        found.source, found.rows[kept], found.scores[kept], found.query_indexes[kept]
    )


def is_within(groups: NDArray[np.int64], count_max: int) -> NDArray[np.bool_]:
    """Say which are among the first *count_max* of their group, bool[n]; the ungrouped all are."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    begins = np.searchsorted(ordered, ordered)
    is_early = np.empty(len(groups), np.bool_)
    is_early[order] = np.arange(len(groups)) - begins < count_max
    is_early |= groups == UNGROUPED
    return is_early
