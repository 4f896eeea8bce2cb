"""What a disk that refuses to write means for a caller: it is full, or it is broken."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from service_runtime.errors import Exhausted, Unavailable

ROOM_BYTES_MIN: Final = 1 << 20
"""A disk with less room than this is full: some libraries say EIO for what is a short write."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FAILED: Final = frozenset({errno.EIO, errno.EROFS})


def is_of_disk(fault: OSError) -> bool:
    """Whether an error says that a disk is full or broken, not that a file is missing or such."""
    return fault.errno in _FULL | _FAILED


def disk_error(code: int | None, what: str, folder: Path) -> Exhausted | Unavailable:
    """
    Return the error for a failed write or sync; nothing of that write counts as done.

    Args:
        code: The system's error number; None = it gave none.
        what: Was being written, such as `the action log`.
        folder: On the disk concerned.

    Returns:
        Exhausted (`DISK_FULL`) if there is no room, Unavailable (`DISK_FAILED`) otherwise. Not
        raised: the caller does, from what it caught.
    """
    if code in _FULL or _room_bytes(folder) < ROOM_BYTES_MIN:
        return Exhausted(
            f"{what} cannot be written: the disk of {folder} is full",
            hint="make room on it; what was acknowledged before is kept, reads go on",
            reason="DISK_FULL",
        )
    told = os.strerror(code) if code else "unknown error"
    return Unavailable(
        f"{what} cannot be written: {told} on the disk of {folder}",
        hint="look at the disk (dmesg); what was acknowledged before is kept, this was not",
        reason="DISK_FAILED",
    )


def _room_bytes(folder: Path) -> int:
    """Bytes that this process may still write; a disk that does not say has room."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return ROOM_BYTES_MIN
    return found.f_bavail * found.f_frsize
