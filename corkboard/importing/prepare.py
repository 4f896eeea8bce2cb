"""One pass over an import folder: each file read, checked, its good rows written in plain form.

Both `validate` and `load` are made of it; the first throws the plain rows away.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from corkboard.importing.checking import Checked, Rules, check_column
from corkboard.importing.columns import (
    ATTRIBUTE_COUNT_MAX,
    ATTRIBUTE_PREFIX,
    FORMS,
    SAVES,
    SHORT_ID_BYTES_MAX,
    Column,
    Form,
    Kind,
)
from corkboard.importing.finding import find_files
from corkboard.importing.pin_values import unite_attributes
from corkboard.importing.reading import (
    Chunk,
    Unreadable,
    column_names,
    read_chunks,
)
from corkboard.importing.report import EXAMPLES_MAX, FileReport, ValidationReport
from service_runtime.batch import BatchEngine
from service_runtime.progress import ProgressView

DUPLICATES: Final = {"pins": "pin_id", "saves": "save_id", "actions": "action_id"}


@dataclass(slots=True)
class Prepared:
    """
    The good rows of a folder.

    Attributes:
        report: What was found.
        scratch: Folder of the plain files, `<form>/<n>.parquet`; each has the form's stored columns
            and `row`, `file_number`.
        dimensions: Of the vectors, by column.
        untimed_count: Saves and actions without a time, by form.
        repeated_forms: Forms in which ids occur twice; their plain files hold all such rows.
    """

    report: ValidationReport
    scratch: Path
    dimensions: dict[str, int] = field(default_factory=dict)
    untimed_count: dict[str, int] = field(default_factory=dict)
    repeated_forms: set[str] = field(default_factory=set)

    def schema(self, form: Form) -> pa.Schema:
        """Columns of the plain files of a form."""
        numbers = pa.schema([("file_number", pa.int64()), ("row", pa.int64())])
        return pa.unify_schemas([form.schema(), numbers])


def prepare_folder(
    folder: Path,
    scratch: Path,
    *,
    engine: BatchEngine,
    progress: ProgressView,
    dimensions: Mapping[str, int] | None = None,
    now_us: int | None = None,
) -> Prepared:
    """
    Read and check all files of a folder.

    Args:
        folder: The user's.
        scratch: Where the plain files go.
        engine: Finds what occurs twice, and names the tables `plain_pins`, `plain_saves` and
            `plain_actions`.
        progress: Shows rows read.
        dimensions: Of vectors imported earlier, by column; None = there are none.
        now_us: The time of the import; None = now.
    """
    report = ValidationReport(folder)
    earlier = dict(dimensions or {})
    prepared = Prepared(report, scratch, earlier)
    rules = Rules(
        now_us=time.time_ns() // 1000 if now_us is None else now_us,
        dimensions=earlier,
        dimensions_from=dict.fromkeys(earlier, "the vectors imported before"),
    )
    files = find_files(folder, report)
    if not files and not report.faults:
        report.add_file_fault("", "there are no files of pins, saves, actions or pairs here")
    for number, (path, form) in enumerate(files):
        _prepare_file(_FileTask(path, form, number, prepared, rules), progress)
    for name, form in FORMS.items():
        schema = prepared.schema(form)
        engine.table(f"plain_{name}", scratch / name, schema=schema)
        if _refuse_duplicates(engine, form, files, report, folder):
            prepared.repeated_forms.add(name)
    _advise(engine, prepared)
    return prepared


@dataclass(slots=True)
class _FileTask:
    path: Path
    form: Form
    number: int
    prepared: Prepared
    rules: Rules
    file: FileReport = field(init=False)

    def __post_init__(self) -> None:
        name = self.path.relative_to(self.prepared.report.folder).as_posix()
        self.file = FileReport(name, self.form.name)
        self.prepared.report.files.append(self.file)


def _prepare_file(task: _FileTask, progress: ProgressView) -> None:
    report, name = task.prepared.report, task.file.file
    try:
        chosen = _choose_columns(task, column_names(task.path))
        if chosen is None:
            return
        wanted = {
            given: column.kind in {Kind.VECTOR, Kind.WORDS} for given, column in chosen.items()
        }
        out = task.prepared.scratch / task.form.name / f"{task.number}.parquet"
        out.parent.mkdir(parents=True, exist_ok=True)
        advance = progress(f"reading {name}")

        def refuse_row(row: int, reason: str, value: Any) -> None:
            task.file.row_count += 1
            task.file.bad_row_count += 1
            report.add_rows(name, "", reason, [row], [value], 1)

        schema = task.prepared.schema(task.form)
        texts = [name for name in schema.names if pa.types.is_string(schema.field(name).type)]
        with pq.ParquetWriter(out, schema, compression="lz4", use_dictionary=texts) as writer:
            for chunk in read_chunks(task.path, wanted, refuse_row):
                writer.write_table(_plain_rows(task, chunk, chosen))
                advance(len(chunk.rows))
    except Unreadable as fault:
        report.add_file_fault(name, str(fault))


def _choose_columns(task: _FileTask, names: list[str]) -> dict[str, Column] | None:
    """Decide what each of a file's columns is; None if rows cannot be made of them."""
    report, name = task.prepared.report, task.file.file
    chosen: dict[str, Column] = {}
    taken: dict[str, str] = {}
    is_usable = True
    for given in names:
        column = task.form.column_named(given)
        if column is None:
            advice = task.form.advice(given)
            task.file.ignored_columns.append(given)
            known = f"column {given!r} of {name} is not known and left out"
            report.advice.append(f"{known}; {advice}" if advice else known)
        elif column.name in taken:
            reason = f"and {taken[column.name]!r} both mean {column.name}; keep one"
            report.add_file_fault(name, reason, given)
            is_usable = False
        else:
            chosen[given] = column
            taken[column.name] = given
    task.file.columns = {given: column.name for given, column in chosen.items()}
    needed: list[tuple[str, ...]] = [
        (column.name,) for column in task.form.columns if column.is_required
    ]
    needed += [task.form.needs_one_of] if task.form.needs_one_of else []
    for options in needed:
        if not any(option in taken for option in options):
            guesses = [task.form.advice(given) for given in task.file.ignored_columns]
            hint = "; ".join(text for text in guesses if text)
            reason = f"has no column {' or '.join(options)}"
            report.add_file_fault(name, f"{reason} ({hint})" if hint else reason)
            is_usable = False
    return chosen if is_usable else None


