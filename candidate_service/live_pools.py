"""What prepared pools keep of the changes since a generation: who saved what when, and young pins.

The pools share one part: saves as an append-only tape that each of them reads on from where it
stopped, since each weighs them in its own way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from candidate_service.catalogue import Catalogue
from candidate_service.live.segment import LiveChanges, LivePin, LiveSave
from candidate_service.pools import country_key, language_key, name_key


class SaveMark(NamedTuple):
    """A save that was made or taken back.

    Attributes:
        row: Of which pin.
        time_us: When it was made, microseconds since the Unix epoch.
        sign: 1 made, -1 taken back.
        is_of_base: Taken back without having been made here: only a generation can have it.
        is_counted: Counts whatever its time: it stands for one that was taken back of a generation.
    """

    row: int
    time_us: int
    sign: int
    is_of_base: bool
    is_counted: bool = False

    def counts_beside(self, as_of_us: int) -> bool:
        """Say whether it changes what a generation of facts before *as_of_us* says.

        A generation that was built after a save was taken back, and before the catalogue that
        serves, loses it twice: a little too few until the next catalogue.
        """
        if self.is_of_base:
            return self.time_us < as_of_us
        return self.is_counted or self.time_us >= as_of_us


@dataclass(frozen=True, slots=True)
class PinFacts:
    """What decides which segments a pin belongs to."""

    language: str = ""
    country: str = ""
    attributes: tuple[tuple[str, str], ...] = ()

    def keys(self, segment_attribute: str) -> tuple[str, ...]:
        """Return the keys of its segments; *segment_attribute* names that of named segments."""
        named = dict(self.attributes).get(segment_attribute, "") if segment_attribute else ""
        keys = (language_key(self.language), country_key(self.country), name_key(named))
        return tuple(key for key in keys if key)


class LivePools:
    """The pools' part of the live segment; one writer, any readers.

    Attributes:
        marks: Saves, in the order they came; only ever appended to.
        pins: Changes of pins, in the order they came; only ever appended to.
        facts: By row, of every pin that was saved or changed.
    """

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        """Begin without changes."""
        self._catalogue = catalogue
        self._saves: dict[str, LiveSave] = {}
        self._of_base: set[str] = set()
        self.marks: list[SaveMark] = []
        self.pins: list[LivePin] = []
        self.facts: dict[int, PinFacts] = {}

    def apply(self, changes: LiveChanges) -> None:
        """Take changes in; the same again changes nothing."""
        for pin in changes.pins:
            attributes = tuple(pin.attributes.items())
            self.facts[pin.row] = PinFacts(pin.language, pin.country, attributes)
            self.pins.append(pin)
        self._look_up([save.pin_row for save in changes.saves if save.pin_row not in self.facts])
        for save in changes.saves:
            self._take(save)

    def _take(self, save: LiveSave) -> None:
        known = self._saves.get(save.save_id)
        if known is not None and _standing(known) == _standing(save):
            return
        if known is not None and not known.is_removed:
            undone = SaveMark(
                known.pin_row,
                known.save_time_us,
                -1,
                is_of_base=False,
                is_counted=save.save_id in self._of_base,
            )
            self.marks.append(undone)
        if not save.is_removed:
            is_counted = save.save_id in self._of_base
            self.marks.append(
                SaveMark(
                    save.pin_row, save.save_time_us, 1, is_of_base=False, is_counted=is_counted
                )
            )
        elif known is None:
            self._of_base.add(save.save_id)
            self.marks.append(SaveMark(save.pin_row, save.save_time_us, -1, is_of_base=True))
        self._saves[save.save_id] = save

    def _look_up(self, rows: list[int]) -> None:
        """Remember what the catalogue knows of some of its rows."""
        count = 0 if self._catalogue is None else len(self._catalogue)
        wanted = np.array(sorted({row for row in rows if row < count}), np.int32)
        if self._catalogue is None or not len(wanted):
            return
        columns = ["language", "country", "attributes"]
        known = self._catalogue.known_of(wanted).select(columns).to_pylist()
        for row, fact in zip(wanted.tolist(), known, strict=True):
            self.facts[row] = PinFacts(
                fact["language"] or "", fact["country"] or "", tuple(fact["attributes"] or ())
            )


def _standing(save: LiveSave) -> tuple[int, int] | None:
    """Return what a save counts for, row and time; None once it is taken back."""
    return None if save.is_removed else (save.pin_row, save.save_time_us)


class SaveTally:
    """What live saves add to each pin, for one reader that weighs them in its own way.

    Not safe for several threads at once; the reader holds a lock.

    Attributes:
        totals: Weight by row, of every pin that was saved or unsaved.
        version: Grows whenever something changed.
    """

    def __init__(self, part: LivePools, *, as_of_us: int, weigh: Callable[[int], float]) -> None:
        """Start before the first mark.

        Args:
            part: Where the marks come from.
            as_of_us: Facts before are in the reader's generation already.
            weigh: Weight of a save of that time, microseconds.
        """
        self.part = part
        self.totals: dict[int, float] = {}
        self.version = 0
        self._as_of_us = as_of_us
        self._weigh = weigh
        self._mark_count = 0
        self._pin_count = 0
        self._arrays: tuple[int, NDArray[np.int32], NDArray[np.float64]] | None = None

    def read_on(self) -> list[LivePin]:
        """Take in what came since the last time; return the pins that were added or changed."""
        marks, pins = self.part.marks, self.part.pins
        mark_count, pin_count = len(marks), len(pins)
        for place in range(self._mark_count, mark_count):
            mark = marks[place]
            if mark.counts_beside(self._as_of_us):
                weight = mark.sign * self._weigh(mark.time_us)
                self.totals[mark.row] = self.totals.get(mark.row, 0.0) + weight
        changed = pins[self._pin_count : pin_count]
        if (mark_count, pin_count) != (self._mark_count, self._pin_count):
            self.version += 1
        self._mark_count, self._pin_count = mark_count, pin_count
        return changed

    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return `totals` as rows, int32[n], and weights, float64[n]."""
        made = self._arrays
        if made is None or made[0] != self.version:
            count = len(self.totals)
            rows = np.fromiter(self.totals.keys(), np.int32, count)
            made = self.version, rows, np.fromiter(self.totals.values(), np.float64, count)
            self._arrays = made
        return made[1], made[2]


def look_up(
    rows: NDArray[np.int32], known_rows: NDArray[np.int32], values: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the value of each row, float64[n], 0 where it is not among the known ones."""
    if not len(known_rows):
        return np.zeros(len(rows))
    order = np.argsort(known_rows)
    at = order[np.searchsorted(known_rows, rows, sorter=order).clip(0, len(order) - 1)]
    return np.where(known_rows[at] == rows, values[at], 0.0)
