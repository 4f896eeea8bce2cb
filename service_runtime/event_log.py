"""An append-only log of byte strings in segment files, whose torn tail is cut, not believed.

A position counts the bytes of all frames ever appended, so it only grows and can be kept as a
watermark. A segment file is named after the position of its first frame (`log_frames`).

What a killed writer left half-written at the end of the last segment was never acknowledged and is
cut off at the next open. Damage before the end is another matter: what still has its checksum is
read, the damaged stretch is passed over, logged and counted.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

from service_runtime.disk_faults import disk_error
from service_runtime.errors import Corrupted, InvalidRequest
from service_runtime.files import sync_path
from service_runtime.log_folders import (
    WRITER,
    delete_gone,
    holds,
    own_folder,
    take_away,
    unused_position,
)
from service_runtime.log_frames import frame, frames_of
from service_runtime.telemetry import logger

PAYLOAD_BYTES_MAX: Final = 1 << 26
SEGMENT_BYTES_MAX: Final = 64 << 20
_SUFFIX: Final = ".log"

_log = logger("service_runtime.event_log")


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One payload, and the position after it: keep that to go on from there."""

    position_after: int
    payload: bytes


class EventLog:
    """The one writer of a log folder; reading is safe at any time, from any process."""

    def __init__(
        self,
        folder: Path | str,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        *,
        begin_at: int = 0,
        new_at: int = 0,
        wait_seconds: float = 0.0,
        may_begin: bool = True,
    ) -> None:
        """
        Open or begin a log and cut a torn tail.

        Args:
            folder: Made if it is not there; one writer at a time.
            segment_bytes_max: A segment that is at least this long is closed.
            begin_at: Positions that readers have seen already. A log that ends before (its folder
                was removed or restored from an old copy) goes on from here, so that no reader takes
                new records for known ones.
            new_at: Where a log begins that has nothing yet.
            wait_seconds: How long to wait for another process to let the folder go.
            may_begin: Whether a log is begun where there is none.

        Raises:
            NotFound: If there is none, and it is not to be begun.
            Unavailable: If another process writes this log.
        """
        self.folder = Path(folder)
        self._writer = self.folder / WRITER
        self._segment_bytes_max = segment_bytes_max
        self._lock = Lock()
        self._is_torn = False
        self._owner = own_folder(self.folder, wait_seconds=wait_seconds, may_begin=may_begin)
        bases = _segment_bases(self.folder)
        self._base = bases[-1] if bases else max(new_at, begin_at)
        self._file = self._open_segment(self._base)
        self._position = self._base + self._cut_tail()
        if self._position < begin_at:
            self._position = begin_at
            self._roll()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def position(self) -> int:
        """The position after the last record."""
        return self._position

    @property
    def first_position(self) -> int:
        """The position of the oldest record that is kept."""
        return first_position(self.folder)

    def append(self, payloads: Sequence[bytes]) -> int:
        """
        Append records together; they survive the death of this process when this returns.

        Against the death of the machine, call `sync` before telling anyone.

        Args:
            payloads: Each at most 64 MiB; none is fine.

        Returns:
            The position after the last of them.

        Raises:
            InvalidRequest: If a payload is too long; nothing was appended.
            Exhausted: If the disk is full; nothing was appended.
            Unavailable: If the disk refuses; nothing was appended.
        """
        for payload in payloads:
            if len(payload) > PAYLOAD_BYTES_MAX:
                raise InvalidRequest(
                    f"a record of {len(payload)} bytes is over the limit of {PAYLOAD_BYTES_MAX}"
                )
        with self._lock:
            with self._disk():
                if not holds(self._owner, self._writer):
                    self._begin_again()
                if self._position - self._base >= self._segment_bytes_max:
                    self._roll()
            position = self._position
            frames = bytearray()
            for payload in payloads:
                frames += frame(position + len(frames), payload)
            self._write(frames)
            self._position = position + len(frames)
            return self._position

    def sync(self) -> None:
        """
        Have the disk hold everything appended before this call.

        Raises:
            Exhausted: If the disk is full.
            Unavailable: If the disk refuses. What was appended since the last sync may be lost with
                the machine, whatever later calls say.
        """
        with self._lock, self._disk():
            os.fsync(self._file)

    def read(self, from_position: int = 0) -> Iterator[LogRecord]:
        """Return the records from a position on; see `read_log`."""
        return read_log(self.folder, from_position)

    def remove_before(self, position: int) -> int:
        """
        Delete the segments all of whose records lie before a position.

        Returns:
            How many bytes were given back. The segment that is being written is never deleted.
        """
        with self._lock:
            return remove_segments(self.folder, position)

    def roll(self) -> None:
        """Begin a new segment, so that `remove_before` may delete all that was written so far."""
        with self._lock, self._disk():
            if self._position > self._base:
                self._roll()

    def close(self) -> None:
        """Sync and let the folder go; nothing can be appended afterwards."""
        with self._lock:
            if self._owner >= 0:
                os.fsync(self._file)
                os.close(self._file)
                os.close(self._owner)
                self._owner = -1

    def remove(self) -> None:
        """Delete the whole log and close; one that is begun under its name is another."""
        with self._lock:
            gone = take_away(self.folder)
            os.close(self._file)
            os.close(self._owner)
            self._owner = -1
        delete_gone(gone.parent)

    def _begin_again(self) -> None:
        """Go on in a new folder: ours was deleted by hand, or where locks are not seen."""
        _log.error("event_log.folder_lost", folder=str(self.folder), position=self._position)
        owner = own_folder(self.folder)
        os.close(self._owner)
        self._owner = owner
        self._position = max(self._position, unused_position())
        following = self._open_segment(self._position)
        os.close(self._file)
        self._file, self._base, self._is_torn = following, self._position, False

    def _open_segment(self, base: int) -> int:
        path = _segment_path(self.folder, base)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        sync_path(self.folder)
        return descriptor

    def _roll(self) -> None:
        os.fsync(self._file)
        following = self._open_segment(self._position)
        os.close(self._file)
        self._file, self._base = following, self._position

    def _write(self, frames: bytearray) -> None:
        """Write all or nothing."""
        written = 0
        with self._disk():
            if self._is_torn:
                self._cut_written()
            try:
                while written < len(frames):
                    written += os.write(self._file, memoryview(frames)[written:])
            except OSError:
                self._is_torn = True
                self._cut_written()
                raise

    def _cut_written(self) -> None:
        """Take back what a failed write left; a frame is only found at its own position."""
        os.ftruncate(self._file, self._position - self._base)
        self._is_torn = False

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Say what it means if the disk refuses."""
        try:
            yield
        except OSError as fault:
            raise disk_error(fault.errno, f"the log {self.folder}", self.folder) from fault

    def _cut_tail(self) -> int:
        """Cut what follows the last whole frame of the last segment, return what is left."""
        content = _segment_path(self.folder, self._base).read_bytes()
        good = 0
        for _, good in frames_of(content, self._base, 0, lambda _start, _stop: None):  # noqa: B007
            pass
        if good < len(content):
            _log.warning(
                "event_log.tail_cut",
                folder=str(self.folder),
                position=self._base + good,
                bytes=len(content) - good,
            )
            os.ftruncate(self._file, good)
            os.fsync(self._file)
        return good


def read_log(
    folder: Path | str,
    from_position: int = 0,
    *,
    on_damage: Callable[[int, int], None] | None = None,
) -> Iterator[LogRecord]:
    """
    Return the records of a log from a position on, oldest first, also while it is written.

    Args:
        folder: Of the log; without one there are no records, wherever one begins.
        from_position: A `position_after` from before, or 0 for the oldest record kept. A position
            inside a record goes on with the next one.
        on_damage: Told start and end position of each stretch that was passed over.

    Raises:
        Corrupted: If the position lies after the end: this is not the log it was taken from, or
            records that were never synced were lost with the machine.
    """
    folder = Path(folder)
    bases = _segment_bases(folder)
    _refuse_beyond_end(folder, bases, from_position)
    first = max(0, bisect_right(bases, from_position) - 1)
    for index, segment in enumerate(bases[first:], first):
        base = max(segment, from_position)
        try:
            content = _read_from(_segment_path(folder, segment), base - segment)
        except FileNotFoundError:  # removed since we looked
            continue
        is_last = index + 1 == len(bases)

        def told(start: int, stop: int) -> None:
            _log.error("event_log.damaged", folder=str(folder), position=start, bytes=stop - start)
            if on_damage is not None:
                on_damage(start, stop)

        stop = 0
        for payload, stop in frames_of(content, base, 0, told):
            yield LogRecord(base + stop, payload)
        if not is_last and stop < len(content):
            told(base + stop, base + len(content))


def first_position(folder: Path | str) -> int:
    """Return the position of the oldest record that a log keeps; 0 without one."""
    return next(iter(_segment_bases(Path(folder))), 0)


def end_position(folder: Path | str) -> int:
    """Return where a log ends, a torn tail included; 0 without one. Cheap: looks at names only."""
    return _end(Path(folder), _segment_bases(Path(folder)))


def last_written(folder: Path) -> float:
    """Return when a log was begun or last written to, Unix seconds by the disk's clock."""
    paths = [_segment_path(folder, base) for base in _segment_bases(folder)]
    return max(path.stat().st_mtime for path in paths or [folder])


