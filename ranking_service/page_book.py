"""
Pages of several lists: what the lists of one page have shown, so that none shows it again.

A page is a small file below `live/pages`, so that lists of one page may be answered by any process
of the machine, also at the same moment: whoever chooses pins for a page holds its lock meanwhile.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.small_files import SmallFiles, replace_content

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
        hint = "free disk space, or ask without page_id"
        self._files = SmallFiles(folder, lifetime, clock, hint=hint)
        self._lifetime = lifetime

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
        with self._files.locked(user_id, page_id) as file:
            status = os.fstat(file)
            is_old = now - status.st_mtime > self._lifetime
            content = b"" if is_old else os.pread(file, status.st_size, 0)
            whole = len(content) - len(content) % 8
            page = OpenPage(np.frombuffer(content[:whole], np.uint64))
            yield page
            if page.added is not None:
                keys = np.concatenate((page.shown, page.added))[-KEY_COUNT_MAX:]
                replace_content(file, keys.tobytes(), now)

    def poll(self) -> bool:
        """Remove old pages now and then; returns whether there were any."""
        return self._files.poll()

    def sweep(self, now: float) -> int:
        """Remove pages that nobody asked for lately; returns how many."""
        return self._files.sweep(now)
