"""The rules of what only pins have: shares, flags, hashes of pictures, further attributes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from corkboard.importing.columns import (
    ATTRIBUTE_BYTES_MAX,
    ATTRIBUTE_COUNT_MAX,
    ATTRIBUTE_NAME,
    ATTRIBUTES_TYPE,
)

Reasons = dict[str, NDArray[np.bool_]]

_TRUE: Final = ("true", "t", "yes", "y", "1")
_FALSE: Final = ("false", "f", "no", "n", "0")
_HASH: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{1,16})")


def read_flags(text: pa.Array) -> tuple[pa.Array, Reasons]:
    """Return text as booleans, null where it is none of `true`, `false` and their kin."""
    folded = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    is_true = pc.is_in(folded, pa.array(_TRUE, folded.type))
    is_known = pc.or_(is_true, pc.is_in(folded, pa.array(_FALSE, folded.type)))
    values = pc.if_else(is_known, is_true, pa.scalar(None, pa.bool_()))
    bad = pc.and_(pc.is_valid(folded), pc.invert(is_known)).to_numpy(zero_copy_only=False)
    return values, {"is neither true nor false": bad}


def read_hashes(text: pa.Array) -> tuple[pa.Array, Reasons]:
    """Return hexadecimal text as the same 64 bits in a signed number."""
    values: list[int | None] = []
    bad = np.zeros(len(text), np.bool_)
    for at, given in enumerate(text.to_pylist()):
        found = None if given is None else _HASH.fullmatch(given.strip())
        bad[at] = given is not None and found is None
        values.append(None if found is None else _signed(int(found[1], 16)))
    return pa.array(values, pa.int64()), {"is not up to 16 hexadecimal digits": bad}


def read_hash_numbers(numbers: pa.Array) -> pa.Array:
    """Return whole numbers of any type as the same 64 bits in a signed number."""
    if pa.types.is_uint64(numbers.type):
        return numbers.view(pa.int64())
    return numbers.cast(pa.int64())


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def read_attributes(array: pa.Array) -> tuple[pa.Array, Reasons]:
    """Return maps, structs or text with a JSON object as attributes; values become text."""
    pairs: list[list[tuple[str, str]] | None] = []
    reasons: Reasons = {}
    for at, given in enumerate(array.to_pylist()):
        found, reason = _object(given)
        if found is not None and not reason:
            reason = _fault(found)
        if reason:
            reasons.setdefault(reason, np.zeros(len(array), np.bool_))[at] = True
        pairs.append(sorted(found.items()) if found is not None and not reason else None)
    return pa.array(pairs, ATTRIBUTES_TYPE), reasons


def _object(given: Any) -> tuple[dict[str, str] | None, str]:
    """Return a value as name and text, and why that cannot be done."""
    if given is None or given == "":
        return None, ""
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError:
            return None, "is not a JSON object"
    if isinstance(given, list) and all(isinstance(pair, tuple) for pair in given):
        given = dict(given)
    if not isinstance(given, dict):
        return None, "is not a JSON object"
    told = {str(name): _text(value) for name, value in given.items() if value is not None}
    if any(value is None for value in told.values()):
        return None, "has a value that is neither text nor number"
    return {name: value for name, value in told.items() if value is not None}, ""


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return value if isinstance(value, str) else None


def _fault(attributes: Mapping[str, str]) -> str:
    if len(attributes) > ATTRIBUTE_COUNT_MAX:
        return f"has more than {ATTRIBUTE_COUNT_MAX} attributes"
    if not all(re.fullmatch(ATTRIBUTE_NAME, name) for name in attributes):
        return "has a name that is not lower case letters, digits and _, at most 64"
    if any(len(value.encode()) > ATTRIBUTE_BYTES_MAX for value in attributes.values()):
        return f"has a value longer than {ATTRIBUTE_BYTES_MAX} bytes"
    return ""


def unite_attributes(
    whole: pa.Array | None, single: Mapping[str, pa.Array], count: int
) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Return one column of attributes made of several.

    Args:
        whole: The column `attributes`; None = there is none.
        single: Text by the name of the attribute; it counts before the same one of *whole*.
        count: Rows.

    Returns:
        The column, and the rows that have too many.
    """
    rows: Sequence[Any] = [None] * count if whole is None else whole.to_pylist()
    united = [dict(row or ()) for row in rows]
    for name, values in single.items():
        for at, value in enumerate(values.to_pylist()):
            if value is not None:
                united[at][name] = value
    bad = np.array([len(row) > ATTRIBUTE_COUNT_MAX for row in united], np.bool_)
    return pa.array([sorted(row.items()) or None for row in united], ATTRIBUTES_TYPE), bad
