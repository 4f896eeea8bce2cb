"""Copy a data root while services and jobs use it, and bring the copy back.

What is copied in which order makes the copy whole: first what logs were exported to (`catalogue/`,
`events/`), then the generations built from it, then the logs, so that whatever the first two lack
is still in the logs.  A log that was trimmed meanwhile could break that chain; then all is copied
again.  `backup.json` carries size and checksum of every file; a restore checks each.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import xxhash

from service_runtime.data_root import RESTORING
from service_runtime.errors import Corrupted, InvalidRequest, NotFound, Unavailable
from service_runtime.files import sync_path, write_synced
from service_runtime.log_folders import GONE_PREFIX

MANIFEST: Final = "backup.json"
FORMAT_VERSION: Final = 1
ATTEMPTS: Final = 3
PARTS: Final = ("catalogue", "events", "generations", "live", "audit")
"""Folders of a data root that are kept, in the order of copying."""

_PROFILE: Final = Path("live") / "profile"
_COPY_LIVE: Final = "profile_service.jobs.copy_live"
_PASSING: Final = {".lock", ".writer", "lock.mdb"}
"""Files that belong to running processes."""
_UNFINISHED: Final = (".draft", ".tmp", GONE_PREFIX)
"""How names begin of what is being made or deleted."""
_LOST_AND_FOUND: Final = "lost+found"
_BLOCK: Final = 1 << 22

Advance = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was copied.

    Attributes:
        folder: The backup, or the data root that was restored.
        file_count: Files in it.
        byte_count: Their bytes.
        time: When the backup was begun.
    """

    folder: Path
    file_count: int
    byte_count: int
    time: datetime


def back_up(
    data_root: Path, folder: Path, *, now: datetime, advance: Advance = lambda _: None
) -> BackupReport:
    """
    Copy a data root that is in use.

    Args:
        data_root: What to copy.
        folder: Where to; must be empty or absent.
        now: Written into the manifest.
        advance: Told the bytes copied since the last time.

    Raises:
        NotFound: There is no data root.
        InvalidRequest: The folder is not empty.
        Unavailable: Logs were trimmed during each of three attempts.
        Exhausted: The disk is full.
    """
    if not any((data_root / part).is_dir() for part in PARTS):
        raise NotFound(f"{data_root} is no data root: it has none of {', '.join(PARTS)}")
    if folder.exists() and any(folder.iterdir()):
        raise InvalidRequest(f"{folder} is not empty", hint="name a folder that is not there yet")
    for _ in range(ATTEMPTS):
        before = _first_segments(data_root)
        for part in PARTS:
            for source in _files(data_root, part):
                _copy(source, folder / source.relative_to(data_root), advance)
        _copy_profiles(data_root, folder / _PROFILE)
        if before == _first_segments(folder):
            return _seal(folder, now)
        shutil.rmtree(folder)
    raise Unavailable(f"the logs of {data_root} were trimmed while they were copied; try again")


def restore(folder: Path, data_root: Path, *, advance: Advance = lambda _: None) -> BackupReport:
    """
    Bring a backup back, on any machine.

    No service or job uses the data root until the last byte is on its disk.  What an earlier
    restore left that did not end is removed first.

    Args:
        folder: A backup.
        data_root: Where to; must be absent, or hold nothing but empty folders (a new volume has
            `lost+found`, and other volumes are mounted in it).
        advance: Told the bytes copied since the last time.

    Raises:
        NotFound: The folder is no backup.
        InvalidRequest: The data root holds a file, or the backup lies in it.
        Corrupted: A file is missing, too many, or not what it was; nothing is restored then.
    """
    marker = data_root / RESTORING
    if not marker.exists() and (found_file := _any_file(data_root)):
        hint = "restore into a new folder, or one that holds empty folders only"
        raise InvalidRequest(f"{data_root} is not empty: there is {found_file}", hint=hint)
    report = check(folder)
    data_root.mkdir(parents=True, exist_ok=True)
    write_synced(marker, b"")
    for left in _files_below(data_root):
        if left != marker:
            left.unlink()
    targets = {name: data_root / name for name in _manifest(folder)["files"]}
    for name, target in targets.items():
        _copy(folder / name, target, advance)
    for made in {parent for target in targets.values() for parent in target.parents}:
        if made.is_relative_to(data_root):
            sync_path(made)
    marker.unlink()
    sync_path(data_root)
    return replace(report, folder=data_root)


