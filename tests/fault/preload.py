"""Faults of disk and clock for a process under test: `preload.c`, compiled once a test run."""

import atexit
import os
import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).with_name("preload.c")
ALL: Final = -1
_LAYOUT: Final = struct.Struct("<qqqq")


@cache
def library() -> Path:
    """The compiled library; skips the test where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc): faults of disk and clock cannot be made")
    folder = Path(tempfile.mkdtemp(prefix="corkboard-preload-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = folder / "preload.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(target), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return target


class Faults:
    """Switches the faults of the processes that were started with `environment`."""

    def __init__(self, folder: Path) -> None:
        """Begin without faults; *folder* gets the control file."""
        self._file = folder / "faults"
        self._file.write_bytes(_LAYOUT.pack(0, 0, 0, 0))
        library()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to be under these faults."""
        return {**os.environ, "LD_PRELOAD": str(library()), "FAULT_CONTROL": str(self._file)}

    def fail_syncs(self, count: int = ALL, *, spared: int = 0) -> None:
        """Let the next syncs after some spared ones fail with EIO; ALL = all, 0 = none."""
        self._put(8, spared)
        self._put(16, count)

    @property
    def failed_syncs(self) -> int:
        """How many syncs failed so far."""
        return int(_LAYOUT.unpack(self._file.read_bytes())[3])

    def shift_clock(self, seconds: float) -> None:
        """Put the time of day so far ahead of the machine's; negative = behind."""
        self._put(0, round(seconds * 1e9))

    def _put(self, at: int, value: int) -> None:
        with self._file.open("r+b") as file:
            file.seek(at)
            file.write(struct.pack("<q", value))
