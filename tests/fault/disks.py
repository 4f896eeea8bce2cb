"""Small disks of their own, to be filled."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """
    A disk in memory at *folder*; skips the test where mounting is not allowed.

    Args:
        folder: Made; the disk is there for the length of the context.
        size: As `mount -o size=` takes it.
    """
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a disk to fill must be mounted: needs root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a disk to fill cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a process that was killed a moment ago may still hold its files.
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Write a file that takes all the room there is; remove it to give the room back."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for step in (1 << 20, 1 << 12):  # the last page too: what is left is less than one
            try:
                while file.write(b"\0" * step) == step:
                    pass
            except OSError:
                continue
    return ballast
