"""What the live log says, one record a change, and how it is laid out.

A record is one JSON object. Its letters are the format, held by a golden file: `t` when
(microseconds); a pin `p` with the fields `f` that were set, `w` where all others became unknown; a
save `s` with board `b`, pin `p`, user `u`, time `a`, board title `n`, `x` where it was taken back;
`e` a user to forget. Vectors are float32, little-endian, in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from service_runtime.errors import Corrupted

UNKNOWN_PIN: Final[Mapping[str, Any]] = {
    "title": "",
    "description": "",
    "topics": (),
    "language": "",
    "country": "",
    "owner_id": "",
    "image_url": "",
    "creation_time_us": None,
    "attributes": {},
    "quality": None,
    "is_hidden": False,
    "is_deleted": False,
    "expiration_time_us": None,
    "image_hash": None,
    "vector": None,
    "text_vector": None,
    "visual_vector": None,
}
"""Every field of a pin with its value where nothing is known of it."""

VECTOR_FIELDS: Final = ("vector", "text_vector", "visual_vector")


@dataclass(frozen=True, slots=True, eq=False)
class PinWrite:
    """Some fields of a pin were set; with *is_whole* the others became unknown.

    Attributes:
        time_us: When, microseconds since the Unix epoch; grows within a log.
        pin_id: Which pin.
        fields: Values by their name in `UNKNOWN_PIN`; vectors float32[d], unit length.
        is_whole: Whether this is all that is known of the pin.
    """

    time_us: int
    pin_id: str
    fields: Mapping[str, Any]
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class SaveWrite:
    """A pin was saved on a board, or a save was taken back; the newest record of a save counts."""

    time_us: int
    save_id: str
    board_id: str
    pin_id: str
    user_id: str = ""
    save_time_us: int = 0
    board_title: str = ""
    is_removed: bool = False


@dataclass(frozen=True, slots=True)
class UserErasure:
    """A user is to be forgotten, as far as earlier records and imports go."""

    time_us: int
    user_id: str


Record = PinWrite | SaveWrite | UserErasure


def unnamed_board(user_id: str) -> str:
    """Return the board of saves that name a user and no board."""
    return f"user:{user_id}"


def encode_record(record: Record) -> bytes:
    """Lay a record out for the log."""
    value: dict[str, Any] = {"t": record.time_us}
    if isinstance(record, PinWrite):
        value |= {"p": record.pin_id, "f": {n: _plain(n, v) for n, v in record.fields.items()}}
        if record.is_whole:
            value["w"] = 1
    elif isinstance(record, SaveWrite):
        value |= {"s": record.save_id, "b": record.board_id, "p": record.pin_id}
        optional = (
            ("u", record.user_id),
            ("a", record.save_time_us),
            ("n", record.board_title),
            ("x", int(record.is_removed)),
        )
        value |= {name: given for name, given in optional if given}
    else:
        value["e"] = record.user_id
    return orjson.dumps(value)


def decode_record(payload: bytes) -> Record:
    """Return what `encode_record` laid out.

    Raises:
        Corrupted: It is no record of this format.
    """
    try:
        value = orjson.loads(payload)
        if "e" in value:
            return UserErasure(value["t"], value["e"])
        if "s" in value:
            return SaveWrite(
                value["t"],
                value["s"],
                value["b"],
                value["p"],
                value.get("u", ""),
                value.get("a", 0),
                value.get("n", ""),
                bool(value.get("x")),
            )
        fields = {name: _typed(name, given) for name, given in value["f"].items()}
        return PinWrite(value["t"], value["p"], fields, bool(value.get("w")))
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as fault:
        raise Corrupted(
            f"a record of the live log is not of this format: {type(fault).__name__}: {fault}",
            hint="was it written by a newer version? Upgrade, or restore the folder live/catalogue",
        ) from fault


def _plain(name: str, value: Any) -> Any:
    if name in VECTOR_FIELDS and value is not None:
        return base64.b64encode(np.asarray(value, "<f4").tobytes()).decode()
    return value


def _typed(name: str, value: Any) -> Any:
    if name in VECTOR_FIELDS and value is not None:
        vector = np.frombuffer(base64.b64decode(value), "<f4").astype(np.float32)
        vector.setflags(write=False)
        return vector
    return tuple(value) if name == "topics" else value
