"""Files of any accepted form as Arrow tables, piece by piece.

CSV values come as text, JSON and Parquet values as they are typed; what they mean is decided in
`checking.py`. A JSON line or CSV row that cannot be read is reported and left out.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
from numpy.typing import NDArray

SUFFIXES: Final = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_CHUNK_ROWS: Final = 250_000
_CHUNK_ROWS_WITH_LISTS: Final = 32_768
_BLOCK_BYTES: Final = 32 << 20
_SAMPLE_LINES: Final = 1_000
_DELIMITERS: Final = ",;\t|"

OnBadRow = Callable[[int, str, Any], None]
"""Told row number, reason and content of a row that could not be read."""


class Unreadable(ValueError):  # noqa: N818  named like the families of errors.py
    """A file cannot be read at all; the message says why, to be read after its name."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a file, with the number of each."""

    table: pa.Table
    rows: NDArray[np.int64]


def suffix_of(path: Path) -> str:
    """Return the suffix that tells the form of a file, without `.gz`; "" if it is none of ours."""
    name = path.name.lower().removesuffix(".gz")
    for suffix in SUFFIXES:
        if name.endswith(suffix) and not (suffix == ".parquet" and path.name.endswith(".gz")):
            return suffix
    return ""


def column_names(path: Path) -> list[str]:
    """
    Return the names of a file's columns.

    Raises:
        Unreadable: If they cannot be found out.
    """
    suffix = suffix_of(path)
    try:
        if suffix == ".parquet":
            return list(pq.read_schema(path).names)
        if suffix in {".csv", ".tsv"}:
            return _csv_header(path)[0]
        with _opened(path) as file:
            names: dict[str, None] = {}
            for _, line in zip(range(_SAMPLE_LINES), file, strict=False):
                names.update(dict.fromkeys(_object_or_empty(line)))
            return list(names)
    except (OSError, EOFError, pa.ArrowInvalid, csv.Error, UnicodeDecodeError) as fault:
        raise Unreadable(f"cannot be read: {_first_line(fault)}") from fault


def read_chunks(path: Path, wanted: Mapping[str, bool], on_bad_row: OnBadRow) -> Iterator[Chunk]:
    """
    Return a file's rows piece by piece.

    Args:
        path: A file with one of `SUFFIXES`.
        wanted: Columns to read; True where its values are lists of numbers or words.
        on_bad_row: Told of rows that are no rows.

    Raises:
        Unreadable: If the file is damaged or not in UTF-8.
    """
    suffix = suffix_of(path)
    try:
        if suffix == ".parquet":
            yield from _read_parquet(path, wanted)
        elif suffix in {".csv", ".tsv"}:
            yield from _read_csv(path, list(wanted), on_bad_row)
        else:
            yield from _read_json(path, wanted, on_bad_row)
    except (OSError, EOFError, pa.ArrowInvalid, csv.Error, UnicodeDecodeError) as fault:
        raise Unreadable(f"cannot be read: {_first_line(fault)}") from fault


def _read_parquet(path: Path, wanted: Mapping[str, bool]) -> Iterator[Chunk]:
    first = 1
    chunk_rows = _CHUNK_ROWS_WITH_LISTS if any(wanted.values()) else _CHUNK_ROWS
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(chunk_rows, columns=list(wanted)):
            rows = np.arange(first, first + batch.num_rows)
            yield Chunk(pa.Table.from_batches([batch]), rows)
            first += batch.num_rows


