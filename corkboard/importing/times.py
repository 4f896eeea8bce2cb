"""Times in all the ways in which people write them, as microseconds since the Unix epoch.

ISO 8601 with or without a zone (UTC if there is none), or a number: seconds, milliseconds,
microseconds or nanoseconds by its size, unless the column's name says (`…_s`, `…_ms`, `…_us`).
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from corkboard.importing.columns import FUTURE_SECONDS_MAX, normal_name

BoolArray = NDArray[np.bool_]

NOT_A_TIME: Final = "is not a time; write ISO 8601 or Unix seconds, milli- or microseconds"
BEFORE_1970: Final = "is before 1970"
IN_FUTURE: Final = "is in the future"
_NUMBER: Final = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$"
_FINITE_OR_NOT: Final = r"^\s*[+-]?(nan|inf(inity)?)\s*$"
_ZONED: Final = r"^\d{4}-\d{2}-\d{2}[T ].*(Z|z|[+-]\d{2}:?\d{2})$"
_SCALES: Final = {"_s": 1e6, "_ms": 1e3, "_us": 1.0, "_ns": 1e-3}
# A number below each bound counts in that many microseconds: seconds reach the year 5138.
_BOUNDS: Final = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (np.inf, 1e-3))


def to_microseconds(
    array: pa.Array, name: str, now_us: int
) -> tuple[pa.Array, dict[str, BoolArray]]:
    """
    Return times as int64 and the bad rows by reason.

    Args:
        array: Timestamps, dates, numbers or text, not nested.
        name: Of the column; its ending may say the unit of numbers.
        now_us: Times more than five minutes after it are refused.
    """
    given = _mask(pc.is_valid(array))
    faults: dict[str, BoolArray] = {}
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        moments = array.cast(pa.timestamp("us", getattr(array.type, "tz", None)), safe=False)
        values = pc.fill_null(moments.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        values, faults[NOT_A_TIME] = _from_numbers(array, name)
    else:
        values, faults[NOT_A_TIME], given = _from_text(array.cast(pa.string()), name)
    good = given & ~faults.get(NOT_A_TIME, np.zeros(len(array), np.bool_))
    faults[BEFORE_1970] = good & (values < 0)
    faults[IN_FUTURE] = good & (values > now_us + FUTURE_SECONDS_MAX * 1_000_000)
    return pa.array(values, pa.int64(), mask=~good), faults


def parse_numbers(text: pa.Array) -> tuple[pa.Array, BoolArray]:
    """Return text as float64 (null stays null) and which values are no numbers."""
    with suppress(pa.ArrowInvalid):  # the common case: all are, in a form that Arrow reads
        return text.cast(pa.float64()), np.zeros(len(text), np.bool_)
    folded = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    is_number = pc.or_(
        pc.match_substring_regex(folded, _NUMBER), pc.match_substring_regex(folded, _FINITE_OR_NOT)
    )
    bad = _mask(pc.and_(pc.is_valid(text), pc.invert(is_number)))
    clean = pc.if_else(is_number, pc.replace_substring_regex(folded, r"^\+", ""), None)
    try:
        return clean.cast(pa.float64()), bad
    except pa.ArrowInvalid:  # forms that Arrow does not read, such as `1.`
        values = [None if value is None else float(value) for value in clean.to_pylist()]
        return pa.array(values, pa.float64()), bad


def _from_numbers(array: pa.Array, name: str) -> tuple[NDArray[np.int64], BoolArray]:
    wide = pc.fill_null(array.cast(pa.float64(), safe=False), 0.0).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = wide * _scale(wide, name)
        bad = ~(np.abs(scaled) < 2.0**62)
        return np.where(bad, 0, np.round(scaled)).astype(np.int64), bad


def _scale(values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    ending = "_" + normal_name(name).rpartition("_")[2]
    if ending in _SCALES:
        return np.full(len(values), _SCALES[ending])
    size = np.abs(values)
    return np.select([size < bound for bound, _ in _BOUNDS], [scale for _, scale in _BOUNDS], 1.0)


def _from_text(text: pa.Array, name: str) -> tuple[NDArray[np.int64], BoolArray, BoolArray]:
    trimmed = pc.utf8_trim_whitespace(text)
    given = _mask(pc.greater(pc.binary_length(trimmed), 0))
    is_number = _mask(pc.match_substring_regex(trimmed, _NUMBER))
    is_zoned = _mask(pc.match_substring_regex(trimmed, _ZONED)) & ~is_number
    is_plain = given & ~is_number & ~is_zoned
    values = np.zeros(len(text), np.int64)
    bad = np.zeros(len(text), np.bool_)
    if is_number.any():
        numbers, _ = parse_numbers(trimmed.filter(pa.array(is_number)))
        values[is_number], bad[is_number] = _from_numbers(numbers, name)
    for rows, kind in ((is_zoned, pa.timestamp("us", "UTC")), (is_plain, pa.timestamp("us"))):
        if rows.any():
            values[rows], bad[rows] = _from_iso(trimmed.filter(pa.array(rows)), kind)
    return values, bad, given


def _from_iso(text: pa.Array, kind: pa.DataType) -> tuple[NDArray[np.int64], BoolArray]:
    try:
        moments = text.cast(kind).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return moments, np.zeros(len(text), np.bool_)
    except pa.ArrowInvalid:  # some value is odd: go through them one by one
        values = np.zeros(len(text), np.int64)
        bad = np.zeros(len(text), np.bool_)
        for index, value in enumerate(text.to_pylist()):
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                bad[index] = True
                continue
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            values[index] = round(moment.timestamp() * 1e6)
        return values, bad


def _mask(condition: pa.Array) -> BoolArray:
    mask: BoolArray = pc.fill_null(condition, False).to_numpy(zero_copy_only=False)
    return mask.astype(np.bool_)
