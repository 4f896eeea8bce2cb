"""What jobs see of imports and of rows exported from the live log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from candidate_service import imported
from candidate_service.imported import open_pins, open_saves
from tests.candidate_service.world import NOW_US, make_context, write_pins, write_saves


def write_live_saves(data_root: Path, rows: list[dict[str, Any]]) -> None:
    """Put rows as an export leaves them."""
    path = data_root / "catalogue" / "saves" / "live-0.parquet"
    pq.write_table(pa.Table.from_pylist(rows, imported.SAVES), path)


def boards(data_root: Path) -> set[tuple[str, str]]:
    """Return (board, pin) of the table `saves`."""
    context = make_context(data_root)
    open_saves(context.engine, context.data_root, NOW_US)
    rows = context.engine.read("saves").to_pylist()
    context.close()
    return {(row["board_id"], row["pin_id"]) for row in rows}


def live_save(save_id: str, board: str, pin: str, **more: Any) -> dict[str, Any]:
    """Return a row of a live save."""
    known = {"save_id": save_id, "board_id": board, "pin_id": pin, "import_seq": 0}
    return {**known, "live_time_us": 5, "is_deleted": False, **more}


def test_a_live_save_replaces_the_imported_one_of_its_id(tmp_path: Path) -> None:
    """Nothing is counted twice when a save moves."""
    write_saves(tmp_path, [("b", "p"), ("b", "q")])
    write_live_saves(tmp_path, [live_save("a0", "c", "p"), live_save("new", "c", "r")])

    assert boards(tmp_path) == {("c", "p"), ("b", "q"), ("c", "r")}


def test_a_save_taken_back_is_gone_and_the_newest_live_row_counts(tmp_path: Path) -> None:
    """Removing and saving again in the service is told in order."""
    write_saves(tmp_path, [("b", "p"), ("b", "q")])
    gone = live_save("a0", "b", "p", is_deleted=True)
    back = live_save("a1", "b", "q", is_deleted=True)
    write_live_saves(tmp_path, [gone, back, live_save("a1", "b", "q", live_time_us=6)])

    assert boards(tmp_path) == {("b", "q")}


def test_a_later_import_wins_over_live_rows(tmp_path: Path) -> None:
    """`import_seq` orders imports and what was changed between them."""
    write_saves(tmp_path, [("b", "p"), ("b", "q")])  # import_seq 0 and 1
    write_live_saves(
        tmp_path, [live_save("a0", "b", "p", is_deleted=True), live_save("a1", "c", "q")]
    )

    assert boards(tmp_path) == {("b", "q")}


def test_deleted_pins_are_not_among_the_pins(tmp_path: Path) -> None:
    """`all_pins` has them, for the catalogue."""
    write_pins(tmp_path, [{"pin_id": "a"}, {"pin_id": "b", "is_deleted": True}])
    context = make_context(tmp_path)

    open_pins(context.engine, tmp_path, NOW_US)

    assert context.engine.read("pins").column("pin_id").to_pylist() == ["a"]
    assert context.engine.count("all_pins") == 2
    context.close()


def test_titles_of_boards_are_the_newest_given(tmp_path: Path) -> None:
    """A save without a title leaves the title as it was."""
    write_saves(tmp_path, [("b", "p")])
    first = live_save("x", "b", "p", board_title="Old", live_time_us=5)
    second = live_save("y", "b", "q", board_title="New", live_time_us=6)
    write_live_saves(tmp_path, [first, second, live_save("z", "b", "r", live_time_us=7)])
    context = make_context(tmp_path)

    open_saves(context.engine, tmp_path, NOW_US)

    assert context.engine.read("board_titles").to_pylist() == [
        {"board_id": "b", "board_title": "New"}
    ]
    context.close()