def _plain_rows(task: _FileTask, chunk: Chunk, chosen: dict[str, Column]) -> pa.Table:
    """Check a chunk, note its bad rows, and return the good ones in plain form."""
    count = len(chunk.rows)
    bad = np.zeros(count, np.bool_)
    values: dict[str, pa.Array] = {}
    for given, column in chosen.items():
        source = chunk.table.column(given)
        checked = check_column(source, given, column, task.rules)
        bad |= _note(task, given, checked, chunk, source)
        values[column.name] = checked.values
    bad |= _unite_attributes(task, chunk, values)
    bad |= _check_pairs(task, chunk, chosen, values, bad)
    task.file.row_count += count
    task.file.bad_row_count += int(bad.sum())
    arrays = [
        values.get(column.name, pa.nulls(count, column.stored_type)).cast(column.stored_type)
        for column in task.form.columns
    ]
    arrays += [pa.array(np.full(count, task.number)), pa.array(chunk.rows)]
    table = pa.Table.from_arrays(arrays, schema=task.prepared.schema(task.form))
    return table.filter(pa.array(~bad)) if bad.any() else table


def _unite_attributes(
    task: _FileTask, chunk: Chunk, values: dict[str, pa.Array]
) -> NDArray[np.bool_]:
    """Make one column of `attributes` and `attributes.<name>`, return rows with too many."""
    names = [name for name in values if name.startswith(ATTRIBUTE_PREFIX)]
    single = {name.removeprefix(ATTRIBUTE_PREFIX): values.pop(name) for name in names}
    if not single:
        return np.zeros(len(chunk.rows), np.bool_)
    count = len(chunk.rows)
    values["attributes"], bad = unite_attributes(values.get("attributes"), single, count)
    checked = Checked(values["attributes"])
    checked.refuse(f"have more than {ATTRIBUTE_COUNT_MAX} names together", bad)
    return _note(task, "attributes", checked, chunk, pa.chunked_array([checked.values]))


