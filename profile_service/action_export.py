"""
The live log as Parquet by day: what batch jobs read.

Files are `events/actions/day=YYYY-MM-DD/live-<from>-<to>.parquet`, named after the log positions
that were looked at. `.exported.json` says up to where all files are complete, so an export that was
killed is taken up again without a duplicate: its files lie beyond that position and are removed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from profile_service.actions import Action
from profile_service.codec import Erasure
from profile_service.store import ActionLog

SCHEMA: Final = pa.schema(
    [
        ("action_id", pa.string()),
        ("user_id", pa.string()),
        ("pin_id", pa.string()),
        ("action_type", pa.string()),
        ("action_time_us", pa.int64()),
        ("strength", pa.float32()),
        ("board_id", pa.string()),
        ("list_id", pa.string()),
        ("log_position", pa.int64()),
    ]
)
"""The columns of events/actions, imported and exported alike; `day` is the folder."""

_STATE: Final = ".exported.json"
_CHUNK: Final = 200_000
_LIVE_FILE: Final = re.compile(r"live-(\d+)-(\d+)\.parquet")


def actions_folder(data_root: Path) -> Path:
    """Where the action log stands as Parquet."""
    return data_root / "events" / "actions"


def export_actions(
    log: ActionLog,
    folder: Path,
    *,
    up_to: int,
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """
    Write the live actions that are not exported yet; running it again changes nothing.

    Args:
        log: The live log; may be open elsewhere and written to meanwhile.
        folder: `events/actions`.
        up_to: The last log position to export.
        progress: Told how many actions were written since the last time.

    Returns:
        How many actions were written.
    """
    done = exported_position(folder)
    if done < up_to:
        _remove_unfinished(folder, done)
    written = 0
    while done < up_to:
        stop = min(up_to, done + _CHUNK)
        days: dict[str, list[tuple[int, Action]]] = {}
        for position, action in log.stream(done, stop):
            days.setdefault(_day(action.time_us), []).append((position, action))
        for day, rows in days.items():
            path = folder / f"day={day}" / f"live-{done + 1:012d}-{stop:012d}.parquet"
            write_table(_table(rows), path)
            written += len(rows)
            progress(len(rows))
        _write_state(folder, stop)
        done = stop
    return written


def exported_position(folder: Path) -> int:
    """The log position up to which the files are complete, 0 before the first export."""
    try:
        return int(json.loads((folder / _STATE).read_text())["position"])
    except FileNotFoundError:
        return 0


def remove_erased(folder: Path, erasures: Mapping[str, Erasure]) -> int:
    """
    Rewrite every file that holds actions of forgotten users, without those from before the erasure.

    Files without such rows are read in one column and left alone.

    Returns:
        How many actions were removed.
    """
    if not erasures:
        return 0
    users = pa.array(sorted(erasures), pa.string())
    removed = 0
    for path in sorted(folder.rglob("*.parquet")):
        column = pq.read_table(path, columns=["user_id"], partitioning=None).column("user_id")
        if not pc.any(pc.is_in(column.cast(pa.string()), value_set=users)).as_py():
            continue
        table = pq.read_table(path, partitioning=None)
        rows = zip(
            *(table.column(name).to_pylist() for name in ("user_id", "action_time_us")),
            _positions(table),
            strict=True,
        )
        kept = [not _is_erased(erasures.get(user), time, at) for user, time, at in rows]
        if not all(kept):
            write_table(table.filter(pa.array(kept)), path)
            removed += len(kept) - sum(kept)
    return removed


def count_logged(folder: Path, user_id: str) -> int:
    """Count the rows of a user in all files of the event log; reads one column of each."""
    name = pa.scalar(user_id, pa.string())
    found = 0
    for path in sorted(folder.rglob("*.parquet")):
        column = pq.read_table(path, columns=["user_id"], partitioning=None).column("user_id")
        found += pc.sum(pc.equal(column.cast(pa.string()), name)).as_py() or 0
    return int(found)


def _positions(table: pa.Table) -> list[int | None]:
    """Log positions of a file; imported ones need not have the column."""
    if "log_position" not in table.column_names:
        return [None] * table.num_rows
    found: list[int | None] = table.column("log_position").to_pylist()
    return found


def _is_erased(erasure: Erasure | None, time_us: int, position: int | None) -> bool:
    """Whether an action is from before its user's erasure, by time or by place in the log."""
    if erasure is None:
        return False
    return time_us <= erasure.time_us or 0 < (position or 0) < erasure.position


def _table(rows: list[tuple[int, Action]]) -> pa.Table:
    columns = [
        [action.action_id for _, action in rows],
        [action.user_id for _, action in rows],
        [action.pin_id for _, action in rows],
        [action.action_type.label for _, action in rows],
        [action.time_us for _, action in rows],
        [action.strength for _, action in rows],
        [action.board_id or None for _, action in rows],
        [action.list_id or None for _, action in rows],
        [position for position, _ in rows],
    ]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    pq.write_table(table, draft, compression="zstd")
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def _write_state(folder: Path, position: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{_STATE}.draft"
    draft.write_text(json.dumps({"position": position}))
    _sync(draft)
    draft.replace(folder / _STATE)
    _sync(folder)


def _remove_unfinished(folder: Path, done: int) -> None:
    for path in folder.glob("day=*/live-*.parquet"):
        match = _LIVE_FILE.fullmatch(path.name)
        if match and int(match[1]) > done:
            path.unlink()
    for path in folder.glob("day=*/.*.draft"):
        path.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _day(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%d")
