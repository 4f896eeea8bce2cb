"""An import takes in what was checked, all at once, and only once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corkboard.importing import ImportRefused, import_folder
from corkboard.importing.receipts import finish_pending, imported_dimensions, read_receipts
from datasets import tiny
from tests.corkboard.importing.folders import NOW_US, write_csv, write_json

DAY_US = 86_400_000_000


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return all rows of a folder of Parquet files."""
    tables = [pq.read_table(path, partitioning=None) for path in sorted(folder.rglob("*.parquet"))]
    return [row for table in tables for row in table.to_pylist()]


def listing(root: Path) -> dict[str, bytes]:
    """Return every file with its content."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of each form."""
    folder = tmp_path / "in"
    write_json(
        folder / "pins.jsonl",
        [
            {"pin_id": "p1", "title": "One", "topics": ["a"], "vector": [3, 4], "lang": "EN"},
            {"pin_id": "p2", "created_at": "2025-01-01", "owner": 7},
        ],
    )
    write_csv(
        folder / "saves.csv",
        "save_id,board_id,pin_id,user_id,time,board_title\n"
        "s1,b1,p1,u1,2025-03-01T23:59:59Z,Mine\n"
        ",,p2,u1,2025-03-02T00:00:00Z,\n"
        ",b2,p2,,2025-03-03,\n",
    )
    write_csv(
        folder / "actions.csv",
        "user,pin,type,time,strength\nu1,p1,click,2025-03-01T10:00:00Z,\nu2,p1,hide,,-0.5\n",
    )
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty data root."""
    return tmp_path / "root"


def test_everything_lands_where_readers_look(folder: Path, root: Path) -> None:
    """Pins, saves and actions in the documented columns, actions by day."""
    report = import_folder(folder, root, now_us=NOW_US)

    assert (report.is_new, report.import_seq) == (True, 1)
    assert (report.pin_count, report.save_count, report.action_count) == (2, 3, 4)
    pins = {row["pin_id"]: row for row in rows(root / "catalogue" / "pins")}
    assert pins["p1"] == {
        "pin_id": "p1", "title": "One", "description": None, "topics": ["a"], "language": "en",
        "country": None, "owner_id": None, "image_url": None, "creation_time_us": None,
        "vector": [3.0, 4.0], "text_vector": None, "visual_vector": None, "attributes": None,
        "quality": None, "is_hidden": None, "expiration_time_us": None, "image_hash": None,
        "import_seq": 1,
    }  # fmt: skip
    assert pins["p2"]["owner_id"] == "7"
    assert pins["p2"]["creation_time_us"] == 1_735_689_600_000_000
    saves = {(row["board_id"], row["pin_id"]): row for row in rows(root / "catalogue" / "saves")}
    assert saves.keys() == {("b1", "p1"), ("user:u1", "p2"), ("b2", "p2")}
    assert saves["b1", "p1"]["save_id"] == "s1"
    assert saves["b1", "p1"]["board_title"] == "Mine"
    made = saves["user:u1", "p2"]["save_id"]
    actions = {row["action_id"]: row for row in rows(root / "events" / "actions")}
    assert {"save:s1", f"save:{made}"} < actions.keys()
    assert actions["save:s1"] == {
        "action_id": "save:s1", "user_id": "u1", "pin_id": "p1", "action_type": "save",
        "action_time_us": saves["b1", "p1"]["save_time_us"], "strength": None, "board_id": "b1",
        "list_id": None, "log_position": 0,
    }  # fmt: skip
    (hide,) = (row for row in actions.values() if row["action_type"] == "hide")
    assert hide["action_time_us"] == NOW_US
    assert hide["strength"] == -0.5


def test_actions_lie_on_their_day(folder: Path, root: Path) -> None:
    """The partition is the UTC day of the action's time, to the microsecond."""
    last, first = 20_000 * DAY_US - 1, 20_000 * DAY_US
    write_csv(
        folder / "actions-more.csv",
        f"user,pin,type,time_us\nu,p1,click,{last}\nu,p1,click,{first}\n",
    )

    import_folder(folder, root, now_us=NOW_US)

    for path in (root / "events" / "actions").rglob("*.parquet"):
        day = np.datetime64(path.parent.name.removeprefix("day="))
        times = pq.read_table(path, partitioning=None)["action_time_us"].to_numpy()
        assert (times // DAY_US == day.astype("datetime64[D]").astype(int)).all()
    days = {path.name for path in (root / "events" / "actions").iterdir()}
    assert {"day=2024-10-03", "day=2024-10-04", "day=2025-03-01", "day=2025-03-02"} <= days


def test_the_same_folder_twice_changes_nothing(folder: Path, root: Path) -> None:
    """Same content, whenever and however often: the same answer, not a byte changed."""
    first = import_folder(folder, root, now_us=NOW_US)
    before = listing(root)

    again = import_folder(folder, root, now_us=NOW_US + 10**9)

    assert not again.is_new
    assert again.import_id == first.import_id
    assert again.import_time_us == NOW_US
    assert (again.pin_count, again.action_count) == (2, 4)
    assert listing(root) == before


def test_other_content_is_another_import(folder: Path, root: Path) -> None:
    """A changed file gets the next number, and newer rows win by it."""
    import_folder(folder, root, now_us=NOW_US)
    write_csv(folder / "more" / "pins.csv", "pin_id\nx\n")
    write_json(folder / "pins.jsonl", [{"pin_id": "p1", "title": "Uno", "vector": [1, 0]}])

    report = import_folder(folder, root, now_us=NOW_US)

    assert (report.is_new, report.import_seq) == (True, 2)
    titles = {row["import_seq"]: row["title"] for row in rows(root / "catalogue" / "pins") if row["pin_id"] == "p1"}  # fmt: skip  # noqa: E501
    assert titles == {1: "One", 2: "Uno"}


def test_saves_and_actions_keep_their_ids_over_imports(folder: Path, root: Path) -> None:
    """A row that comes again in a later import has the id it had, so that it counts once."""
    import_folder(folder, root, now_us=NOW_US)
    write_csv(folder / "pins-more.csv", "pin_id\np3\n")
    import_folder(folder, root, now_us=NOW_US + 10**9)

    ids = [row["action_id"] for row in rows(root / "events" / "actions")]

    assert len(ids) == 8
    assert len(set(ids)) == 4


def test_bad_rows_refuse_the_folder(folder: Path, root: Path) -> None:
    """One bad row: nothing is taken in, and the error carries the whole report."""
    write_csv(folder / "saves-bad.csv", "user,pin\nu,\nu,p1\n")

    with pytest.raises(ImportRefused, match="column pin: is missing") as caught:
        import_folder(folder, root, now_us=NOW_US)

    assert caught.value.report.bad_row_count == 1
    assert "--skip-bad-rows" in caught.value.hint
    assert not list(root.rglob("*.parquet"))
    assert read_receipts(root) == []


def test_bad_rows_can_be_skipped(folder: Path, root: Path) -> None:
    """On request the good rows are taken and the others counted."""
    write_csv(folder / "saves-bad.csv", "user,pin\nu,\nu,p1\n")
    write_csv(folder / "pins-bad.csv", "pin_id,title\np1,Twice\np9,Nine\n")

    report = import_folder(folder, root, skip_bad_rows=True, now_us=NOW_US)

    assert report.skipped_row_count == 2
    assert report.save_count == 4
    assert report.pin_count == 3
    assert report.validation is not None
    assert len(report.validation.faults) == 2


def test_a_bad_file_cannot_be_skipped(folder: Path, root: Path) -> None:
    """A file without the needed columns is no matter of rows."""
    write_csv(folder / "saves-bad.csv", "shoe,size\n1,2\n")

    with pytest.raises(ImportRefused, match="has no column") as caught:
        import_folder(folder, root, skip_bad_rows=True, now_us=NOW_US)

    assert "--skip-bad-rows" not in caught.value.hint


def test_bare_pairs_are_enough(tmp_path: Path, root: Path) -> None:
    """Each pair is a save on the user's own board, and an action; the same pair counts once."""
    write_csv(tmp_path / "in" / "ratings.csv", "user,item\nu1,a\nu1,b\nu2,a\nu1,a\n")

    report = import_folder(tmp_path / "in", root, now_us=NOW_US)

    saves = rows(root / "catalogue" / "saves")
    assert (report.save_count, report.action_count, report.repeated_row_count) == (3, 3, 1)
    assert {row["board_id"] for row in saves} == {"user:u1", "user:u2"}
    assert {row["save_time_us"] for row in saves} == {NOW_US}
    assert not (root / "catalogue" / "pins").exists()


def test_vectors_must_agree_with_earlier_imports(folder: Path, root: Path, tmp_path: Path) -> None:
    """The space of vectors is one for the whole data root."""
    import_folder(folder, root, now_us=NOW_US)
    write_json(tmp_path / "next" / "pins.jsonl", [{"pin_id": "z", "vector": [1, 2, 3]}])

    assert imported_dimensions(root) == {"vector": 2}
    with pytest.raises(ImportRefused, match="has not 2 numbers as the vectors imported before"):
        import_folder(tmp_path / "next", root, now_us=NOW_US)


def test_an_interrupted_import_is_finished_by_the_next(folder: Path, root: Path) -> None:
    """After a crash between two moves, the next import completes it as if nothing had been."""
    import_folder(folder, root, now_us=NOW_US)
    whole = listing(root)
    (receipt,) = read_receipts(root)
    imports = root / "catalogue" / "imports"
    moves: dict[str, str] = {}
    for number, name in enumerate(receipt["files"]):
        staged = imports / ".staging" / f"{number}.parquet"
        staged.parent.mkdir(exist_ok=True)
        moves[str(staged.relative_to(root))] = name
        if number % 2:  # half of them had been moved when the machine went down
            (root / name).rename(staged)
    (imports / f"{receipt['import_id']}.json").unlink()
    (imports / ".pending.json").write_text(json.dumps({"moves": moves, "receipt": receipt}))

    report = import_folder(folder, root, now_us=NOW_US)

    assert not report.is_new
    assert {name for name in listing(root) if ".staging" not in name} == set(whole)
    finish_pending(root)
    assert rows(root / "events" / "actions") != []


def test_nothing_temporary_is_left(folder: Path, root: Path) -> None:
    """After an import, refused or not, only data, receipts and a lock are there."""
    import_folder(folder, root, now_us=NOW_US)
    write_csv(folder / "saves-bad.csv", "user,pin\nu,\n")
    with pytest.raises(ImportRefused):
        import_folder(folder, root, now_us=NOW_US)

    hidden = {path.name for path in root.rglob(".*")}
    assert hidden == {".lock"}


def test_no_files_are_refused(tmp_path: Path, root: Path) -> None:
    """An empty folder is no import."""
    (tmp_path / "empty").mkdir()

    with pytest.raises(ImportRefused, match="there are no files"):
        import_folder(tmp_path / "empty", root, now_us=NOW_US)


def test_the_tiny_world_is_imported(tmp_path: Path, root: Path) -> None:
    """Our own data sets pass, with and without vectors."""
    report = import_folder(tiny.load(with_vectors=True).write(tmp_path / "in"), root, now_us=1_800_000_000_000_000)  # fmt: skip  # noqa: E501

    assert report.pin_count == 60
    assert report.validation is not None
    assert report.validation.advice == []
    assert report.repeated_row_count == 0
    table = pa.concat_tables([pq.read_table(path) for path in (root / "catalogue" / "pins").iterdir()])  # fmt: skip  # noqa: E501
    assert table["vector"].null_count == 0


def test_what_filters_and_sources_need_is_taken_in(tmp_path: Path, root: Path) -> None:
    """Attributes as a column, as single columns, as JSON; flags, hashes, times to come."""
    folder = tmp_path / "given"
    folder.mkdir()
    write_csv(
        folder / "pins-1.csv",
        "pin_id,attributes.market,Attributes.Price Band,quality,hidden,expires,phash,"
        "text_embedding\n"
        "a,eu,low,0.5,yes,2099-01-01,ffffffffffffffff,1 0\n"
        "b,,,,false,,,\n",
    )
    (folder / "pins-2.jsonl").write_text(
        '{"pin_id": "c", "image_hash": 7, '
        '"attributes": {"market": "us", "stock": 3, "new": true}}\n'
        '{"pin_id": "d", "attributes": {}, "visual_vector": [1, 0, 0]}\n'
    )

    report = import_folder(folder, root, now_us=NOW_US)

    assert report.pin_count == 4
    pins = {row["pin_id"]: row for row in rows(root / "catalogue" / "pins")}
    assert dict(pins["a"]["attributes"]) == {"market": "eu", "price_band": "low"}
    assert (pins["a"]["quality"], pins["a"]["is_hidden"], pins["a"]["image_hash"]) == (
        0.5,
        True,
        -1,
    )
    assert pins["a"]["expiration_time_us"] == 4_070_908_800_000_000
    assert (pins["b"]["attributes"], pins["b"]["is_hidden"]) == (None, False)
    assert dict(pins["c"]["attributes"]) == {"market": "us", "stock": "3", "new": "true"}
    assert pins["c"]["image_hash"] == 7
    assert imported_dimensions(root) == {"text_vector": 2, "visual_vector": 3}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("quality", "1.5", "is not from 0 to 1"),
        ("is_hidden", "maybe", "is neither true nor false"),
        ("image_hash", "xyz", "is not up to 16 hexadecimal digits"),
        ("image_hash", "f" * 17, "is not up to 16 hexadecimal digits"),
        ("image_url", "a\x00.png", "has a control character"),
        ("image_url", "a\x7f.png", "has a control character"),
        ("attributes", "[1]", "is not a JSON object"),
        ("attributes", "{broken", "is not a JSON object"),
        ("attributes", '"{""Upper"": ""x""}"', "has a name that is not"),
        ("attributes", '"{""a"": [1]}"', "has a value that is neither text nor number"),
        ("attributes.market", "x" * 501, "is longer than 500 bytes"),
        ("expiration_time", "1969-01-01", "before 1970"),
    ],
)
def test_bad_values_of_pins_are_told(
    tmp_path: Path, root: Path, column: str, value: str, reason: str
) -> None:
    """With the column as the user called it."""
    folder = tmp_path / "given"
    folder.mkdir()
    write_csv(folder / "pins.csv", f"pin_id,{column}\na,{value}\n")

    with pytest.raises(ImportRefused) as refused:
        import_folder(folder, root, now_us=NOW_US)

    (fault,) = refused.value.report.faults
    assert fault.column == column
    assert reason in fault.reason


def test_too_many_attributes_are_told(tmp_path: Path, root: Path) -> None:
    """Single columns and the common one are counted together."""
    folder = tmp_path / "given"
    folder.mkdir()
    names = ",".join(f"attributes.a{at}" for at in range(33))
    write_csv(folder / "pins.csv", f"pin_id,{names}\np,{','.join('x' * 33)}\n")

    with pytest.raises(ImportRefused, match="more than 32"):
        import_folder(folder, root, now_us=NOW_US)