def _note(
    task: _FileTask, given: str, checked: Checked, chunk: Chunk, source: pa.ChunkedArray
) -> NDArray[np.bool_]:
    bad = np.zeros(len(chunk.rows), np.bool_)
    for reason, rows in checked.faults.items():
        bad |= rows
        first = np.flatnonzero(rows)[:EXAMPLES_MAX]
        task.prepared.report.add_rows(
            task.file.file,
            given,
            reason,
            chunk.rows[first].tolist(),
            [source[int(index)].as_py() for index in first],
            int(rows.sum()),
        )
    return bad


def _check_pairs(
    task: _FileTask,
    chunk: Chunk,
    chosen: dict[str, Column],
    values: dict[str, pa.Array],
    known_bad: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Rules between columns: a save needs a board, or a user short enough to name one after."""
    bad = np.zeros(len(chunk.rows), np.bool_)
    if task.form is not SAVES:
        return bad
    nothing = pa.nulls(len(chunk.rows), pa.string())
    boards, users = values.get("board_id", nothing), values.get("user_id", nothing)
    no_board = boards.is_null().to_numpy(zero_copy_only=False) & ~known_bad
    lengths = pc.fill_null(pc.binary_length(users), 0).to_numpy(zero_copy_only=False)
    given = next((name for name, column in chosen.items() if column.name == "user_id"), "user_id")
    checked = Checked(users)
    checked.refuse("and board_id are both missing", no_board & (lengths == 0))
    checked.refuse(
        f"is longer than {SHORT_ID_BYTES_MAX} bytes and there is no board_id",
        no_board & (lengths > SHORT_ID_BYTES_MAX),
    )
    return _note(task, given, checked, chunk, pa.chunked_array([users]))


def _refuse_duplicates(
    engine: BatchEngine,
    form: Form,
    files: list[tuple[Path, Form]],
    report: ValidationReport,
    folder: Path,
) -> bool:
    """Note rows whose id stood in an earlier row; the first one counts. Return if there are any."""
    column = DUPLICATES[form.name]
    engine.sql(
        f"select file_number, row, {column} as id from ("  # noqa: S608  our own names
        f"select file_number, row, {column}, row_number() over ("
        f"partition by {column} order by file_number, row) as copy "
        f"from plain_{form.name} where {column} is not null) numbered where copy > 1",
        name="repeated",
    )
    engine.sql(
        "select file_number, count(*) as n from repeated group by file_number", name="repeats"
    )
    repeats = engine.read("repeats").sort_by("file_number").to_pylist()
    for repeat in repeats:
        number, count = repeat["file_number"], repeat["n"]
        engine.sql(
            "select row, id from repeated "  # noqa: S608  our own numbers
            f"where file_number = {number} order by row limit {EXAMPLES_MAX}",
            name="examples",
        )
        examples = engine.read("examples")
        name = files[number][0].relative_to(folder).as_posix()
        file = next(file for file in report.files if file.file == name)
        file.bad_row_count += count
        given = next((key for key, value in file.columns.items() if value == column), column)
        report.add_rows(
            name,
            given,
            "occurs twice; the first row counts",
            examples["row"].to_pylist(),
            examples["id"].to_pylist(),
            count,
        )
    return bool(repeats)


def _advise(engine: BatchEngine, prepared: Prepared) -> None:
    """Say what is allowed but perhaps not meant."""
    report = prepared.report
    for name, column in (("saves", "save_time_us"), ("actions", "action_time_us")):
        engine.sql(
            f"select count(*) as n from plain_{name} where {column} is null",  # noqa: S608
            name="untimed",
        )
        count = int(engine.read("untimed")["n"][0].as_py())
        prepared.untimed_count[name] = count
        if count:
            report.advice.append(
                f"{name} without a time: {count:,}; they get the time of the import"
            )
    if any(file.form == "pins" and file.row_count for file in report.files):
        engine.sql(
            "select count(*) as n, count(distinct pin_id) as pins from plain_saves "
            "where pin_id not in (select pin_id from plain_pins)",
            name="homeless",
        )
        row = engine.read("homeless").to_pylist()[0]
        if row["n"]:
            report.advice.append(
                f"saves of pins that the pins files do not have: {row['n']:,}, of {row['pins']:,} "
                "pins; these can be recommended, without title and text"
            )
    if not any(file.form in {"saves", "actions"} for file in report.files) and report.files:
        report.advice.append(
            "there are no saves and no actions: nothing can be learned until there are"
        )
