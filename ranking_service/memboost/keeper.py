"""
Keeps Memboost current: the nightly table, the day's counters on top, and what was reset.

A thread appends this process's records behind the answers, reads those of all processes, and makes
the live table anew; a reader takes the finished `Memboost` by one attribute read.
"""

import queue
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.answer import Answer
from ranking_service.config import RankingConfig
from ranking_service.memboost.counting import credit
from ranking_service.memboost.memory import Memboost
from ranking_service.memboost.records import (
    Day,
    ShownList,
    encode_acts,
    encode_erased,
    encode_shown,
)
from ranking_service.memboost.resets import RecordedReset, encode_reset, read_resets
from ranking_service.memboost.table import (
    FORMAT_VERSION,
    MEMBOOST,
    MemboostTable,
    empty_table,
    make_table,
)
from ranking_service.pin_keys import key_of, keys_of
from ranking_service.profile import RecentActions
from service_runtime.ended_logs import gather_ended, open_log, remove_ended
from service_runtime.errors import CorkboardError
from service_runtime.event_log import read_log
from service_runtime.generation_store import GenerationStore
from service_runtime.live import Live
from service_runtime.log_folders import log_folders
from service_runtime.telemetry import Metrics, logger

BUSY_SHARE: Final = 0.05
"""Share of one core that counting may take; then it counts less often."""

KEPT_SECONDS: Final = 2 * 86_400.0
"""How long live records are kept; older ones wait for the nightly count."""
MARK_SECONDS: Final = 3600.0

_log = logger("ranking_service.memboost")


