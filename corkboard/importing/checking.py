"""The rules of each kind of value, a whole column at a time: what is kept, and which rows are bad.

Each check takes an Arrow array as it was read (typed or text) and returns the array as it is stored
and the reasons with the rows they concern. A bad value is stored as null.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from corkboard.importing import pin_values, times
from corkboard.importing.columns import (
    ACTION_TYPE_ALIASES,
    ACTION_TYPES,
    ATTRIBUTE_BYTES_MAX,
    DIMENSION_MAX,
    TEXT_BYTES_MAX,
    WORD_BYTES_MAX,
    Column,
    Kind,
)

BoolArray = NDArray[np.bool_]

_CONTROL: Final = r"[\x00-\x1f\x7f]"
_END_OF_TIME_US: Final = 253_402_300_799_000_000
"""The last second of the year 9999."""
_SEPARATORS: Final = r"\s*[|;,]\s*"


@dataclass(slots=True)
class Checked:
    """
    A column after its check.

    Attributes:
        values: As they are stored, null where bad.
        faults: Reason → which rows.
    """

    values: pa.Array
    faults: dict[str, BoolArray] = field(default_factory=dict)

    def refuse(self, reason: str, rows: BoolArray) -> None:
        """Note bad rows; none is fine."""
        if rows.any():
            self.faults[reason] = self.faults.get(reason, False) | rows


@dataclass(slots=True)
class Rules:
    """
    What a check must know beside the values.

    Attributes:
        now_us: The time of the import.
        dimensions: Of the vectors, by column; where there is none it is taken from the first one.
        dimensions_from: Where a dimension was seen first, to tell the user.
    """

    now_us: int
    dimensions: dict[str, int] = field(default_factory=dict)
    dimensions_from: dict[str, str] = field(default_factory=dict)


def check_column(given: pa.ChunkedArray, name: str, column: Column, rules: Rules) -> Checked:
    """
    Apply the rules of a column to its values.

    Args:
        given: As read.
        name: As the user called the column.
        column: What it was taken for.
        rules: Its dimensions are set by the first vectors seen.
    """
    array = given.combine_chunks() if given.num_chunks != 1 else given.chunk(0)
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], given.type)
    if isinstance(array.type, pa.DictionaryType):
        array = array.dictionary_decode()
    if column.kind is Kind.TIME:
        checked = _check_time(array, name, column, rules)
    elif column.kind is Kind.VECTOR:
        checked = _check_vector(array, column, rules)
    else:
        checked = _CHECKS[column.kind](array, column)
    if column.is_required:
        bad = np.zeros(len(array), np.bool_)
        for rows in checked.faults.values():
            bad |= rows
        checked.refuse("is missing", _mask(pc.is_null(checked.values)) & ~bad)
    return checked


def _check_id(array: pa.Array, column: Column) -> Checked:
    text, checked = _as_text(array, allow_floats=False)
    checked.refuse(
        f"is longer than {column.bytes_max} bytes",
        _mask(pc.greater(pc.binary_length(text), column.bytes_max)),
    )
    checked.refuse("has a control character", _mask(pc.match_substring_regex(text, _CONTROL)))
    checked.values = _without_bad(text, checked)
    return checked


def _check_text(array: pa.Array, column: Column) -> Checked:
    text, checked = _as_text(array)
    if column.is_one_line:
        text = pc.utf8_trim_whitespace(text)
        checked.refuse("has a control character", _mask(pc.match_substring_regex(text, _CONTROL)))
    checked.refuse(
        f"is longer than {TEXT_BYTES_MAX} bytes",
        _mask(pc.greater(pc.binary_length(text), TEXT_BYTES_MAX)),
    )
    checked.values = _without_bad(text, checked)
    return checked


def _check_word(array: pa.Array, column: Column) -> Checked:
    text, checked = _as_text(array)
    folded = pc.utf8_trim_whitespace(text)
    folded = pc.utf8_upper(folded) if column.name == "country" else pc.utf8_lower(folded)
    checked.refuse(
        f"is longer than {WORD_BYTES_MAX} bytes",
        _mask(pc.greater(pc.binary_length(folded), WORD_BYTES_MAX)),
    )
    checked.values = _without_bad(folded, checked)
    return checked


def _check_words(array: pa.Array, _column: Column) -> Checked:
    """Lists of text, or text with `|`, `;` or `,` between the words."""
    if not _is_list(array.type):
        text, checked = _as_text(array)
        plain = pc.replace_substring_regex(text, r"[\[\]\"]", "")
        lists = pc.split_pattern_regex(pc.utf8_trim_whitespace(plain), _SEPARATORS)
    else:
        checked = Checked(array)
        lists = _plain_list(array)
    words, inner = _as_text(lists.flatten())
    words = pc.utf8_trim_whitespace(words)
    parents = _parents(lists)
    too_long = _mask(pc.greater(pc.binary_length(words), WORD_BYTES_MAX))
    for reason, rows in (
        (f"has a word longer than {WORD_BYTES_MAX} bytes", too_long),
        *inner.faults.items(),
    ):
        bad = np.zeros(len(array), np.bool_)
        bad[parents[rows]] = True
        checked.refuse(reason, bad)
    kept = ~too_long & _mask(pc.is_valid(words)) & (_lengths(words) > 0)
    counts = np.bincount(parents[kept], minlength=len(array))
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    values = pa.ListArray.from_arrays(
        pa.array(offsets), words.filter(pa.array(kept)), mask=pc.is_null(lists)
    )
    checked.values = _without_bad(values, checked)
    return checked


def _check_flag(array: pa.Array, _column: Column) -> Checked:
    if pa.types.is_boolean(array.type):
        return Checked(array)
    text, checked = _as_text(array)
    values, faults = pin_values.read_flags(text)
    return _with_faults(checked, values, faults)


def _check_hash(array: pa.Array, _column: Column) -> Checked:
    if pa.types.is_integer(array.type):
        return Checked(pin_values.read_hash_numbers(array))
    text, checked = _as_text(array, allow_floats=False)
    values, faults = pin_values.read_hashes(text)
    return _with_faults(checked, values, faults)


def _check_attributes(array: pa.Array, _column: Column) -> Checked:
    checked = Checked(array)
    if not (pa.types.is_map(array.type) or pa.types.is_struct(array.type)):
        array, checked = _as_text(array)
    values, faults = pin_values.read_attributes(array)
    return _with_faults(checked, values, faults)


def _check_attribute(array: pa.Array, _column: Column) -> Checked:
    if pa.types.is_boolean(array.type):
        array = pc.if_else(array, "true", "false")
    text, checked = _as_text(array)
    checked.refuse(
        f"is longer than {ATTRIBUTE_BYTES_MAX} bytes",
        _mask(pc.greater(pc.binary_length(text), ATTRIBUTE_BYTES_MAX)),
    )
    checked.values = _without_bad(text, checked)
    return checked


def _with_faults(checked: Checked, values: pa.Array, faults: dict[str, BoolArray]) -> Checked:
    for reason, rows in faults.items():
        checked.refuse(reason, rows)
    checked.values = _without_bad(values, checked)
    return checked


def _check_number(array: pa.Array, column: Column) -> Checked:
    least = 0 if column.kind is Kind.SHARE else -1
    checked = Checked(array)
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        numbers = array.cast(pa.float64(), safe=False)
    else:
        text, checked = _as_text(array)
        numbers, bad = times.parse_numbers(text)
        checked.refuse("is not a number", bad)
    values = numbers.to_numpy(zero_copy_only=False)
    known = _mask(pc.is_valid(numbers))
    with np.errstate(invalid="ignore"):
        checked.refuse("is not finite", known & ~np.isfinite(values))
        is_outside = np.isfinite(values) & ((values < least) | (values > 1))
        checked.refuse(f"is not from {least} to 1", known & is_outside)
    checked.values = _without_bad(numbers.cast(pa.float32(), safe=False), checked)
    return checked


def _check_action_type(array: pa.Array, _column: Column) -> Checked:
    text, checked = _as_text(array)
    folded = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    folded = pc.replace_substring_regex(folded, r"[\s-]+", "_")
    folded = pc.replace_substring_regex(folded, r"^action_type_", "")
    for alias, name in ACTION_TYPE_ALIASES.items():
        folded = pc.if_else(pc.equal(folded, alias), name, folded)
    known = pc.is_in(folded, pa.array(ACTION_TYPES, folded.type))
    checked.refuse(
        "is no known action type; known are " + ", ".join(ACTION_TYPES),
        _mask(pc.and_(pc.is_valid(folded), pc.invert(known))),
    )
    checked.values = _without_bad(folded, checked)
    return checked


def _check_time(array: pa.Array, name: str, column: Column, rules: Rules) -> Checked:
    checked = Checked(array)
    if pa.types.is_boolean(array.type) or pa.types.is_nested(array.type):
        checked.refuse("is not a time", _mask(pc.is_valid(array)))
        checked.values = pa.nulls(len(array), pa.int64())
        return checked
    latest_us = _END_OF_TIME_US if column.may_be_ahead else rules.now_us
    moments, faults = times.to_microseconds(array, name, latest_us)
    for reason, rows in faults.items():
        checked.refuse(reason, rows)
    checked.values = _without_bad(moments, checked)
    return checked


def _check_vector(array: pa.Array, column: Column, rules: Rules) -> Checked:
    """Lists of numbers, or text with spaces, `,`, `;` or `|` between the numbers."""
    checked = Checked(array)
    if not _is_list(array.type):
        text, checked = _as_text(array)
        plain = pc.utf8_trim_whitespace(pc.replace_substring_regex(text, r"[\[\]()]", " "))
        lists = pc.split_pattern_regex(plain, r"\s*[|;,]\s*|\s+")
    else:
        lists = _plain_list(array)
    flat = lists.flatten()
    if pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type):
        numbers, unread = flat.cast(pa.float64(), safe=False), np.zeros(len(flat), np.bool_)
    else:
        numbers, unread = times.parse_numbers(_as_text(flat)[0])
    parents = _parents(lists)
    given = _mask(pc.is_valid(lists))
    lengths = np.bincount(parents, minlength=len(array))
    if column.name not in rules.dimensions and lengths.any():
        rules.dimensions[column.name] = int(lengths[lengths > 0][0])
        rules.dimensions_from[column.name] = "the first vector of this import"
    dimension = rules.dimensions.get(column.name, 0)
    with np.errstate(over="ignore", invalid="ignore"):
        values = numbers.to_numpy(zero_copy_only=False).astype(np.float32)
    missing = _mask(pc.is_null(numbers)) & ~unread

    def any_of(rows: BoolArray) -> BoolArray:
        return np.bincount(parents[rows], minlength=len(array)) > 0

    checked.refuse("holds something that is no number", any_of(unread | missing))
    checked.refuse("is not finite", any_of(~np.isfinite(values) & ~unread & ~missing))
    checked.refuse("is empty", given & (lengths == 0))
    checked.refuse(f"is longer than {DIMENSION_MAX} numbers", lengths > DIMENSION_MAX)
    checked.refuse(
        f"has not {dimension} numbers as {rules.dimensions_from.get(column.name, '')}",
        given & (lengths > 0) & (lengths != dimension),
    )
    checked.refuse("is zero", given & (lengths > 0) & ~any_of(values != 0))
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    stored = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=pa.array(~given))
    checked.values = _without_bad(stored, checked)
    return checked


_CHECKS: Final[dict[Kind, Callable[[pa.Array, Column], Checked]]] = {
    Kind.ID: _check_id,
    Kind.TEXT: _check_text,
    Kind.WORD: _check_word,
    Kind.WORDS: _check_words,
    Kind.NUMBER: _check_number,
    Kind.ACTION_TYPE: _check_action_type,
    Kind.SHARE: _check_number,
    Kind.FLAG: _check_flag,
    Kind.HASH: _check_hash,
    Kind.ATTRIBUTES: _check_attributes,
    Kind.ATTRIBUTE: _check_attribute,
}


def _as_text(array: pa.Array, *, allow_floats: bool = True) -> tuple[pa.Array, Checked]:
    """Return values as text with empty ones as null, and what cannot be text as faults."""
    checked = Checked(array)
    kind = array.type
    refused = (
        pa.types.is_nested(kind)
        or pa.types.is_boolean(kind)
        or (pa.types.is_floating(kind) and not allow_floats)
    )
    if refused:
        checked.refuse("must be text or a whole number", _mask(pc.is_valid(array)))
        return pa.nulls(len(array), pa.string()), checked
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        array = array.cast(pa.large_binary()).view(pa.large_string())
    text = array.cast(pa.string())
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        text, bad = _without_broken_utf8(text)
        checked.refuse("is not UTF-8", bad)
    return pc.if_else(
        pc.equal(pc.binary_length(text), 0), pa.scalar(None, pa.string()), text
    ), checked


def _without_broken_utf8(text: pa.Array) -> tuple[pa.Array, BoolArray]:
    """Find broken values one by one: only when there are some."""
    values: list[str | None] = []
    bad = np.zeros(len(text), np.bool_)
    for index, raw in enumerate(text.cast(pa.binary())):
        content = raw.as_py()
        try:
            values.append(None if content is None else content.decode("utf-8"))
        except UnicodeDecodeError:
            values.append(None)
            bad[index] = True
    return pa.array(values, pa.string()), bad


def _without_bad(values: pa.Array, checked: Checked) -> pa.Array:
    """Put null where a row is bad."""
    if not checked.faults:
        return values
    bad = np.logical_or.reduce(list(checked.faults.values()))
    if not bad.any():
        return values
    return pc.if_else(pa.array(bad), pa.scalar(None, values.type), values)


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _plain_list(array: pa.Array) -> pa.Array:
    """Return any list type as one that forgets what stands behind nulls."""
    return array if pa.types.is_list(array.type) else array.cast(pa.list_(array.type.value_type))


def _parents(lists: pa.Array) -> NDArray[np.int64]:
    """Return the row of each value of `lists.flatten()`, which leaves out what nulls hide."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lists)), lengths)


def _lengths(text: pa.Array) -> NDArray[np.int64]:
    lengths: NDArray[np.int64] = (
        pc.fill_null(pc.binary_length(text), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return lengths


def _mask(condition: pa.Array) -> BoolArray:
    """Return a condition as booleans; null is false."""
    mask: BoolArray = pc.fill_null(condition, False).to_numpy(zero_copy_only=False)
    return mask.astype(np.bool_)
