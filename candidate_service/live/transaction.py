"""What a write comes to, decided before it goes to the log: what is new, the same, wrong, unknown.

A transaction sees what is served and what it decided itself, so that items of one request and of
requests that share a commit are judged in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from candidate_service.live.pin_state import PinState
from candidate_service.live.records import (
    VECTOR_FIELDS,
    PinWrite,
    Record,
    SaveWrite,
    UserErasure,
)
from candidate_service.live.segment import LiveSave
from candidate_service.live.segment_writer import SegmentWriter, same_pin
from service_runtime.errors import FieldViolation


class ItemCode(IntEnum):
    """What became of one item; the numbers are those of the wire."""

    WRITTEN = 1
    UNCHANGED = 2
    INVALID = 3
    UNKNOWN = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item, and why it was refused."""

    code: ItemCode
    fault: FieldViolation | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PinChange:
    """Fields of a pin to set; with *is_whole* all others become unknown."""

    pin_id: str
    fields: Mapping[str, Any]
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class SaveChange:
    """A save to make or to change; without a time it keeps the one it has, or is of now."""

    save_id: str
    board_id: str
    pin_id: str
    user_id: str = ""
    save_time_us: int | None = None
    board_title: str = ""


@dataclass(slots=True)
class LiveTransaction:
    """Changes that become durable and visible together.

    Attributes:
        writer: What is served; pins and saves are looked up there.
        stamp: Gives the time of the next record, growing.
        log_name: Of the log that the records will go to.
        records: What is to be appended.
    """

    writer: SegmentWriter
    stamp: Callable[[], int]
    log_name: str
    records: list[Record] = field(default_factory=list)
    _states: dict[str, PinState] = field(default_factory=dict)
    _saves: dict[str, tuple[LiveSave, str]] = field(default_factory=dict)
    _dimensions: dict[str, int] = field(default_factory=dict)

    def upsert_pins(self, changes: Sequence[PinChange]) -> list[Outcome]:
        """Set fields of pins, in order."""
        self.writer.load_pins([change.pin_id for change in changes])
        return [self._upsert_pin(change) for change in changes]

    def delete_pins(self, pin_ids: Sequence[str]) -> list[Outcome]:
        """Remove pins, in order."""
        self.writer.load_pins(pin_ids)
        return [self._delete_pin(pin_id) for pin_id in pin_ids]

    def upsert_saves(self, changes: Sequence[SaveChange]) -> list[Outcome]:
        """Make or change saves, in order."""
        known = self._known_saves([change.save_id for change in changes])
        return [self._upsert_save(change, known) for change in changes]

    def delete_saves(self, save_ids: Sequence[str]) -> list[Outcome]:
        """Take saves back, in order."""
        known = self._known_saves(save_ids)
        return [self._delete_save(save_id, known) for save_id in save_ids]

    def erase_user(self, user_id: str) -> None:
        """Forget a user's name in all saves so far, and the pins of the unnamed board."""
        self.records.append(UserErasure(self.stamp(), user_id))

    def _upsert_pin(self, change: PinChange) -> Outcome:
        is_known, state, base = self._pin(change.pin_id)
        before = state.over(base)
        if (fault := self._vector_fault(change.fields)) is not None:
            return Outcome(ItemCode.INVALID, fault)
        time_us = self.stamp()
        fields = {**change.fields, "is_deleted": False}
        if change.is_whole and fields.get("creation_time_us") is None:
            fields["creation_time_us"] = before["creation_time_us"] or time_us
        write = PinWrite(time_us, change.pin_id, fields, change.is_whole)
        after = state.fold(write, (time_us, self.log_name))
        if is_known and same_pin(before, after.over(base)):
            return Outcome(ItemCode.UNCHANGED)
        for name in VECTOR_FIELDS:
            if fields.get(name) is not None:
                self._dimensions[name] = len(fields[name])
        self._states[change.pin_id] = after
        self.records.append(write)
        return Outcome(ItemCode.WRITTEN)

    def _delete_pin(self, pin_id: str) -> Outcome:
        is_known, state, base = self._pin(pin_id)
        if not is_known:
            return Outcome(ItemCode.UNKNOWN)
        if state.over(base)["is_deleted"]:
            return Outcome(ItemCode.UNCHANGED)
        write = PinWrite(self.stamp(), pin_id, {"is_deleted": True})
        self._states[pin_id] = state.fold(write, (write.time_us, self.log_name))
        self.records.append(write)
        return Outcome(ItemCode.WRITTEN)

    def _pin(self, pin_id: str) -> tuple[bool, PinState, Mapping[str, Any]]:
        is_known, state, base = self.writer.known_pin(pin_id)
        if (vector := self.writer.imported_vector(pin_id)) is not None:
            base = {**base, "vector": vector}
        decided = self._states.get(pin_id)
        return (is_known, state, base) if decided is None else (True, decided, base)

    def _vector_fault(self, fields: Mapping[str, Any]) -> FieldViolation | None:
        """Say what is wrong with the vectors of a pin beside those of the others."""
        for name in VECTOR_FIELDS:
            vector = fields.get(name)
            if vector is None:
                continue
            expected = self.writer.dimensions.get(name) or self._dimensions.get(name)
            if expected is not None and len(vector) != expected:
                told = f"must have {expected} numbers as those of other pins, not {len(vector)}"
                return FieldViolation(name, "WRONG_DIMENSION", told)
            if name == "vector" and expected is None and self.writer.has_learned_vectors:
                told = "cannot be given: vectors are learned here; import vectors of all pins first"
                return FieldViolation(name, "VECTORS_ARE_LEARNED", told)
        return None

    def _known_saves(self, save_ids: Sequence[str]) -> dict[str, tuple[LiveSave, str]]:
        """Return saves with the ids of their pins, those decided on already as decided."""
        missing = [save_id for save_id in save_ids if save_id not in self._saves]
        found = self.writer.known_saves(missing)
        pins = self.writer.segment.ids([save.pin_row for save in found.values()])
        known = dict(zip(found, zip(found.values(), pins, strict=True), strict=True))
        return known | self._saves

    def _upsert_save(self, change: SaveChange, known: dict[str, tuple[LiveSave, str]]) -> Outcome:
        before, pin_id = known.get(change.save_id, (None, ""))
        if before is not None and not before.is_removed and _is_same(before, pin_id, change):
            return Outcome(ItemCode.UNCHANGED)
        time_us = self.stamp()
        save_time_us = change.save_time_us
        if save_time_us is None:
            save_time_us = before.save_time_us if before and before.save_time_us else time_us
        write = SaveWrite(
            time_us,
            change.save_id,
            change.board_id,
            change.pin_id,
            change.user_id,
            save_time_us,
            change.board_title,
        )
        self._decide_save(write, known)
        return Outcome(ItemCode.WRITTEN)

    def _delete_save(self, save_id: str, known: dict[str, tuple[LiveSave, str]]) -> Outcome:
        if save_id not in known:
            return Outcome(ItemCode.UNKNOWN)
        before, pin_id = known[save_id]
        if before.is_removed:
            return Outcome(ItemCode.UNCHANGED)
        write = SaveWrite(
            self.stamp(),
            save_id,
            before.board_id,
            pin_id,
            before.user_id,
            before.save_time_us,
            is_removed=True,
        )
        self._decide_save(write, known)
        return Outcome(ItemCode.WRITTEN)

    def _decide_save(self, write: SaveWrite, known: dict[str, tuple[LiveSave, str]]) -> None:
        self.records.append(write)
        after = LiveSave(
            write.save_id,
            write.board_id,
            -1,
            write.user_id,
            write.save_time_us,
            write.board_title,
            write.is_removed,
        )
        self._saves[write.save_id] = known[write.save_id] = (after, write.pin_id)


def _is_same(before: LiveSave, pin_id: str, change: SaveChange) -> bool:
    """Say whether a save would change nothing; of an imported one only board and pin are known."""
    if (before.board_id, pin_id) != (change.board_id, change.pin_id):
        return False
    is_imported = before.save_time_us == 0
    return is_imported or (
        before.user_id == change.user_id
        and change.save_time_us in {None, before.save_time_us}
        and change.board_title in {"", before.board_title}
    )
