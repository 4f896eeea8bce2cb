"""Whether a filter holds for one pin, the obvious way: a value a time, None where it is unknown."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from candidate_service.filter_language import (
    Both,
    Comparison,
    Kind,
    Known,
    Not,
    as_number,
)

if TYPE_CHECKING:
    from candidate_service.filter_language import Field, Node
    from candidate_service.live.segment import LivePin

DAY_US = 86_400_000_000


def holds(node: Node, pin: LivePin, now_us: int) -> bool:
    """Say whether a pin is in the answer."""
    return _truth(node, pin, now_us) is True


def _truth(node: Node, pin: LivePin, now_us: int) -> bool | None:
    if isinstance(node, Not):
        part = _truth(node.part, pin, now_us)
        return None if part is None else not part
    if isinstance(node, Known):
        return _value(node.field, pin, now_us) is not None
    if isinstance(node, Comparison):
        return _compare(node, pin, now_us)
    parts = [_truth(part, pin, now_us) for part in node.parts]
    decisive = not isinstance(node, Both)
    if decisive in parts:
        return decisive
    return None if None in parts else not decisive


def _value(field: Field, pin: LivePin, now_us: int) -> object:
    if field.key:
        return pin.attributes.get(field.key) or None
    if field.name == "age_days":
        made = pin.creation_time_us
        return None if made is None else max(0, now_us - made) / DAY_US
    if field.name == "quality":
        quality = pin.quality
        return None if quality is None else struct.unpack("f", struct.pack("f", quality))[0]
    return getattr(pin, field.name) or None


def _compare(leaf: Comparison, pin: LivePin, now_us: int) -> bool | None:
    value = _value(leaf.field, pin, now_us)
    if leaf.field.key and all(isinstance(one, float) for one in leaf.values):
        value = None if value is None else as_number(str(value))
    if value is None:
        return None
    return any(_is(leaf, value, wanted) for wanted in leaf.values)


def _is(leaf: Comparison, value: object, wanted: object) -> bool:
    sign, kind = leaf.operator, leaf.field.kind
    if kind is Kind.SET:
        return wanted in value  # type: ignore[operator]
    if kind is Kind.WORDS:
        return str(wanted).lower() in str(value).lower()
    if leaf.field.name == "quality":
        wanted = struct.unpack("f", struct.pack("f", wanted))[0]
    if leaf.field.name in {"language", "country"}:
        value, wanted = str(value).lower(), str(wanted).lower()
    if sign == ":":
        if leaf.field.key:
            return str(wanted).lower() in str(value).lower()
        return value == wanted or str(value).startswith(f"{wanted}-")
    return {
        "=": value == wanted,
        "!=": value != wanted,
        "<": value < wanted,  # type: ignore[operator]
        "<=": value <= wanted,  # type: ignore[operator]
        ">": value > wanted,  # type: ignore[operator]
        ">=": value >= wanted,  # type: ignore[operator]
    }[sign]
