"""An append-only log of byte strings in segment files, whose torn tail is cut, not believed.

A position counts the bytes of all frames ever appended, so it only grows and can be kept as a
watermark. A segment file is named after the position of its first frame. A frame is

    marker 4 bytes | length uint32 | xxh3_64 of position, length and payload | payload

all little-endian. What a killed writer left half-written at the end of the last segment was never
acknowledged and is cut off at the next open. Damage before the end is another matter: what still
has its checksum is read, the damaged stretch is passed over, logged and counted.
"""

from __future__ import annotations

import fcntl
import os
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

import xxhash

from service_runtime.disk_faults import disk_error
from service_runtime.errors import Corrupted, InvalidRequest, Unavailable
from service_runtime.files import sync_path
from service_runtime.telemetry import logger

MARKER: Final = b"\xc3\xbe\xf0\x9e"
PAYLOAD_BYTES_MAX: Final = 1 << 26
SEGMENT_BYTES_MAX: Final = 64 << 20
_HEADER: Final = struct.Struct("<4sIQ")
_SEED: Final = struct.Struct("<QI")
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
    ) -> None:
        """
        Open or begin a log and cut a torn tail.

        Args:
            folder: Made if it is not there; one writer at a time.
            segment_bytes_max: A segment that is at least this long is closed.
            begin_at: Positions that readers have seen already. A log that ends before (its folder
                was removed or restored from an old copy) goes on from here, so that no reader takes
                new records for known ones.

        Raises:
            Unavailable: If another process writes this log.
        """
        self.folder = Path(folder)
        self._segment_bytes_max = segment_bytes_max
        self._lock = Lock()
        self._is_torn = False
        self.folder.mkdir(parents=True, exist_ok=True)
        self._owner = os.open(self.folder / ".writer", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            os.close(self._owner)
            raise Unavailable(
                f"another process writes the log {self.folder}",
                hint="give each process a folder of its own",
            ) from fault
        bases = _segment_bases(self.folder)
        self._base = bases[-1] if bases else 0
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
        return _segment_bases(self.folder)[0]

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
            if self._position - self._base >= self._segment_bytes_max:
                with self._disk():
                    self._roll()
            position = self._position
            frames = bytearray()
            for payload in payloads:
                frames += _frame(position + len(frames), payload)
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
        removed = 0
        with self._lock:
            bases = _segment_bases(self.folder)
            for base, following in pairwise(bases):
                if following > position:
                    break
                path = _segment_path(self.folder, base)
                removed += path.stat().st_size
                path.unlink()
            sync_path(self.folder)
        return removed

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
        for _, good in _frames(content, self._base, 0, lambda _start, _stop: None):  # noqa: B007
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
        folder: Of the log; without one there are no records.
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
        for payload, stop in _frames(content, base, 0, told):
            yield LogRecord(base + stop, payload)
        if not is_last and stop < len(content):
            told(base + stop, base + len(content))


def end_position(folder: Path | str) -> int:
    """Return where a log ends, a torn tail included; 0 without one. Cheap: looks at names only."""
    bases = _segment_bases(Path(folder))
    return bases[-1] + _segment_path(Path(folder), bases[-1]).stat().st_size if bases else 0


def _read_from(path: Path, start: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read()


def _refuse_beyond_end(folder: Path, bases: Sequence[int], position: int) -> None:
    end = bases[-1] + _segment_path(folder, bases[-1]).stat().st_size if bases else 0
    if position > end:
        raise Corrupted(
            f"position {position} lies after the end {end} of the log {folder}",
            hint="start again from the log's first position; what was read before may come again",
        )


def _frame(position: int, payload: bytes) -> bytes:
    return _HEADER.pack(MARKER, len(payload), _checksum(position, payload)) + payload


def _checksum(position: int, payload: bytes | memoryview) -> int:
    digest = xxhash.xxh3_64(_SEED.pack(position, len(payload)))
    digest.update(payload)
    return digest.intdigest()


def _frames(
    content: bytes, base: int, start: int, on_damage: Callable[[int, int], None]
) -> Iterator[tuple[bytes, int]]:
    """
    Return the payload and the end of every whole frame; what follows the last one is not damage.

    A frame's checksum covers its position, so neither old bytes nor a payload that holds a frame
    are mistaken for one.
    """
    at = start
    while at < len(content):
        found, stop = at, _frame_end(content, base, at)
        while stop < 0:
            found = content.find(MARKER, found + 1)
            if found < 0:
                return
            stop = _frame_end(content, base, found)
        if found > at > start:
            on_damage(base + at, base + found)
        yield content[found + _HEADER.size : stop], stop
        at = stop


def _frame_end(content: bytes, base: int, at: int) -> int:
    """Return where the frame at a place ends, -1 if there is no whole one."""
    if at + _HEADER.size > len(content):
        return -1
    marker, length, checksum = _HEADER.unpack_from(content, at)
    stop = at + _HEADER.size + length
    if marker != MARKER or stop > len(content):
        return -1
    payload = memoryview(content)[at + _HEADER.size : stop]
    return stop if _checksum(base + at, payload) == checksum else -1


def _segment_path(folder: Path, base: int) -> Path:
    return folder / f"{base:020d}{_SUFFIX}"


def _segment_bases(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())
