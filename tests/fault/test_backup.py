"""A backup that is made while people use the services holds all that was acknowledged before it."""

import json
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from corkboard.answers import Action
from corkboard.backup import MANIFEST, back_up, restore
from service_runtime.errors import Corrupted, InvalidRequest, NotFound
from tests.integration.world import copy_of_root, make_stack

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def test_everything_acknowledged_before_is_there_after_a_restore(tmp_path: Path) -> None:
    """What was written before is served from the restored root; writes go on meanwhile."""
    root = copy_of_root(tmp_path)
    stopped = threading.Event()

    with make_stack(root) as stack, stack.client() as client:

        def keep_writing() -> None:
            number = 0
            while not stopped.is_set():
                number += 1
                client.record("busy", f"typography-{1 + number % 3}", action_id=f"busy-{number}")

        client.record_all([Action("backed", f"typography-{n}", "save") for n in (1, 2, 3)])
        before = client.recommend("backed", limit=10, seed=7)
        writer = threading.Thread(target=keep_writing)
        writer.start()
        report = back_up(root, tmp_path / "backup", now=NOW)
        stopped.set()
        writer.join()
    restored = tmp_path / "restored"
    again = restore(tmp_path / "backup", restored)
    with make_stack(restored) as stack, stack.client() as client:
        actions = client.actions("backed")
        after = client.recommend("backed", limit=10, seed=7)
        client.record("backed", "typography-2", "click")

    assert {action.pin_id for action in actions} == {f"typography-{n}" for n in (1, 2, 3)}
    assert [pin.pin_id for pin in after.pins] == [pin.pin_id for pin in before.pins]
    assert (again.file_count, again.byte_count) == (report.file_count, report.byte_count)


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the tiny world."""
    folder = tmp_path_factory.mktemp("backup")
    back_up(copy_of_root(folder), folder / "backup", now=NOW)
    return folder / "backup"


@pytest.mark.parametrize("damage", ["flipped", "missing", "added", "manifest"])
def test_a_damaged_backup_is_refused_whole(backup: Path, tmp_path: Path, damage: str) -> None:
    """One wrong byte, and nothing is restored."""
    copy = Path(shutil.copytree(backup, tmp_path / "copy"))
    victim = copy / next(iter(json.loads((copy / MANIFEST).read_text())["files"]))
    if damage == "flipped":
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif damage == "missing":
        victim.unlink()
    elif damage == "added":
        victim.with_name("extra").write_text("x")
    else:
        (copy / MANIFEST).write_text("{")
    with pytest.raises(Corrupted):
        restore(copy, tmp_path / "root")

    assert not (tmp_path / "root").exists()


def test_nothing_is_overwritten(backup: Path, tmp_path: Path) -> None:
    """Neither a backup nor a restore writes into a folder that holds something."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    with pytest.raises(InvalidRequest, match="not empty"):
        restore(backup, tmp_path / "full")
    with pytest.raises(InvalidRequest, match="not empty"):
        back_up(backup, tmp_path / "full", now=NOW)
    with pytest.raises(NotFound, match="no data root"):
        back_up(tmp_path / "full", tmp_path / "new", now=NOW)
    with pytest.raises(NotFound, match="no backup"):
        restore(tmp_path / "full", tmp_path / "new")
