"""A copy of the live action log at one moment, made while profile_service serves it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import lmdb

from profile_service.store import live_folder
from service_runtime.errors import Exhausted, Unavailable


def copy_live(data_root: Path, target: Path) -> bool:
    """
    Copy the environment as it is at one moment; writers are not held up.

    Args:
        data_root: Of the live log.
        target: An empty folder, made if absent; gets a compact `data.mdb`.

    Returns:
        False if there has never been a live log.

    Raises:
        Exhausted: If the disk of the target is full.
        Unavailable: If the log cannot be read.
    """
    source = live_folder(data_root)
    if not (source / "data.mdb").exists():
        return False
    target.mkdir(parents=True, exist_ok=True)
    try:
        # The map size is the file's own; a reader's lock keeps the pages of its moment alive.
        with lmdb.open(str(source), readonly=True, create=False, max_readers=1024) as environment:
            environment.copy(str(target), compact=True)
    except lmdb.DiskError as fault:
        raise Exhausted(
            f"cannot copy {source} to {target}: {fault}", hint="free the disk"
        ) from fault
    except lmdb.Error as fault:
        raise Unavailable(f"cannot copy {source} to {target}: {fault}") from fault
    return True


def read_through(folder: Path) -> None:
    """Read every page in use; the process dies of SIGBUS where the file ends too soon."""
    with (
        lmdb.open(str(folder), readonly=True, create=False, lock=False) as environment,
        Path(os.devnull).open("wb") as nowhere,
    ):
        environment.copyfd(nowhere.fileno(), compact=True)


if __name__ == "__main__":
    read_through(Path(sys.argv[1]))
