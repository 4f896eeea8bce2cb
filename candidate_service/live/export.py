"""The live logs as Parquet, in the forms of an import: what batch jobs read.

Of each pin and each save the newest state is written, once for each export; `import_seq` is that of
the last import before the change, `live_time_us` orders changes after it. An export that was killed
writes the same file again. A change of some fields is laid over the newest row there is, so every
row is whole.
"""

# ruff: noqa: S608  queries are put together from our own names, never from data

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from candidate_service import imported
from candidate_service.live.pin_state import NEVER, PinState, Version
from candidate_service.live.records import (
    UNKNOWN_PIN,
    VECTOR_FIELDS,
    PinWrite,
    SaveWrite,
    UserErasure,
    decode_record,
    unnamed_board,
)
from service_runtime.batch import BatchEngine
from service_runtime.errors import Corrupted
from service_runtime.event_log import read_log
from service_runtime.files import sync_path
from service_runtime.log_folders import log_folders

T = TypeVar("T")

RESOLVED_AT_ONCE: Final = 20_000
"""Pins whose rows are looked up together; bounds memory."""
FILE_COUNT_MAX: Final = 32
"""More files of live changes than that are made one."""


@dataclass(frozen=True, slots=True)
class Imports:
    """When imports were made, to tell which one a change came after."""

    times_us: tuple[int, ...]
    seqs: tuple[int, ...]

    @classmethod
    def read(cls, data_root: Path, engine: BatchEngine) -> Imports:
        """Read the receipts of a data root; rows without one count as imported long ago.

        Raises:
            Corrupted: One is not readable.
        """
        found = []
        for path in (data_root / "catalogue" / "imports").glob("[!.]*.json"):
            try:
                receipt = orjson.loads(path.read_bytes())
                found.append((int(receipt["import_time_us"]), int(receipt["import_seq"])))
            except (orjson.JSONDecodeError, KeyError, ValueError) as fault:
                raise Corrupted(
                    f"{path} is not a receipt: {fault}",
                    hint="remove it and import that folder again: nothing is counted twice",
                ) from fault
        known = ", ".join(str(seq) for _, seq in found) or "-1"
        for name, schema in (("pins", imported.PINS), ("saves", imported.SAVES)):
            engine.table("imported_rows", data_root / "catalogue" / name, schema=schema)
            engine.sql(
                "select max(import_seq) as seq from imported_rows "
                f"where live_time_us is null and import_seq not in ({known})",
                name="without_receipt",
            )
            found += [(0, seq) for seq in engine.read("without_receipt")["seq"].to_pylist() if seq]
        found.sort()
        return cls(tuple(time for time, _ in found), tuple(seq for _, seq in found))

    def seq_at(self, time_us: int) -> int:
        """Return the number of the newest import up to a time, 0 before the first."""
        at = bisect_right(self.times_us, time_us)
        return max(self.seqs[:at], default=0)


@dataclass(slots=True)
class Changes:
    """What some stretch of the logs comes to.

    Attributes:
        pins: State of each (pin, import before).
        saves: Newest record of each (save, import before), with its version.
        erasures: When each user was last to be forgotten.
        positions: How far each log was read.
        unreadable_count: Records that nobody can read.
    """

    positions: dict[str, int]
    pins: dict[tuple[str, int], PinState] = field(default_factory=dict)
    saves: dict[tuple[str, int], tuple[Version, SaveWrite]] = field(default_factory=dict)
    erasures: dict[str, int] = field(default_factory=dict)
    unreadable_count: int = 0


def read_changes(
    folder: Path, positions: Mapping[str, int], imports: Imports, before_us: int
) -> Changes:
    """Fold everything in the logs after some positions and before a time.

    A log that is not there any longer was removed, all of it known: it has no position afterwards.

    Raises:
        Corrupted: A log is shorter than its position: it was lost or restored from an old copy.
    """
    logs = log_folders(folder)
    there = {log.name for log in logs}
    kept = {name: at for name, at in positions.items() if name in there}
    changes = Changes(kept if there else dict(positions))  # none at all: the disk is not there
    for log in logs:
        for record in read_log(log, positions.get(log.name, 0)):
            try:
                change = decode_record(record.payload)
            except Corrupted:
                changes.unreadable_count += 1
                continue
            if change.time_us >= before_us:  # times grow within a log
                break
            changes.positions[log.name] = record.position_after
            _fold(changes, (change.time_us, log.name), change, imports.seq_at(change.time_us))
    return changes


