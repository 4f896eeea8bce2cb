"""What is known of users as a file: complete, current, and without those who were forgotten."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from corkboard.profile.v1 import profile_service_pb2 as pb
from profile_service.jobs import export_actions
from profile_service.profile import Attributes
from profile_service.user_export import FILE, export_users, users_folder
from service_runtime.job import JobContext
from tests.profile_service.worlds import NOW, config_of, open_log, rebuild, serving


def read(folder: Path) -> list[tuple[str, ...]]:
    """All rows of the file."""
    rows = pq.read_table(folder / FILE).to_pylist()
    return [tuple(row.values()) for row in rows]


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that will come about by itself."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_users_of_whom_something_is_known_are_written(tmp_path: Path) -> None:
    """In the order of their ids; nobody else, and no file before there is anybody."""
    log, out = open_log(tmp_path / "log"), tmp_path / "out"

    assert export_users(log, out) == 0
    assert not out.exists()
    log.describe("ben", Attributes(language="nl"))
    log.describe("anna", Attributes("ja", "JP", "women"))

    assert export_users(log, out) == 2
    assert read(out) == [("anna", "ja", "JP", "women"), ("ben", "nl", "", "")]
    log.close()


def test_the_file_follows_changes_and_erasures(tmp_path: Path) -> None:
    """A changed attribute is changed, whoever was forgotten or has none any more is gone."""
    log, out = open_log(tmp_path / "log"), tmp_path / "out"
    for name in ("anna", "ben", "cora"):
        log.describe(name, Attributes(segment="women"))
    export_users(log, out)

    log.describe("ben", Attributes(segment="men"))
    log.describe("cora", Attributes())
    log.erase("anna", time_us=1, receipt_id="r")

    assert export_users(log, out) == 1
    assert read(out) == [("ben", "", "", "men")]
    log.erase("ben", time_us=1, receipt_id="r")
    assert export_users(log, out) == 0
    assert read(out) == []
    log.close()


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    """The service may look every second."""
    log, out = open_log(tmp_path / "log"), tmp_path / "out"
    log.describe("anna", Attributes(segment="women"))
    export_users(log, out)
    before = (out / FILE).stat()

    export_users(log, out)

    assert (out / FILE).stat().st_ino == before.st_ino
    assert (out / FILE).stat().st_mtime_ns == before.st_mtime_ns
    log.close()


@pytest.mark.parametrize("way", ["export_actions", "rebuild_profiles"])
def test_jobs_export_beside_the_service(tmp_path: Path, way: str) -> None:
    """The job of every night, and the one that removes the forgotten."""
    log = open_log(tmp_path / "live" / "profile")
    log.describe("anna", Attributes(segment="women"))
    log.close()

    if way == "rebuild_profiles":
        rebuild(tmp_path)
    else:
        context: Any = JobContext(config=config_of(tmp_path), as_of_us=round(NOW * 1e6))
        assert export_actions.run(context)["user_count"] == 1
        context.close()

    assert read(users_folder(tmp_path)) == [("anna", "", "", "women")]


def test_the_service_exports_by_itself_and_forgets(tmp_path: Path) -> None:
    """An erased user is gone from the file after the next export, and GetErasure says so."""
    with serving(tmp_path, export_every_seconds=0.05) as stub:
        stub.UpdateUser(
            pb.UpdateUserRequest(user_id="anna", attributes=pb.UserAttributes(segment="women"))
        )
        path = users_folder(tmp_path) / FILE
        until(path.exists)
        stub.EraseUser(pb.EraseUserRequest(user_id="anna"))
        until(lambda: read(users_folder(tmp_path)) == [])
        answer = stub.GetErasure(pb.GetErasureRequest(user_id="anna"))

    assert answer.is_erased
    assert {store.store: store.record_count for store in answer.stores}["event_log"] == 0


def test_erasure_counts_what_was_exported(tmp_path: Path) -> None:
    """Without a further export the row is still there, and the check says so."""
    with serving(tmp_path) as stub:
        folder = users_folder(tmp_path)
        folder.mkdir(parents=True)
        stub.EraseUser(pb.EraseUserRequest(user_id="anna"))
        log = open_log(tmp_path / "other")
        log.describe("anna", Attributes(segment="women"))
        export_users(log, folder)
        log.close()

        answer = stub.GetErasure(pb.GetErasureRequest(user_id="anna"))

    assert not answer.is_erased
    assert {store.store: store.record_count for store in answer.stores}["event_log"] == 1
