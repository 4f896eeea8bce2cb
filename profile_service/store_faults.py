"""What the live action log says when LMDB or its disk refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from service_runtime.disk_faults import disk_error
from service_runtime.errors import CorkboardError, Corrupted, Exhausted, Unavailable

MAP_FULL: Final = -30792
PANIC: Final = -30795
"""The root page could not be written: LMDB refuses everything until it is opened anew."""
_DAMAGED: Final = frozenset({-30797, -30796, -30793})
"""A page is missing, is of the wrong kind, or the file is none of LMDB's."""


def refuse_torn(folder: Path, environment: Any) -> None:
    """
    Refuse a log whose file was cut: LMDB would be killed by the first page that is not there.

    A file may be a little short and whole (pages that were never written), so that a short one is
    read through by another process.

    Args:
        folder: Of the log.
        environment: LMDB's, just opened.

    Raises:
        Corrupted: If a page that is in use is missing.
    """
    file = folder / "data.mdb"
    wanted = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    length = file.stat().st_size
    if length >= wanted:
        return
    reader = [sys.executable, "-m", "profile_service.live_copy", str(folder)]
    if subprocess.run(reader, capture_output=True, check=False).returncode != 0:  # noqa: S603  our own module
        raise Corrupted(
            f"the action log {file} was cut: it has {length} bytes of {wanted}",
            hint="restore live/profile from a backup; `corkboard restore` says how",
        )


def told(fault: Any, folder: Path, map_bytes: int) -> CorkboardError | None:
    """
    Return what a caller is told of a refusal; nothing of the change was kept.

    Args:
        fault: LMDB's error; its `code` is LMDB's own below zero and the system's above.
        folder: Of the log.
        map_bytes: Most that it can hold.

    Returns:
        One of our errors; None if it is a bug of ours, to be raised as it is.
    """
    if fault.code > 0:
        return disk_error(fault.code, "the action log", folder)
    if fault.code == MAP_FULL:
        return Exhausted(
            f"the action log is full: its map of {map_bytes} bytes is used up",
            hint="set profile_service's live_map_bytes higher and restart it; reads go on",
            reason="LIVE_MAP_FULL",
        )
    if fault.code == PANIC:
        return Unavailable(
            f"the disk failed under the action log {folder}; this process ends",
            hint="start it again, all that was acknowledged is there; look at the disk (dmesg)",
            reason="LIVE_LOG_BROKEN",
        )
    if fault.code in _DAMAGED:
        return Corrupted(
            f"the action log {folder} is damaged: {fault}",
            hint="stop profile_service and restore live/profile from a backup",
        )
    return None
