"""Take a checked folder into the data root: pins, saves, and actions by day.

An import is known by the content of its files: importing the same folder again changes nothing.
Its files appear together at the end, and an interrupted import is finished or forgotten.
"""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from corkboard.importing.columns import ACTIONS, PINS, SAVES, Form
from corkboard.importing.finding import find_files
from corkboard.importing.prepare import Prepared, prepare_folder
from corkboard.importing.receipts import (
    clear_staging,
    fingerprint,
    finish_pending,
    import_lock,
    imported_dimensions,
    put_in_place,
    read_receipts,
    remove_staging,
)
from corkboard.importing.report import ValidationReport
from service_runtime.batch import BatchEngine, BatchSettings, open_engine
from service_runtime.errors import InvalidRequest
from service_runtime.progress import ProgressView, SilentProgress

_DAY_US: Final = 86_400_000_000


@dataclass(slots=True)
class ImportReport:
    """
    What an import did.

    Attributes:
        import_id: 16 hex digits of the files' content.
        import_seq: Number of the import in this data root, from 1.
        is_new: False if the same content was imported before and nothing was changed.
        pin_count: Pins taken in.
        save_count: Saves taken in.
        action_count: Actions taken in, saves by users among them.
        day_count: Days that the actions lie on.
        skipped_row_count: Bad rows that were left out.
        repeated_row_count: Rows that say the same as another row and were taken once.
        import_time_us: When.
        files: Written, relative to the data root.
        validation: What was found in the folder; None if it was imported before.
    """

    import_id: str
    import_seq: int
    is_new: bool
    pin_count: int = 0
    save_count: int = 0
    action_count: int = 0
    day_count: int = 0
    skipped_row_count: int = 0
    repeated_row_count: int = 0
    import_time_us: int = 0
    files: list[str] = field(default_factory=list)
    validation: ValidationReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        names = [name for name in self.__slots__ if name != "validation"]
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        values["validation"] = self.validation.to_dict() if self.validation else None
        return values


class ImportRefused(InvalidRequest):
    """
    The folder has bad rows or files; nothing was imported.

    Args:
        report: All that is wrong with it.
    """

    def __init__(self, report: ValidationReport) -> None:
        worst = "; ".join(str(fault) for fault in report.faults[:3])
        more = f"; and {len(report.faults) - 3} more reasons" if len(report.faults) > 3 else ""
        hint = "mend the files, or leave bad rows out with --skip-bad-rows"
        if report.has_bad_file:
            hint = "mend the files: what is wrong is more than single rows"
        super().__init__(f"nothing was imported: {worst}{more}", hint=hint)
        self.report = report


def import_folder(
    folder: Path | str,
    data_root: Path | str,
    *,
    skip_bad_rows: bool = False,
    progress: ProgressView | None = None,
    now_us: int | None = None,
) -> ImportReport:
    """
    Take a folder of pins, saves and actions into a data root.

    Args:
        folder: Holds `pins.*`, `saves.*`, `actions.*`, or a list of user-pin pairs; see
            docs/data-format.md.
        data_root: Made if it is not there.
        skip_bad_rows: Leave bad rows out instead of refusing the folder.
        progress: Shows rows read and files written.
        now_us: The time of the import, microseconds since the Unix epoch; None = the clock's.

    Returns:
        What was taken in. If the same content was imported before: `is_new` is False, and nothing
        was changed.

    Raises:
        ImportRefused: If anything is bad and may not be skipped; nothing was changed.
    """
    folder, data_root = Path(folder), Path(data_root)
    progress = progress or SilentProgress()
    now_us = time.time_ns() // 1000 if now_us is None else now_us
    found = find_files(folder, ValidationReport(folder))
    import_id = fingerprint(
        {f"{form.name}:{path.relative_to(folder).as_posix()}": path for path, form in found}
    )
    with import_lock(data_root):
        finish_pending(data_root)
        remove_staging(data_root)  # of an import that was killed between its receipt and its end
        receipts = read_receipts(data_root)
        for receipt in receipts:
            if receipt["import_id"] == import_id and found:
                return _known(receipt)
        staging = clear_staging(data_root)
        engine = open_engine(BatchSettings(spill_folder=staging / "spill"))
        try:
            prepared = prepare_folder(
                folder,
                staging / "plain",
                engine=engine,
                progress=progress,
                dimensions=imported_dimensions(data_root),
                now_us=now_us,
            )
            checked = prepared.report
            if checked.has_bad_file or (checked.faults and not skip_bad_rows):
                raise ImportRefused(checked)
            report = ImportReport(
                import_id,
                import_seq=1 + max((int(known["import_seq"]) for known in receipts), default=0),
                is_new=True,
                skipped_row_count=checked.bad_row_count,
                import_time_us=now_us,
                validation=checked,
            )
            moves = _stage(engine, prepared, staging, data_root, report, progress)
            put_in_place(data_root, moves, _receipt(report, prepared, folder))
        finally:
            engine.close()
            remove_staging(data_root)
    return report


def _known(receipt: dict[str, Any]) -> ImportReport:
    names = [name for name in ImportReport.__slots__ if name not in {"is_new", "validation"}]
    return ImportReport(is_new=False, **{name: receipt[name] for name in names})


