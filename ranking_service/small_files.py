"""
Small files under a lock, one for each name, forgotten when nobody asked for them lately.

What several processes of a machine must know of a page or a user lies in such a file below the data
root; where replicas mount the same data root, they share it as well.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

from service_runtime.errors import Exhausted

SWEEP_SECONDS_MAX: Final = 900.0
"""How long files beyond the bound may stay. Guess: looking at 100,000 takes some 0.3 s."""


class SmallFiles:
    """
    The files of one folder.

    Args:
        folder: Where they are; made when it is needed.
        lifetime: Seconds after which a file that nobody wrote is removed.
        clock: Unix seconds.
        hint: What to do where a file cannot be kept.
        count_max: Files that are kept; the ones written longest ago go first. 0 = no bound.
    """

    def __init__(
        self,
        folder: Path,
        lifetime: float,
        clock: Callable[[], float],
        *,
        hint: str,
        count_max: int = 0,
    ) -> None:
        self._folder = folder
        self._lifetime = lifetime
        self._clock = clock
        self._hint = hint
        self._count_max = count_max
        self._swept = clock()

    def path(self, *name: str) -> Path:
        """Where the file of a name is."""
        digest = blake2b("\0".join(name).encode(), digest_size=16).hexdigest()
        return self._folder / digest

    @contextmanager
    def locked(self, *name: str) -> Iterator[int]:
        """
        The file of a name, made if it is not there, under its lock until the context is left.

        Raises:
            Exhausted: If the disk is full, or refuses.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path(*name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise self._full(fault) from fault
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        except OSError as fault:
            raise self._full(fault) from fault
        finally:
            os.close(file)

    def poll(self) -> bool:
        """Remove what is old now and then; returns whether there was anything."""
        now = self._clock()
        if now - self._swept < min(self._lifetime / 4, SWEEP_SECONDS_MAX):
            return False
        self._swept = now
        return self.sweep(now) > 0

    def sweep(self, now: float) -> int:
        """Remove files that nobody wrote lately, and those beyond the bound; returns how many."""
        written: list[tuple[float, Path]] = []
        for path in self._folder.glob("*"):
            try:
                written.append((path.stat().st_mtime, path))
            except FileNotFoundError:
                continue
        written.sort(reverse=True)
        kept = self._count_max or len(written)
        old = [
            path
            for place, (time, path) in enumerate(written)
            if place >= kept or now - time > self._lifetime
        ]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _full(self, fault: OSError) -> Exhausted:
        return Exhausted(f"{self._folder} cannot be written: {fault.strerror}", hint=self._hint)


def replace_content(file: int, content: bytes, now: float) -> None:
    """Write all of an open file anew, as of a time."""
    os.pwrite(file, content, 0)
    os.ftruncate(file, len(content))
    os.utime(file, (now, now))
