"""
Impression logs to Parquet files by day, for training and for anyone's analysis.

What was answered goes to `events/impressions`, what clients confirmed to `events/shown`. Each log
below `live/impressions` and `live/shown` is read from where the last export ended. The files of one
export are complete before its end is remembered, so a run that was killed is simply done again.
Rows of erased users are left out, and taken out of the files that have them.
"""

import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ranking_service.config import RankingConfig
from ranking_service.confirmations import confirmations_folder, confirmed_table
from ranking_service.erased_users import (
    erased_root,
    read_erased,
    rewrite_without,
    without_erased,
)
from ranking_service.export_state import exported_position, remember_position
from ranking_service.impressions import impression_table
from service_runtime.ended_logs import ENDED_SECONDS, gather_ended, remove_ended
from service_runtime.errors import Corrupted
from service_runtime.event_log import EventLog, first_position, read_log, remove_segments
from service_runtime.files import sync_path
from service_runtime.job import JobContext, run_job
from service_runtime.log_folders import log_folders

NAME: Final = "export_impressions"
ROWS_MAX: Final = 200_000
"""Rows of a day kept in memory before a file is written."""

NOBODY: Final[Mapping[int, int]] = {}
_DAY_US: Final = 86_400_000_000


def run(context: JobContext[RankingConfig]) -> Mapping[str, Any]:
    """
    Export the impressions before `--as-of` that were not exported yet.

    Returns:
        Counts of answers, rows, damaged records, files, and logs of ended processes that went.
    """
    out: Path = context.arguments.out or context.data_root / "events" / "impressions"
    report = {"answers": 0, "rows": 0, "damaged": 0, "files": 0, "erased_rows": 0}
    erased = read_erased(context.data_root)
    shown = context.data_root / "events" / "shown"
    logs = [
        (folder, target, table_of)
        for root, target, table_of in (
            (context.data_root / "live" / "impressions", out, impression_table),
            (confirmations_folder(context.data_root), shown, confirmed_table),
        )
        for folder in log_folders(root)
    ]
    advance = context.progress("exporting impression logs", len(logs))
    for folder, target, table_of in logs:
        counts = export_log(
            folder, target, as_of_us=context.as_of_us, table_of=table_of, erased=erased
        )
        for name, count in counts.items():
            report[name] += count
        advance(1)
    report["erased_rows"] = sum(rewrite_without(folder, erased) for folder in {out, shown})
    return {
        **report,
        "removed_logs": remove_exported(context.data_root, time.time()),
        "out": str(out),
    }


def remove_exported(data_root: Path, now: float) -> int:
    """
    Remove segments that are exported whole, and the logs of processes that have ended.

    Segments of confirmed lists stay for a while: by them their process knows what it is told again
    after a restart.  Erasures of processes that have ended are gathered; none is forgotten.

    Args:
        data_root: Of the logs.
        now: Unix seconds.

    Returns:
        How many logs went.
    """
    removed = gather_ended(erased_root(data_root), now=now)
    for root, written_before in (
        (data_root / "live" / "impressions", now),
        (confirmations_folder(data_root), now - ENDED_SECONDS),
    ):
        for folder in log_folders(root):
            remove_segments(folder, exported_position(folder), written_before=written_before)
        removed += remove_ended(root, now=now, is_needed=_has_more)
    return removed


def _has_more(log: EventLog) -> bool:
    """Whether a log has what is not exported."""
    return log.position > max(exported_position(log.folder), log.first_position)


def export_log(
    folder: Path,
    out: Path,
    *,
    as_of_us: int,
    table_of: Callable[[bytes], pa.Table] = impression_table,
    erased: Mapping[int, int] = NOBODY,
) -> dict[str, int]:
    """
    Export one log from where it was left; stops before the first record at or after *as_of_us*.

    Args:
        folder: Of the log.
        out: Where the files go.
        as_of_us: Records from here on stay for the next time.
        table_of: Rows of a record.
        erased: Up to when each erased user is forgotten, by user key.

    Returns:
        The counts of `run`.
    """
    start = max(exported_position(folder), first_position(folder))
    counts = {"answers": 0, "rows": 0, "damaged": 0, "files": 0}
    _remove_unfinished(folder.name, out, start)
    days: dict[str, list[pa.Table]] = {}
    kept = 0
    position = start
    for record in read_log(folder, start):
        try:
            table = without_erased(table_of(record.payload), erased)
        except Corrupted:
            counts["damaged"] += 1
            position = record.position_after
            continue
        time_us = table["impression_time_us"][0].as_py() if table.num_rows else 0
        if time_us >= as_of_us:
            break
        position = record.position_after
        counts["answers"] += 1
        counts["rows"] += table.num_rows
        if table.num_rows:
            days.setdefault(_day(time_us), []).append(table)
        kept += table.num_rows
        if kept >= ROWS_MAX:
            counts["files"] += _write(days, out, _stem(folder.name, start, position))
            days, kept = {}, 0
    counts["files"] += _write(days, out, _stem(folder.name, start, position))
    if position > start:
        remember_position(folder, position)
    return counts


def _stem(log_name: str, start: int, position: int) -> str:
    """Name of the files with the records up to a position, of an export from *start* on."""
    return f"live-{log_name}-{start:020d}-{position:020d}"


def _day(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%d")


def _write(days: Mapping[str, list[pa.Table]], out: Path, stem: str) -> int:
    """Write one file a day, each under its name only when it is whole; returns how many."""
    for day, tables in sorted(days.items()):
        path = out / f"day={day}" / f"{stem}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.writing")
        pq.write_table(pa.concat_tables(tables), unfinished, compression="zstd")
        sync_path(unfinished)
        unfinished.rename(path)
        sync_path(path.parent)
        sync_path(out)
    return len(days)


def _remove_unfinished(log_name: str, out: Path, start: int) -> None:
    """Remove what a run that was killed left behind: files from this start were never counted."""
    for path in out.glob(f"day=*/live-{log_name}-{start:020d}-*.parquet"):
        path.unlink()


def add_arguments(parser: ArgumentParser) -> None:
    """The job's own arguments."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where to write (default: events/impressions of the data root)",
    )


if __name__ == "__main__":
    run_job(NAME, run, RankingConfig, add_arguments=add_arguments)