def _receipt(report: ImportReport, prepared: Prepared, folder: Path) -> dict[str, Any]:
    receipt = report.to_dict()
    del receipt["validation"], receipt["is_new"]
    return {**receipt, "dimensions": prepared.dimensions, "folder": str(folder.resolve())}


def _stage(
    engine: BatchEngine,
    prepared: Prepared,
    staging: Path,
    data_root: Path,
    report: ImportReport,
    progress: ProgressView,
) -> dict[Path, Path]:
    """Write what the data root will hold into the staging folder, return where it goes."""
    advance = progress("writing", 3)
    moves: dict[Path, Path] = {}
    stem = f"import-{report.import_id}"
    seq = report.import_seq
    pins_sql = _pins_sql(seq, is_repeated="pins" in prepared.repeated_forms)
    engine.sql(pins_sql, out=staging / "pins", name="pins")
    report.pin_count = engine.count("pins")
    advance(1)
    engine.sql(_saves_sql(seq, report.import_time_us), out=staging / "saves", name="saves")
    report.save_count = engine.count("saves")
    advance(1)
    engine.sql(_actions_sql(report.import_time_us), name="timed_actions")
    engine.sql(
        f"select {_names(ACTIONS)}, log_position, "
        f"cast(date '1970-01-01' + cast(floor(action_time_us / {_DAY_US}.0) as int) as varchar) "
        "as day from timed_actions",
        out=staging / "actions",
        name="actions",
        partition_by=["day"],
    )
    report.action_count = engine.count("actions")
    advance(1)
    for name in ("pins", "saves"):
        if engine.count(name):
            for number, path in enumerate(sorted((staging / name).rglob("*.parquet"))):
                moves[path] = data_root / "catalogue" / name / f"{stem}-{number}.parquet"
    for day in sorted((staging / "actions").glob("day=*")):
        report.day_count += 1
        for number, path in enumerate(sorted(day.glob("*.parquet"))):
            moves[path] = data_root / "events" / "actions" / day.name / f"{stem}-{number}.parquet"
    read_count = prepared.report.row_count - prepared.report.bad_row_count
    engine.sql("select user_id from saves where user_id is not null", name="user_saves")
    own_action_count = report.action_count - engine.count("user_saves")
    report.repeated_row_count = read_count - report.pin_count - report.save_count - own_action_count
    report.files = [str(path.relative_to(data_root)) for path in moves.values()]
    return moves


def _names(form: Form) -> str:
    return ", ".join(column.name for column in form.columns)


def _first_of(form: Form, query: str, key: str) -> str:
    """Keep the first row of each id, in the order of files and rows."""
    names = _names(form)
    return (
        f"select {names} from (select {names}, row_number() over ("
        f"partition by {key} order by file_number, row) as copy from ({query}) keyed) numbered "
        "where copy = 1"
    )


def _pins_sql(seq: int, *, is_repeated: bool) -> str:
    first = _first_of(PINS, "select * from plain_pins", "pin_id") if is_repeated else "plain_pins"
    source = f"({first}) firsts" if is_repeated else first  # sorting vectors is the costly part
    return f"select {_names(PINS)}, cast({seq} as bigint) as import_seq from {source}"


def _saves_sql(seq: int, now_us: int) -> str:
    """Give every save an id, a board and a time, and take each once."""
    board = "coalesce(board_id, 'user:' || user_id)"
    keyed = (
        f"select coalesce(save_id, {_made_id('s', board, 'pin_id', 'user_id', 'save_time_us')}) "
        f"as save_id, {board} as board_id, pin_id, user_id, "
        f"coalesce(save_time_us, cast({now_us} as bigint)) as save_time_us, board_title, "
        "file_number, row from plain_saves"
    )
    first = _first_of(SAVES, keyed, "save_id")
    return f"select {_names(SAVES)}, cast({seq} as bigint) as import_seq from ({first}) firsts"


def _actions_sql(now_us: int) -> str:
    """Unite the actions with the saves that a user made."""
    made = _made_id("a", "user_id", "pin_id", "action_type", "action_time_us")
    keyed = (
        f"select coalesce(action_id, {made}) as action_id, user_id, pin_id, action_type, "
        f"coalesce(action_time_us, cast({now_us} as bigint)) as action_time_us, strength, "
        "board_id, list_id, file_number, row from plain_actions"
    )
    return (
        f"select {_names(ACTIONS)}, cast(0 as bigint) as log_position "
        f"from ({_first_of(ACTIONS, keyed, 'action_id')}) firsts "
        "union all select 'save:' || save_id as action_id, user_id, pin_id, "
        "'save' as action_type, save_time_us as action_time_us, cast(null as float) as strength, "
        "board_id, cast(null as varchar) as list_id, cast(0 as bigint) as log_position "
        "from saves where user_id is not null"
    )


def _made_id(prefix: str, *columns: str) -> str:
    """Return SQL for an id made of what a row says; chr(31) cannot occur in ids."""
    parts = ", ".join(f"coalesce(cast({column} as varchar), '')" for column in columns)
    return f"'{prefix}' || md5(concat_ws(chr(31), {parts}))"
