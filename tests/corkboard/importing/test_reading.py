"""Files of all forms give the same rows, and what is no row is told."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corkboard.importing.reading import Unreadable, column_names, read_chunks, suffix_of
from tests.corkboard.importing.folders import write_csv, write_json


def read(path: Path, **wanted: bool) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Return the rows with their numbers, and the bad rows."""
    bad: list[tuple[int, str]] = []
    rows: list[dict[str, Any]] = []
    for chunk in read_chunks(path, wanted, lambda row, reason, _value: bad.append((row, reason))):
        numbers = chunk.rows.tolist()
        rows += [
            {"row": number, **row}
            for number, row in zip(numbers, chunk.table.to_pylist(), strict=True)
        ]
    return rows, bad


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "A.CSV"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_in_its_dialects(tmp_path: Path, name: str, delimiter: str) -> None:
    """Any delimiter, quotes with delimiters and newlines inside, byte order mark, empty = null."""
    text = '\ufeffuser,pin\r\nu1,"a,\nb"\r\n,007\r\n'.replace(",", delimiter)
    path = write_csv(tmp_path / name, text)

    assert column_names(path) == ["user", "pin"]
    rows, bad = read(path, user=False, pin=False)
    assert rows == [
        {"row": 1, "user": "u1", "pin": f"a{delimiter}\nb"},
        {"row": 2, "user": None, "pin": "007"},
    ]
    assert bad == []


def test_csv_rows_of_another_length_are_told_and_numbers_stay(tmp_path: Path) -> None:
    """A short and a long row are left out; the rows after them keep their numbers."""
    path = write_csv(tmp_path / "a.csv", "a,b\n1,2\n3\n4,5\n6,7,8\n9,10\n")

    rows, bad = read(path, a=False)

    assert rows == [{"row": 1, "a": "1"}, {"row": 3, "a": "4"}, {"row": 5, "a": "9"}]
    assert bad == [
        (2, "has 1 value, the header 2"),
        (4, "has 3 values, the header 2"),
    ]


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    """Text that looks like a date or number stays text; missing keys are null."""
    path = write_json(
        tmp_path / "a.jsonl.gz",
        [{"id": "2026-01-01", "v": [1, 2.5], "n": 5}, {"id": "007", "other": 1}],
    )

    assert column_names(path) == ["id", "v", "n", "other"]
    rows, bad = read(path, id=False, v=True, n=False)
    assert rows == [
        {"row": 1, "id": "2026-01-01", "v": [1.0, 2.5], "n": 5},
        {"row": 2, "id": "007", "v": None, "n": None},
    ]
    assert bad == []


def test_json_lines_that_are_none_are_told(tmp_path: Path) -> None:
    """A broken line, a value that is no object, a blank line: the others are read."""
    path = write_json(tmp_path / "a.jsonl", [{"id": "a"}, "{broken", "", "[1]", {"id": 5}])

    rows, bad = read(path, id=False)

    assert rows == [{"row": 1, "id": "a"}, {"row": 5, "id": "5"}]
    assert [row for row, _ in bad] == [2, 4]
    assert bad[0][1].startswith("is not JSON")
    assert bad[1][1] == "is not a JSON object"


def test_json_values_of_mixed_types_become_text(tmp_path: Path) -> None:
    """An id that is a number here and text there is the same column."""
    path = write_json(tmp_path / "a.ndjson", [{"id": 5, "v": [1]}, {"id": "x", "v": ["2", None]}])

    rows, _ = read(path, id=False, v=True)

    assert [row["id"] for row in rows] == ["5", "x"]
    assert [row["v"] for row in rows] == [["1"], ["2", None]]


def test_parquet_is_read_by_column(tmp_path: Path) -> None:
    """Only what is wanted, in its own type."""
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "a.parquet")

    assert column_names(tmp_path / "a.parquet") == ["a", "b"]
    assert read(tmp_path / "a.parquet", a=False)[0] == [{"row": 1, "a": 1}, {"row": 2, "a": 2}]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.parquet", b"PAR1 but not really", "cannot be read"),
        ("a.csv", b"", "has no header line"),
        ("a.csv", b"a,b\n\xff\xfe,1\n", "cannot be read"),
        ("a.csv.gz", b"not gzip", "cannot be read"),
        ("a.jsonl", b'[{"a": 1}]', "JSON array"),
    ],
)
def test_files_that_are_none_are_refused(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    """Damage and wrong encodings are one sentence, not a trace."""
    path = tmp_path / name
    path.write_bytes(content)

    def read_all() -> None:
        column_names(path)
        read(path, a=False)

    with pytest.raises(Unreadable, match=reason):
        read_all()


def test_suffixes() -> None:
    """What is told from a name."""
    assert suffix_of(Path("a.b.CSV.gz")) == ".csv"
    assert suffix_of(Path("a.parquet")) == ".parquet"
    assert suffix_of(Path("a.parquet.gz")) == ""
    assert suffix_of(Path("readme.md")) == ""
