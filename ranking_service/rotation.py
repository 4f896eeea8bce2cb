"""Rotation: pins that a user was shown lately are held back, the less the longer ago it was."""

from collections import OrderedDict
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

LIST_COUNT_MAX: Final = 100
"""Answers of one user that are kept in mind."""

FLOOR: Final = 1e-6
"""A pin shown this very moment keeps so much of its odds at a rate of 1."""


class ShownLately:
    """
    What users were shown lately, by this process; safe from all threads.

    Args:
        user_count_max: Users kept in mind; the one that was shown nothing for longest goes first.
    """

    def __init__(self, user_count_max: int) -> None:
        self._user_count_max = user_count_max
        self._lock = Lock()
        self._users: OrderedDict[str, list[tuple[float, NDArray[np.uint64]]]] = OrderedDict()

    def note(self, user_id: str, keys: NDArray[np.uint64], time: float) -> None:
        """A user was shown pins."""
        if not user_id or not self._user_count_max:
            return
        with self._lock:
            lists = self._users.setdefault(user_id, [])
            lists.append((time, keys))
            del lists[:-LIST_COUNT_MAX]
            self._users.move_to_end(user_id)
            while len(self._users) > self._user_count_max:
                self._users.popitem(last=False)

    def of(self, user_id: str, since: float) -> list[tuple[float, NDArray[np.uint64]]]:
        """When a user was shown what, since a time."""
        with self._lock:
            return [shown for shown in self._users.get(user_id, ()) if shown[0] >= since]

    def forget(self, user_id: str) -> int:
        """Forget a user; returns how many lists that were."""
        with self._lock:
            return len(self._users.pop(user_id, ()))


def held_back(
    keys: NDArray[np.uint64],
    shown: list[tuple[float, NDArray[np.uint64]]],
    *,
    rate: float,
    seconds: float,
    now: float,
) -> NDArray[np.float64]:
    """
    What rotation adds to each logit: log(1 - rate * (1 - age / seconds)), at most 0.

    So the odds of a pin shown this moment are multiplied by 1 - rate, and come back in a straight
    line.

    Args:
        keys: Of the candidates, uint64[n].
        shown: When what was shown.
        rate: In [0, 1].
        seconds: After so long nothing is held back.
        now: Unix seconds.

    Returns:
        float64[n], in [log FLOOR, 0].
    """
    every = np.concatenate([np.empty(0, np.uint64), *(shown_keys for _, shown_keys in shown)])
    if not every.size or seconds <= 0:
        return np.zeros(keys.size)
    times = np.repeat([time for time, _ in shown], [some.size for _, some in shown])
    order = np.lexsort((times, every))
    is_newest = np.append(np.diff(every[order]) != 0, True)
    newest = order[is_newest]
    places = np.minimum(np.searchsorted(every[newest], keys), newest.size - 1)
    share = np.clip(1.0 - (now - times[newest[places]]) / seconds, 0.0, 1.0)
    left = np.where(every[newest[places]] == keys, share, 0.0)
    return np.log(np.maximum(1.0 - rate * left, FLOOR))
