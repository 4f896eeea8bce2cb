"""A backup that is made while people use the services holds all that was acknowledged before it."""

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import corkboard.backup
from corkboard import Client
from corkboard.answers import Action, Recommendations
from corkboard.backup import MANIFEST, back_up, check, restore
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
        before = whole_answer(client)
        writer = threading.Thread(target=keep_writing)
        writer.start()
        report = back_up(root, tmp_path / "backup", now=NOW)
        stopped.set()
        writer.join()
    restored = tmp_path / "restored"
    again = restore(tmp_path / "backup", restored)
    with make_stack(restored) as stack, stack.client() as client:
        actions = client.actions("backed")
        after = whole_answer(client)
        client.record("backed", "typography-2", "click")

    assert {action.pin_id for action in actions} == {f"typography-{n}" for n in (1, 2, 3)}
    assert [pin.pin_id for pin in after.pins] == [pin.pin_id for pin in before.pins]
    assert (again.file_count, again.byte_count) == (report.file_count, report.byte_count)


def whole_answer(client: Client) -> Recommendations:
    """The user's home feed, made with every part; a busy machine may take several tries."""
    for _ in range(20):
        answer = client.recommend("backed", limit=10, seed=7)
        if all(one.part == "source:visual" for one in answer.degradations):
            break
    return answer


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
        check(copy)
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


def test_a_new_volume_with_others_mounted_in_it_is_restored_into(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty folders do not matter, nor does `lost+found`, which only root may look into."""
    root = tmp_path / "data"
    for name in ("lost+found/#1", "live/profile/lost+found", "live/impressions/pod-1"):
        (root / name).mkdir(parents=True)
    (root / "lost+found" / "#1" / "what fsck found").touch()
    listed = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)

    report = restore(backup, root)

    assert replace(report, folder=backup) == check(backup)
    files = json.loads((backup / MANIFEST).read_text())["files"]
    assert report.file_count == len(files) > 20
    assert all((root / name).is_file() for name in files)


@pytest.mark.parametrize("kill_at", [1, 5, 15])
def test_a_restore_that_did_not_end_is_used_by_nobody_and_begun_anew(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    """Whichever file it had come to: services and jobs refuse the folder, a second run is whole."""
    root, count = tmp_path / "data", iter(range(1000))
    copy = corkboard.backup._copy

    def interrupted(source: Path, target: Path, advance: Any) -> None:
        if next(count) == kill_at:
            raise KeyboardInterrupt
        copy(source, target, advance)

    monkeypatch.setattr(corkboard.backup, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        restore(backup, root)
    monkeypatch.undo()
    (root / "live" / "torn").parent.mkdir(parents=True, exist_ok=True)
    (root / "live" / "torn").write_text("of another backup")

    for module in ("profile_service", "candidate_service.jobs.build_popular"):
        said = subprocess.run(
            [sys.executable, "-m", module, "--set", f"data_root={root}"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert said.returncode != 0
        assert "a restore into it did not end" in said.stdout + said.stderr
    restore(backup, root)

    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert files == set(json.loads((backup / MANIFEST).read_text())["files"])


@pytest.mark.parametrize("there", ["file", "deep", "link", "closed"])
def test_a_data_root_that_may_hold_something_is_not_restored_into(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    """A file however deep, a link, a folder that cannot be read: nothing is written then."""
    root = tmp_path / "data"
    (root / "live" / "shown" / "pod-1").mkdir(parents=True)
    if there == "link":
        (root / "live" / "elsewhere").symlink_to(tmp_path)
    elif there in {"file", "deep"}:
        (root / ("x" if there == "file" else "live/shown/pod-1/.writer")).touch()
    else:
        listed = os.scandir

        def scandir(path: str) -> Any:
            if str(path).endswith("shown"):
                raise PermissionError(13, "Permission denied", str(path))
            return listed(path)

        monkeypatch.setattr(os, "scandir", scandir)

    with pytest.raises(PermissionError if there == "closed" else InvalidRequest):
        restore(backup, root)

    assert not (root / "catalogue").exists()


def test_a_log_that_is_being_removed_is_not_backed_up(tmp_path: Path) -> None:
    """A folder that was taken away is nobody's, and may vanish at any moment."""
    root = copy_of_root(tmp_path)
    gone = root / "live" / "impressions" / ".ended-pod-1-00ff"
    gone.mkdir(parents=True)
    (gone / f"{0:020d}.log").write_bytes(b"x")

    back_up(root, tmp_path / "backup", now=NOW)

    assert not any(".ended-" in str(path) for path in (tmp_path / "backup").rglob("*"))
