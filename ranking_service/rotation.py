"""Rotation: pins that a user was shown lately are held back, the less the longer ago it was."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.small_files import SmallFiles, replace_content
from service_runtime.errors import Exhausted
from service_runtime.telemetry import Metrics, logger

SHOWN_COUNT_MAX: Final = 5000
"""Shown pins of one user that are kept in mind, 16 bytes each: 100 answers of 50. A file is cut to
them when it has twice as many, so that most answers only append."""

FLOOR: Final = 1e-6
"""A pin shown this very moment keeps so much of its odds at a rate of 1."""

_SHOWN: Final = np.dtype([("time", "<f8"), ("key", "<u8")])

_log = logger("ranking_service.rotation")


class ShownLately:
    """
    What users were shown lately, by all processes that share the folder; safe from all threads.

    A user is a small file below `live/shown_lately`, so that whichever process or replica answers
    next knows what the one before showed, also after a restart.  Files that cannot be read or
    written cost rotation, never an answer.

    Args:
        folder: Where the files are.
        lifetime: Seconds for which a user who is shown nothing is kept in mind.
        user_count_max: Users kept in mind; the one that was shown nothing for longest goes first.
            0 = none.
        clock: Unix seconds.
        metrics: Gets `rotation_lists_dropped_total`.
    """

    artifact = "shown_lately"

    def __init__(
        self,
        folder: Path,
        lifetime: float,
        user_count_max: int,
        *,
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        hint = "free disk space, or set rotation_user_count_max to 0"
        self._files = SmallFiles(folder, lifetime, clock, hint=hint, count_max=user_count_max)
        self._is_on = user_count_max > 0
        self._dropped = metrics.counter(
            "rotation_lists_dropped", "Answers that rotation could not keep or read."
        )

    def note(self, user_id: str, keys: NDArray[np.uint64], time: float) -> None:
        """A user was shown pins."""
        if not user_id or not self._is_on or not keys.size:
            return
        shown = np.empty(keys.size, _SHOWN)
        shown["time"], shown["key"] = time, keys
        try:
            with self._files.locked(user_id) as file:
                size = os.fstat(file).st_size
                if size % _SHOWN.itemsize or size >= 2 * SHOWN_COUNT_MAX * _SHOWN.itemsize:
                    kept = np.concatenate((_read(file), shown))[-SHOWN_COUNT_MAX:]
                    replace_content(file, kept.tobytes(), time)
                else:
                    os.pwrite(file, shown.tobytes(), size)
                    os.utime(file, (time, time))
        except Exhausted as fault:
            self._drop(fault)

    def of(self, user_id: str, since: float) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
        """When a user was shown what, since a time, oldest first: float64[n], uint64[n]."""
        shown = np.empty(0, _SHOWN)
        if user_id and self._files.path(user_id).exists():
            try:
                with self._files.locked(user_id) as file:
                    shown = _read(file)
            except Exhausted as fault:
                self._drop(fault)
        shown = shown[shown["time"] >= since]
        return shown["time"].astype(np.float64), shown["key"].astype(np.uint64)

    def count(self, user_id: str) -> int:
        """How many shown pins of a user are kept in mind."""
        return self.of(user_id, -np.inf)[0].size

    def forget(self, user_id: str) -> int:
        """Forget a user; returns how many shown pins that were."""
        count = self.count(user_id)
        self._files.path(user_id).unlink(missing_ok=True)
        return count

    def poll(self) -> bool:
        """Forget users who were shown nothing lately; returns whether there were any."""
        return self._files.poll()

    def _drop(self, fault: Exhausted) -> None:
        self._dropped.inc()
        _log.warning("rotation.dropped", reason=str(fault))


def _read(file: int) -> NDArray[np.void]:
    """The newest that an open file says; a torn end is left out."""
    content = os.pread(file, os.fstat(file).st_size, 0)
    whole = len(content) - len(content) % _SHOWN.itemsize
    return np.frombuffer(content[:whole], _SHOWN)[-SHOWN_COUNT_MAX:]


def held_back(
    keys: NDArray[np.uint64],
    shown: tuple[NDArray[np.float64], NDArray[np.uint64]],
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
    times, every = shown
    if not every.size or seconds <= 0:
        return np.zeros(keys.size)
    order = np.lexsort((times, every))
    is_newest = np.append(np.diff(every[order]) != 0, True)
    newest = order[is_newest]
    places = np.minimum(np.searchsorted(every[newest], keys), newest.size - 1)
    share = np.clip(1.0 - (now - times[newest[places]]) / seconds, 0.0, 1.0)
    left = np.where(every[newest[places]] == keys, share, 0.0)
    return np.log(np.maximum(1.0 - rate * left, FLOOR))
