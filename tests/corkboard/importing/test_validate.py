"""Validation finds every bad row, names it, and advises."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corkboard.importing import ValidationReport, validate_folder
from tests.corkboard.importing.folders import NOW_US, write_csv, write_json


def validate(folder: Path) -> ValidationReport:
    """Validate as of the fixed time."""
    return validate_folder(folder, now_us=NOW_US)


def faults(report: ValidationReport) -> dict[tuple[str, str, str], tuple[int, list[int]]]:
    """Return count and example rows of each fault."""
    return {
        (fault.file, fault.column, fault.reason): (
            fault.count,
            [example.row for example in fault.examples],
        )
        for fault in report.faults
    }


def test_a_good_folder_is_good(tmp_path: Path) -> None:
    """All three forms, one of each file form: nothing to say."""
    write_csv(tmp_path / "pins.csv", "pin_id,title,topics\np1,One,a|b\np2,Two,\n")
    write_json(tmp_path / "saves.jsonl", [{"board_id": "b", "pin_id": "p1", "time": "2025-01-01"}])
    actions = {"user_id": ["u"], "pin_id": ["p2"], "action_type": ["click"], "time": [1.7e9]}
    pq.write_table(pa.table(actions), tmp_path / "actions.parquet")

    report = validate(tmp_path)

    assert report.is_good
    assert report.faults == []
    assert report.advice == []
    assert {file.file: (file.form, file.row_count) for file in report.files} == {
        "actions.parquet": ("actions", 1),
        "pins.csv": ("pins", 2),
        "saves.jsonl": ("saves", 1),
    }


def test_every_bad_row_is_named_with_its_reason(tmp_path: Path) -> None:
    """Each rule broken once: file, row, column, reason, value; a row may have several."""
    write_csv(
        tmp_path / "actions.csv",
        "user,item,type,timestamp,strength\n"
        "u1,p1,click,2025-01-01,0.5\n"
        ",p1,click,2025-01-01,\n"
        "u1,,stare,2025-01-01,\n"
        "u1,p1,click,2027-01-01,7\n"
        "u1,p1,click,never,\n"
        "u1,p1\n"
        f"{'x' * 129},p1,click,1960-01-01,\n",
    )

    report = validate(tmp_path)

    found = faults(report)
    assert found["actions.csv", "user", "is missing"] == (1, [2])
    assert found["actions.csv", "item", "is missing"] == (1, [3])
    assert found["actions.csv", "timestamp", "is in the future"] == (1, [4])
    assert found["actions.csv", "timestamp", "is before 1970"] == (1, [7])
    assert found["actions.csv", "strength", "is not from -1 to 1"] == (1, [4])
    assert found["actions.csv", "", "has 2 values, the header 5"] == (1, [6])
    assert found["actions.csv", "user", "is longer than 128 bytes"] == (1, [7])
    assert len(found) == 9
    assert report.row_count == 7
    assert report.bad_row_count == 6
    assert not report.is_good
    assert not report.has_bad_file


def test_examples_are_few_and_counts_are_whole(tmp_path: Path) -> None:
    """Ten thousand bad rows are five lines and a number."""
    write_csv(tmp_path / "saves.csv", "user,pin\n" + "u,\n" * 10_000 + "u,p\n")

    (fault,) = validate(tmp_path).faults

    assert fault.count == 10_000
    assert [example.row for example in fault.examples] == [1, 2, 3, 4, 5]
    assert str(fault) == "saves.csv, column pin: is missing (10,000 rows, first: row 1 nothing)"


def test_near_misses_are_advised(tmp_path: Path) -> None:
    """An unknown column and an unknown file are told what they may have been."""
    write_csv(tmp_path / "saves.csv", "pinid,user_id\np,u\n")
    write_csv(tmp_path / "pin.csv", "pin_id\np\n")

    report = validate(tmp_path)

    assert "saves.csv: has no column pin_id (did you mean pin_id?)" in map(str, report.faults)
    assert any("'pinid' of saves.csv is not known" in text for text in report.advice)
    assert any("pin.csv is left out" in text and "pins.csv" in text for text in report.advice)
    assert report.has_bad_file


def test_ignored_columns_are_told(tmp_path: Path) -> None:
    """What is not used is not passed over in silence, and is no fault."""
    write_csv(tmp_path / "saves.csv", "user,pin,shoe size\nu,p,44\n")

    report = validate(tmp_path)

    assert report.is_good
    assert report.files[0].ignored_columns == ["shoe size"]
    assert report.files[0].columns == {"user": "user_id", "pin": "pin_id"}
    assert any("'shoe size'" in text for text in report.advice)


def test_two_columns_with_one_meaning_are_refused(tmp_path: Path) -> None:
    """We do not guess which of them counts."""
    write_csv(tmp_path / "saves.csv", "user,user_id,pin\nu,u,p\n")

    assert any("both mean user_id" in str(fault) for fault in validate(tmp_path).faults)


def test_rows_that_repeat_an_id_are_named(tmp_path: Path) -> None:
    """A pin described twice: the later row is bad, also in another file."""
    write_csv(tmp_path / "pins.csv", "pin_id\na\nb\na\n")
    write_csv(tmp_path / "pins-more.csv", "pin_id\nb\n")

    found = faults(validate(tmp_path))

    reason = "occurs twice; the first row counts"
    assert found["pins.csv", "pin_id", reason] == (2, [2, 3])


def test_a_save_needs_a_board_or_a_user(tmp_path: Path) -> None:
    """Without a board the user's name makes one, and must leave room for that."""
    long = "x" * 124
    write_csv(tmp_path / "saves.csv", f"board,user,pin\n,,p\nb,,p\n,u,p\n,{long},p\nb,{long},p\n")

    found = faults(validate(tmp_path))

    assert found == {
        ("saves.csv", "user", "and board_id are both missing"): (1, [1]),
        ("saves.csv", "user", "is longer than 123 bytes and there is no board_id"): (1, [4]),
    }