def remove_segments(folder: Path, position: int, *, written_before: float = math.inf) -> int:
    """
    Delete the segments of a log all of whose records lie before a position.

    Safe beside the log's writer, which never comes back to a segment that it has closed.

    Args:
        folder: Of the log.
        position: Readers need what lies behind it.
        written_before: Segments that were written to since, in Unix seconds, stay.

    Returns:
        How many bytes were given back. The last segment is never deleted.
    """
    removed = 0
    for base, following in pairwise(_segment_bases(folder)):
        path = _segment_path(folder, base)
        try:
            told = path.stat()
            if following > position or told.st_mtime >= written_before:
                break
            path.unlink()
        except FileNotFoundError:  # somebody else was quicker
            continue
        removed += told.st_size
    if removed:
        sync_path(folder)
    return removed


def _end(folder: Path, bases: Sequence[int]) -> int:
    try:
        return bases[-1] + _segment_path(folder, bases[-1]).stat().st_size if bases else 0
    except FileNotFoundError:  # the whole log was removed since we looked
        return 0


def _read_from(path: Path, start: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read()


def _refuse_beyond_end(folder: Path, bases: Sequence[int], position: int) -> None:
    end = _end(folder, bases)
    if position > end and folder.is_dir():
        raise Corrupted(
            f"position {position} lies after the end {end} of the log {folder}",
            hint="start again from the log's first position; what was read before may come again",
        )


def _segment_path(folder: Path, base: int) -> Path:
    return folder / f"{base:020d}{_SUFFIX}"


def _segment_bases(folder: Path) -> list[int]:
    try:
        with os.scandir(folder) as entries:
            names = [one.name.removesuffix(_SUFFIX) for one in entries if _SUFFIX in one.name]
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isdecimal())
