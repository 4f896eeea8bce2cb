"""
What the live counters are made of, as records of a log: shown, confirmed, acted, erased.

Each process appends to a log of its own and reads those of all, so that every process counts the
same, also after a restart.  A record is one JSON object.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from ranking_service.memboost.counting import KINDS, Acts, Shown, concatenated, once
from ranking_service.memboost.table import OTHER

SHOWN: Final = "shown"
CONFIRMED: Final = "confirmed"
ACTED: Final = "acted"
ERASED: Final = "erased"


@dataclass(frozen=True, slots=True)
class ShownList:
    """
    One list that was shown; keys are those of `pin_keys`.

    Attributes:
        list_key: Of the list.
        user_key: 0 = nobody known.
        query_key: 0 = home feed.
        platform: The client; empty = not told.
        time_us: When.
        pin_keys: What, uint64[n].
        positions: Where each stood, from 0; empty = 0, 1, ….
        is_random: Whether the order was random.
    """

    list_key: int
    user_key: int
    query_key: int
    platform: str
    time_us: int
    pin_keys: NDArray[np.uint64]
    positions: Sequence[int] = ()
    is_random: bool = False


def encode_shown(shown: ShownList, *, is_confirmed: bool = False) -> bytes:
    """A list as a record; a confirmed one is what a client says that it really showed."""
    return orjson.dumps(
        {
            "kind": CONFIRMED if is_confirmed else SHOWN,
            "list": shown.list_key,
            "user": shown.user_key,
            "query": shown.query_key,
            "platform": shown.platform or OTHER,
            "time_us": shown.time_us,
            "pins": shown.pin_keys.tolist(),
            "positions": list(shown.positions) or list(range(shown.pin_keys.size)),
            "is_random": shown.is_random,
        }
    )


def encode_acts(
    user_key: int, pin_keys: NDArray[np.uint64], kinds: Sequence[str], times_us: Sequence[int]
) -> bytes:
    """What a user did, as a record; types that are not counted are left out."""
    counted = [place for place, kind in enumerate(kinds) if kind in KINDS]
    return orjson.dumps(
        {
            "kind": ACTED,
            "user": user_key,
            "pins": [int(pin_keys[place]) for place in counted],
            "kinds": [KINDS.index(kinds[place]) for place in counted],
            "times_us": [times_us[place] for place in counted],
        }
    )


def encode_erased(user_key: int, time_us: int) -> bytes:
    """A user to forget, with everything up to a time, as a record."""
    return orjson.dumps({"kind": ERASED, "user": user_key, "time_us": time_us})


@dataclass(slots=True)
class Day:
    """
    All records so far, as rows; grows by `add`.

    Attributes:
        platform_names: Clients; place 0 is OTHER.
        shown: Lists as they were answered.
        confirmed: Lists as clients say that they were shown.
        acts: What was done.
        erased: Up to when each erased user is forgotten.
        damaged_count: Records that could not be read.
    """

    platform_names: list[str] = field(default_factory=lambda: [OTHER])
    shown: Shown = field(default_factory=lambda: concatenated((), Shown))
    confirmed: Shown = field(default_factory=lambda: concatenated((), Shown))
    acts: Acts = field(default_factory=lambda: concatenated((), Acts))
    erased: dict[int, int] = field(default_factory=dict)
    damaged_count: int = 0

    def add(self, payloads: Iterable[bytes]) -> None:
        """Take records in, in any order; damaged ones are counted."""
        lists: dict[str, list[Shown]] = {SHOWN: [self.shown], CONFIRMED: [self.confirmed]}
        acts = [self.acts]
        for payload in payloads:
            try:
                record = orjson.loads(payload)
                kind = record["kind"]
                if kind in lists:
                    lists[kind].append(self._shown(record))
                elif kind == ACTED:
                    acts.append(_acts(record))
                else:
                    user, time_us = int(record["user"]), int(record["time_us"])
                    self.erased[user] = max(time_us, self.erased.get(user, 0))
            except (ValueError, KeyError, TypeError, OverflowError):
                self.damaged_count += 1
        self.shown = concatenated(lists[SHOWN], Shown)
        self.confirmed = concatenated(lists[CONFIRMED], Shown)
        self.acts = concatenated(acts, Acts)

    def forget_before(self, time_us: int) -> None:
        """Drop what was shown or done before a time: the nightly table has it."""
        self.shown = self.shown.take(self.shown.times_us >= time_us)
        self.confirmed = self.confirmed.take(self.confirmed.times_us >= time_us)
        self.acts = self.acts.take(self.acts.times_us >= time_us)

    def rows(self) -> tuple[Shown, Acts]:
        """
        What counts: confirmed lists instead of answered ones, without users that were erased.

        Impressions come once each, in any order.
        """
        return standing(self.shown, self.confirmed), self.acts

    def without_erased(self) -> None:
        """Drop the rows of erased users, up to their erasure."""
        for user, time_us in self.erased.items():
            for name in ("shown", "confirmed", "acts"):
                rows = getattr(self, name)
                kept = (rows.users != np.uint64(user)) | (rows.times_us > time_us)
                if not kept.all():
                    setattr(self, name, rows.take(kept))

    def _shown(self, record: dict[str, Any]) -> Shown:
        count = len(record["pins"])
        platform = self._platform(str(record["platform"]))
        positions = np.minimum(np.array(record["positions"], np.int64), 65_535)
        if positions.size != count:
            raise ValueError("a list has not as many positions as pins")
        return Shown(
            np.full(count, record["list"], np.uint64),
            np.full(count, record["user"], np.uint64),
            np.full(count, record["query"], np.uint64),
            np.array(record["pins"], np.uint64),
            np.full(count, platform, np.uint8),
            positions.astype(np.uint16),
            np.full(count, record["time_us"], np.int64),
            np.full(count, record["is_random"], np.bool_),
        )

    def _platform(self, name: str) -> int:
        """Number of a client; those beyond the 255th are OTHER."""
        if name not in self.platform_names:
            if len(self.platform_names) > 255:
                return 0
            self.platform_names.append(name)
        return self.platform_names.index(name)


def standing(shown: Shown, confirmed: Shown) -> Shown:
    """
    Each impression once: confirmed lists as confirmed, the others as answered.

    What a confirmation leaves open (user, query pin, platform, whether the order was random) is as
    the answer had it.
    """
    if not len(confirmed):
        return once(shown)
    rest = shown.take(~np.isin(shown.lists, confirmed.lists))
    if len(shown):
        order = np.argsort(shown.lists, kind="stable")
        places = np.searchsorted(shown.lists, confirmed.lists, sorter=order)
        answered = order[np.minimum(places, len(shown) - 1)]
        is_known = shown.lists[answered] == confirmed.lists
        confirmed = replace(
            confirmed,
            is_random=is_known & shown.is_random[answered],
            **{
                name: np.where(
                    is_known & (getattr(confirmed, name) == 0),
                    getattr(shown, name)[answered],
                    getattr(confirmed, name),
                )
                for name in ("users", "queries", "platforms")
            },
        )
    return once(concatenated((rest, confirmed), Shown))


def _acts(record: dict[str, Any]) -> Acts:
    count = len(record["pins"])
    acts = Acts(
        np.zeros(count, np.uint64),
        np.full(count, record["user"], np.uint64),
        np.array(record["pins"], np.uint64),
        np.array(record["kinds"], np.uint8),
        np.array(record["times_us"], np.int64),
    )
    if acts.kinds.size != count or acts.times_us.size != count or (acts.kinds >= len(KINDS)).any():
        raise ValueError("the actions of a record do not fit together")
    return acts
