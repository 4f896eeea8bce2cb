"""
Forgetting in memory whom another process was told to erase.

What the disks and the other services know of a user goes in the call of the erasure; what another
process of ours holds in memory goes when it looks at the erasures next.
"""

import time
from collections.abc import Callable
from pathlib import Path

from ranking_service.erased_users import erased_root, read_erased
from ranking_service.fallback import CandidateMemory


class ErasureFollower:
    """
    Looks for new erasures of all processes on the data root.

    Args:
        data_root: Of the erasures.
        remembered: Last candidate lists by asker, of this process.
        call_seconds_max: How long a call may last that began before an erasure, and remembers after
            it: so long a user is forgotten again at each look.
        monotonic: Seconds.
    """

    artifact = "erased_users"

    def __init__(
        self,
        data_root: Path,
        remembered: CandidateMemory,
        call_seconds_max: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data_root = data_root
        self._remembered = remembered
        self._call_seconds_max = call_seconds_max
        self._monotonic = monotonic
        self._stamp: frozenset[tuple[Path, int, int]] = frozenset()
        self._known: dict[int, int] = {}
        self._until: dict[int, float] = {}

    def poll(self) -> bool:
        """Forget who was erased since the last look; returns whether anything was remembered."""
        now = self._monotonic()
        stamp = self._stamped()
        if stamp != self._stamp:
            erased = read_erased(self._data_root)
            for user, time_us in erased.items():
                if time_us > self._known.get(user, -1):
                    self._until[user] = now + self._call_seconds_max
            self._stamp, self._known = stamp, erased
        gone = self._remembered.forget_keys(self._until) if self._until else 0
        self._until = {user: until for user, until in self._until.items() if until > now}
        return gone > 0

    def _stamped(self) -> frozenset[tuple[Path, int, int]]:
        """The files of all erasures as they are now."""
        found = set()
        for path in erased_root(self._data_root).rglob("*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # taken away just now
                continue
            found.add((path, status.st_size, status.st_mtime_ns))
        return frozenset(found)
