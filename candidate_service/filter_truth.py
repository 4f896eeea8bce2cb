"""Whether a filter holds, for all pins at once; one function for each kind of comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service.filter_language import Both, Comparison, Kind, Known, Node, Not, leaves
from candidate_service.pin_columns import PinColumns, Words

_DAY_US: Final = 86_400e6
_ANY_CASE: Final = frozenset({"language", "country"})
_ORDERS: Final[dict[str, Callable[[NDArray[np.float64], float], NDArray[np.bool_]]]] = {
    "=": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
_TEXT_ORDERS: Final = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}

_Mask = NDArray[np.bool_]


def uses_age(node: Node) -> bool:
    """Say whether what holds depends on the time."""
    return any(leaf.field.name == "age_days" for leaf in leaves(node))


def evaluate(node: Node, columns: PinColumns, now_us: int) -> _Mask:
    """Return where an expression holds, bool[n].

    Args:
        node: Without placeholders.
        columns: What is known of n pins.
        now_us: Against which ages are told.
    """
    return _truth(node, columns, now_us)[0]


def _truth(node: Node, columns: PinColumns, now_us: int) -> tuple[_Mask, _Mask]:
    """Return where it holds and where it does not; neither where it is unknown."""
    if isinstance(node, Comparison):
        holds, known = _compare(node, columns, now_us)
        return holds & known, ~holds & known
    if isinstance(node, Known):
        known = _known(node, columns)
        return known, ~known
    if isinstance(node, Not):
        holds, fails = _truth(node.part, columns, now_us)
        return fails, holds
    holds, fails = _truth(node.parts[0], columns, now_us)
    for part in node.parts[1:]:
        also_holds, also_fails = _truth(part, columns, now_us)
        if isinstance(node, Both):
            holds, fails = holds & also_holds, fails | also_fails
        else:
            holds, fails = holds | also_holds, fails & also_fails
    return holds, fails


def _compare(leaf: Comparison, columns: PinColumns, now_us: int) -> tuple[_Mask, _Mask]:
    """Return where a comparison holds, and where the field is known."""
    name, kind = leaf.field.name, leaf.field.kind
    if kind is Kind.NUMBER:
        numbers = _age(columns, now_us) if name == "age_days" else columns.numbers(name)
        return _any_order(leaf, numbers), ~np.isnan(numbers)
    if kind is Kind.TAG:
        words = columns.words(name)
        return words.where(_word_hits(leaf, words)), words.codes >= 0
    if kind is Kind.WORDS:
        return _contains(columns.texts(name), leaf)
    if kind is Kind.SET:
        sets = columns.sets(name)
        known = sets.where(np.ones(len(sets.words), np.bool_))
        return sets.where(_equals(sets.words, leaf.values)), known
    words, numbers = columns.attribute(leaf.field.key)
    if all(isinstance(value, float) for value in leaf.values):
        return _any_order(leaf, numbers), ~np.isnan(numbers)
    return words.where(_word_hits(leaf, words)), words.codes >= 0


def _known(leaf: Known, columns: PinColumns) -> _Mask:
    name, kind = leaf.field.name, leaf.field.kind
    if kind is Kind.NUMBER:
        column = "creation_time_us" if name == "age_days" else name
        return ~np.isnan(columns.numbers(column))
    if kind is Kind.SET:
        sets = columns.sets(name)
        return sets.where(np.ones(len(sets.words), np.bool_))
    if kind is Kind.WORDS:
        texts = columns.texts(name)
        return _as_mask(pc.and_(pc.is_valid(texts), pc.not_equal(texts, "")))
    words = columns.attribute(leaf.field.key)[0] if leaf.field.key else columns.words(name)
    return np.asarray(words.codes >= 0)


def _age(columns: PinColumns, now_us: int) -> NDArray[np.float64]:
    """Return ages in days; a pin from the future is new."""
    return np.maximum(now_us - columns.numbers("creation_time_us"), 0.0) / _DAY_US


def _any_order(leaf: Comparison, numbers: NDArray[np.float64]) -> _Mask:
    order = _ORDERS[leaf.operator]
    holds = np.zeros(len(numbers), np.bool_)
    for value in leaf.values:
        assert isinstance(value, float)
        # quality is kept as float32: 0.3 must equal what was imported as 0.3
        bound = float(np.float32(value)) if leaf.field.name == "quality" else value
        holds |= order(numbers, bound)
    return holds


def _word_hits(leaf: Comparison, column: Words) -> _Mask:
    words = column.words
    if leaf.operator in _TEXT_ORDERS:
        compare = _TEXT_ORDERS[leaf.operator]
        return _any(words, [compare(words, str(value)) for value in leaf.values])
    if leaf.field.name in _ANY_CASE:
        words = pc.utf8_lower(words)
        leaf = Comparison(
            leaf.field, leaf.operator, tuple(str(value).lower() for value in leaf.values)
        )
    if leaf.operator == ":":
        return _has(words, leaf)
    hits = _equals(words, leaf.values)
    return ~hits if leaf.operator == "!=" else hits


def _has(words: pa.Array, leaf: Comparison) -> _Mask:
    """Return the words that contain a text; a language has its regions: `pt` has `pt-BR`."""
    texts = [str(value) for value in leaf.values]
    if leaf.field.key:
        found = [pc.match_substring(words, text, ignore_case=True) for text in texts]
    else:
        found = [pc.or_(pc.equal(words, text), pc.starts_with(words, text + "-")) for text in texts]
    return _any(words, found)


def _contains(texts: pa.Array, leaf: Comparison) -> tuple[_Mask, _Mask]:
    hits = [pc.match_substring(texts, str(value), ignore_case=True) for value in leaf.values]
    known = _as_mask(pc.and_(pc.is_valid(texts), pc.not_equal(texts, "")))
    return _any(texts, hits), known


def _equals(words: pa.Array, values: tuple[object, ...]) -> _Mask:
    wanted = pa.array([str(value) for value in values], pa.large_string())
    return _as_mask(pc.is_in(words, value_set=wanted))


def _any(words: pa.Array, hits: list[pa.Array]) -> _Mask:
    found = np.zeros(len(words), np.bool_)
    for hit in hits:
        found |= _as_mask(hit)
    return found


def _as_mask(values: pa.Array) -> _Mask:
    filled = pc.fill_null(values, fill_value=False)
    return np.asarray(filled.to_numpy(zero_copy_only=False), np.bool_)
