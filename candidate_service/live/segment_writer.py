"""From records of the logs to the changes of one segment, whatever the order they are read in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candidate_service.catalogue import Catalogue
from candidate_service.live.pin_state import NEVER, PinState, Version
from candidate_service.live.records import (
    VECTOR_FIELDS,
    PinWrite,
    Record,
    SaveWrite,
    UserErasure,
    unnamed_board,
)
from candidate_service.live.segment import LiveChanges, LivePin, LiveSave, LiveSegment
from candidate_service.save_index import SaveIndex

NO_CHANGES = PinState()


@dataclass(frozen=True, slots=True)
class Entry:
    """A record with its place: its version, and the log's position after it.

    A record that nobody can read is None: it is passed over.
    """

    version: Version
    position: int
    record: Record | None


@dataclass(slots=True)
class _Known:
    """What the records so far came to, beside what the segment holds."""

    states: dict[str, PinState] = field(default_factory=dict)
    bases: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    base_rows: dict[str, int] = field(default_factory=dict)
    save_versions: dict[str, Version] = field(default_factory=dict)
    erased: dict[str, Version] = field(default_factory=dict)


class SegmentWriter:
    """Folds records into a segment; one thread at a time.

    Attributes:
        segment: Which.
        positions: How far it has come in each log, by the log's name.
        dimensions: Length of the vectors that pins have, by their field.
        has_learned_vectors: Whether there are pins and none of them came with a vector.
    """

    def __init__(
        self,
        segment: LiveSegment,
        catalogue: Catalogue | None,
        positions: Mapping[str, int],
        save_index: Callable[[], SaveIndex | None] = lambda: None,
        vectors: Callable[[], NDArray[np.float32] | None] = lambda: None,
    ) -> None:
        """Begin with a segment without changes.

        Args:
            segment: Of this catalogue.
            catalogue: None = one without pins.
            positions: From where the logs are to be read.
            save_index: Gives the saves of the generation; None where there is no such thing.
            vectors: Gives the vectors of the catalogue's pins by row, zero where a pin has none;
                None where there is no such thing.
        """
        self.segment = segment
        self.positions = dict(positions)
        self.dimensions = {} if catalogue is None else dict(catalogue.dimensions)
        self.has_learned_vectors = bool(catalogue) and "vector" not in self.dimensions
        self._catalogue = catalogue
        self._save_index = save_index
        self._vectors = vectors
        self._folded = {} if catalogue is None else catalogue.live_positions
        self._known = _Known()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Fold records, let readers see the result, and note how far we have come."""
        records = [entry.record for entry in entries]
        self.load_pins([record.pin_id for record in records if isinstance(record, PinWrite)])
        saves = self.known_saves([one.save_id for one in records if isinstance(one, SaveWrite)])
        folding = _Folding(self, self._known, saves)
        folded_count = 0
        for entry in entries:
            version, record = entry.version, entry.record
            is_folded = entry.position <= self._folded.get(version[1], 0)
            count = folding.count()
            if isinstance(record, PinWrite):
                folding.pin(record, version, is_folded=is_folded)
            elif isinstance(record, SaveWrite):
                folding.save(record, version)
            elif record is not None:
                folding.erase(record, version)
            folded_count += (folding.count() - count) * is_folded
        if folding.count():
            changes = LiveChanges(folding.pins, folding.saves)
            self.segment.apply(changes, folded_count=folded_count)
        for pin in folding.pins:
            for name in VECTOR_FIELDS:
                if name not in self.dimensions and (vector := getattr(pin, name)) is not None:
                    self.dimensions[name] = len(vector)
        for entry in entries:
            self.positions[entry.version[1]] = entry.position

    def load_pins(self, pin_ids: Sequence[str]) -> None:
        """Look up what the catalogue says of pins that are about to change, all at once."""
        unknown = [pin_id for pin_id in dict.fromkeys(pin_ids) if pin_id not in self._known.bases]
        if self._catalogue is None or not unknown:
            return
        rows = self._catalogue.ids.rows(unknown)
        known = np.flatnonzero(rows >= 0)
        table = self._catalogue.known_of(rows[known]).to_pylist()
        for at, attributes in zip(known.tolist(), table, strict=True):
            self._known.bases[unknown[at]] = _base(attributes)
            self._known.base_rows[unknown[at]] = int(rows[at])

    def known_pin(self, pin_id: str) -> tuple[bool, PinState, Mapping[str, Any]]:
        """Return whether there is such a pin, its changes, and what was known before them.

        `load_pins` must have been called with it.
        """
        base = self._known.bases.get(pin_id)
        state = self._known.states.get(pin_id)
        is_known = base is not None or int(self.segment.rows([pin_id])[0]) >= 0
        return is_known, state or NO_CHANGES, base or {}

    def imported_vector(self, pin_id: str) -> NDArray[np.float32] | None:
        """Return the vector that a pin of the catalogue came with; None: none, or not known."""
        row = self._known.base_rows.get(pin_id, -1)
        if row < 0 or "vector" not in self.dimensions:
            return None
        table = self._vectors()
        if table is None or row >= len(table) or table.shape[1] != self.dimensions["vector"]:
            return None
        return table[row] if table[row].any() else None

    def known_saves(self, save_ids: Sequence[str]) -> dict[str, LiveSave]:
        """Return saves by their id as they are now, imported ones without user and time.

        A save that was taken back is there and says so; an unknown one is not there.
        """
        found = {save_id: save for save_id in save_ids if (save := self.segment.save(save_id))}
        missing = [save_id for save_id in save_ids if save_id not in found]
        index = self._save_index()
        if index is None or not missing:
            return found
        for save_id, at in zip(missing, index.find(missing), strict=True):
            if at is not None and 0 <= at[0] < self.segment.base_count:
                found[save_id] = LiveSave(save_id, at[1], at[0])
        return found

    def saves_on(self, board_id: str) -> list[LiveSave]:
        """Return the saves that the generation has on a board."""
        index = self._save_index()
        saves = [] if index is None else index.saves_on(board_id)
        return [
            LiveSave(save_id, board_id, row)
            for save_id, row in saves
            if 0 <= row < self.segment.base_count
        ]


