"""
Pages of several lists: what the lists of one page have shown, so that none shows it again.

A page is a small file below `live/pages`, so that lists of one page may be answered by any process
of the machine, also at the same moment: whoever chooses pins for a page holds its lock meanwhile.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service_runtime.errors import Exhausted

KEY_COUNT_MAX: Final = 10_000
"""Keys of a page that are kept; the oldest go first."""


@dataclass(slots=True)
class OpenPage:
    """
    A page under its lock.

    Attributes:
        shown: Keys of what its lists have shown, uint64[n].
        added: Keys that this list adds; written when the lock is given back.
    """

    shown: NDArray[np.uint64]
    added: NDArray[np.uint64] | None = None


class PageBook:
    """
    The pages of this machine.

    Args:
        folder: Where their files are.
        lifetime: Seconds after which a page that nobody asked for is forgotten.
        clock: Unix seconds.
    """

    artifact = "pages"

    def __init__(self, folder: Path, lifetime: float, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._lifetime = lifetime
        self._clock = clock
        self._swept = clock()

    @contextmanager
    def open(self, user_id: str, page_id: str, now: float) -> Iterator[OpenPage]:
        """
        A page under its lock, until the context is left.

        Args:
            user_id: Whose page.
            page_id: Its name.
            now: Unix seconds.

        Raises:
            Exhausted: If the disk is full.
        """
        name = blake2b(f"{user_id}\0{page_id}".encode(), digest_size=16).hexdigest()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise _full(self._folder, fault) from fault
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            status = os.fstat(file)
            is_old = now - status.st_mtime > self._lifetime
            content = b"" if is_old else os.pread(file, status.st_size, 0)
            whole = len(content) - len(content) % 8
            page = OpenPage(np.frombuffer(content[:whole], np.uint64))
            yield page
            if page.added is not None:
                _write(file, np.concatenate((page.shown, page.added))[-KEY_COUNT_MAX:], now)
        except OSError as fault:
            raise _full(self._folder, fault) from fault
        finally:
            os.close(file)

    def poll(self) -> bool:
        """Remove old pages now and then; returns whether there were any."""
        now = self._clock()
        if now - self._swept < self._lifetime / 4:
            return False
        self._swept = now
        return self.sweep(now) > 0

    def sweep(self, now: float) -> int:
        """Remove pages that nobody asked for lately; returns how many."""
        count = 0
        for path in self._folder.glob("*"):
            try:
                if now - path.stat().st_mtime > self._lifetime:
                    path.unlink()
                    count += 1
            except FileNotFoundError:
                continue
        return count


def _write(file: int, keys: NDArray[np.uint64], now: float) -> None:
    content = keys.tobytes()
    os.pwrite(file, content, 0)
    os.ftruncate(file, len(content))
    os.utime(file, (now, now))


def _full(folder: Path, fault: OSError) -> Exhausted:
    return Exhausted(
        f"pages cannot be kept in {folder}: {fault.strerror}",
        hint="free disk space, or ask without page_id",
    )