class MemboostKeeper:
    """
    Serves the counters of this moment.

    Args:
        store: Where the nightly tables are.
        live_root: Folder of the live logs: `memboost/<name>` and `memboost_resets/<name>`.
        config: Weights, smoothing, window, refresh.
        metrics: Gets `memboost_records_dropped_total{reason}`, `memboost_live_impressions`.
        clock: Unix seconds.
    """

    def __init__(
        self,
        store: GenerationStore,
        live_root: Path,
        config: RankingConfig,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._clock = clock
        self._root = live_root / "memboost"
        self._reset_root = live_root / "memboost_resets"
        name = config.own_name(config.impression_log_name)
        self._own = open_log(self._root / name)
        self._resets = open_log(self._reset_root / name)
        self._positions: dict[Path, int] = {}
        self._marks: deque[tuple[float, int]] = deque()
        self._day = Day()
        self._live_table = empty_table()
        self._queue: queue.Queue[Callable[[], bytes] | None] = queue.Queue(
            config.impression_queue_count_max
        )
        self._told: OrderedDict[str, float] = OrderedDict()
        self._dropped = metrics.counter(
            "memboost_records_dropped", "Live records that were not kept.", ["reason"]
        )
        self._live_count = metrics.gauge(
            "memboost_live_impressions", "Impressions in the live counters."
        )
        self.live: Live[MemboostTable] = Live(
            store, MEMBOOST, FORMAT_VERSION, lambda generation: MemboostTable.open(generation.path)
        )
        self._lock = threading.Lock()
        self._current = Memboost(smoothing=config.memboost_smoothing)
        self._published: tuple[str, int, int] = ("", -1, -1)
        self._thread = threading.Thread(target=self._run, name="memboost", daemon=True)

    def start(self) -> None:
        """Read what is there, then begin to follow."""
        self.refresh()
        self._thread.start()

    def current(self) -> Memboost:
        """The counters of this moment."""
        return self._current

    def note_shown(self, answer: Answer, time: float) -> None:
        """Take note of an answer; never waits."""
        if not answer.pins:
            return

        def encode() -> bytes:
            return encode_shown(
                ShownList(
                    list_key=key_of(answer.list_id),
                    user_key=key_of(answer.user_id),
                    query_key=key_of(answer.query_pin_id),
                    platform=answer.platform,
                    time_us=round(time * 1e6),
                    pin_keys=keys_of([pin.pin_id for pin in answer.pins]),
                    is_random=answer.is_randomised,
                )
            )

        self._put(encode)

    def note_confirmed(self, shown: ShownList) -> None:
        """Take note of what a client really showed; never waits."""
        self._put(lambda: encode_shown(shown, is_confirmed=True))

    def note_acts(self, user_id: str, recent: RecentActions) -> None:
        """Take note of what a user did since the last time that this was told; never waits."""
        if not user_id or not len(recent):
            return
        newest, known = float(recent.times[0]), self._told.get(user_id, 0.0)
        if newest <= known:
            return
        self._told[user_id] = newest
        self._told.move_to_end(user_id)
        while len(self._told) > self._config.memboost_user_count_max:
            self._told.popitem(last=False)
        new = int((recent.times > known).sum())

        def encode() -> bytes:
            times_us = np.rint(recent.times[:new] * 1e6).astype(np.int64).tolist()
            keys = keys_of(recent.pin_ids[:new])
            return encode_acts(key_of(user_id), keys, recent.kinds[:new], times_us)

        self._put(encode)

    def forget_user(self, user_id: str) -> None:
        """
        Drop what the live counters have of a user; durable when it returns.

        Raises:
            Exhausted: If the disk is full.
        """
        self._own.append([encode_erased(key_of(user_id), round(self._clock() * 1e6))])
        self._own.sync()
        self.refresh()

    def knows_user(self, user_id: str) -> int:
        """Rows of a user in the live counters."""
        key = np.uint64(key_of(user_id))
        with self._lock:
            rows = (self._day.shown, self._day.confirmed, self._day.acts)
            return sum(int((part.users == key).sum()) for part in rows)

    def reset(self, reset: RecordedReset) -> int:
        """
        Forget something, now and in all later counts; durable when it returns.

        Returns:
            Pairs whose counters changed.

        Raises:
            Exhausted: If the disk is full.
        """
        self.refresh()
        before = self._current
        self._resets.append([encode_reset(reset)])
        self._resets.sync()
        self.refresh()
        pairs = zip(before.tables, self._current.tables, strict=True)
        return len({pair for old, new in pairs for pair in _changed(old, new)})

    def flush(self) -> None:
        """Wait until everything noted so far counts."""
        self._queue.join()
        self.refresh()

    def close(self) -> None:
        """End the thread and close the logs. Once."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._own.close()
        self._resets.close()

    def refresh(self) -> None:
        """Read what all processes wrote and make the counters anew where something changed."""
        with self._lock:
            snapshot = self.live.snapshot()
            base = snapshot[1] if snapshot else empty_table()
            generation = snapshot[0].id if snapshot else ""
            as_of_us = snapshot[0].manifest.as_of_us if snapshot else 0
            payloads = self._unread()
            self._cut_logs()
            resets = [reset.rule for reset in read_resets(self._reset_root)]
            state = (generation, len(resets), len(self._positions))
            if not payloads and state == self._published:
                return
            self._day.add(payloads)
            now_us = round(self._clock() * 1e6)
            self._day.forget_before(max(as_of_us, now_us - round(KEPT_SECONDS * 1e6)))
            self._day.without_erased()
            live = self._counted(base)
            tables = base.without(resets), live.without(resets)
            self._current = replace(self._current, tables=tables, generation=generation)
            self._published = state
            self._live_count.set(live.times_us.size)

    def _counted(self, base: MemboostTable) -> MemboostTable:
        """The live counters, with the nightly table's curves and its numbers of platforms first."""
        shown, acts = self._day.rows()
        window_us = round(self._config.memboost_window_hours * 3_600e6)
        names = (*base.platform_names, *self._day.platform_names)
        distinct = tuple(dict.fromkeys(names))
        numbers = np.array([distinct.index(name) for name in self._day.platform_names])
        shown = replace(shown, platforms=numbers[shown.platforms].astype(np.uint8))
        return make_table(
            shown,
            credit(shown, acts, window_us=window_us),
            base.curves,
            platform_names=distinct,
            weights=base.weights,
        )

    def _unread(self) -> list[bytes]:
        """The records of all processes since the last time."""
        payloads = []
        positions = {}
        for folder in log_folders(self._root):
            position = self._positions.get(folder, 0)
            for record in read_log(folder, position):
                payloads.append(record.payload)
                position = record.position_after
            positions[folder] = position
        self._positions = positions
        return payloads

    def _cut_logs(self) -> None:
        """
        Remove what this process wrote more than two days ago, and processes that ended before that.

        Looks once an hour.  Nothing in their logs counts any longer, erasures neither: they concern
        what was shown before them.
        """
        now = self._clock()
        if not self._marks or now - self._marks[-1][0] >= MARK_SECONDS:
            self._marks.append((now, self._own.position))
            remove_ended(self._root, now=now)
            gather_ended(self._reset_root, now=now)
        while now - self._marks[0][0] > KEPT_SECONDS:
            self._own.remove_before(self._marks.popleft()[1])

    def _put(self, encode: Callable[[], bytes]) -> None:
        try:
            self._queue.put_nowait(encode)
        except queue.Full:
            self._dropped.labels("queue_full").inc()

    def _run(self) -> None:
        due = monotonic() + self._config.memboost_refresh_seconds
        is_open = True
        while is_open:
            try:
                item = self._queue.get(timeout=max(0.0, due - monotonic()))
            except queue.Empty:
                due = monotonic() + self._timed_refresh()
                continue
            is_open = item is not None
            if item is not None:
                self._append(item)
            self._queue.task_done()

    def _append(self, encode: Callable[[], bytes]) -> None:
        try:
            self._own.append([encode()])
        except CorkboardError as fault:
            self._dropped.labels("log_failed").inc()
            _log.error("memboost.record_dropped", reason=str(fault))
        except Exception:  # noqa: BLE001  the thread must outlive any one record
            self._dropped.labels("unforeseen").inc()
            _log.exception("memboost.record_dropped")

    def _timed_refresh(self) -> float:
        """Refresh; returns how many seconds to wait before the next time."""
        begin = monotonic()
        try:
            self.refresh()
        except Exception:  # noqa: BLE001  the old counters go on serving
            _log.exception("memboost.refresh_failed")
        return max(self._config.memboost_refresh_seconds, (monotonic() - begin) / BUSY_SHARE)


def _changed(old: MemboostTable, new: MemboostTable) -> list[tuple[int, int]]:
    """Pairs of two versions of one table whose sums differ, as keys."""
    if old.pair_count != new.pair_count:
        return []
    places: NDArray[np.intp] = np.flatnonzero(old.impression_counts != new.impression_counts)
    queries = old.query_of_pairs()[places].tolist()
    return list(zip(queries, old.result_keys[places].tolist(), strict=True))