def _read_csv(path: Path, wanted: list[str], on_bad_row: OnBadRow) -> Iterator[Chunk]:
    names, delimiter = _csv_header(path)
    skipped: list[int] = []

    def refuse(row: pa_csv.InvalidRow) -> str:
        number = row.number - 1  # the header is row 1 to the parser
        skipped.append(number)
        plural = "s" if row.actual_columns != 1 else ""
        reason = f"has {row.actual_columns} value{plural}, the header {row.expected_columns}"
        on_bad_row(number, reason, row.text)
        return "skip"

    with _opened(path) as file:
        reader = pa_csv.open_csv(
            file,
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(
                delimiter=delimiter, invalid_row_handler=refuse, newlines_in_values=True
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=wanted,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        first = 1
        for batch in reader:
            rows = _numbers(first, batch.num_rows, skipped)
            skipped = [number for number in skipped if number > rows[-1]] if len(rows) else skipped
            first = int(rows[-1]) + 1 if len(rows) else first
            yield Chunk(pa.Table.from_batches([batch]), rows)


def _numbers(first: int, count: int, skipped: list[int]) -> NDArray[np.int64]:
    """Number *count* rows from *first* on, without the numbers that were skipped."""
    numbers = np.arange(first, first + count + len(skipped))
    return numbers[~np.isin(numbers, np.array(skipped, np.int64))][:count]


def _read_json(path: Path, wanted: Mapping[str, bool], on_bad_row: OnBadRow) -> Iterator[Chunk]:
    first = 1
    with _opened(path) as file:
        while block := file.read(_BLOCK_BYTES):
            block += file.readline()
            if first == 1 and block.lstrip()[:1] == b"[":
                raise Unreadable("holds one JSON array; write one object a line (JSON lines)")
            chunk, line_count = _read_json_block(block, first, wanted, on_bad_row)
            yield chunk
            first += line_count


def _read_json_block(
    block: bytes, first: int, wanted: Mapping[str, bool], on_bad_row: OnBadRow
) -> tuple[Chunk, int]:
    line_count = block.count(b"\n") + (not block.endswith(b"\n"))
    schema = _json_schema(block, wanted)
    if schema is not None:
        try:
            table = pa_json.read_json(
                io.BytesIO(block),
                read_options=pa_json.ReadOptions(block_size=len(block) + 1),
                parse_options=pa_json.ParseOptions(
                    explicit_schema=schema, unexpected_field_behavior="ignore"
                ),
            )
            if table.num_rows == line_count:
                return Chunk(table, np.arange(first, first + line_count)), line_count
        except pa.ArrowInvalid:
            pass  # some line is odd: go through them one by one and say which
    return _read_json_slowly(block, first, wanted, on_bad_row), line_count


def _json_schema(block: bytes, wanted: Mapping[str, bool]) -> pa.Schema | None:
    """Guess types from the first line that has a value; None if that cannot be done safely."""
    fields: dict[str, pa.DataType] = {}
    for line in block[: 1 << 18].splitlines()[:_SAMPLE_LINES]:
        for name, value in _object_or_empty(line).items():
            if name in wanted and name not in fields and value not in (None, []):
                kind = _json_type(value)
                if kind is None:
                    return None
                fields[name] = kind
    return pa.schema([(name, fields.get(name, pa.string())) for name in wanted])


def _json_type(value: Any) -> pa.DataType | None:
    if isinstance(value, str):
        return pa.string()
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return pa.int64()
    if isinstance(value, float):
        return pa.float64()
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return pa.list_(pa.string())
    if isinstance(value, list) and all(isinstance(part, int | float) for part in value):
        return pa.list_(pa.float64())
    return None


def _read_json_slowly(
    block: bytes, first: int, wanted: Mapping[str, bool], on_bad_row: OnBadRow
) -> Chunk:
    """Read line by line: each value becomes text, or a list of text, whatever its type."""
    rows: list[int] = []
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    for number, line in enumerate(block.split(b"\n"), first):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as fault:
            on_bad_row(number, f"is not JSON: {fault.msg}", line.decode("utf-8", "replace"))
            continue
        if not isinstance(value, dict):
            on_bad_row(number, "is not a JSON object", value)
            continue
        rows.append(number)
        for name, is_list in wanted.items():
            columns[name].append(_as_text(value.get(name), is_list=is_list))
    table = pa.table(
        {
            name: pa.array(values, pa.list_(pa.string()) if wanted[name] else pa.string())
            for name, values in columns.items()
        }
    )
    return Chunk(table, np.array(rows, np.int64))


def _as_text(value: Any, *, is_list: bool) -> str | list[str | None] | None:
    if value is None:
        return None
    if is_list:
        parts = value if isinstance(value, list) else [value]
        return [None if part is None else _scalar_text(part) for part in parts]
    return _scalar_text(value)


def _scalar_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _object_or_empty(line: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _csv_header(path: Path) -> tuple[list[str], str]:
    """Return the names in the first line and the character between them."""
    with _opened(path) as file:
        text = io.TextIOWrapper(file, "utf-8-sig", newline="")
        line = text.readline()
    delimiter = max(_DELIMITERS, key=line.count)
    names = next(csv.reader([line], delimiter=delimiter), [])
    if not any(names):
        raise Unreadable("has no header line")
    return names, delimiter


def _opened(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb")


def _first_line(fault: Exception) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0]
