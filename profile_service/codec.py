"""
Values to bytes and back: what stands in the stores.

Every record is `version byte | kind byte | body | xxh3-64 of all before`. A record of another
version, kind or checksum is refused with `RecordCorrupted`, never guessed at. Numbers are little
endian. Ids of a list are joined by newlines, which no id contains: split is the fastest decoder.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from profile_service.actions import Action, ActionColumns, ActionType
from profile_service.adjustments import Adjustment, AdjustmentKind
from profile_service.profile import Attributes, Clusters
from service_runtime.errors import Corrupted

VERSION = 1

_ACTION, _CLUSTERS, _HISTORY, _DECLARED, _ERASURE, _ATTRIBUTES, _ADJUSTMENTS = range(1, 8)
_ACTION_HEAD = struct.Struct("<BqfBBBB")
_NO_STRENGTH = float("nan")


class RecordCorrupted(Corrupted):
    """A stored record does not read back as it was written."""

    HINT = "restore live/profile from a copy, or rebuild the profiles generation"


@dataclass(frozen=True, slots=True)
class Declared:
    """Interests that a user picked: when, microseconds since the epoch, and which pins."""

    time_us: int
    pin_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Erasure:
    """
    That a user was forgotten.

    Attributes:
        position: Position in the live log; everything of the user before it is gone.
        time_us: When; actions of the user that happened before are never taken in again.
        receipt_id: Names the erasure.
    """

    position: int
    time_us: int
    receipt_id: str


def encode_action(action: Action) -> bytes:
    """Store an action without its user, who is in the key."""
    ids = [
        text.encode() for text in (action.action_id, action.pin_id, action.board_id, action.list_id)
    ]
    strength = _NO_STRENGTH if action.strength is None else action.strength
    head = _ACTION_HEAD.pack(action.action_type, action.time_us, strength, *map(len, ids))
    return _seal(_ACTION, head + b"".join(ids))


def decode_action(data: bytes, user_id: str) -> Action:
    """Read what encode_action wrote."""
    body = _open(_ACTION, data)
    kind, time_us, strength, *lengths = _ACTION_HEAD.unpack_from(body)
    texts = []
    at = _ACTION_HEAD.size
    for length in lengths:
        texts.append(str(body[at : at + length], "utf-8"))
        at += length
    own_strength = None if strength != strength else strength  # noqa: PLR0124  NaN stands for none
    return Action(
        texts[0], user_id, texts[1], ActionType(kind), time_us, own_strength, texts[2], texts[3]
    )


def encode_clusters(clusters: Clusters) -> bytes:
    """Store the batch part of a profile."""
    body = struct.pack("<I", len(clusters))
    body += clusters.importances.astype("<f8").tobytes()
    body += clusters.newest_times_us.astype("<i8").tobytes()
    body += clusters.action_counts.astype("<i8").tobytes()
    return _seal(_CLUSTERS, body + _pack_ids(clusters.medoid_pin_ids))


def decode_clusters(data: bytes) -> Clusters:
    """Read what encode_clusters wrote."""
    body = _open(_CLUSTERS, data)
    (count,) = struct.unpack_from("<I", body)
    numbers = np.frombuffer(body, "<i8", 3 * count, 4)
    medoids, _ = _unpack_ids(body, 4 + 24 * count, count)
    return Clusters(
        medoids,
        numbers[:count].view("<f8"),
        numbers[2 * count :],
        numbers[count : 2 * count],
    )


def encode_history(actions: ActionColumns) -> bytes:
    """Store the actions of one user, oldest first."""
    body = struct.pack("<I", len(actions))
    body += actions.times_us.astype("<i8").tobytes()
    body += actions.positions.astype("<i8").tobytes()
    body += actions.strengths.astype("<f4").tobytes()
    body += actions.action_types.tobytes()
    for ids in (actions.pin_ids, actions.board_ids, actions.action_ids, actions.list_ids):
        body += _pack_ids(ids)
    return _seal(_HISTORY, body)


def decode_history(data: bytes) -> ActionColumns:
    """Read what encode_history wrote."""
    body = _open(_HISTORY, data)
    (count,) = struct.unpack_from("<I", body)
    pins, at = _unpack_ids(body, 4 + 21 * count, count)
    boards, at = _unpack_ids(body, at, count)
    names, at = _unpack_ids(body, at, count)
    lists, at = _unpack_ids(body, at, count)
    return ActionColumns(
        names,
        pins,
        boards,
        lists,
        np.frombuffer(body, np.uint8, count, 4 + 20 * count),
        np.frombuffer(body, "<i8", count, 4),
        np.frombuffer(body, "<f4", count, 4 + 16 * count),
        np.frombuffer(body, "<i8", count, 4 + 8 * count),
    )


def encode_declared(declared: Declared) -> bytes:
    """Store declared interests."""
    head = struct.pack("<qI", declared.time_us, len(declared.pin_ids))
    return _seal(_DECLARED, head + _pack_ids(declared.pin_ids))


def decode_declared(data: bytes) -> Declared:
    """Read what encode_declared wrote."""
    body = _open(_DECLARED, data)
    time_us, count = struct.unpack_from("<qI", body)
    return Declared(time_us, tuple(_unpack_ids(body, 12, count)[0]))


def encode_erasure(erasure: Erasure) -> bytes:
    """Store that a user was forgotten."""
    head = struct.pack("<qq", erasure.position, erasure.time_us)
    return _seal(_ERASURE, head + _pack_ids([erasure.receipt_id]))


def decode_erasure(data: bytes) -> Erasure:
    """Read what encode_erasure wrote."""
    body = _open(_ERASURE, data)
    position, time_us = struct.unpack_from("<qq", body)
    return Erasure(position, time_us, _unpack_ids(body, 16, 1)[0][0])


def encode_attributes(attributes: Attributes) -> bytes:
    """Store what is known of a user."""
    words = (attributes.language, attributes.country, attributes.segment)
    lengths = [len(word.encode()) for word in words]
    return _seal(_ATTRIBUTES, struct.pack("<HHH", *lengths) + "".join(words).encode())


def decode_attributes(data: bytes) -> Attributes:
    """Read what encode_attributes wrote."""
    body = _open(_ATTRIBUTES, data)
    words, at = [], 6
    for length in struct.unpack_from("<HHH", body):
        words.append(str(body[at : at + length], "utf-8"))
        at += length
    return Attributes(*words)


def encode_adjustments(adjustments: Sequence[Adjustment]) -> bytes:
    """Store what a user said about their interests."""
    body = struct.pack("<I", len(adjustments))
    body += np.array([one.time_us for one in adjustments], "<i8").tobytes()
    body += bytes(one.kind for one in adjustments)
    return _seal(_ADJUSTMENTS, body + _pack_ids([one.pin_id for one in adjustments]))


def decode_adjustments(data: bytes) -> tuple[Adjustment, ...]:
    """Read what encode_adjustments wrote."""
    body = _open(_ADJUSTMENTS, data)
    (count,) = struct.unpack_from("<I", body)
    times = np.frombuffer(body, "<i8", count, 4).tolist()
    kinds = bytes(body[4 + 8 * count : 4 + 9 * count])
    pins, _ = _unpack_ids(body, 4 + 9 * count, count)
    return tuple(
        Adjustment(pin_id, AdjustmentKind(kind), time_us)
        for pin_id, kind, time_us in zip(pins, kinds, times, strict=True)
    )


def _seal(kind: int, body: bytes) -> bytes:
    record = bytes((VERSION, kind)) + body
    return record + xxhash.xxh3_64_digest(record)


def _open(kind: int, data: bytes) -> memoryview:
    """The body of a record, after checking all that can be checked."""
    view = memoryview(data)
    if len(view) < 10 or xxhash.xxh3_64_digest(view[:-8]) != view[-8:]:
        raise RecordCorrupted(f"a stored record of {len(view)} bytes fails its checksum")
    if view[0] != VERSION:
        raise RecordCorrupted(f"a stored record has version {view[0]}, this is {VERSION}")
    if view[1] != kind:
        raise RecordCorrupted(f"a stored record is of kind {view[1]} where {kind} was expected")
    return view[2:-8]


def _pack_ids(ids: Sequence[str]) -> bytes:
    joined = "\n".join(ids).encode()
    assert joined.count(b"\n") == max(0, len(ids) - 1), "ids have no control characters"
    return struct.pack("<I", len(joined)) + joined


def _unpack_ids(body: memoryview, at: int, count: int) -> tuple[list[str], int]:
    """Read *count* ids from *at* on; also tell where they end."""
    (length,) = struct.unpack_from("<I", body, at)
    end = at + 4 + length
    return str(body[at + 4 : end], "utf-8").split("\n") if count else [], end
