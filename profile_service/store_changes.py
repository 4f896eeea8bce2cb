"""Changes of the live action log, each within a transaction that its caller began.

Keys and values are those that `store` describes; *databases* are its databases by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

from profile_service import codec
from profile_service.actions import Action
from profile_service.adjustments import ADJUSTMENTS_MAX, Adjustment, with_adjustment
from profile_service.codec import Declared, Erasure

DECLARED_MAX: Final = 100
"""Pins that a user may have declared, also after two users became one."""

Databases = Mapping[str, Any]
Row = tuple[bytes, bytes, bytes, int]
"""Action id, user id, action record, time in microseconds."""


class AppendCode(IntEnum):
    """What became of an action; the numbers are those of the wire."""

    RECORDED = 1
    DUPLICATE = 2
    ERASED = 3


def position_key(number: int) -> bytes:
    """Key of a position or number: 8 bytes, big endian."""
    return number.to_bytes(8)


def row_of(action: Action) -> Row:
    """What `append_rows` takes for an action."""
    return (
        action.action_id.encode(),
        action.user_id.encode(),
        codec.encode_action(action),
        action.time_us,
    )


def append_rows(transaction: Any, databases: Databases, rows: Sequence[Row]) -> list[AppendCode]:
    """Record actions, each id once; tell what became of each."""
    first = position = _next_position(transaction, databases)
    erased_before: dict[bytes, int] = {}
    codes: list[AppendCode] = []
    for action_id, user_id, record, time_us in rows:
        if user_id not in erased_before:
            tombstone = transaction.get(user_id, db=databases["erasures"])
            erased_before[user_id] = (
                codec.decode_erasure(tombstone).time_us if tombstone is not None else -1
            )
        key = position_key(position)
        if time_us <= erased_before[user_id]:
            is_known = transaction.get(action_id, db=databases["seen"]) is not None  # merged away
            codes.append(AppendCode.DUPLICATE if is_known else AppendCode.ERASED)
        elif transaction.put(action_id, key, overwrite=False, db=databases["seen"]):
            transaction.put(key, user_id, append=True, db=databases["log"])
            transaction.put(user_id + b"\0" + key, record, db=databases["actions"])
            codes.append(AppendCode.RECORDED)
            position += 1
        else:
            codes.append(AppendCode.DUPLICATE)
    if position > first:
        _set_next_position(transaction, databases, position)
    return codes


def erase_user(
    transaction: Any, databases: Databases, user_id: str, *, time_us: int, receipt_id: str
) -> tuple[Erasure, int, int]:
    """Delete all rows of a user and leave a tombstone; tell it and how much was deleted."""
    user = user_id.encode()
    position = _next_position(transaction, databases)
    rows = list(_rows_of(transaction, databases, user_id))
    for key, action in rows:
        transaction.delete(key, db=databases["actions"])
        transaction.delete(key[-8:], db=databases["log"])
        transaction.delete(action.action_id.encode(), db=databases["seen"])
    declared = transaction.pop(user, db=databases["declared"])
    declared_count = len(codec.decode_declared(declared).pin_ids) if declared else 0
    for name in ("attributes", "adjustments"):
        transaction.delete(user, db=databases[name])
    erasure = Erasure(position, time_us, receipt_id)
    transaction.put(user, codec.encode_erasure(erasure), db=databases["erasures"])
    _set_next_position(transaction, databases, position + 1)
    return erasure, len(rows), declared_count


def merge_users(
    transaction: Any,
    databases: Databases,
    users: tuple[str, str],
    stored: Sequence[Action],
    *,
    time_us: int,
    receipt_id: str,
) -> tuple[Erasure | None, int, int]:
    """
    Give the second user all that the first has, and leave a tombstone of the first.

    What the target said or declared itself stands; the source's is added. Moved actions get new
    positions, so that reads and the next batch run take them in as actions of the target.

    Returns:
        The tombstone (None where the first user was unknown: nothing changes then), and how many
        actions and declared pins moved.
    """
    source_id, target_id = users
    live = [action for _, action in _rows_of(transaction, databases, source_id)]
    known = {action.action_id for action in live}
    moved = [*live, *(action for action in stored if action.action_id not in known)]
    declared_count = _merge_records(transaction, databases, source_id, target_id)
    if not moved and declared_count is None:
        return None, 0, 0
    erasure, _, _ = erase_user(
        transaction, databases, source_id, time_us=time_us, receipt_id=receipt_id
    )
    moved.sort(key=lambda action: (action.time_us, action.action_id))
    rows = [(name, target_id.encode(), record, at) for name, _, record, at in map(row_of, moved)]
    codes = append_rows(transaction, databases, rows)
    return erasure, codes.count(AppendCode.RECORDED), declared_count or 0


def adjust_user(
    transaction: Any, databases: Databases, user_id: str, adjustment: Adjustment
) -> None:
    """Take in what a user said about an interest."""
    key, data = user_id.encode(), transaction.get(user_id.encode(), db=databases["adjustments"])
    known = codec.decode_adjustments(data) if data is not None else ()
    _put_adjustments(transaction, databases, key, with_adjustment(known, adjustment))


def _merge_records(
    transaction: Any, databases: Databases, source_id: str, target_id: str
) -> int | None:
    """Unite all but the actions; tell how many declared pins moved, None if there was nothing."""
    source, target = source_id.encode(), target_id.encode()

    def read(name: str, user: bytes) -> bytes | None:
        value: bytes | None = transaction.get(user, db=databases[name])
        return value

    attributes, adjustments = read("attributes", source), read("adjustments", source)
    declared = read("declared", source)
    if attributes is None and adjustments is None and declared is None:
        return None
    if attributes is not None and read("attributes", target) is None:
        transaction.put(target, attributes, db=databases["attributes"])
    if adjustments is not None:
        own_data = read("adjustments", target)
        own = codec.decode_adjustments(own_data) if own_data is not None else ()
        said = {one.pin_id for one in own}
        added = [one for one in codec.decode_adjustments(adjustments) if one.pin_id not in said]
        both = tuple(sorted([*added, *own], key=lambda one: one.time_us))
        _put_adjustments(transaction, databases, target, both[-ADJUSTMENTS_MAX:])
    if declared is None:
        return 0
    picked, own_picks = codec.decode_declared(declared), read("declared", target)
    before = codec.decode_declared(own_picks) if own_picks is not None else Declared(0, ())
    pins = tuple(dict.fromkeys([*before.pin_ids, *picked.pin_ids]))[:DECLARED_MAX]
    united = Declared(max(before.time_us, picked.time_us), pins)
    transaction.put(target, codec.encode_declared(united), db=databases["declared"])
    return len(pins) - len(before.pin_ids)


def _put_adjustments(
    transaction: Any, databases: Databases, key: bytes, adjustments: Sequence[Adjustment]
) -> None:
    if adjustments:
        transaction.put(key, codec.encode_adjustments(adjustments), db=databases["adjustments"])
    else:
        transaction.delete(key, db=databases["adjustments"])


def _rows_of(
    transaction: Any, databases: Databases, user_id: str
) -> Iterator[tuple[bytes, Action]]:
    """The key and the action of each row of a user, in the order of the log."""
    prefix = user_id.encode() + b"\0"
    cursor = transaction.cursor(databases["actions"])
    has_row = cursor.set_range(prefix)
    while has_row and cursor.key().startswith(prefix):
        if len(cursor.key()) == len(prefix) + 8:
            yield bytes(cursor.key()), codec.decode_action(cursor.value(), user_id)
        has_row = cursor.next()


def _next_position(transaction: Any, databases: Databases) -> int:
    return int.from_bytes(transaction.get(b"next_position", db=databases["meta"]))


def _set_next_position(transaction: Any, databases: Databases, position: int) -> None:
    transaction.put(b"next_position", position_key(position), db=databases["meta"])
