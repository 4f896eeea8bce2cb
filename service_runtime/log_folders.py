"""The folders of logs: which there are, whose they are, and how one goes.

A log's folder belongs to the process that holds its `.writer`; the kernel lets that go when the
process dies. A folder is taken away under that hold and by renaming it first, so whoever opens a
log of the same name at that moment gets a new folder, never one that is being deleted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import Final

from service_runtime.errors import NotFound, Unavailable
from service_runtime.files import sync_path

WRITER: Final = ".writer"
GONE_PREFIX: Final = ".ended-"
"""How names of folders begin that were taken away and are being deleted."""
_RETRY_SECONDS: Final = 0.05


def log_folders(root: Path) -> list[Path]:
    """Return the folders of all logs below a folder, sorted; none where it is not there."""
    try:
        with os.scandir(root) as entries:
            names = [one.name for one in entries if one.name[0] != "." and one.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [root / name for name in sorted(names)]


def own_folder(folder: Path, *, wait_seconds: float = 0.0, may_begin: bool = True) -> int:
    """
    Take a log's folder for this process.

    Args:
        folder: Of the log.
        wait_seconds: How long to wait for whoever has it.
        may_begin: Whether it is made where it is not there.

    Returns:
        The descriptor that holds it; close it to let the folder go.

    Raises:
        NotFound: There is no such folder, and it is not to be made.
        Unavailable: Another process writes this log.
    """
    writer, until = folder / WRITER, time.monotonic() + wait_seconds
    while True:
        if may_begin:
            _make(folder)
        try:
            owner = os.open(writer, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError as fault:
            if may_begin:  # taken away since we made it
                continue
            raise NotFound(f"there is no log {folder}") from fault
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            os.close(owner)
            if not isinstance(fault, BlockingIOError):
                raise
            if time.monotonic() >= until:
                raise Unavailable(
                    f"another process writes the log {folder}",
                    hint="give each process a folder of its own",
                ) from fault
            time.sleep(_RETRY_SECONDS)
            continue
        if holds(owner, writer):
            return owner
        os.close(owner)  # of a folder that was taken away while we opened it


def _make(folder: Path) -> None:
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if folder.exists() and not folder.is_dir():
                raise
        else:
            return  # otherwise it was taken away while `mkdir` looked at what was there


def holds(owner: int, writer: Path) -> bool:
    """Say whether what `own_folder` returned still is the `.writer` of that path."""
    try:
        return os.path.samestat(os.fstat(owner), writer.stat())
    except FileNotFoundError:
        return False


def take_away(folder: Path) -> Path:
    """Rename a folder that is held, so that nobody finds it; returns what is to be deleted."""
    gone = folder.with_name(f"{GONE_PREFIX}{folder.name}-{os.urandom(4).hex()}")
    folder.rename(gone)
    sync_path(folder.parent)
    return gone


def delete_gone(root: Path) -> None:
    """Delete what was taken away below a folder, also by a process that died over it."""
    for gone in root.glob(f"{GONE_PREFIX}*"):
        shutil.rmtree(gone, ignore_errors=True)


def unused_position() -> int:
    """
    Return where a new log begins, after every log that had its name before.

    Readers keep positions by name, so a name that comes back must not begin at 0 again. Positions
    count bytes and these are nanoseconds: only a log that grew by a gigabyte a second all its life
    could have come so far.
    """
    return time.time_ns()
