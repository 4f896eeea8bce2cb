"""The live log as files: complete, by day, once."""

from pathlib import Path

import pyarrow.parquet as pq

from corkboard.profile.v1 import profile_service_pb2 as pb
from profile_service.action_export import export_actions, exported_position
from tests.profile_service.worlds import action, message, open_log, publish_pins, serving


def exported(folder: Path) -> list[tuple[str, str]]:
    """Day and id of every exported action."""
    return sorted(
        (path.parent.name, name)
        for path in folder.rglob("*.parquet")
        for name in pq.read_table(path, partitioning=None).column("action_id").to_pylist()
    )


def test_actions_go_to_the_day_on_which_they_happened(tmp_path: Path) -> None:
    """Days are UTC; all columns arrive."""
    log = open_log(tmp_path / "log")
    log.append([action("a", age_days=1, strength=0.5), action("b", age_days=2, board_id="tea")])

    assert export_actions(log, tmp_path / "out", up_to=2) == 2

    assert exported(tmp_path / "out") == [("day=2025-12-30", "b"), ("day=2025-12-31", "a")]
    (path,) = (tmp_path / "out").glob("day=2025-12-31/*.parquet")
    (row,) = pq.read_table(path, partitioning=None).to_pylist()
    assert row["strength"] == 0.5
    assert row["board_id"] is None
    assert row["log_position"] == 1
    assert row["action_type"] == "save"
    log.close()


def test_export_is_incremental_and_may_be_repeated(tmp_path: Path) -> None:
    """Running it again writes only what is new."""
    log, out = open_log(tmp_path / "log"), tmp_path / "out"
    log.append([action("a")])
    assert export_actions(log, out, up_to=1) == 1
    assert export_actions(log, out, up_to=1) == 0
    log.append([action("b"), action("c")])

    assert export_actions(log, out, up_to=3) == 2

    assert [name for _, name in exported(out)] == ["a", "b", "c"]
    assert exported_position(out) == 3
    log.close()


def test_killed_export_leaves_no_duplicate(tmp_path: Path) -> None:
    """Files beyond the position that was noted are those of a run that died; they are made anew."""
    log, out = open_log(tmp_path / "log"), tmp_path / "out"
    log.append([action("a"), action("b", age_days=2)])
    export_actions(log, out, up_to=2)
    (out / ".exported.json").unlink()
    next(out.glob("day=2025-12-30/*.parquet")).unlink()
    log.append([action("c")])

    export_actions(log, out, up_to=3)

    assert [name for _, name in exported(out)] == ["b", "a", "c"]
    log.close()


def test_service_exports_by_itself_where_no_job_reaches_its_disk(tmp_path: Path) -> None:
    """With export_every_seconds all that was recorded is a file when the service ends."""
    publish_pins(tmp_path)
    with serving(tmp_path, export_every_seconds=3600) as stub:
        stub.RecordActions(pb.RecordActionsRequest(actions=[message("a"), message("b")]))

    assert [name for _, name in exported(tmp_path / "events" / "actions")] == ["a", "b"]
