"""What changed since the catalogue's generation, in the row space of that generation.

One thread writes, any number read without a lock: rows are only ever appended, values are replaced
whole, and a flag that says that a pin is gone is one byte. A segment belongs to one generation of
the catalogue; when that is replaced a new segment is made from the log and takes its place.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import numpy as np

from service_runtime.telemetry import logger

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from candidate_service.catalogue import Catalogue

_ROWS_AT_FIRST: Final = 1024

_log = logger("candidate_service.live")


@dataclass(frozen=True, slots=True, eq=False)
class LivePin:
    """A pin that was added, changed or removed, as it is after the change.

    Attributes:
        row: Its row; from the segment's `base_count` on if it is younger than the catalogue.
        pin_id: Its id.
        is_new: Whether it is younger than the catalogue.
        is_removed: Deleted: not to be proposed any more. Its saves stay.
        title: "" if not known; so with all texts.
        topics: In the order given.
        creation_time_us: Microseconds since the Unix epoch; None = not known.
        attributes: Further attributes by name.
        quality: In [0, 1]; None = not known.
        is_hidden: Kept for learning, not to be proposed.
        expiration_time_us: From when on it is not proposed; None = never.
        image_hash: 64 bits of its picture's perceptual hash; None = not known.
        vector: float32[d], unit length; None: as the generations have it. So with the other two.
        text_vector: In a space of its own.
        visual_vector: In a space of its own.
    """

    row: int
    pin_id: str
    is_new: bool
    is_removed: bool = False
    title: str = ""
    description: str = ""
    topics: tuple[str, ...] = ()
    language: str = ""
    country: str = ""
    owner_id: str = ""
    image_url: str = ""
    creation_time_us: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    quality: float | None = None
    is_hidden: bool = False
    expiration_time_us: int | None = None
    image_hash: int | None = None
    vector: NDArray[np.float32] | None = None
    text_vector: NDArray[np.float32] | None = None
    visual_vector: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class LiveSave:
    """A save that was made or taken back.

    Attributes:
        save_id: Its id.
        board_id: On which board; `user:` and the user's id for a user's unnamed one.
        pin_row: Which pin, a row of the segment.
        user_id: Who saved; "" if not known (any more).
        save_time_us: When, microseconds since the Unix epoch.
        board_title: "" = as it was.
        is_removed: Taken back: this pin is on the board only if another save says so.
    """

    save_id: str
    board_id: str
    pin_row: int
    user_id: str = ""
    save_time_us: int = 0
    board_title: str = ""
    is_removed: bool = False


@dataclass(frozen=True, slots=True)
class LiveChanges:
    """What changed together, in the order of the log.

    A save that moves to another board or pin comes as two: taken back there, made here. The same
    change may come again, and one that a generation has already: applying it must change nothing.
    """

    pins: Sequence[LivePin] = ()
    saves: Sequence[LiveSave] = ()


class LivePart(Protocol):
    """What one source keeps of the changes since the generation, in a form that it can search.

    A class of parts can be made without arguments: that is the part of a segment without changes.
    """

    def apply(self, changes: LiveChanges) -> None:
        """Take changes in, in the order of the log; readers see them when this returns.

        Called by one thread at a time. Readers are never locked out for long. What it raises is
        logged, and the changes are lost to this part only.
        """
        ...


P = TypeVar("P", bound=LivePart)


class LiveSegment:
    """The changes since one generation of the catalogue; reading is safe from any thread.

    Attributes:
        base_count: Pins of the catalogue; rows from here on are live. An artifact may be older or
            younger than the catalogue: compare rows with its own count, not with this one.
        generation: Of the catalogue; "" without one.
    """

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        parts: Sequence[LivePart] = (),
        *,
        generation: str = "",
        now_us: int = 0,
    ) -> None:
        """Begin without changes.

        Args:
            catalogue: The generation; None = one without pins.
            parts: What the sources keep, at most one of each class.
            generation: Id of the catalogue's generation.
            now_us: Microseconds since the Unix epoch; pins that expired by then are removed.
        """
        self.base_count: Final = 0 if catalogue is None else len(catalogue)
        self.generation: Final = generation
        self._catalogue = catalogue
        self._parts = {type(part): part for part in parts}
        self._ids: list[str] = []
        self._new_rows: dict[str, int] = {}
        self._pins: dict[int, LivePin] = {}
        self._saves: dict[str, LiveSave] = {}
        self._change_count = 0
        self._folded_count = 0
        self._removed: NDArray[np.bool_] | None = None
        self._expirations: list[tuple[int, int]] = []  # a heap of (time, row)
        if catalogue is not None:
            self._begin(catalogue, now_us)

    @property
    def row_count(self) -> int:
        """Rows so far, catalogue and live together; it only grows."""
        return self.base_count + len(self._ids)

    @property
    def change_count(self) -> int:
        """Changes that the parts were given; 0: nothing changed that any artifact may lack."""
        return self._change_count

    @property
    def unfolded_count(self) -> int:
        """Changes of pins and saves since the catalogue's generation."""
        return self._change_count - self._folded_count

    @property
    def removed(self) -> NDArray[np.bool_] | None:
        """Which rows are deleted, hidden or expired, bool[row_count]; None: none is.

        A view that follows later removals at once, without new rows; not to be written to.
        """
        flags = self._removed
        return None if flags is None else flags[: self.row_count]

    def part(self, kind: type[P]) -> P:
        """Return the part of that class; a fresh empty one where nobody registered it."""
        part = self._parts.get(kind)
        return part if isinstance(part, kind) else kind()

    def rows(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """Return the row of each pin, int32[n], -1 where neither catalogue nor segment knows it."""
        if self._catalogue is None:
            rows = np.full(len(ids), -1, np.int32)
        else:
            rows = self._catalogue.ids.rows(ids)
        if self._new_rows:
            for at in np.flatnonzero(rows < 0).tolist():
                rows[at] = self._new_rows.get(ids[at], -1)
        return rows

    def ids(self, rows: NDArray[np.integer] | Sequence[int]) -> list[str]:
        """Return the id of each row, catalogue and live together.

        Raises:
            IndexError: A row is negative or not there.
        """
        wanted = np.asarray(rows, np.int32)
        is_live = wanted >= self.base_count
        if self._catalogue is not None and not is_live.any():
            return self._catalogue.ids.ids(wanted)
        ids = [""] * len(wanted)
        if self._catalogue is not None:
            at = np.flatnonzero(~is_live)
            for place, pin_id in zip(at.tolist(), self._catalogue.ids.ids(wanted[at]), strict=True):
                ids[place] = pin_id
        for place in np.flatnonzero(is_live).tolist():
            ids[place] = self._ids[int(wanted[place]) - self.base_count]
        return ids

    def pin(self, row: int) -> LivePin | None:
        """Return a pin as its newest change left it, None if it did not change."""
        return self._pins.get(row)

    def save(self, save_id: str) -> LiveSave | None:
        """Return a save as its newest change left it, None if it did not change."""
        return self._saves.get(save_id)

    def saves(self) -> Iterable[LiveSave]:
        """Return all saves that changed, each as its newest change left it."""
        return list(self._saves.values())

    def changed_rows(self) -> list[int]:
        """Return the rows of all pins that were added or changed, in the order of first change."""
        return list(self._pins)

    def apply(self, changes: LiveChanges, *, folded_count: int = 0) -> None:
        """Take changes in and hand them to all parts; one thread at a time.

        Args:
            changes: New pins have the rows from `row_count` on, in this order.
            folded_count: How many of them the catalogue has already.

        Raises:
            ValueError: A new pin's row is not the next one, or a row is not there.
        """
        for pin in changes.pins:
            self._take_pin(pin)
        for save in changes.saves:
            if not 0 <= save.pin_row < self.row_count:
                message = f"save {save.save_id!r}: row {save.pin_row} is not there"
                raise ValueError(message)
            self._saves[save.save_id] = save
        for part in self._parts.values():
            try:
                part.apply(changes)
            except Exception:  # noqa: BLE001  what was acknowledged must reach the other parts
                _log.exception("live.part_failed", part=type(part).__name__)
        self._change_count += len(changes.pins) + len(changes.saves)
        self._folded_count += folded_count

    def expire(self, now_us: int) -> int:
        """Let pins vanish whose time has come, return how many; the writer's thread calls it."""
        count = 0
        while self._expirations and self._expirations[0][0] <= now_us:
            time_us, row = heapq.heappop(self._expirations)
            pin = self._pins.get(row)
            if pin is None or pin.expiration_time_us == time_us:  # else it was changed since
                self._flags()[row] = True
                count += 1
        return count

    def _begin(self, catalogue: Catalogue, now_us: int) -> None:
        """Take over which pins of the catalogue are gone, and when others will be."""
        gone = catalogue.not_proposed(now_us)
        if gone.any():
            self._flags()[: self.base_count] = gone
        column = catalogue.pins.column("expiration_time_us")
        if column.null_count < len(column):
            rows = np.flatnonzero(~gone & column.is_valid().to_numpy())
            times = column.take(rows).to_pylist()
            self._expirations = sorted(zip(times, rows.tolist(), strict=True))

    def _take_pin(self, pin: LivePin) -> None:
        if pin.is_new and pin.pin_id not in self._new_rows:
            if pin.row != self.row_count:
                message = f"pin {pin.pin_id!r}: row {pin.row} is not the next, {self.row_count}"
                raise ValueError(message)
            if self._removed is not None and pin.row >= len(self._removed):
                self._grow(pin.row + 1)
            if pin.is_removed or pin.is_hidden:
                self._flags()[pin.row] = True  # before anybody can see it
            self._pins[pin.row] = pin
            self._ids.append(pin.pin_id)
            self._new_rows[pin.pin_id] = pin.row
        elif not 0 <= pin.row < self.row_count:
            message = f"pin {pin.pin_id!r}: row {pin.row} is not there"
            raise ValueError(message)
        self._pins[pin.row] = pin
        is_gone = pin.is_removed or pin.is_hidden
        if is_gone or self._removed is not None:
            self._flags()[pin.row] = is_gone
        if pin.expiration_time_us is not None and not is_gone:
            heapq.heappush(self._expirations, (pin.expiration_time_us, pin.row))

    def _flags(self) -> NDArray[np.bool_]:
        if self._removed is None:
            self._removed = np.zeros(self.row_count + _ROWS_AT_FIRST, np.bool_)
        return self._removed

    def _grow(self, row_count: int) -> None:
        """Move the flags to a longer array; views of the old one stop following."""
        assert self._removed is not None
        grown = np.zeros(max(row_count + _ROWS_AT_FIRST, len(self._removed) * 5 // 4), np.bool_)
        grown[: len(self._removed)] = self._removed
        self._removed = grown


EMPTY: Final = LiveSegment()
"""The segment of a catalogue without pins: no changes, an empty part of every class."""