def _fold(
    changes: Changes, version: Version, change: PinWrite | SaveWrite | UserErasure, seq: int
) -> None:
    if isinstance(change, PinWrite):
        key = (change.pin_id, seq)
        changes.pins[key] = changes.pins.get(key, PinState()).fold(change, version)
    elif isinstance(change, SaveWrite):
        place = (change.save_id, seq)
        if version > changes.saves.get(place, (NEVER, None))[0]:
            changes.saves[place] = (version, change)
    else:
        known = changes.erasures.get(change.user_id, 0)
        changes.erasures[change.user_id] = max(known, change.time_us)


def pin_rows(changes: Changes, engine: BatchEngine, data_root: Path) -> Iterator[dict[str, Any]]:
    """Return a row of `imported.PINS` for each changed pin."""
    for chunk in _chunks(changes.pins.items()):
        partial = [pin_id for (pin_id, _), state in chunk if state.whole == NEVER]
        known = _rows_of(partial, engine, data_root) if partial else {}
        for (pin_id, seq), state in chunk:
            base = _newest(known.get(pin_id, ()), seq) if state.whole == NEVER else None
            yield _pin_row(pin_id, seq, state, base)


def _chunks(things: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(things)
    while chunk := list(islice(rest, RESOLVED_AT_ONCE)):
        yield chunk


def _rows_of(
    pin_ids: Sequence[str], engine: BatchEngine, data_root: Path
) -> dict[str, list[dict[str, Any]]]:
    """Return all rows that there are of some pins."""
    engine.table("pin_rows", data_root / "catalogue" / "pins", schema=imported.PINS)
    engine.register("changed_pins", pa.table({"pin_id": pa.array(set(pin_ids), pa.string())}))
    kept = ", ".join(imported.PINS.names)
    engine.sql(
        f"select {kept} from pin_rows where pin_id in (select pin_id from changed_pins)",
        name="known_rows",
    )
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in engine.read("known_rows").to_pylist():
        rows.setdefault(row["pin_id"], []).append(row)
    return rows


def _newest(rows: Iterable[dict[str, Any]], seq: int) -> dict[str, Any] | None:
    """Return the row that counted before a change after import *seq*."""
    earlier = [row for row in rows if (row["import_seq"] or 0) <= seq]
    return max(
        earlier, key=lambda row: (row["import_seq"] or 0, row["live_time_us"] or -1), default=None
    )


def _pin_row(
    pin_id: str, seq: int, state: PinState, base: Mapping[str, Any] | None
) -> dict[str, Any]:
    before = {name: base[name] for name in UNKNOWN_PIN if base[name] is not None} if base else {}
    if "image_hash" in before:
        before["image_hash"] %= 1 << 64
    fields = state.over(before)
    time_us = state.newest()[0]
    if base is not None:  # a late change of some fields still comes after what it was laid over
        time_us = max(time_us, (base["live_time_us"] or 0) + 1)
    row = {name: _stored(name, value) for name, value in fields.items()}
    return {**row, "pin_id": pin_id, "import_seq": seq, "live_time_us": time_us}


def _stored(name: str, value: Any) -> Any:
    if name == "image_hash" and value is not None:
        return value - (1 << 64) if value >= 1 << 63 else value
    if name in VECTOR_FIELDS and value is not None:
        return np.asarray(value, np.float32)
    if name == "topics":
        return list(value)
    if name == "attributes":
        return sorted(dict(value).items())
    return None if value == "" else value


def save_rows(changes: Changes) -> Iterator[dict[str, Any]]:
    """Return a row of `imported.SAVES` for each changed save."""
    for (save_id, seq), ((time_us, _), save) in changes.saves.items():
        yield {
            "save_id": save_id,
            "board_id": save.board_id,
            "pin_id": save.pin_id,
            "user_id": save.user_id or None,
            "save_time_us": save.save_time_us,
            "board_title": save.board_title or None,
            "is_deleted": save.is_removed,
            "import_seq": seq,
            "live_time_us": time_us,
        }


def file_name(positions: Mapping[str, int], number: int) -> str:
    """Return the name of the file of the export after a numbered one that ended at some positions.

    Positions alone come again when a log that was removed is left out of them.
    """
    told = orjson.dumps([number, dict(positions)], option=orjson.OPT_SORT_KEYS)
    return f"live-{xxhash.xxh3_64_hexdigest(told)}.parquet"


def write_rows(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Write rows to a file that appears whole and durable; none writes nothing.

    Returns:
        How many there were.
    """
    tables = [pa.Table.from_pylist(list(chunk), schema) for chunk in _chunks(rows)]
    if not tables:
        return 0
    table = pa.concat_tables(tables)
    replace_file(path, table)
    return int(table.num_rows)


def replace_file(path: Path, table: pa.Table) -> None:
    """Put a table in the place of a file, whole and durable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    sync_path(temporary)
    temporary.rename(path)
    sync_path(path.parent)


def erase_users(data_root: Path, erasures: Mapping[str, int], imports: Imports) -> int:
    """Rewrite the files of saves that name forgotten users, as of before their erasure.

    Returns:
        How many rows lost their user or went. Running it again changes nothing.
    """
    if not erasures:
        return 0
    users = pa.array(sorted(erasures), pa.string())
    changed = 0
    for path in sorted((data_root / "catalogue" / "saves").glob("*.parquet")):
        named = pq.read_table(path, columns=["user_id"], partitioning=None).column("user_id")
        if not pc.any(pc.is_in(named.cast(pa.string()), value_set=users)).as_py():
            continue
        table = pq.read_table(path, partitioning=None)
        forgotten, gone = _forgotten(table, erasures, imports)
        if forgotten.any():
            place = table.schema.get_field_index("user_id")
            column = pc.if_else(pa.array(forgotten), None, table.column(place))
            table = table.set_column(place, table.schema.field(place), column)
            replace_file(path, table.filter(pa.array(~gone)))
            changed += int(forgotten.sum())
    return changed


def _forgotten(
    table: pa.Table, erasures: Mapping[str, int], imports: Imports
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows are to lose their user, and which of these are on the unnamed board."""
    users = pa.array(sorted(erasures), pa.string())
    named = pc.is_in(table.column("user_id").cast(pa.string()), value_set=users)
    at = np.flatnonzero(named.to_numpy(zero_copy_only=False))
    forgotten, gone = np.zeros(table.num_rows, np.bool_), np.zeros(table.num_rows, np.bool_)
    for row, told in zip(at.tolist(), table.take(at).to_pylist(), strict=True):
        time_us, live_time_us = erasures[told["user_id"]], told.get("live_time_us")
        forgotten[row] = (
            (told["import_seq"] or 0) <= imports.seq_at(time_us)
            if live_time_us is None
            else live_time_us < time_us
        )
        gone[row] = forgotten[row] and told["board_id"] == unnamed_board(told["user_id"])
    return forgotten, gone


def unite_files(folder: Path, key: str, schema: pa.Schema) -> None:
    """Make one file of many, with the newest row of each key and import.

    Killed in between, it leaves rows that say the same twice, which counts once.
    """
    files = sorted(folder.glob("live-*.parquet"))
    if len(files) <= FILE_COUNT_MAX:
        return
    tables = [pq.read_table(file, partitioning=None).cast(schema) for file in files]
    table = pa.concat_tables(tables)
    order = [(key, "ascending"), ("import_seq", "ascending"), ("live_time_us", "descending")]
    table = table.take(pc.sort_indices(table, sort_keys=order))
    ids = table.column(key).combine_chunks().dictionary_encode().indices.to_numpy()
    seqs = table.column("import_seq").to_numpy()
    is_first = np.concatenate(([True], (ids[1:] != ids[:-1]) | (seqs[1:] != seqs[:-1])))
    united = files[0]
    replace_file(united, table.filter(pa.array(is_first)))
    for file in files[1:]:
        file.unlink()
    sync_path(folder)
