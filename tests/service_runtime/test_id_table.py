"""An id table is a dict that lies in files."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service_runtime import kernels
from service_runtime.errors import Corrupted, InvalidRequest
from service_runtime.id_table import ID_BYTES_MAX, IdTable
from tests.naive.id_table import NaiveIdTable

# Any text without control characters and lone surrogates, of 1 to 128 bytes; few letters, so that
# ids share prefixes and differ in length only.
ids = st.one_of(
    st.text("ab", min_size=1, max_size=12),
    st.text(
        st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]),
        min_size=1,
        max_size=32,
    ),
)
id_lists = st.lists(ids, unique=True, max_size=60)


@settings(deadline=None)  # the first example compiles
@given(known=id_lists, asked=st.lists(st.one_of(ids, st.text(max_size=40)), max_size=60))
def test_table_equals_a_dict(known: list[str], asked: list[str]) -> None:
    """Rows and ids agree with a dict and a list, for known, unknown and impossible ids."""
    naive = NaiveIdTable(known)
    with tempfile.TemporaryDirectory() as folder:
        table = IdTable.build(known, Path(folder))
        wanted = [*asked, *known[::2]]
        rows = list(range(len(known)))[::-1]

        assert len(table) == len(known)
        assert table.rows(wanted).tolist() == naive.rows(wanted)
        assert table.rows_arrow(pa.array(wanted, pa.string())).tolist() == naive.rows(wanted)
        assert table.ids(np.array(rows, np.int64)) == naive.ids(rows)
        assert table.ids_arrow().to_pylist() == known


@settings(deadline=None)  # the first example compiles
@given(old=id_lists, asked=st.lists(ids, max_size=60))
def test_extend_keeps_rows_and_appends_in_order(old: list[str], asked: list[str]) -> None:
    """Old ids keep their rows, unknown ones follow in the order given, each once."""
    with tempfile.TemporaryDirectory() as folder:
        before = IdTable.build(old, Path(folder) / "old")
        table, rows = IdTable.extend(before, asked, Path(folder) / "new")

        expected = list(dict.fromkeys([*old, *asked]))
        assert table.ids_arrow().to_pylist() == expected
        assert rows.tolist() == [expected.index(name) for name in asked]


def test_extend_of_nothing_is_build(tmp_path: Path) -> None:
    """Without a previous table every id is new."""
    table, rows = IdTable.extend(None, ["b", "a", "b"], tmp_path)

    assert table.ids([0, 1]) == ["b", "a"]
    assert rows.tolist() == [0, 1, 0]


def test_many_ids_find_themselves(tmp_path: Path) -> None:
    """100,000 ids with long common prefixes: every one has its row, none of as many others has."""
    known = [f"https://example.org/things/{number:08d}/ünïcode" for number in range(100_000)]
    table = IdTable.build(known, tmp_path)

    assert np.array_equal(table.rows(known), np.arange(100_000, dtype=np.int32))
    assert (table.rows([name + "x" for name in known]) == -1).all()
    assert table.ids([99_999, 0]) == [known[99_999], known[0]]


def test_equal_tags_are_told_apart_by_their_bytes() -> None:
    """Two ids whose tags are the same: the string decides, and probing goes on."""
    data = np.frombuffer(b"aaaa\nbbbb\n", np.uint8)
    offsets = np.array([0, 5, 10], np.int64)
    seed = np.uint64(7)
    alone = np.zeros(8, np.uint64)
    kernels.insert_ids(data[5:], offsets[:2], 0, alone, seed)
    at = int(np.flatnonzero(alone)[0])  # where bbbb would lie
    tag = alone[at] & ~np.uint64(0xFFFFFFFF)
    crowded = np.zeros(8, np.uint64)
    crowded[at] = tag | np.uint64(1)  # bbbb's tag, but the row of aaaa
    crowded[(at + 1) % 8] = tag | np.uint64(2)

    asked = np.frombuffer(b"bbbb", np.uint8)
    one = np.zeros(1, np.int64)
    rows = kernels.find_rows(asked, one, one + 4, data, offsets, crowded, seed)

    assert rows.tolist() == [1]


def test_same_ids_give_the_same_bytes(tmp_path: Path) -> None:
    """Building twice gives equal files, so that generations can be compared."""
    known = [f"id-{number}" for number in range(1000)]
    IdTable.build(known, tmp_path / "a")
    IdTable.build(known, tmp_path / "b")

    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_empty_table_knows_nothing(tmp_path: Path) -> None:
    """A table without ids can be built, opened and asked."""
    table = IdTable.build([], tmp_path)

    assert len(table) == 0
    assert table.rows(["a", ""]).tolist() == [-1, -1]
    assert table.rows([]).tolist() == []
    assert table.ids([]) == []
    assert table.ids_arrow().to_pylist() == []
    assert "a" not in table


def test_impossible_ids_are_unknown_not_errors(tmp_path: Path) -> None:
    """Looking up what can be no id (empty, newline, lone surrogate, null byte) gives -1."""
    table = IdTable.build(["a", "b"], tmp_path)

    assert table.rows(["", "a\nb", "\ud800", "\x00", "a", "\n"]).tolist() == [-1] * 4 + [0, -1]
    assert table.rows_arrow(pa.array([None, "b", None])).tolist() == [-1, 1, -1]
    assert table.row("b") == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (["a", ""], "is empty"),
        (["a\nb"], "control character"),
        (["a\x7f"], "control character"),
        (["x" * (ID_BYTES_MAX + 1)], "longer than 128 bytes"),
        (["ü" * 65], "longer than 128 bytes"),
        (["b", "a", "b"], "'b' occurs twice, as number 0 and 2"),
        (["a", None], "id number 1 is null"),
        (["\ud800"], "must be text"),
        ([1], "must be text"),
    ],
)
def test_bad_ids_are_refused_by_name(tmp_path: Path, bad: list[str], reason: str) -> None:
    """A table is not built of ids that break a rule; the first one is named with its rule."""
    with pytest.raises(InvalidRequest, match=reason):
        IdTable.build(bad, tmp_path)


def test_longest_ids_are_fine(tmp_path: Path) -> None:
    """128 bytes are allowed, in one or several bytes a character; so is a no-break space."""
    known = ["x" * ID_BYTES_MAX, "ü" * 64, "\u00a0"]
    table = IdTable.build(known, tmp_path)

    assert table.ids([0, 1, 2]) == known
    assert table.rows(known).tolist() == [0, 1, 2]


@pytest.mark.parametrize("rows", [[0, 2], [-1]])
def test_rows_outside_the_table_are_refused(tmp_path: Path, rows: list[int]) -> None:
    """No id is made up for a row that does not exist."""
    table = IdTable.build(["a", "b"], tmp_path)

    with pytest.raises(IndexError, match="is not in an id table of 2 ids"):
        table.ids(rows)


def test_chunked_and_sliced_arrow_arrays_are_looked_up(tmp_path: Path) -> None:
    """Any layout of Arrow strings is understood."""
    table = IdTable.build(pa.chunked_array([["a", "b"], ["c"]]), tmp_path)

    assert table.rows_arrow(pa.chunked_array([["c"], ["x", "a"]])).tolist() == [2, -1, 0]
    assert table.rows_arrow(pa.array(["x", "b", "c", "a"]).slice(1, 2)).tolist() == [1, 2]
    assert table.rows_arrow(pa.array(["b", None], pa.large_string())).tolist() == [1, -1]
    assert table.rows_arrow(pa.chunked_array([], pa.string())).tolist() == []


@pytest.mark.parametrize("name", ["table.json", "bytes.npy", "offsets.npy", "slots.npy"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_files_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    """A table with a missing or cut file does not open."""
    IdTable.build(["a", "b"], tmp_path)
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(Corrupted, match="cannot be opened"):
        IdTable.open(tmp_path)


def test_eight_threads_read_at_once(tmp_path: Path) -> None:
    """Concurrent look-ups give what a single one gives."""
    known = [f"id-{number}" for number in range(5000)]
    table = IdTable.build(known, tmp_path)

    def look() -> bool:
        return all(np.array_equal(table.rows(known), np.arange(5000)) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(look) for _ in range(8)]

    assert all(answer.result() for answer in answers)
