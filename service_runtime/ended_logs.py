"""Logs of many processes below one folder: opening the own one, removing those of the ended.

A process that ends leaves its log behind, and in a cluster few come back under the same name. Whose
records everybody has goes as a whole; records that nobody may forget are gathered in one log.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from service_runtime.errors import CorkboardError, NotFound, Unavailable
from service_runtime.event_log import EventLog, last_written, read_log
from service_runtime.log_folders import delete_gone, log_folders, unused_position
from service_runtime.telemetry import logger

ENDED_SECONDS: Final = 3 * 86_400.0
"""A log that nobody holds and nobody wrote to for so long is of a process that has ended. Longer
than what its readers do without (Memboost counts two days of it), and than clocks are wrong by."""
OWNER_WAIT_SECONDS: Final = 2.0
"""How long a process waits for its own log: whoever trims or removes it is done in milliseconds."""
GATHERED: Final = "_ended"
"""Name of the log of records that were gathered; no process can be called so."""

_log = logger("service_runtime.ended_logs")


def open_log(folder: Path, *, begin_at: int = 0) -> EventLog:
    """
    Open the log of this process, which has a name of its own.

    Args:
        folder: Of the log, beside those of other processes.
        begin_at: Positions that readers have seen already; see `EventLog`.

    Raises:
        Unavailable: Another process writes it.
    """
    return EventLog(
        folder, begin_at=begin_at, new_at=unused_position(), wait_seconds=OWNER_WAIT_SECONDS
    )


def remove_ended(
    root: Path, *, now: float, is_needed: Callable[[EventLog], bool] = lambda _: False
) -> int:
    """
    Remove the logs of processes that have ended, whole, where nobody needs a record of them.

    Args:
        root: Folder of the logs, one folder a process.
        now: Unix seconds.
        is_needed: Asked of a log while it is held, so that no record can come after the answer.

    Returns:
        How many went. One that cannot be removed is told and left for the next time.
    """

    def remove(log: EventLog) -> bool:
        if is_needed(log):
            return False
        log.remove()
        _log.info("event_log.removed", folder=str(log.folder), position=log.position)
        return True

    return _each_ended(root, now, remove)


def gather_ended(root: Path, *, now: float) -> int:
    """
    Move the records of ended processes into one log, for logs of which nothing may be forgotten.

    A run that is killed leaves records in both places; they are not written a second time.

    Args:
        root: Folder of the logs; read it with `read_all`.
        now: Unix seconds.

    Returns:
        How many logs went.
    """

    def gather(log: EventLog) -> bool:
        payloads = [record.payload for record in log.read()]
        if payloads:
            with open_log(root / GATHERED) as gathered:
                known = {record.payload for record in gathered.read()}
                gathered.append([one for one in payloads if one not in known])
                gathered.sync()
        log.remove()
        _log.info("event_log.gathered", folder=str(log.folder), count=len(payloads))
        return True

    return _each_ended(root, now, gather)


def read_all(root: Path) -> list[bytes]:
    """
    Return the records of all logs below a folder, some perhaps twice.

    Those that were gathered come last: what is moved there meanwhile is not missed.
    """
    folders = [folder for folder in log_folders(root) if folder.name != GATHERED]
    return [record.payload for folder in [*folders, root / GATHERED] for record in read_log(folder)]


def _each_ended(root: Path, now: float, act: Callable[[EventLog], bool]) -> int:
    """Do something to each log that has ended, while we hold it; return how often it was done."""
    delete_gone(root)
    count = 0
    for folder in log_folders(root):
        try:
            if folder.name == GATHERED or not _is_idle(folder, now):
                continue
            with EventLog(folder, new_at=unused_position(), may_begin=False) as log:
                if _is_idle(folder, now):  # nobody wrote between our look and our hold
                    count += act(log)
        except (NotFound, Unavailable):
            continue  # somebody else removes it, or its process lives
        except (OSError, CorkboardError) as fault:
            _log.warning("event_log.not_removed", folder=str(folder), reason=str(fault))
    return count


def _is_idle(folder: Path, now: float) -> bool:
    with suppress(FileNotFoundError):
        return now - last_written(folder) > ENDED_SECONDS
    return False
