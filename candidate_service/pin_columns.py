"""What is known of many pins as arrays that compare at once: codes of words, numbers, sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service.filter_language import as_number
from candidate_service.live.segment import LivePin

UNKNOWN: Final = -1
"""Code of a pin of which the word is not known."""

T = TypeVar("T")

_TEXT: Final = pa.large_string()
_ATTRIBUTES: Final = pa.map_(_TEXT, _TEXT)
_LIVE_FIELDS: Final = {
    "title": _TEXT,
    "description": _TEXT,
    "topics": pa.large_list(_TEXT),
    "language": _TEXT,
    "country": _TEXT,
    "owner_id": _TEXT,
    "creation_time_us": pa.int64(),
    "quality": pa.float32(),
    "attributes": _ATTRIBUTES,
}


@dataclass(frozen=True, slots=True)
class Words:
    """One word a pin, as codes.

    Attributes:
        codes: Position in `words`, int32[n]; -1 where it is not known.
        words: Distinct words, none of them empty.
    """

    codes: NDArray[np.int32]
    words: pa.Array

    def where(self, is_hit: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return whose word is hit, bool[n], from bool[words]; unknown ones are not."""
        return np.asarray(np.append(is_hit, np.False_)[self.codes])


@dataclass(frozen=True, slots=True)
class WordSets:
    """Several words a pin.

    Attributes:
        owners: Whose each is, int32[m], a position in [0, n).
        codes: Which word, int32[m], >= 0.
        words: Distinct words.
        count: n.
    """

    owners: NDArray[np.int32]
    codes: NDArray[np.int32]
    words: pa.Array
    count: int

    def where(self, is_hit: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which pins have a word that is hit, bool[n]."""
        found = np.zeros(self.count, np.bool_)
        found[self.owners[is_hit[self.codes]]] = True
        return found


class LiveTable:
    """Live pins as a table whose columns are made when they are first asked for.

    Texts are copied for filters that read them alone: two thousand pins may have 250 MB of them.
    """

    def __init__(self, pins: Sequence[LivePin]) -> None:
        """Take pins in their order; of a row that comes twice the later pin is the last one."""
        self.num_rows: Final = len(pins)
        self.column_names: Final = [*_LIVE_FIELDS]
        self._pins = tuple(pins)
        self._made: dict[str, pa.ChunkedArray] = {}

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column of `column_names`; made twice at the worst."""
        made = self._made.get(name)
        if made is None:
            values = [getattr(pin, name) for pin in self._pins]
            if name == "attributes":
                values = [[*value.items()] for value in values]
            made = pa.chunked_array([pa.array(values, _LIVE_FIELDS[name])])
            made = self._made.setdefault(name, made)
        return made


class PinColumns:
    """Columns of some pins, each made when it is first asked for; safe from any thread.

    Attributes:
        rows: Their catalogue rows, int32[n]; None = 0, 1, 2, …
        count: n.
    """

    def __init__(self, table: pa.Table | LiveTable, rows: NDArray[np.int32] | None = None) -> None:
        """Take a table with the columns of the catalogue; columns that it lacks are unknown."""
        self.rows = rows
        self.count = table.num_rows
        self._table = table
        self._made: dict[str, Any] = {}
        self._lock = Lock()

    @classmethod
    def of_pins(cls, pins: Sequence[LivePin]) -> PinColumns:
        """Make columns of live pins; of a row that comes twice the later pin is the last one."""
        rows = np.fromiter((pin.row for pin in pins), np.int32, len(pins))
        return cls(LiveTable(pins), rows)

    def words(self, name: str) -> Words:
        """Return a column of one word a pin."""
        return self._get(f"words:{name}", lambda: _words(self._column(name), self.count))

    def texts(self, name: str) -> pa.Array:
        """Return a column of text as it is, nulls where it is not known."""
        column = self._column(name)
        return pa.nulls(self.count, _TEXT) if column is None else column

    def sets(self, name: str) -> WordSets:
        """Return a column of several words a pin."""
        return self._get(f"sets:{name}", lambda: _sets(self._column(name), self.count))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers, float64[n], NaN where it is not known."""
        return self._get(f"numbers:{name}", lambda: _numbers(self._column(name), self.count))

    def attribute(self, key: str) -> tuple[Words, NDArray[np.float64]]:
        """Return an attribute as words, and as numbers where its words are such."""
        return self._get(f"attribute:{key}", lambda: self._attribute(key))

    def rows_of_word(self, name: str, words: Sequence[str]) -> NDArray[np.intp]:
        """Return the positions of the pins that have one of some words, in any order."""
        column = self.words(name)
        order, ends = self._get(f"order:{name}", lambda: _order(column))
        codes = pc.index_in(pa.array(words, _TEXT), value_set=column.words).drop_null().to_pylist()
        return np.concatenate(
            [np.empty(0, np.intp), *(order[ends[code] : ends[code + 1]] for code in codes)]
        )

    def make_same(self, other: PinColumns) -> None:
        """Make the columns that another one's callers asked for, so that nobody waits for them."""
        with other._lock:
            made = list(other._made)
        makers: dict[str, Callable[[str], object]] = {
            "words": self.words,
            "sets": self.sets,
            "numbers": self.numbers,
            "attribute": self.attribute,
            "order": lambda name: self.rows_of_word(name, []),
        }
        for key in made:
            kind, _, name = key.partition(":")
            makers[kind](name)

    @cached_property
    def _flat_attributes(self) -> tuple[NDArray[np.int32], pa.Array, pa.Array]:
        column = self._column("attributes")
        if column is None or not len(column):
            return np.empty(0, np.int32), pa.array([], _TEXT), pa.array([], _TEXT)
        lengths = np.diff(column.offsets.to_numpy())
        first = column.offsets[0].as_py()
        owners = np.repeat(np.arange(self.count, dtype=np.int32), lengths)
        return owners, column.keys[first:], column.items[first:]

    def _attribute(self, key: str) -> tuple[Words, NDArray[np.float64]]:
        owners, keys, items = self._flat_attributes
        is_key = pc.fill_null(pc.equal(keys, key), fill_value=False).to_numpy(zero_copy_only=False)
        at = np.flatnonzero(is_key)
        some = _words(items.take(pa.array(at)).cast(_TEXT), len(at))
        codes = np.full(self.count, UNKNOWN, np.int32)
        codes[owners[at]] = some.codes
        parsed = [as_number(word) for word in some.words.to_pylist()]
        numbers = np.array([np.nan if one is None else one for one in parsed] + [np.nan])
        return Words(codes, some.words), numbers[codes]

    def _column(self, name: str) -> pa.Array | None:
        if name not in self._table.column_names:
            return None
        column = self._table.column(name)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    def _get(self, key: str, make: Callable[[], T]) -> T:
        made: T | None = self._made.get(key)
        if made is None:
            with self._lock:
                made = self._made.get(key)
            if made is None:
                made = make()  # twice at the worst; the columns it is made of take the lock
                with self._lock:
                    made = self._made.setdefault(key, made)
        return made


def _words(column: pa.Array | None, count: int) -> Words:
    if column is None:
        return Words(np.full(count, UNKNOWN, np.int32), pa.array([], _TEXT))
    encoded = pc.dictionary_encode(column.cast(_TEXT))
    codes = pc.fill_null(encoded.indices, UNKNOWN).to_numpy(zero_copy_only=False)
    codes = np.array(codes, np.int32)
    empty = pc.index(encoded.dictionary, "").as_py()
    if empty >= 0:  # an empty word says nothing
        codes[codes == empty] = UNKNOWN
    return Words(codes, encoded.dictionary)


def _sets(column: pa.Array | None, count: int) -> WordSets:
    if column is None or not count:
        return WordSets(np.empty(0, np.int32), np.empty(0, np.int32), pa.array([], _TEXT), count)
    owners = pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int32)
    flat = _words(pc.list_flatten(column), len(owners))
    given = flat.codes >= 0
    return WordSets(owners[given], flat.codes[given], flat.words, count)


def _numbers(column: pa.Array | None, count: int) -> NDArray[np.float64]:
    if column is None:
        return np.full(count, np.nan)
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _order(column: Words) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Sort pins by their word: positions, and where each word's begin."""
    order = np.argsort(column.codes, kind="stable")
    ends = np.searchsorted(column.codes[order], np.arange(len(column.words) + 1))
    return order, ends