@pytest.mark.parametrize("name", ["pairs.csv", "interactions.csv", "ratings-2024.csv"])
def test_bare_pairs_are_saves(tmp_path: Path, name: str) -> None:
    """A single file with a user and a pin column is enough, whatever it is called."""
    write_csv(tmp_path / name, "user,item\nu,p\n")

    report = validate(tmp_path)

    assert report.is_good
    assert [file.form for file in report.files] == ["saves"]
    assert "saves without a time: 1; they get the time of the import" in report.advice


def test_pairs_with_a_type_are_actions(tmp_path: Path) -> None:
    """An event log under the name of pairs is taken for what it is."""
    write_csv(tmp_path / "interactions.csv", "user,item,event\nu,p,click\n")

    assert [file.form for file in validate(tmp_path).files] == ["actions"]


def test_folders_of_part_files_are_read(tmp_path: Path) -> None:
    """What engines write: `saves/part-0.parquet` and hidden companions."""
    for part in range(2):
        path = tmp_path / "saves" / f"part-{part}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"user": [f"u{part}"], "pin": ["p"]}), path)
    (tmp_path / "saves" / "_SUCCESS.csv").write_text("")

    report = validate(tmp_path)

    assert report.is_good
    assert [file.file for file in report.files] == ["saves/part-0.parquet", "saves/part-1.parquet"]


def test_vectors_must_agree_over_files(tmp_path: Path) -> None:
    """One dimension for the whole import."""
    write_json(tmp_path / "pins.jsonl", [{"pin_id": "a", "vector": [1, 2]}])
    write_json(tmp_path / "pins2.jsonl", [{"pin_id": "b", "vector": [1, 2]}])
    write_json(tmp_path / "pins-b.jsonl", [{"pin_id": "c", "vector": [1, 2, 3]}])

    found = faults(validate(tmp_path))

    assert len(found) == 1
    assert next(iter(found))[1] == "vector"


def test_pins_that_only_saves_know_are_advised(tmp_path: Path) -> None:
    """No fault, but perhaps not meant."""
    write_csv(tmp_path / "pins.csv", "pin_id\na\n")
    write_csv(tmp_path / "saves.csv", "user,pin\nu,a\nu,b\nv,b\n")

    report = validate(tmp_path)

    assert report.is_good
    assert any(
        text.startswith("saves of pins that the pins files do not have: 2, of 1 pins")
        for text in report.advice
    )


@pytest.mark.parametrize("content", [None, "notes.txt"])
def test_nothing_to_import_is_said(tmp_path: Path, content: str | None) -> None:
    """An empty, wrong or missing folder is a sentence, not a trace."""
    if content:
        (tmp_path / content).write_text("hello")

    assert "no files of pins, saves, actions or pairs" in str(validate(tmp_path).faults[0])
    assert "is not a folder" in str(validate(tmp_path / "absent").faults[0])


def test_an_unreadable_file_does_not_hide_the_others(tmp_path: Path) -> None:
    """One damaged file is a fault; the rest is checked all the same."""
    (tmp_path / "pins.parquet").write_bytes(b"nonsense")
    write_csv(tmp_path / "saves.csv", "user,pin\nu,\n")

    found = faults(validate(tmp_path))

    assert ("saves.csv", "pin", "is missing") in found
    assert any(file == "pins.parquet" for file, _, _ in found)


def test_report_is_json(tmp_path: Path) -> None:
    """For `--json` and for programs."""
    write_csv(tmp_path / "saves.csv", "user,pin\nu,\n")

    body: dict[str, Any] = json.loads(json.dumps(validate(tmp_path).to_dict()))

    assert body["is_good"] is False
    assert body["faults"][0]["examples"] == [{"row": 1, "value": "nothing"}]
