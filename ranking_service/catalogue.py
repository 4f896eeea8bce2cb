"""
The artifacts that describe pins, opened read-only and row aligned: catalogue, vectors, statistics.

All three number pins by the catalogue's rows.  Rows are only ever appended, so vectors or
statistics of an older catalogue of the same id space stay valid and merely lack the newest pins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ranking_service.pin_keys import keys_of_arrow, keys_of_table
from service_runtime.errors import Corrupted
from service_runtime.generation_store import Generation
from service_runtime.id_table import IdTable
from service_runtime.vector_table import VectorTable

CATALOGUE: Final = "catalogue"
PIN_VECTORS: Final = "pin_vectors"
PIN_STATISTICS: Final = "pin_statistics"
FORMAT_VERSION: Final = 1
CATALOGUE_FORMATS: Final = (1, 2)
"""Layouts of the catalogue that are read; the first lacks hidden, deleted and expiring pins."""

STATISTIC_COUNTS: Final = (
    "save_count",
    "board_count",
    "user_count",
    "popularity",
    "decayed_save",
    "decayed_like",
    "decayed_click",
    "decayed_long_click",
    "decayed_close_up",
    "decayed_hide",
)
"""Counts of each pin; the decayed ones fade with the age of the actions."""

POPULAR_COUNT: Final = 1000
"""How many of the most popular pins are kept at hand for when candidate_service is away."""

UNKNOWN: Final = -1
"""Code of a value that is not known."""

_COLUMNS: Final = (
    "language",
    "country",
    "topics",
    "creation_time_us",
    "owner_id",
    "is_hidden",
    "is_deleted",
    "expiration_time_us",
)


@dataclass(frozen=True, slots=True)
class CodedColumn:
    """
    A column of words as numbers.

    Attributes:
        codes: int32[N]; UNKNOWN where the pin has no value.
        code_by_word: Number of each word.
    """

    codes: NDArray[np.int32]
    code_by_word: Mapping[str, int]

    def code(self, word: str) -> int:
        """The number of a word, UNKNOWN if no pin has it."""
        return self.code_by_word.get(word, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """
    What ranking needs to know of all pins.

    Attributes:
        pin_ids: Ids and rows.
        languages: Language of each pin.
        countries: Country of each pin.
        creation_times: Unix seconds, float64[N]; NaN = unknown.
        topic_offsets: Where each pin's topics start, int64[N + 1].
        topic_codes: Topics of all pins one after another, int32[t].
        topic_code_by_word: Number of each topic.
        pin_keys: Key of each pin, uint64[N].
        key_order: Rows in the order of their keys, int32[N].
        owner_keys: Key of each pin's owner, uint64[N]; 0 = not known.
        is_removed: Deleted or hidden pins, bool[N]; None = there are none.
        expiration_times: From when on a pin is not shown, Unix seconds, float64[N], NaN = never;
            None = no pin expires.
    """

    pin_ids: IdTable
    languages: CodedColumn
    countries: CodedColumn
    creation_times: NDArray[np.float64]
    topic_offsets: NDArray[np.int64]
    topic_codes: NDArray[np.int32]
    topic_code_by_word: Mapping[str, int]
    pin_keys: NDArray[np.uint64]
    key_order: NDArray[np.int32]
    owner_keys: NDArray[np.uint64]
    is_removed: NDArray[np.bool_] | None = None
    expiration_times: NDArray[np.float64] | None = None

    @property
    def topic_count(self) -> int:
        """Number of distinct topics."""
        return len(self.topic_code_by_word)

    def rows_of_keys(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Row of each pin key, int32[n]; UNKNOWN where no pin has it."""
        if not self.pin_keys.size:
            return np.full(keys.size, UNKNOWN, np.int32)
        places = np.searchsorted(self.pin_keys, keys, sorter=self.key_order)
        rows = self.key_order[np.minimum(places, self.key_order.size - 1)]
        return np.where(self.pin_keys[rows] == keys, rows, np.int32(UNKNOWN))

    def is_showable(self, rows: NDArray[np.int32], now: float) -> NDArray[np.bool_]:
        """Which pins are neither deleted, hidden nor expired, as far as the catalogue knows."""
        showable = np.ones(rows.size, np.bool_)
        if self.is_removed is not None:
            showable &= ~self.is_removed[rows]
        if self.expiration_times is not None:
            showable &= ~(self.expiration_times[rows] <= now)
        return showable

    @classmethod
    def open(cls, generation: Generation) -> Self:
        """
        Open a generation: ids are mapped, the few columns that ranking reads are decoded.

        Raises:
            Corrupted: If a file is unreadable or a column has another length than the ids.
        """
        pin_ids = IdTable.open(generation.file("pin_ids"))
        table = _read_arrow(generation.file("pins.arrow"), _COLUMNS, row_count=len(pin_ids))
        offsets, codes, topics = _coded_lists(table["topics"])
        expirations = table["expiration_time_us"]
        pin_keys = keys_of_table(pin_ids)
        return cls(
            pin_ids=pin_ids,
            languages=_coded(table["language"]),
            countries=_coded(table["country"]),
            creation_times=_seconds(table["creation_time_us"]),
            topic_offsets=offsets,
            topic_codes=codes,
            topic_code_by_word=topics,
            pin_keys=pin_keys,
            key_order=np.argsort(pin_keys).astype(np.int32),
            owner_keys=keys_of_arrow(table["owner_id"]),
            is_removed=_either(table["is_hidden"], table["is_deleted"]),
            expiration_times=None
            if expirations.null_count == len(expirations)
            else _seconds(expirations),
        )


