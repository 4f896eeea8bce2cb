"""
Candidate lists, and the pool they are merged into: one row per pin, every source's word kept.

Everything is in parallel arrays: a request handles up to thousands of candidates, and none of them
becomes an object before the reply.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from ranking_service import pool_kernels
from ranking_service.live_pins import LivePins

RANK_OFFSET: Final = 60.0
"""Flattens the top of reciprocal rank fusion. Source: Cormack et al. 2009, k = 60."""


NEAR_RANK_MAX: Final = 50
"""Rank from which on a source that starts from a pin no longer explains a popular pin. Guess."""

LEAD_RANKS: Final = 10
"""By how much popularity must lead such a source to be the explanation. Guess."""


_NO_ROWS: Final = np.empty(0, np.int32)
_NO_SCORES: Final = np.empty(0, np.float32)


def _no_rows() -> NDArray[np.int32]:
    return _NO_ROWS


@dataclass(frozen=True, slots=True)
class SourceList:
    """
    One source's proposals, best first. Arrays become read-only.

    Attributes:
        source: Name of the source.
        rows: Catalogue rows, int32[k], distinct.
        scores: The source's own score of each, float32[k], on the source's own scale.
        query_indexes: The queried pin behind each, int32[k], position in
            `Candidates.queried_rows`; -1 where there is none.
    """

    source: str
    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    query_indexes: NDArray[np.int32]

    def __post_init__(self) -> None:
        """
        Check that the arrays belong together.

        Raises:
            ValueError: If a length differs.
        """
        if not self.rows.size == self.scores.size == self.query_indexes.size:
            raise ValueError(f"the arrays of {self.source} differ in length")
        for array in (self.rows, self.scores, self.query_indexes):
            array.setflags(write=False)


@dataclass(frozen=True, slots=True)
class Candidates:
    """
    All lists of one request and what they started from.

    Attributes:
        lists: One for each source that answered.
        queried_rows: Catalogue row of each queried pin, int32[q]; -1 = unknown to our catalogue.
        queried_ids: Their ids.
        is_medoid: Which of them are sampled medoids, bool[q].
        inclusion_probabilities: With which probability each was queried, float32[q], in (0, 1].
        missing: Source (or `candidates` for all of them) and why it did not answer.
        generations: Generation of each artifact that took part.
        live: Proposed and queried pins that are younger than our catalogue; None = none.
        unknown_ids: Pins of the question that candidate_service does not know.
        grouped_rows: Rows of proposed pins that have near-duplicates, int32[d], ascending.
        groups: The group of each, int32[d], above 0; pins of one group show the same picture.
    """

    lists: tuple[SourceList, ...]
    queried_rows: NDArray[np.int32]
    queried_ids: tuple[str, ...]
    is_medoid: NDArray[np.bool_]
    inclusion_probabilities: NDArray[np.float32]
    missing: tuple[tuple[str, str], ...] = ()
    generations: tuple[tuple[str, str], ...] = ()
    live: LivePins | None = None
    unknown_ids: tuple[str, ...] = ()
    grouped_rows: NDArray[np.int32] = field(default_factory=_no_rows)
    groups: NDArray[np.int32] = field(default_factory=_no_rows)

    def groups_of(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Near-duplicate group of each row, int32[n]; 0 = alone."""
        if not self.grouped_rows.size:
            return np.zeros(rows.size, np.int32)
        places = np.searchsorted(self.grouped_rows, rows)
        places[places == self.grouped_rows.size] = 0
        return np.where(self.grouped_rows[places] == rows, self.groups[places], np.int32(0))

    def without_live(self) -> Self:
        """The same without pins that the catalogue does not know, for use with a later one."""
        base = None if self.live is None else self.live.base_count
        if base is None:
            return self
        lists = tuple(
            SourceList(
                proposals.source,
                np.where(proposals.rows < base, proposals.rows, np.int32(-1)),
                proposals.scores,
                proposals.query_indexes,
            )
            for proposals in self.lists
        )
        queried = np.where(self.queried_rows < base, self.queried_rows, np.int32(-1))
        is_kept = self.grouped_rows < base
        return replace(
            self,
            lists=lists,
            queried_rows=queried,
            live=None,
            grouped_rows=self.grouped_rows[is_kept],
            groups=self.groups[is_kept],
        )

    @classmethod
    def none(cls) -> Self:
        """No candidates at all, for pins that the caller names himself."""
        return cls((), np.empty(0, np.int32), (), np.empty(0, np.bool_), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class Pool:
    """
    The distinct candidates of one request, in ascending order of their rows.

    Attributes:
        rows: Catalogue row of each candidate, int32[n], ascending, distinct.
        sources: Names of the s sources, in alphabetical order.
        ranks: Rank in each source's list, int32[n, s], from 0; -1 = not proposed.
        scores: The source's own score, float32[n, s]; 0 = not proposed.
        query_indexes: The queried pin behind it there, int32[n, s]; -1 = none.
        top_scores: Each source's highest score, float32[s].
        queried_rows: Catalogue row of each queried pin, int32[q].
    """

    rows: NDArray[np.int32]
    sources: tuple[str, ...]
    ranks: NDArray[np.int32]
    scores: NDArray[np.float32]
    query_indexes: NDArray[np.int32]
    top_scores: NDArray[np.float32]
    queried_rows: NDArray[np.int32]

    def __len__(self) -> int:
        """Number of candidates."""
        return self.rows.size

    def take(self, positions: NDArray[np.intp]) -> Self:
        """The candidates at these places, in this order."""
        return type(self)(
            self.rows[positions],
            self.sources,
            self.ranks[positions],
            self.scores[positions],
            self.query_indexes[positions],
            self.top_scores,
            self.queried_rows,
        )

    def is_from(self, sources: Collection[str]) -> NDArray[np.bool_]:
        """Which candidates one of these sources proposed, bool[n]."""
        columns = [place for place, name in enumerate(self.sources) if name in sources]
        return np.asarray((self.ranks[:, columns] >= 0).any(axis=1))

    def is_led_by_popularity(self) -> NDArray[np.bool_]:
        """
        Where sources without a query pin rank a candidate so high that they are why it is here.

        That is where they lead those that start from a pin by more than LEAD_RANKS, or where those
        rank it at NEAR_RANK_MAX or beyond; bool[n].
        """
        if not self.sources:
            return np.zeros(len(self), np.bool_)
        never = np.iinfo(np.int32).max // 2
        has_query = self.query_indexes >= 0
        near = np.where(has_query, self.ranks, never).min(axis=1)
        popular = np.where((self.ranks >= 0) & ~has_query, self.ranks, never).min(axis=1)
        is_ahead = (near > popular + LEAD_RANKS) | (near >= NEAR_RANK_MAX)
        return np.asarray((popular < never) & is_ahead)

    def query_behind(self) -> NDArray[np.int32]:
        """
        The queried pin that speaks best for each candidate, int32[n]; -1 where none does.

        It is the one behind the best rank among the sources that start from a pin.
        """
        return pool_kernels.query_of_best_rank(self.ranks, self.query_indexes)


def merge(candidates: Candidates, *, excluded_rows: NDArray[np.int32]) -> Pool:
    """
    Unite the lists into one row per pin; the order of the lists does not matter.

    Args:
        candidates: Lists of any length; rows below 0 (unknown to our catalogue) are dropped.
        excluded_rows: Pins to leave out, int32[e]; any order, -1 allowed.

    Returns:
        A pool of the distinct pins; empty when nothing was proposed.

    Cost: O(c log c) for c proposals, about 70 us for 1,300.
    """
    lists = sorted(candidates.lists, key=lambda proposals: proposals.source)
    starts = np.cumsum([0, *(proposals.rows.size for proposals in lists)])
    rows = np.concatenate([_NO_ROWS, *(proposals.rows for proposals in lists)])
    distinct, places = pool_kernels.distinct_rows(rows, excluded_rows)
    order = distinct.argsort()
    ranks, scores, query_indexes = pool_kernels.spread_lists(
        order.argsort()[places] if order.size else places,
        places >= 0,
        starts,
        np.concatenate([_NO_SCORES, *(proposals.scores for proposals in lists)]),
        np.concatenate([_NO_ROWS, *(proposals.query_indexes for proposals in lists)]),
        order.size,
    )
    return Pool(
        distinct[order],
        tuple(proposals.source for proposals in lists),
        ranks,
        scores,
        query_indexes,
        np.array([proposals.scores.max(initial=0.0) for proposals in lists], np.float32),
        candidates.queried_rows,
    )


def pool_of(rows: NDArray[np.int32], *, queried_rows: Sequence[int] = ()) -> Pool:
    """A pool of given pins that no source proposed; *rows* distinct, any order."""
    n = rows.size
    return Pool(
        np.sort(rows),
        (),
        np.empty((n, 0), np.int32),
        np.empty((n, 0), np.float32),
        np.empty((n, 0), np.int32),
        np.empty(0, np.float32),
        np.array(queried_rows, np.int32),
    )


def keep_most_promising(pool: Pool, scores: NDArray[np.float64], count_max: int) -> Pool:
    """
    Cut a pool to the candidates of the highest light score.

    Args:
        pool: All candidates.
        scores: Light scores, float64[n], no NaN; infinity = stays in any case, if there is room.
        count_max: How many stay. Ties keep the lower row.
    """
    if len(pool) <= count_max:
        return pool
    last = np.partition(scores, scores.size - count_max)[scores.size - count_max]
    is_kept = scores > last
    ties = np.flatnonzero(scores == last)
    is_kept[ties[: count_max - int(is_kept.sum())]] = True
    return pool.take(np.flatnonzero(is_kept))
