"""What a candidate source is asked, what it answers, and what it promises."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np

from candidate_service.live.segment import EMPTY, LiveSegment

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from numpy.typing import NDArray

SEED_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Stop:
    """When the asker stops waiting: whoever works longer works for nobody.

    Attributes:
        deadline: Reading of *clock* from which on the answer is no longer wanted; inf = never.
        clock: Monotonic seconds.
        cancelled: Set when the asker went away before that; shared with the stops derived from it.
    """

    deadline: float
    clock: Callable[[], float]
    cancelled: Event = field(default_factory=Event)

    @classmethod
    def never(cls) -> Self:
        """Return a stop that does not come."""
        return cls(math.inf, float)

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float]) -> Self:
        """Return a stop that comes *seconds* from now by *clock*."""
        return cls(clock() + seconds, clock)

    def expired(self) -> bool:
        """Say whether to give up now; costs well under a microsecond, ask every millisecond."""
        return self.clock() >= self.deadline or self.cancelled.is_set()

    def cancel(self) -> None:
        """Let it come now, for whoever holds this stop or a share of it."""
        self.cancelled.set()

    def remaining_seconds(self) -> float:
        """Return the seconds left, >= 0; inf when there is no end."""
        return 0.0 if self.cancelled.is_set() else max(0.0, self.deadline - self.clock())

    def share(self, ratio: float) -> Self:
        """Return a stop that comes when *ratio* of the time left is used up, ratio in (0, 1]."""
        if ratio >= 1 or math.isinf(self.deadline):
            return self
        now = self.clock()
        deadline = now + ratio * max(0.0, self.deadline - now)
        return type(self)(deadline, self.clock, self.cancelled)


@dataclass(frozen=True, slots=True)
class Segment:
    """For whom prepared lists are chosen; an empty string means unknown.

    Attributes:
        language: Language tag as the catalogue spells it, such as `en`.
        country: Country code as the catalogue spells it, such as `NL`.
        name: Further segment that the operator defined, such as an age group; chooses prepared
            lists only.
    """

    language: str = ""
    country: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class SharedMask:
    """The part of a filter that is the same for whoever uses it, so that answers can be kept.

    Attributes:
        key: Equal keys have equal masks over the catalogue's rows of one generation.
        mask: Rows for which it holds, bool[row_count], read-only.
    """

    key: Hashable
    mask: NDArray[np.bool_]


class QueryMerge(StrEnum):
    """How the neighbours of several query pins become one list."""

    ROUND_ROBIN = "round_robin"
    """In turns, each query pin with a share by its weight."""
    BEST_SCORE = "best_score"
    """By score over all query pins."""


def _no_rows() -> NDArray[np.int32]:
    return np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class CandidateQuery:
    """What to find candidates for. Arrays become read-only.

    Attributes:
        query_rows: Catalogue rows to start from, int32[q], distinct, >= 0; may be empty.
        weights: How much each of them counts, float32[q], finite and > 0.
        seed: For sources that use chance, in [0, 2**64): the same seed gives the same answer.
        segment: The viewer's language and country.
        stop: When to give up; a source that sees it expired returns what it has, or nothing.
        excluded_rows: Rows that will be dropped from every list, int32[x], ascending. A source may
            leave them out itself where that fills its list better; it need not.
        live: What has changed since the catalogue's generation; rows >= its `base_count` are pins
            that no artifact knows.
        allowed: Which rows may be proposed, bool[row_count] with the live rows; None = all. False
            = hidden, deleted, expired or filtered out. A source may use it itself where that fills
            its list better; it need not. Rows beyond its end are younger than the query.
        shared: The request's filter as part of `allowed`, for sources that remember answers; None
            without a filter. Removed pins and excluded owners are in `allowed` only.
        session_rows: What the user just acted on, int32[s], newest first, known pins only.
        declared_rows: Interests picked at sign-up, int32[k], known pins only.
        query_text: Words the user just searched for; empty = none.
        merge: How the neighbours of several query pins become one list.
        age_max_s: Only pins at most so old are wanted, seconds; None = of any age. `allowed` says
            the same row by row.
        is_local_only: Whether only pins of the viewer's segment are wanted; `allowed` says the same
            row by row.
        unwanted_rows: Query rows and excluded rows together, ascending, repeats possible.
    """

    query_rows: NDArray[np.int32]
    weights: NDArray[np.float32]
    seed: int
    segment: Segment
    stop: Stop
    excluded_rows: NDArray[np.int32] = field(default_factory=_no_rows)
    live: LiveSegment = EMPTY
    allowed: NDArray[np.bool_] | None = None
    shared: SharedMask | None = None
    session_rows: NDArray[np.int32] = field(default_factory=_no_rows)
    declared_rows: NDArray[np.int32] = field(default_factory=_no_rows)
    query_text: str = ""
    merge: QueryMerge = QueryMerge.ROUND_ROBIN
    age_max_s: float | None = None
    is_local_only: bool = False
    unwanted_rows: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        """Check the shapes and ranges.

        Raises:
            ValueError: An attribute is out of its range.
        """
        rows, weights = self.query_rows, self.weights
        if rows.dtype != np.int32 or weights.dtype != np.float32 or rows.ndim != 1:
            message = f"query_rows must be int32[q], weights float32[q]: {rows.dtype} {rows.shape}"
            raise ValueError(message)
        if rows.shape != weights.shape:
            message = f"{len(rows)} query rows but {len(weights)} weights"
            raise ValueError(message)
        if len(rows) and (rows.min() < 0 or len(set(rows.tolist())) != len(rows)):
            message = "query_rows must be distinct and >= 0"
            raise ValueError(message)
        if not all(math.isfinite(weight) and weight > 0 for weight in weights.tolist()):
            message = "weights must be finite and > 0"
            raise ValueError(message)
        if not 0 <= self.seed <= SEED_MAX:
            message = f"seed must be in [0, 2**64): {self.seed}"
            raise ValueError(message)
        if self.allowed is not None and (self.allowed.dtype != np.bool_ or self.allowed.ndim != 1):
            message = f"allowed must be bool[row_count]: {self.allowed.dtype} {self.allowed.shape}"
            raise ValueError(message)
        unwanted = np.sort(np.concatenate((rows, self.excluded_rows)))
        object.__setattr__(self, "unwanted_rows", unwanted)
        arrays = (rows, weights, self.excluded_rows, self.session_rows, self.declared_rows)
        for array in (*arrays, self.unwanted_rows, self.allowed):
            if array is not None:
                array.setflags(write=False)


@dataclass(frozen=True, slots=True)
class CandidateList:
    """One source's proposals, best first. Arrays become read-only.

    Attributes:
        source: Name of the source.
        rows: Catalogue rows, int32[n], distinct, no query row among them.
        scores: How good the source finds them, float32[n], finite, never rising; the scale is
            the source's own.
        query_indexes: Which query pin stands behind each, int32[n], position in `query_rows`;
            -1 where no query pin does (prepared lists).
    """

    source: str
    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    query_indexes: NDArray[np.int32]

    def __post_init__(self) -> None:
        """Check that the arrays belong together.

        Raises:
            ValueError: A dtype or length is wrong.
        """
        arrays = (self.rows, self.scores, self.query_indexes)
        dtypes = [array.dtype.name for array in arrays]
        if dtypes != ["int32", "float32", "int32"]:
            message = f"{self.source}: rows, scores, query_indexes have dtypes {dtypes}"
            raise ValueError(message)
        if len({array.shape for array in arrays}) != 1 or self.rows.ndim != 1:
            message = f"{self.source}: shapes differ: {[array.shape for array in arrays]}"
            raise ValueError(message)
        for array in arrays:
            array.setflags(write=False)

    @classmethod
    def empty(cls, source: str) -> Self:
        """Return the list of a source that found nothing."""
        return cls(
            source,
            np.empty(0, np.int32),
            np.empty(0, np.float32),
            np.empty(0, np.int32),
        )

    def __len__(self) -> int:
        """Return how many candidates there are."""
        return len(self.rows)


class CandidateSource(Protocol):
    """One way of finding pins that might interest this user or go with this pin."""

    @property
    def name(self) -> str:
        """What callers, metrics and the README call it: lower_snake, fixed for ever."""
        ...

    @property
    def artifacts(self) -> tuple[str, ...]:
        """Names of the generations it reads; without one of them it cannot answer."""
        ...

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Best first, at most *limit*, no pin twice, never a query pin.

        Empty if there is nothing to start from. Safe from any number of threads.

        Raises:
            NotReady: An artifact it reads has never been built.
        """
        ...


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """What a source can tell of itself, for whoever runs it.

    Attributes:
        pin_count: How many pins it can propose; 0 = not known.
        cache_hit_ratio: Share of its look-ups that were answered from memory, in [0, 1].
        sampled_recall: Share of the true nearest pins that it finds, in [0, 1], sampled from what
            it was really asked; None where nothing was sampled or it does not search.
    """

    pin_count: int = 0
    cache_hit_ratio: float = 0.0
    sampled_recall: float | None = None


@runtime_checkable
class TellsFigures(Protocol):
    """A source that knows figures of itself."""

    def figures(self) -> SourceFigures:
        """Return them as of now; NotReady while an artifact is missing."""
        ...
