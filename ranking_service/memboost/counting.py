"""
What was shown joined with what was done: one definition for the nightly job and the live counters.

An action that names its list belongs to that list.  One that does not belongs to the latest list
in which the same user was shown the pin before.  Either way it must come within the window after
the list was shown; what comes too early (a clock that is ahead) or too late counts nowhere.  An
impression has each type of action at most once, however often it is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

KINDS: Final = ("click", "long_click", "close_up", "save")
"""Types of action that are counted, each a bit of `acted`. Source: Liu et al. 2017, section 4.1."""


@dataclass(frozen=True, slots=True)
class Shown:
    """
    Impressions, one row a pin; parallel arrays in any order. Keys are those of `pin_keys`.

    Attributes:
        lists: Key of the list, uint64[n].
        users: Key of the user, uint64[n]; 0 = nobody known.
        queries: Key of the query pin, uint64[n]; 0 = home feed.
        pins: Key of the pin, uint64[n].
        platforms: Number of the client, uint8[n].
        positions: Where it stood, from 0, uint16[n].
        times_us: When, int64[n].
        is_random: Whether the order of the list was random, bool[n].
    """

    lists: NDArray[np.uint64]
    users: NDArray[np.uint64]
    queries: NDArray[np.uint64]
    pins: NDArray[np.uint64]
    platforms: NDArray[np.uint8]
    positions: NDArray[np.uint16]
    times_us: NDArray[np.int64]
    is_random: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of impressions."""
        return self.lists.size

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """Some of the rows."""
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Acts:
    """
    Actions, one row each; parallel arrays in any order.

    Attributes:
        lists: Key of the list that the action names, uint64[m]; 0 = none.
        users: Key of the user, uint64[m].
        pins: Key of the pin, uint64[m].
        kinds: Place in KINDS, uint8[m].
        times_us: When, int64[m].
    """

    lists: NDArray[np.uint64]
    users: NDArray[np.uint64]
    pins: NDArray[np.uint64]
    kinds: NDArray[np.uint8]
    times_us: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of actions."""
        return self.lists.size

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """Some of the rows."""
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))


Rows = TypeVar("Rows", Shown, Acts)


def concatenated(parts: Sequence[Rows], kind: type[Rows]) -> Rows:
    """Several sets of rows as one; none gives an empty one."""
    empty = kind(*(np.empty(0, dtype) for dtype in _DTYPES[kind]))
    columns = [
        np.concatenate([getattr(part, field.name) for part in (empty, *parts)])
        for field in fields(kind)
    ]
    return kind(*columns)


_DTYPES: Final[dict[type, tuple[Any, ...]]] = {
    Shown: (np.uint64,) * 4 + (np.uint8, np.uint16, np.int64, np.bool_),
    Acts: (np.uint64,) * 3 + (np.uint8, np.int64),
}


def once(shown: Shown) -> Shown:
    """Each pin of a list once, the earliest telling of it: a list may be logged twice."""
    order = np.lexsort((shown.positions, shown.times_us, shown.pins, shown.lists))
    sorted_rows = shown.take(order)
    is_first = np.ones(len(shown), np.bool_)
    is_first[1:] = (np.diff(sorted_rows.lists) != 0) | (np.diff(sorted_rows.pins) != 0)
    return sorted_rows.take(is_first)


def credit(shown: Shown, acts: Acts, *, window_us: int) -> NDArray[np.uint8]:
    """
    What was done to each impression.

    Args:
        shown: Impressions, each once.
        acts: Actions; the same one may come several times.
        window_us: How long after it was shown an action counts.

    Returns:
        uint8[n], bit i set where an action of type KINDS[i] followed.

    Cost: O((n + m) log(n + m)).
    """
    acted = np.zeros(len(shown), np.uint8)
    names_list = acts.lists != 0
    for chosen, shown_key, act_key in (
        (names_list, shown.lists, acts.lists),
        (~names_list & (acts.users != 0), shown.users, acts.users),
    ):
        own = np.flatnonzero(chosen)
        places = _latest_before(
            _mixed(shown_key, shown.pins),
            shown.times_us,
            _mixed(act_key[own], acts.pins[own]),
            acts.times_us[own],
        )
        is_near = places >= 0
        own, places = own[is_near], places[is_near]
        in_time = acts.times_us[own] - shown.times_us[places] < window_us
        bits = np.left_shift(np.uint8(1), acts.kinds[own[in_time]])
        np.bitwise_or.at(acted, places[in_time], bits)
    return acted


def _mixed(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One number for a pair of keys; 0 stays apart only by chance, as all keys do."""
    with np.errstate(over="ignore"):
        return (first * np.uint64(0x9E3779B97F4A7C15)) ^ (second + (first >> np.uint64(7)))


def _latest_before(
    keys: NDArray[np.uint64],
    times: NDArray[np.int64],
    wanted: NDArray[np.uint64],
    at: NDArray[np.int64],
) -> NDArray[np.int64]:
    """
    For each wanted key and time the place of the latest row of that key that is not later.

    Returns:
        int64[m]; -1 where there is none.
    """
    both = np.concatenate((keys, wanted))
    is_asked = np.arange(both.size) >= keys.size
    order = np.lexsort((is_asked, np.concatenate((times, at)), both))
    place = np.where(is_asked[order], -1, np.arange(both.size))
    latest = np.maximum.accumulate(place)
    source = np.where(latest >= 0, order[latest], -1)
    fits = (source >= 0) & (both[source] == both[order])
    found = np.full(wanted.size, -1, np.int64)
    asked = is_asked[order]
    found[order[asked] - keys.size] = np.where(fits, source, -1)[asked]
    return found
