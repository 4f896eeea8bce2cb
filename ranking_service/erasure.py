"""Forgetting a user: every store of this service, the other two services, and a receipt of all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import orjson

from ranking_service.confirmations import confirmations_folder
from ranking_service.confirmations import decode as decode_confirmation
from ranking_service.erased_users import (
    encode_erasure,
    erased_root,
    read_erased,
    rows_of_user,
)
from ranking_service.export_state import exported_position
from ranking_service.fallback import CandidateMemory
from ranking_service.impressions import decode_record
from ranking_service.memboost.keeper import MemboostKeeper
from ranking_service.pin_keys import key_of
from ranking_service.rotation import ShownLately
from service_runtime.ended_logs import GATHERED
from service_runtime.errors import Corrupted
from service_runtime.event_log import EventLog, read_log
from service_runtime.log_folders import log_folders


class ErasureState(StrEnum):
    """What became of a user in one store."""

    ERASED = "erased"
    HIDDEN = "hidden"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True)
class StoreErasure:
    """
    One store and what happened there.

    Attributes:
        store: Its name, with the service before it.
        state: How it stands.
        record_count: How many records are concerned.
        detail: What else there is to know.
    """

    store: str
    state: ErasureState
    record_count: int = 0
    detail: str = ""


class OtherServices(Protocol):
    """The other two services, as far as erasure needs them."""

    def erase(self, user_id: str) -> list[StoreErasure]:
        """Forget a user there; a service that does not answer is named as not reached."""

    def erasure(self, user_id: str) -> list[StoreErasure]:
        """What their stores say now."""


class Erasures:
    """
    Forgets users and verifies it.

    Args:
        data_root: Of logs and files.
        log: Of erasures; closed by `close`.
        memboost: The live counters.
        remembered: Last candidate lists by asker.
        lately: What users were shown.
        logs: Raw logs of this process that hold users.
        others: The other services.
        follow_seconds: After so long every process on the data root has followed an erasure.
        clock: Unix seconds.
    """

    def __init__(
        self,
        data_root: Path,
        log: EventLog,
        *,
        memboost: MemboostKeeper,
        remembered: CandidateMemory,
        lately: ShownLately,
        logs: Sequence[EventLog],
        others: OtherServices,
        follow_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._data_root = data_root
        self._log = log
        self._memboost = memboost
        self._remembered = remembered
        self._lately = lately
        self._logs = logs
        self._others = others
        self._follow_seconds = follow_seconds
        self._clock = clock

    def erase(self, user_id: str) -> tuple[int, list[StoreErasure]]:
        """
        Forget a user everywhere.

        Returns:
            When, microseconds since the epoch, and every store that may know the user.

        Raises:
            Exhausted: If the disk is full; then nothing is promised, call again.
        """
        time_us = round(self._clock() * 1e6)
        self._log.append([encode_erasure(key_of(user_id), time_us)])
        self._log.sync()
        for log in self._logs:
            log.roll()
        in_memory, lately = self._remembered.forget(user_id), self._lately.forget(user_id)
        known = self._memboost.knows_user(user_id)
        self._memboost.forget_user(user_id)
        own = [
            self._in_memory(user_id, in_memory),
            _of("shown_lately", 0, lately, ""),
            _of("memboost_live", self._memboost.knows_user(user_id), known, ""),
            *self._on_disk(user_id),
        ]
        return time_us, [*own, *self._others.erase(user_id)]

    def stores(self, user_id: str) -> list[StoreErasure]:
        """What every store says of a user now."""
        self._drop_exported()
        own = [
            self._in_memory(user_id, 0),
            _of("shown_lately", self._lately.count(user_id), 0, ""),
            _of("memboost_live", self._memboost.knows_user(user_id), 0, ""),
            *self._on_disk(user_id),
        ]
        return [*own, *self._others.erasure(user_id)]

    def close(self) -> None:
        """Close the log. Once."""
        self._log.close()

    def _in_memory(self, user_id: str, record_count: int) -> StoreErasure:
        """What processes remember: this one says so, others have followed after a while."""
        left = self._remembered.count(user_id)
        erased_us = read_erased(self._data_root).get(key_of(user_id))
        others = {path.name for path in log_folders(erased_root(self._data_root))}
        others -= {self._log.folder.name, GATHERED}
        is_followed = erased_us is None or self._clock() >= erased_us / 1e6 + self._follow_seconds
        if left or not others or is_followed:
            return _of("answers_in_memory", left, record_count, "")
        detail = f"other processes forget within {self._follow_seconds:g} s of the erasure"
        return _of("answers_in_memory", 1, record_count, detail)

    def _on_disk(self, user_id: str) -> list[StoreErasure]:
        """The stores that jobs clean."""
        key = key_of(user_id)
        events = self._data_root / "events"
        in_files = sum(rows_of_user(events / name, key) for name in ("impressions", "shown"))
        in_logs = self._in_raw_logs(user_id)
        remedy = "gone after the next export_impressions"
        return [
            _of("impression_files", in_files, in_files, remedy if in_files else ""),
            _of(
                "impression_logs",
                in_logs,
                in_logs,
                f"{remedy}, when the log's segment is exported whole" if in_logs else "",
            ),
            self._memboost_table(key),
            StoreErasure(
                "ranking:models", ErasureState.ERASED, 0, "they are made of rows without users"
            ),
        ]

    def _memboost_table(self, key: int) -> StoreErasure:
        """The nightly counters know no users; until the next count they contain their actions."""
        snapshot = self._memboost.live.snapshot()
        erased_us = read_erased(self._data_root).get(key)
        is_clean = (
            snapshot is None
            or erased_us is None
            or not snapshot[1].pair_count
            or snapshot[0].manifest.as_of_us > erased_us
        )
        if is_clean:
            return StoreErasure("ranking:memboost_table", ErasureState.ERASED)
        detail = "sums without users; counted anew without this one by the next build_memboost"
        return StoreErasure("ranking:memboost_table", ErasureState.HIDDEN, 0, detail)

    def _in_raw_logs(self, user_id: str) -> int:
        """Records of a user in the raw logs of all processes."""
        count = 0
        for root, user_of in (
            (self._data_root / "live" / "impressions", _user_of_answer),
            (confirmations_folder(self._data_root), _user_of_confirmation),
        ):
            for folder in log_folders(root):
                count += sum(user_of(record.payload) == user_id for record in read_log(folder))
        return count

    def _drop_exported(self) -> None:
        """Remove what was exported from this process's logs."""
        for log in self._logs:
            log.remove_before(exported_position(log.folder))


def _of(store: str, left: int, record_count: int, detail: str) -> StoreErasure:
    state = ErasureState.HIDDEN if left else ErasureState.ERASED
    return StoreErasure(f"ranking:{store}", state, record_count, detail)


def _user_of_answer(payload: bytes) -> str:
    try:
        return str(decode_record(payload)[0]["answer"]["user_id"])
    except (Corrupted, KeyError, orjson.JSONDecodeError):
        return ""


def _user_of_confirmation(payload: bytes) -> str:
    try:
        return decode_confirmation(payload).user_id
    except Corrupted:
        return ""
