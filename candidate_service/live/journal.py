"""The live logs: the one this process writes, those of other processes that it follows.

Every writing process has a log of its own, `<data root>/live/catalogue/<name>`, and reads those of
others every so often, so that a pin that is added anywhere is proposed everywhere. A write is
acknowledged when its records are on disk and in every segment; callers at the same time share one
sync.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from candidate_service.catalogue import Catalogue
from candidate_service.live.records import decode_record, encode_record
from candidate_service.live.segment import LivePart, LiveSegment
from candidate_service.live.segment_writer import Entry, SegmentWriter
from candidate_service.live.transaction import LiveTransaction
from candidate_service.save_index import SaveIndex
from service_runtime.ended_logs import open_log, remove_ended
from service_runtime.errors import Corrupted, NotFound, Unavailable
from service_runtime.event_log import EventLog, end_position, read_log
from service_runtime.group_commit import GroupCommit
from service_runtime.log_folders import log_folders, unused_position
from service_runtime.telemetry import logger

T = TypeVar("T")

LOG_COUNT_MAX: Final = 64
"""Most processes that write on one data root without names of their own."""
REPLAY_CHUNK: Final = 32
REPLAY_REST: Final = 3.0
"""While requests are served, a replay rests after so many records, so many times as long as they
took: the segment of before answers until it is done, and nobody waits for it."""
FOLDER: Final = Path("live") / "catalogue"

_log = logger("candidate_service.live")


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """What a journal is made of.

    Attributes:
        folder: Of all live logs.
        log_name: Of the own one; "" = the first of `0`, `1`, ... that no other process writes.
        exported: Up to where each log is exported; a log that is shorter was lost and goes on
            from there.
        poll_seconds: How often the logs of others are looked at, and pins may expire.
        clock_us: Microseconds since the Unix epoch.
        parts: Makes what the sources keep of the changes since a catalogue.
        save_index: Gives the saves that the generation knows, None without one.
        vectors: Gives the vectors that pins of the catalogue came with, by row; None without.
    """

    folder: Path
    log_name: str
    exported: Mapping[str, int]
    poll_seconds: float
    clock_us: Callable[[], int]
    parts: Callable[[Catalogue | None], Sequence[LivePart]] = lambda _: ()
    save_index: Callable[[], SaveIndex | None] = lambda: None
    vectors: Callable[[], NDArray[np.float32] | None] = lambda: None


@dataclass(slots=True)
class JournalCounts:
    """What happened since the start, for metrics."""

    commit_count: int = 0
    record_count: int = 0
    followed_count: int = 0
    unreadable_count: int = 0
    replay_seconds: float = field(default=0.0)


class LiveJournal:
    """Makes changes durable and keeps segments up to date; safe from any thread."""

    def __init__(self, settings: JournalSettings) -> None:
        """Open the own log and begin with an empty catalogue; `start` begins to follow others.

        Where the folder cannot be written to, it only follows others and refuses changes.

        Raises:
            Unavailable: Another process writes the log of that name, or all of them.
        """
        self.counts = JournalCounts()
        self._settings = settings
        self.log_name, self._own = _open_own(settings)
        self._last_us = 0
        self._lock = Lock()
        first = self._writer(LiveSegment(None, settings.parts(None)), None, {})
        self._writers = [first]
        self._replay(first)
        self._commits = GroupCommit(self._run)
        self._stopped = Event()
        self._thread = Thread(target=self._follow, name="live-follower", daemon=True)

    def start(self) -> None:
        """Begin to follow the logs of other processes."""
        self._thread.start()

    def close(self) -> None:
        """Finish what is being written, stop following, let the log go."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._commits.close()
        if self._own is not None:
            self._own.close()

    @property
    def serving(self) -> SegmentWriter:
        """What requests are answered from."""
        return self._writers[0]

    def change_count(self) -> int:
        """Return how many changes there were since the catalogue that serves."""
        return self.serving.segment.unfolded_count

    def pin_count(self) -> int:
        """Return how many pins are younger than that catalogue."""
        segment = self.serving.segment
        return segment.row_count - segment.base_count

    def begin(
        self, generation: str, catalogue: Catalogue, positions: Mapping[str, int]
    ) -> LiveSegment:
        """Return a segment with all changes after some positions; it follows new ones from now."""
        started = time.monotonic()
        settings = self._settings
        segment = LiveSegment(
            catalogue,
            settings.parts(catalogue),
            generation=generation,
            now_us=settings.clock_us(),
        )
        writer = self._writer(segment, catalogue, positions)
        self._replay(writer, rest=REPLAY_REST if self.serving.segment.generation else 0.0)
        with self._lock:
            self._catch_up(writer)
            self._writers.append(writer)
        self.counts.replay_seconds = time.monotonic() - started
        _log.info(
            "live.replayed",
            generation=generation,
            changes=segment.change_count,
            seconds=round(self.counts.replay_seconds, 3),
        )
        return segment

    def switched_to(self, segment: LiveSegment) -> None:
        """Forget every other segment; their last readers keep them as they are."""
        with self._lock:
            kept = [writer for writer in self._writers if writer.segment is segment]
            assert kept, "a segment that was not begun here"
            self._writers = kept

    def commit(self, change: Callable[[LiveTransaction], T]) -> T:
        """Decide on a change, make it durable and visible, and return what *change* returned.

        Raises:
            Exhausted: The disk is full; nothing of it was kept.
            Unavailable: The service is closing, or the disk refuses; the change may be sent again.
        """
        return self._commits.submit(change)

    def preview(self, change: Callable[[LiveTransaction], T]) -> T:
        """Decide on a change without making it."""
        with self._lock:
            return change(self._transaction())

    def follow_others(self) -> int:
        """Take in what other processes wrote since the last time, return how many records."""
        count = 0
        with self._lock:
            for writer in self._writers:
                count = max(count, self._catch_up(writer, skip=self.log_name))
            now_us = self._settings.clock_us()
            for writer in self._writers:
                writer.segment.expire(now_us)
        self.counts.followed_count += count
        return count

    def trim(self, positions: Mapping[str, int]) -> int:
        """Delete records before some positions: they are in every generation that is kept.

        Logs of processes that have ended are trimmed as well, and go when nothing is left in them.

        Returns:
            How many bytes were given back.
        """
        if self._own is None:
            return 0
        with self._lock:
            self._own.roll()  # a segment a generation: it can go when that generation goes
        folder = self._settings.folder
        removed = self._own.remove_before(positions.get(self.log_name, 0))
        for name, position in positions.items():
            if name != self.log_name:
                removed += _trim_ended(folder / name, position)

        def has_more(log: EventLog) -> bool:
            known = max(positions.get(log.folder.name, 0), log.first_position)
            return log.position > known

        remove_ended(folder, now=self._settings.clock_us() / 1e6, is_needed=has_more)
        return removed

    def _writer(
        self, segment: LiveSegment, catalogue: Catalogue | None, positions: Mapping[str, int]
    ) -> SegmentWriter:
        settings = self._settings
        return SegmentWriter(segment, catalogue, positions, settings.save_index, settings.vectors)

    def _run(self, apply: Callable[[object], None]) -> None:
        with self._lock:
            transaction = self._transaction()
            apply(transaction)
            if not transaction.records:
                return
            payloads = [encode_record(record) for record in transaction.records]
            own = self._writable()
            end = own.append(payloads)
            own.sync()
            entries = [
                Entry((record.time_us, self.log_name), end, record)
                for record in transaction.records
            ]
            for writer in self._writers:
                self._show(writer, entries)
            self.counts.commit_count += 1
            self.counts.record_count += len(entries)

    def _show(self, writer: SegmentWriter, entries: Sequence[Entry]) -> None:
        """Fold what is durable already: an error here must not make the caller write it again."""
        try:
            for start in range(0, len(entries), REPLAY_CHUNK):
                writer.apply(entries[start : start + REPLAY_CHUNK])
                if start:
                    time.sleep(0)  # lets requests have the interpreter
        except Exception:  # noqa: BLE001  told; the next generation has the change all the same
            _log.exception("live.apply_failed", generation=writer.segment.generation)

    def _writable(self) -> EventLog:
        if self._own is None:
            raise Unavailable(
                f"this process cannot write to {self._settings.folder}",
                hint="send writes to one that can, or make the data root writable and restart",
            )
        return self._own

    def _transaction(self) -> LiveTransaction:
        return LiveTransaction(self.serving, self._stamp, self.log_name)

    def _stamp(self) -> int:
        self._last_us = max(self._settings.clock_us(), self._last_us + 1)
        return self._last_us

    def _replay(self, writer: SegmentWriter, *, rest: float = 0.0) -> None:
        """Read all logs up to about now, leaving requests the interpreter in between."""
        for name in self._log_names():
            entries = self._entries(name, writer.positions.get(name, 0))
            started = time.monotonic()
            while chunk := list(islice(entries, REPLAY_CHUNK)):
                writer.apply(chunk)
                time.sleep(rest * (time.monotonic() - started))
                started = time.monotonic()

    def _catch_up(self, writer: SegmentWriter, *, skip: str = "") -> int:
        """Read what is new in all logs; needs the lock."""
        count = 0
        for name in self._log_names():
            position = writer.positions.get(name, 0)
            if name == skip or end_position(self._settings.folder / name) <= position:
                continue
            entries = list(self._entries(name, position))
            writer.apply(entries)
            count += len(entries)
        return count

    def _log_names(self) -> list[str]:
        return [folder.name for folder in log_folders(self._settings.folder)]

    def _entries(self, name: str, position: int) -> Iterator[Entry]:
        """Return a log's records after a position; what cannot be read is counted and told."""
        folder = self._settings.folder / name
        try:
            for record in read_log(folder, position):
                try:
                    change = decode_record(record.payload)
                except Corrupted as fault:
                    self.counts.unreadable_count += 1
                    _log.error("live.unreadable", log=name, reason=fault.message)
                    yield Entry((0, name), record.position_after, None)
                    continue
                self._last_us = max(self._last_us, change.time_us)
                yield Entry((change.time_us, name), record.position_after, change)
        except Corrupted as fault:  # shorter than what a generation knows of it
            _log.error("live.log_lost", log=name, reason=fault.message)

    def _follow(self) -> None:
        while not self._stopped.wait(self._settings.poll_seconds):
            try:
                self.follow_others()
            except Exception:  # noqa: BLE001  the thread must outlive whatever a file does
                _log.exception("live.follow_failed")


def _trim_ended(folder: Path, position: int) -> int:
    """Delete what lies before a position of a log that nobody writes, return how many bytes."""
    try:
        with EventLog(folder, new_at=unused_position(), may_begin=False) as log:
            log.roll()
            return log.remove_before(position)
    except (NotFound, Unavailable):  # it was removed, or its writer does it
        return 0


def _open_own(settings: JournalSettings) -> tuple[str, EventLog | None]:
    """Open the log of this process; None where it may only read."""
    names = [settings.log_name] if settings.log_name else map(str, range(LOG_COUNT_MAX))
    for name in names:
        folder, begin_at = settings.folder / name, settings.exported.get(name, 0)
        try:
            if settings.log_name:
                return name, open_log(folder, begin_at=begin_at)
            return name, EventLog(folder, begin_at=begin_at, new_at=unused_position())
        except Unavailable:
            if settings.log_name:
                raise
        except OSError as fault:  # a replica on a disk that it may only read serves all the same
            _log.warning("live.read_only", folder=str(settings.folder), reason=str(fault))
            return "", None
    raise Unavailable(
        f"all {LOG_COUNT_MAX} live logs in {settings.folder} are written by other processes",
        hint="give each process a name of its own: live_log_name",
    )