def check(folder: Path) -> BackupReport:
    """
    Say what a backup holds, after looking at every byte of it.

    Raises:
        NotFound: The folder is no backup.
        Corrupted: A file is missing, too many, or not what it was when it was made.
    """
    manifest = _manifest(folder)
    files: dict[str, dict[str, Any]] = manifest["files"]
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if wrong := sorted((found - {MANIFEST}) ^ set(files)):
        raise Corrupted(f"{folder}: {wrong[0]} is missing, or was not there when it was made")
    for name, told in files.items():
        if checksum(folder / name) != told["xxh3"]:
            raise Corrupted(f"{folder}: {name} is not what it was when it was made")
    size = sum(told["bytes"] for told in files.values())
    return BackupReport(folder, len(files), size, datetime.fromisoformat(manifest["time"]))


def _any_file(root: Path) -> Path | None:
    """A file below a folder, None if there is none."""
    return next(_files_below(root), None) if root.exists() else None


def _files_below(root: Path) -> Iterator[Path]:
    """Files and links below a folder, but for `lost+found`, which only root may read.

    Raises:
        OSError: A folder cannot be read, so it may hold something.
    """

    def refuse(fault: OSError) -> None:
        raise fault

    for name, folders, files in os.walk(root, onerror=refuse):
        folders[:] = [one for one in folders if one != _LOST_AND_FOUND]
        links = [one for one in folders if (Path(name) / one).is_symlink()]
        yield from (Path(name) / found for found in (*files, *links))


def size_of(data_root: Path) -> int:
    """About how many bytes a backup will copy."""
    return sum(path.stat().st_size for part in PARTS for path in _files(data_root, part))


def checksum(path: Path) -> str:
    """XXH3 of a file, 32 hex digits."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _files(data_root: Path, part: str) -> Iterator[Path]:
    """What is to be copied of a part: no locks, no drafts, not LMDB's own files."""
    for path in sorted((data_root / part).rglob("*")):
        name = path.relative_to(data_root)
        is_draft = any(word.startswith(_UNFINISHED) for word in name.parts)
        is_lmdb = name.is_relative_to(_PROFILE)
        if path.is_file() and path.name not in _PASSING and not is_draft and not is_lmdb:
            yield path


def _first_segments(root: Path) -> dict[str, str]:
    """The oldest segment of each log: it changes when a log is trimmed."""
    logs = sorted((root / "live").rglob("[!.]*/*.log"), reverse=True)
    return {path.parent.relative_to(root).as_posix(): path.name for path in logs}


def _copy(source: Path, target: Path, advance: Advance) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with source.open("rb") as reading, target.open("wb") as writing:
            while block := reading.read(_BLOCK):
                writing.write(block)
                advance(len(block))
            writing.flush()
            os.fsync(writing.fileno())
    except FileNotFoundError:  # an old generation or a trimmed segment went while we were copying
        target.unlink(missing_ok=True)


def _copy_profiles(data_root: Path, target: Path) -> None:
    """Let profile_service's own code copy its store."""
    command = [sys.executable, "-m", _COPY_LIVE, "--data-root", str(data_root), "--to", str(target)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  ours
    if done.returncode:
        raise Unavailable(f"the live action log cannot be copied: {done.stderr.strip()[-500:]}")


def _seal(folder: Path, now: datetime) -> BackupReport:
    """Write the manifest: from here on it is a backup."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "xxh3": checksum(path)}
        for path in paths
    }
    manifest = {"format_version": FORMAT_VERSION, "time": now.isoformat(), "files": files}
    write_synced(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
    size = sum(path.stat().st_size for path in paths)
    return BackupReport(folder, len(paths), size, now.astimezone(UTC))


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"{folder} is no backup: it has no {MANIFEST}") from error
    except ValueError as error:
        raise Corrupted(f"{folder / MANIFEST} is damaged: {error}") from error
    if manifest.get("format_version") != FORMAT_VERSION:
        raise Corrupted(f"{folder} has the format {manifest.get('format_version')}, not 1")
    return manifest