class _Folding:
    """The changes of some records in the making."""

    def __init__(self, writer: SegmentWriter, known: _Known, saves: Mapping[str, LiveSave]) -> None:
        self.pins: list[LivePin] = []
        self.saves: list[LiveSave] = []
        self._writer = writer
        self._known = known
        self._saves = dict(saves)
        self._new_rows: dict[str, int] = {}

    def count(self) -> int:
        """Return how many changes there are so far."""
        return len(self.pins) + len(self.saves)

    def pin(self, write: PinWrite, version: Version, *, is_folded: bool) -> None:
        """Take a change of a pin in.

        What the catalogue has folded is told to the parts, whose artifact may be older, but must
        not hide what was imported since.
        """
        known, base = self._known, self._known.bases.get(write.pin_id)
        before = known.states.get(write.pin_id, NO_CHANGES)
        if is_folded and base is not None:
            vectors = {name: write.fields[name] for name in VECTOR_FIELDS if name in write.fields}
            self.pins.append(self._live_pin(write.pin_id, {**before.over(base), **vectors}))
            return
        after = before.fold(write, version)
        if after is not before:
            known.states[write.pin_id] = after
            self.pins.append(self._live_pin(write.pin_id, after.over(base or {})))

    def save(self, write: SaveWrite, version: Version) -> None:
        """Take a save in, or its taking back."""
        known = self._known
        if version <= known.save_versions.get(write.save_id, NEVER):
            return
        known.save_versions[write.save_id] = version
        after = LiveSave(
            write.save_id,
            write.board_id,
            self._row(write.pin_id),
            write.user_id,
            write.save_time_us,
            write.board_title,
            write.is_removed,
        )
        if version < known.erased.get(write.user_id, NEVER):
            after = _without_user(after)
        before = self._saves.get(write.save_id)
        if before is not None and not before.is_removed:
            has_moved = (before.board_id, before.pin_row) != (after.board_id, after.pin_row)
            if has_moved:
                self.saves.append(replace(before, is_removed=True))
        self._saves[write.save_id] = after
        self.saves.append(after)

    def erase(self, erasure: UserErasure, version: Version) -> None:
        """Forget who made the user's saves, and the pins of the unnamed board."""
        known, user_id = self._known, erasure.user_id
        if version <= known.erased.get(user_id, NEVER):
            return
        known.erased[user_id] = version
        changed = {save.save_id: save for save in self._writer.segment.saves()} | self._saves
        for save in changed.values():
            if save.user_id == user_id:
                self._forget(save, version)
        for save in self._writer.saves_on(unnamed_board(user_id)):
            if save.save_id not in changed:
                self._forget(replace(save, user_id=user_id), version)

    def _forget(self, save: LiveSave, version: Version) -> None:
        if self._known.save_versions.get(save.save_id, NEVER) < version:
            self._saves[save.save_id] = _without_user(save)
            self.saves.append(self._saves[save.save_id])

    def _live_pin(self, pin_id: str, fields: Mapping[str, Any]) -> LivePin:
        row = self._row(pin_id, is_described=True)
        shown = dict(fields)
        is_removed = shown.pop("is_deleted")
        is_new = row >= self._writer.segment.base_count
        return LivePin(row, pin_id, is_new, is_removed, **shown)

    def _row(self, pin_id: str, *, is_described: bool = False) -> int:
        """Return the row of a pin, a new one where nobody knew it."""
        segment = self._writer.segment
        row = self._new_rows.get(pin_id, -1)
        if row < 0:
            row = int(segment.rows([pin_id])[0])
        if row < 0:
            row = segment.row_count + len(self._new_rows)
            self._new_rows[pin_id] = row
            if not is_described:  # a save names it: it can be proposed, as after an import
                self.pins.append(LivePin(row, pin_id, is_new=True))
        return row


def _without_user(save: LiveSave) -> LiveSave:
    is_own = save.board_id == unnamed_board(save.user_id)
    return replace(save, user_id="", is_removed=save.is_removed or is_own)


def _base(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row of the catalogue says, in the values of records; nulls left out."""
    fields = {name: value for name, value in attributes.items() if value is not None}
    if "topics" in fields:
        fields["topics"] = tuple(fields["topics"])
    if "attributes" in fields:
        fields["attributes"] = dict(fields["attributes"])
    return fields


def same_pin(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Say whether two pins are the same in every field."""
    return all(_same(name, one[name], other[name]) for name in one)


def _same(name: str, one: Any, other: Any) -> bool:
    if name in VECTOR_FIELDS:
        return one is other or (
            one is not None
            and other is not None
            and one.shape == other.shape
            and bool(np.allclose(one, other, rtol=0, atol=1e-6))
        )
    if name == "quality" and one is not None and other is not None:
        return bool(np.float32(one) == np.float32(other))
    return bool(one == other)
