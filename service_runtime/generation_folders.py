"""The files of an artifact's folder: drafts sealed, swept away, old generations pruned."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Final

from service_runtime.files import list_files, sync_path
from service_runtime.manifest import CURRENT, MANIFEST_FILE, FileEntry, checksum_file

KEPT_COUNT: Final = 3
OWNER: Final = ".owner"
DRAFT_PREFIX: Final = ".draft-"
_TRASH_PREFIX: Final = ".trash-"


def seal_files(draft: Path) -> dict[str, FileEntry]:
    """Make all files and folders of a draft durable and return their checksums."""
    entries: dict[str, FileEntry] = {}
    for name, path in list_files(draft).items():
        if name in {OWNER, MANIFEST_FILE}:
            continue
        sync_path(path)
        entries[name] = checksum_file(path)
    for folder in (path for path in draft.rglob("*") if path.is_dir()):
        sync_path(folder)
    return entries


def published_ids(folder: Path) -> list[str]:
    """Return the ids of all published generations, oldest first, unverified."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return []
    return sorted(
        entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
    )


def sweep(folder: Path) -> None:
    """Remove drafts whose process is gone and half-removed generations; needs the lock."""
    for entry in list(folder.iterdir()):
        is_dead_draft = entry.name.startswith(DRAFT_PREFIX) and not _is_owned(entry)
        if is_dead_draft or entry.name.startswith(_TRASH_PREFIX):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name.startswith(f".{CURRENT}."):
            entry.unlink(missing_ok=True)


def _is_owned(draft: Path) -> bool:
    try:
        descriptor = os.open(draft / OWNER, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def prune(folder: Path, current_id: str) -> None:
    """Keep the last generations and the current one; needs the lock."""
    for generation_id in published_ids(folder)[:-KEPT_COUNT]:
        if generation_id != current_id:
            trash = folder / f"{_TRASH_PREFIX}{generation_id}"
            (folder / generation_id).rename(trash)
            shutil.rmtree(trash, ignore_errors=True)
