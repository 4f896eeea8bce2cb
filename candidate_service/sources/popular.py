"""What most people like lately: prepared lists, for everyone and for each segment, kept up to date.

Never empty while there is a pin that may be shown: behind the lists come the live pins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.candidate import CandidateList, CandidateQuery, Segment, SourceFigures
from candidate_service.live.segment import LivePin, LiveSegment
from candidate_service.live_pools import LivePools, PinFacts, SaveTally, look_up
from candidate_service.pools import (
    EVERYONE,
    PreparedList,
    country_key,
    first_wanted,
    keys_of,
    language_key,
    read_lists,
    write_lists,
)
from candidate_service.selection import is_in
from candidate_service.source_registry import SourceContext, SourcePlugin
from service_runtime.generations import Generation

__all__ = [
    "ARTIFACT",
    "EVERYONE",
    "FORMAT_VERSION",
    "NAME",
    "PLUGIN",
    "PopularLists",
    "PopularSource",
    "country_key",
    "language_key",
    "open_lists",
    "write_lists",
]

NAME: Final = "popular"
ARTIFACT: Final = "popular"
FORMAT_VERSION: Final = 1
DAY_US: Final = 86_400_000_000

LIVE_PIN_COUNT: Final = 2500
"""So many of the most saved live pins, and of the newest, join a list; as long as the lists are."""

_REMEMBERED_MAX: Final = 1000
_HINT: Final = "build it again: python -m candidate_service.jobs.build_popular"


@dataclass(frozen=True, slots=True)
class Refresh:
    """How far live lists may lag behind the changes.

    Attributes:
        seconds: So long a list is used without looking for changes.
        clock: Seconds that only grow.
    """

    seconds: float = 0.0
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True, eq=False)
class Graded:
    """Pins for one viewer, best first.

    Attributes:
        rows: int32[n], distinct.
        fits: In how many ways each fits the viewer (language, country, named segment), int64[n].
        scores: Fits plus popularity in [0, 1], float32[n].
    """

    rows: NDArray[np.int32]
    fits: NDArray[np.int64]
    scores: NDArray[np.float32]


def graded(
    rows: NDArray[np.int32], fits: NDArray[np.int64], popularity: NDArray[np.float32]
) -> Graded:
    """Order pins by fit, then by popularity; among equals the one met first."""
    scores = (popularity + fits).astype(np.float32)
    order = np.lexsort((np.arange(len(rows)), -scores, -fits))
    return Graded(rows[order], fits[order], scores[order])


class PopularLists:
    """The prepared lists of one generation; read-only, safe from any number of threads.

    Attributes:
        keys: Of the lists.
        as_of_us: Facts before are in the lists.
    """

    def __init__(
        self,
        lists: Mapping[str, PreparedList],
        *,
        as_of_us: int = 0,
        anchor_us: int = 0,
        half_life_days: float = 14.0,
        recent_max: float = 1.0,
        segment_attribute: str = "",
    ) -> None:
        """Take the lists by key.

        Args:
            lists: Rows int32[n] and scores float32[n] in [0, 1], best first; one for EVERYONE.
            as_of_us: See above.
            anchor_us: The moment at which a save counts 1.
            half_life_days: A save that is so much older counts half.
            recent_max: The faded sum that the score 1 stands for.
            segment_attribute: Which attribute of pins names their segment; "" = none.
        """
        self._lists = dict(lists)
        self.keys = frozenset(lists) - {EVERYONE}
        self.as_of_us = as_of_us
        self.recent_max = recent_max
        self.segment_attribute = segment_attribute
        self._anchor_us, self._half_life_us = anchor_us, half_life_days * DAY_US
        self._made: dict[tuple[str, ...], Graded] = {}
        self._lock = Lock()
        rows = np.concatenate([part[0] for part in self._lists.values()])
        self._rows, first = np.unique(rows, return_index=True)
        self._scores = np.concatenate([part[1] for part in self._lists.values()])[first]

    @property
    def pin_count(self) -> int:
        """How many pins are in any list."""
        return len(self._rows)

    @property
    def local_pin_count(self) -> int:
        """How many pins are in the list of a segment."""
        rows = [rows for key, (rows, _) in self._lists.items() if key != EVERYONE]
        return len(np.unique(np.concatenate([np.empty(0, np.int32), *rows])))

    def weigh(self, time_us: int) -> float:
        """Return how much a save of that time counts beside those in the lists."""
        exponent = (time_us - self._anchor_us) / self._half_life_us
        return float(2.0 ** min(60.0, exponent))

    def recents(self, rows: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the faded sums of pins, float64[n]; 0 for those in no list."""
        scores = look_up(rows, self._rows, self._scores)
        return (2.0 * scores - 1.0).clip(0.0) * self.recent_max

    def graded_for(self, segment: Segment) -> Graded:
        """Return the list of a viewer: what fits in all ways, what fits in some, the rest."""
        keys = tuple(key for key in keys_of(segment) if key in self.keys)
        found = self._made.get(keys)
        if found is None:
            found = graded(*self.parts(keys))
            with self._lock:
                if len(self._made) >= _REMEMBERED_MAX:
                    self._made.clear()
                self._made[keys] = found
        return found

    def best_for(self, segment: Segment) -> PreparedList:
        """Return the list of a viewer, rows and scores; see `graded_for`."""
        found = self.graded_for(segment)
        return found.rows, found.scores

    def parts(
        self, keys: Sequence[str]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
        """Unite the lists of some keys with everyone's: rows, ways in which each fits, popularity.

        Rows come in the order in which they are first met, which decides among equals.
        """
        parts = [*(self._lists[key] for key in keys), self._lists[EVERYONE]]
        rows = np.concatenate([part[0] for part in parts])
        scores = np.concatenate([part[1] for part in parts])
        local_count = len(rows) - len(parts[-1][0])
        unique, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
        fits = np.bincount(inverse[:local_count], minlength=len(unique))
        order = np.argsort(first)
        return unique[order].astype(np.int32), fits[order], scores[first[order]]


class LivePopular:
    """One generation's lists as the saves since have changed them; safe from any thread."""

    def __init__(self, lists: PopularLists, part: LivePools, refresh: Refresh) -> None:
        """Begin where the generation ends."""
        self._base, self._refresh = lists, refresh
        self._tally = SaveTally(part, as_of_us=lists.as_of_us, weigh=lists.weigh)
        self._young: dict[int, int] = {}
        self._keys: dict[int, frozenset[str]] = {}
        self._made: dict[tuple[str, ...], tuple[float, int, Graded]] = {}
        self._lock = Lock()

    def best_for(self, segment: Segment) -> PreparedList:
        """Return the list of a viewer, rows and scores; see `graded_for`."""
        found = self.graded_for(segment)
        return found.rows, found.scores

    def graded_for(self, segment: Segment) -> Graded:
        """Return the list of a viewer as `PopularLists.graded_for`, with live saves and pins."""
        keys, now = keys_of(segment), self._refresh.clock()
        made = self._made.get(keys)
        if made is not None and now - made[0] < self._refresh.seconds:
            return made[2]
        with self._lock:
            for pin in self._tally.read_on():
                self._take(pin)
            made = self._made.get(keys)
            if made is None or made[1] != self._tally.version:
                made = now, self._tally.version, self._make(keys)
                if len(self._made) >= _REMEMBERED_MAX:
                    self._made.clear()
                self._made[keys] = made
        return made[2]

    def _take(self, pin: LivePin) -> None:
        self._keys.pop(pin.row, None)
        if pin.is_new:
            self._young[pin.row] = pin.creation_time_us or 0

    def _make(self, keys: tuple[str, ...]) -> Graded:
        base = self._base
        rows, fits, popularity = base.parts([key for key in keys if key in base.keys])
        live_rows, weights = self._tally.arrays()
        sums = (base.recents(live_rows) + weights).clip(0.0)
        top = max(base.recent_max, float(sums.max(initial=0.0)))
        scale = base.recent_max / top
        popularity = np.where(popularity > 0.5, 0.5 + (popularity - 0.5) * scale, popularity)
        chosen = np.isin(live_rows, rows)
        chosen[np.argsort(-sums, kind="stable")[:LIVE_PIN_COUNT]] = True
        overlay, sums = live_rows[chosen], sums[chosen]
        young = self._newest(set(overlay.tolist()))
        overlay = np.concatenate([overlay, young])
        live = np.zeros(len(overlay))
        live[: len(sums)] = np.where(sums > 0, 0.5 + 0.5 * sums / top, 0.0)
        live_fits = np.array([self._fits(row, keys) for row in overlay.tolist()], np.int64)
        kept = np.flatnonzero(~np.isin(rows, overlay))
        return graded(
            np.concatenate([rows[kept], overlay]),
            np.concatenate([fits[kept], live_fits]),
            np.concatenate([popularity[kept], live]).astype(np.float32),
        )

    def _newest(self, known: set[int]) -> NDArray[np.int32]:
        """Return live pins that nobody saved yet, the newest first, of those that came last."""
        last = islice(reversed(self._young.items()), LIVE_PIN_COUNT)
        found = sorted((-made_us, row) for row, made_us in last if row not in known)
        return np.array([row for _, row in found], np.int32)

    def _fits(self, row: int, keys: tuple[str, ...]) -> int:
        known = self._keys.get(row)
        if known is None:
            facts = self._tally.part.facts.get(row, PinFacts())
            known = frozenset(facts.keys(self._base.segment_attribute))
            self._keys[row] = known
        return sum(key in known for key in keys)


class LiveViews:
    """The live lists of the generation and segment that serve now; safe from any thread."""

    def __init__(self, refresh: Refresh) -> None:
        """Begin without any."""
        self._refresh = refresh
        self._lock = Lock()
        self._of: tuple[PopularLists, LivePools, LivePopular] | None = None

    def of(self, lists: PopularLists, live: LiveSegment) -> LivePopular | PopularLists:
        """Return the lists with what *live* adds to them."""
        part = live.part(LivePools)
        if not part.marks and not part.pins:
            return lists
        with self._lock:
            known = self._of
            if known is None or known[0] is not lists or known[1] is not part:
                known = lists, part, LivePopular(lists, part, self._refresh)
                self._of = known
        return known[2]


def open_lists(generation: Generation) -> PopularLists:
    """Load a generation; some megabytes at the most.

    Raises:
        Corrupted: Its arrays do not fit each other.
    """
    details = generation.manifest.details
    return PopularLists(
        read_lists(generation, hint=_HINT),
        as_of_us=generation.manifest.as_of_us,
        anchor_us=int(details.get("anchor_time_us", generation.manifest.as_of_us)),
        half_life_days=float(details.get("half_life_days", 14.0)),
        recent_max=float(details.get("recent_max", 1.0)),
        segment_attribute=str(details.get("segment_attribute", "")),
    )


class PopularSource:
    """Prepared lists by segment; needs no query pin, and is never empty while there are pins."""

    name = NAME
    artifacts = (ARTIFACT,)

    def __init__(self, lists: Callable[[], PopularLists], refresh: Refresh | None = None) -> None:
        """Remember how to get at the lists that serve now, and how far they may lag behind."""
        self._lists = lists
        self._views = LiveViews(refresh or Refresh())

    def figures(self) -> SourceFigures:
        """Return how many pins it can propose."""
        return SourceFigures(pin_count=self._lists().pin_count)

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return the most popular pins for the viewer's segment; no query pin is behind them."""
        rows, scores = self._views.of(self._lists(), query.live).best_for(query.segment)
        kept = first_wanted(rows, query, limit)
        rows, scores = rows[kept], scores[kept]
        if len(rows) < limit and query.allowed is not None:
            others = _other_pins(rows, query, limit - len(rows))
            rows = np.concatenate([rows, others])
            scores = np.concatenate([scores, np.zeros(len(others), np.float32)])
        return CandidateList(NAME, rows, scores, np.full(len(rows), -1, np.int32))


def _other_pins(found: NDArray[np.int32], query: CandidateQuery, missing: int) -> NDArray[np.int32]:
    """Return pins that no list has and that may be shown, the youngest rows first.

    A narrow filter can leave nothing of lists that were cut; then any pin that it lets through is
    better than none. Cost: one pass over the mask, only where a list came out short.
    """
    assert query.allowed is not None
    rows = np.flatnonzero(query.allowed)[::-1].astype(np.int32)
    rows = rows[~is_in(rows, np.sort(found))] if len(found) else rows
    return rows[first_wanted(rows, query, missing)]


def _make(context: SourceContext) -> PopularSource:
    lists = context.artifacts.add(ARTIFACT, FORMAT_VERSION, open_lists)
    return PopularSource(lists, Refresh(context.config.pool_refresh_seconds))


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=100, is_quick=True, live_part=LivePools)
"""A page for who has no profile. Guess."""
