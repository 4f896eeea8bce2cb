"""Pins made lately: a hot pool by early engagement against expectation, and a quality pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import fresh_pool
from candidate_service.candidate import CandidateList, CandidateQuery, SourceFigures
from candidate_service.fresh_pool import ARTIFACT, DAY_US, FORMAT_VERSION, FreshPins, open_fresh
from candidate_service.live.segment import LivePin
from candidate_service.live_pools import LivePools, SaveTally, look_up
from candidate_service.pools import first_wanted
from candidate_service.source_registry import SourceContext, SourcePlugin
from service_runtime.clock import Clock, system_clock

NAME: Final = "fresh"
SAVE_STRENGTH: Final = 1.0
_LIVE_PIN: Final = np.dtype(
    [("row", np.int32), ("made_us", np.int64), ("quality", np.float32), ("is_shown", np.bool_)]
)
REORDER_S: Final = 60.0
"""Pins grow older without any change: the hot order is made anew this often."""


@dataclass(frozen=True, slots=True)
class FreshSettings:
    """What counts as fresh; the constants of the README.

    Attributes:
        age_max_us: Older pins are not fresh.
        prior: k of `fresh_pool.hotness`.
        half_life_days: Of quality in the quality pool.
        quality_min: Pins of less quality are left out; of unknown quality are not.
        quality_unknown: What counts for a pin of unknown quality.
        pin_count_max: How many live pins are kept, the newest.
        refresh_s: How old an order may be after something changed.
    """

    age_max_us: int = 7 * DAY_US
    prior: float = 2.0
    half_life_days: float = 2.0
    quality_min: float = 0.0
    quality_unknown: float = 0.5
    pin_count_max: int = 20_000
    refresh_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Orders:
    """The two pools at one moment, best first; which pins have outlived them is seen on reading.

    Attributes:
        hot: Rows of pins above expectation, int32[h], and until when they are fresh, int64[h].
        quality: All rows, int32[n], and until when.
        made_at: When, Unix seconds.
        version: Of the tally.
    """

    hot: tuple[NDArray[np.int32], NDArray[np.int64]]
    quality: tuple[NDArray[np.int32], NDArray[np.int64]]
    made_at: float
    version: int


class FreshView:
    """One generation's young pins with what was added and saved since; safe from any thread."""

    def __init__(self, pins: FreshPins, part: LivePools, settings: FreshSettings) -> None:
        """Begin where the generation ends."""
        self._pins, self._settings = pins, settings
        self._tally = SaveTally(part, as_of_us=pins.as_of_us, weigh=lambda _: SAVE_STRENGTH)
        self._changed: dict[int, tuple[int, int, float, bool]] = {}
        self._orders: _Orders | None = None
        self._lock = Lock()

    def orders(self, now: float) -> _Orders:
        """Return both pools as of *now*, Unix seconds, at most `refresh_s` behind the changes."""
        orders, settings = self._orders, self._settings
        part = self._tally.part
        if orders is not None:
            age_s = now - orders.made_at
            is_current = orders.version == len(part.marks) + len(part.pins)
            if 0 <= age_s < (REORDER_S if is_current else settings.refresh_s):
                return orders
        with self._lock:
            version = len(part.marks) + len(part.pins)
            for pin in self._tally.read_on():
                self._changed[pin.row] = _record(pin)
            self._orders = orders = self._make(now, version)
        return orders

    def _make(self, now: float, version: int) -> _Orders:
        pins, settings = self._pins, self._settings
        now_us = round(now * 1e6)
        rows, made_us, qualities, praise = self._united(now_us)
        ages_us = now_us - made_us
        until_us = made_us + settings.age_max_us
        if pins.stands_still_us is not None:
            is_of_history = made_us <= pins.stands_still_us
            ages_us = np.where(is_of_history, pins.stands_still_us - made_us, ages_us)
            until_us = np.where(is_of_history, np.iinfo(np.int64).max, until_us)
        hot = fresh_pool.hotness(praise, ages_us, pins.expected, settings.prior)
        keys = fresh_pool.quality_keys(
            qualities,
            made_us,
            unknown=settings.quality_unknown,
            half_life_days=settings.half_life_days,
        )
        by_heat = np.lexsort((rows, -hot))
        by_heat = by_heat[hot[by_heat] > 0]
        by_quality = np.lexsort((-rows, -keys))  # among equals the younger row
        return _Orders(
            (rows[by_heat], until_us[by_heat]),
            (rows[by_quality], until_us[by_quality]),
            now,
            version,
        )

    def _united(
        self, now_us: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
        """Return rows, times of making, qualities and praise of generation and live pins."""
        pins, live = self._pins, self._live(now_us)
        changed = np.fromiter(self._changed.keys(), np.int32, len(self._changed))
        kept = np.flatnonzero(~np.isin(pins.rows, changed))
        rows = np.concatenate([pins.rows[kept], live["row"]])
        praise = look_up(rows, pins.rows, pins.engagements) + look_up(rows, *self._tally.arrays())
        return (
            rows,
            np.concatenate([pins.creation_times_us[kept], live["made_us"]]),
            np.concatenate([pins.qualities[kept], live["quality"]]),
            praise.clip(0.0),
        )

    def _live(self, now_us: int) -> NDArray[Any]:
        """Return the live pins that are fresh, the newest of them, as records."""
        table = np.fromiter(self._changed.values(), _LIVE_PIN, len(self._changed))
        made_us, still_us = table["made_us"], self._pins.stands_still_us
        today_us = np.full(len(table), now_us)
        if still_us is not None:
            today_us[made_us <= still_us] = still_us
        is_fresh = table["is_shown"] & (today_us - made_us < self._settings.age_max_us)
        is_fresh &= ~(table["quality"] < self._settings.quality_min)
        table = table[is_fresh]
        newest: NDArray[Any] = table[np.argsort(-table["made_us"])[: self._settings.pin_count_max]]
        return newest


def _record(pin: LivePin) -> tuple[int, int, float, bool]:
    """Return what the pools need of a live pin."""
    is_shown = not (pin.is_removed or pin.is_hidden) and pin.creation_time_us is not None
    quality = float("nan") if pin.quality is None else pin.quality
    return pin.row, pin.creation_time_us or 0, quality, is_shown


class FreshSource:
    """Pins at most so many days old; needs no query pin.

    Source: the "hot" and "quality" pools of the segmented candidates of Related Pins (Liu et al.
    2017, section 3, and the follow-up post on fresh content of 2018).
    """

    name = NAME
    artifacts = (ARTIFACT,)

    def __init__(
        self, pins: Callable[[], FreshPins], settings: FreshSettings, *, clock: Clock
    ) -> None:
        """Remember how to get at the pins that serve now, and what counts as fresh.

        Args:
            pins: Gives the generation, or raises NotReady.
            settings: The constants.
            clock: Unix seconds, to tell who has outlived the pool.
        """
        self._pins, self._settings, self._clock = pins, settings, clock
        self._lock = Lock()
        self._view: tuple[FreshPins, LivePools, FreshView] | None = None

    def figures(self) -> SourceFigures:
        """Return how many pins it can propose."""
        return SourceFigures(pin_count=len(self._pins().rows))

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return pins of the hot and of the quality pool in turns; no query pin is behind them.

        The score is 1 / (1 + place in its pool). A pin of both pools takes its better place.
        """
        now = self._clock()
        orders = self._current(query).orders(now)
        parts = [
            _still_fresh(order, query, limit, round(now * 1e6))
            for order in (orders.hot, orders.quality)
        ]
        rows = np.concatenate(parts)
        ranks = np.concatenate([np.arange(len(part)) for part in parts])
        order = np.argsort(ranks, kind="stable")
        _, first = np.unique(rows[order], return_index=True)
        kept = order[np.sort(first)[:limit]]
        scores = (1.0 / (1.0 + ranks[kept])).astype(np.float32)
        return CandidateList(NAME, rows[kept], scores, np.full(len(kept), -1, np.int32))

    def _current(self, query: CandidateQuery) -> FreshView:
        pins, part = self._pins(), query.live.part(LivePools)
        if not part.marks and not part.pins:
            part = _NOTHING
        view = self._view
        if view is None or view[0] is not pins or view[1] is not part:
            with self._lock:
                view = self._view
                if view is None or view[0] is not pins or view[1] is not part:
                    view = pins, part, FreshView(pins, part, self._settings)
                    self._view = view
        return view[2]


_NOTHING: Final = LivePools()
"""Stands for any part that is empty yet, so that they share a view."""


def _still_fresh(
    order: tuple[NDArray[np.int32], NDArray[np.int64]],
    query: CandidateQuery,
    limit: int,
    now_us: int,
) -> NDArray[np.int32]:
    """Return the first *limit* rows of a pool that are still young and may be proposed."""
    rows, until_us = order
    if len(rows) and int(until_us.min()) <= now_us:
        rows = rows[until_us > now_us]
    return rows[first_wanted(rows, query, limit)]


def _make(context: SourceContext) -> FreshSource:
    config = context.config
    settings = FreshSettings(
        age_max_us=round(config.fresh_age_days * DAY_US),
        prior=config.fresh_prior,
        half_life_days=config.fresh_half_life_days,
        quality_min=config.fresh_quality_min,
        quality_unknown=config.fresh_quality_unknown,
        pin_count_max=config.fresh_pin_count_max,
        refresh_s=0.0 if config.fixed_time else config.pool_refresh_seconds,
    )
    pins = context.artifacts.add(ARTIFACT, FORMAT_VERSION, open_fresh)
    return FreshSource(pins, settings, clock=system_clock(config.fixed_time))


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=100, is_quick=True, live_part=LivePools)
"""A quarter of `ann`: young pins pay off later than others. Guess."""