@dataclass(frozen=True, slots=True)
class PinStatistics:
    """
    What people did to each pin, up to the generation's time.

    Attributes:
        counts: float32[N, k], one column for each of STATISTIC_COUNTS, so that a pool needs one
            gather.
        newest_save_times: Unix seconds, float64[N]; NaN = never.
        popular_rows: The most popular pins, best first, int32[at most POPULAR_COUNT].
    """

    counts: NDArray[np.float32]
    newest_save_times: NDArray[np.float64]
    popular_rows: NDArray[np.int32]

    @classmethod
    def open(cls, generation: Generation) -> Self:
        """
        Open a generation; a count that the file does not have is 0.

        Raises:
            Corrupted: If the file is unreadable.
        """
        columns = (*STATISTIC_COUNTS, "newest_save_time_us")
        table = _read_arrow(generation.file("statistics.arrow"), columns)
        counts = np.empty((table.num_rows, len(STATISTIC_COUNTS)), np.float32)
        for column, name in enumerate(STATISTIC_COUNTS):
            counts[:, column] = table[name].cast(pa.float32()).fill_null(0.0).to_numpy()
        popularity = counts[:, STATISTIC_COUNTS.index("popularity")]
        popular_rows = np.argsort(-popularity, kind="stable")[:POPULAR_COUNT].astype(np.int32)
        return cls(counts, _seconds(table["newest_save_time_us"]), popular_rows)


def open_vectors(generation: Generation) -> NDArray[np.float32]:
    """
    Map the vectors of a generation: float32[N, d], unit length, or zero for none.

    Raises:
        Corrupted: If the file is unreadable.
    """
    return VectorTable.open(generation.file("vectors.npy")).vectors


def _read_arrow(path: Path, columns: Sequence[str], *, row_count: int | None = None) -> pa.Table:
    """Read some columns of an Arrow IPC file; a column that is not there is all null."""
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            table = reader.read_all()
    except (OSError, pa.ArrowInvalid) as fault:
        raise Corrupted(f"{path} cannot be read: {fault}") from fault
    if row_count is not None and table.num_rows != row_count:
        raise Corrupted(f"{path} has {table.num_rows} rows, the id table {row_count}")
    for name in columns:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows))
    return table.select(list(columns))


def _coded(column: pa.ChunkedArray) -> CodedColumn:
    """Number the words of a text column; empty text counts as unknown."""
    text = column.combine_chunks().cast(pa.large_string())
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.large_string()), text)
    encoded = _one_array(pc.dictionary_encode(text))
    codes = _integers(encoded.indices.fill_null(UNKNOWN))
    return CodedColumn(codes, {word: i for i, word in enumerate(encoded.dictionary.to_pylist())})


def _coded_lists(
    column: pa.ChunkedArray,
) -> tuple[NDArray[np.int64], NDArray[np.int32], dict[str, int]]:
    """Number the words of a column of lists: offsets int64[N + 1], codes int32[t], the words."""
    lists = column.combine_chunks().cast(pa.large_list(pa.large_string()))
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    words = _one_array(pc.dictionary_encode(pc.list_flatten(lists)))
    named = {word: code for code, word in enumerate(words.dictionary.to_pylist())}
    return offsets, _integers(words.indices.fill_null(UNKNOWN)), named


def _either(*columns: pa.ChunkedArray) -> NDArray[np.bool_] | None:
    """Where any of the columns is true, bool[N]; None where that is nowhere."""
    arrays = [column.cast(pa.bool_()).fill_null(False).to_numpy() for column in columns]
    found = np.logical_or.reduce(arrays)
    return found if found.any() else None


def _one_array(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _integers(array: pa.Array) -> NDArray[np.int32]:
    return np.ascontiguousarray(array.to_numpy(zero_copy_only=False), np.int32)


def _seconds(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Microseconds to seconds; null and 0 give NaN."""
    micros = column.cast(pa.int64()).fill_null(0).to_numpy().astype(np.float64)
    return np.where(micros == 0.0, np.nan, micros / 1e6)
