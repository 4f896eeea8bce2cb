"""Commands that bring data in and out: validate, import, export."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from corkboard.cli.audit import note_done
from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot, ExitCode
from corkboard.cli.output import notes, out, print_json

if TYPE_CHECKING:
    from corkboard.importing import ImportReport, ValidationReport

BAD_ROWS_SHOWN = 3

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="Holds pins, saves and actions as .parquet, .csv or .jsonl; any may be missing.",
    ),
]


def validate(folder: Folder, as_json: AsJson = False) -> None:
    """Check a folder without importing it: every bad row with its reason.

    Needed is a list of saves with user and pin; everything else is optional.  The columns are
    described in docs/data-format.md.  The exit code is 2 if any row is bad.

    Example:
      corkboard validate my-data
    """
    from corkboard.importing import validate_folder
    from service_runtime.progress import open_progress

    progress = open_progress()
    try:
        report = validate_folder(folder, progress=progress)
    finally:
        progress.close()
    if as_json:
        print_json(report.to_dict())
    else:
        print_validation(report)
    if not report.is_good:
        raise typer.Exit(ExitCode.USAGE)


def import_(
    folder: Folder,
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    skip_bad_rows: Annotated[
        bool,
        typer.Option("--skip-bad-rows", help="Leave bad rows out instead of refusing the folder."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take a folder of pins, saves and actions into the data root.

    A save is also an action.  Importing the same folder again changes nothing; another folder adds
    to what is there, and the newest row of a pin wins.  If any row is bad nothing is imported and
    the exit code is 2 (`corkboard validate` lists them all).

    Examples:
      corkboard import my-data

      corkboard import my-data --skip-bad-rows
    """
    from corkboard.importing import ImportRefused

    try:
        report = import_showing(folder, data_root, skip_bad_rows=skip_bad_rows)
    except ImportRefused as error:
        if as_json:
            print_json(error.report.to_dict())
        else:
            print_validation(error.report)
        raise
    note_done(data_root, "import", folder=str(folder), is_new=report.is_new)
    if as_json:
        print_json(report.to_dict())
        return
    print_import(report)
    notes.print("next: corkboard build", style="dim")


def export(data_root: DataRoot = DEFAULT_DATA_ROOT, as_json: AsJson = False) -> None:
    """Write what the services recorded to Parquet under the data root, by day.

    Actions go to events/actions, impressions to events/impressions.  May run while the services
    do, and again at any time: only what is new is written.

    Example:
      corkboard export --data-root corkboard-data
    """
    from corkboard.pipeline import Order, Outcome, choose_steps, run_steps

    steps = choose_steps(only=["export_actions", "export_impressions"])
    reports = {}
    for result in run_steps(steps, Order(data_root, time.time())):
        reports[result.step.name.removeprefix("export_")] = result.report
        if result.outcome is not Outcome.DONE:
            notes.print(f"{result.step.name}: {result.reason}", markup=False, style="red")
            raise typer.Exit(ExitCode.FAILED)
    if as_json:
        print_json(reports)
        return
    actions, impressions = reports["actions"], reports["impressions"]
    out.print(f"{actions.get('exported_count', 0)} new actions")
    out.print(f"{impressions.get('rows', 0)} new impressions")


def import_showing(
    folder: Path,
    data_root: Path,
    *,
    skip_bad_rows: bool = False,
) -> "ImportReport":
    """Import a folder with progress on stderr.

    Raises:
        ImportRefused: Something is bad; nothing was changed.
    """
    from corkboard.importing import import_folder
    from service_runtime.progress import open_progress

    progress = open_progress()
    try:
        return import_folder(folder, data_root, skip_bad_rows=skip_bad_rows, progress=progress)
    finally:
        progress.close()


def print_import(report: "ImportReport") -> None:
    """What was taken in, on a line or two."""
    if not report.is_new:
        out.print("this content was imported before; nothing was changed")
        return
    out.print(
        f"{report.pin_count:,} pins, {report.save_count:,} saves and {report.action_count:,} "
        f"actions on {report.day_count:,} days",
    )
    left_out = [
        f"{report.skipped_row_count:,} bad rows left out" if report.skipped_row_count else "",
        f"{report.repeated_row_count:,} repeated rows" if report.repeated_row_count else "",
    ]
    if any(left_out):
        out.print(", ".join(filter(None, left_out)), style="yellow")


def print_validation(report: "ValidationReport") -> None:
    """Files, bad rows with their reasons, advice."""
    from corkboard.cli.tables import make_table

    files = make_table(f"{report.folder}", "file", "read as", "#rows", "#bad", "columns")
    for file in report.files:
        ignored = ", ".join(file.ignored_columns)
        columns = ", ".join(
            given if given == meant else f"{given} as {meant}"
            for given, meant in file.columns.items()
        )
        files.add_row(
            file.file,
            file.form,
            f"{file.row_count:,}",
            Text(f"{file.bad_row_count:,}", style="red" if file.bad_row_count else ""),
            columns + (f" (ignored: {ignored})" if ignored else ""),
        )
    out.print(files)
    if report.faults:
        faults = make_table("Faults", "file", "column", "reason", "#rows", "for example")
        for fault in report.faults:
            shown = fault.examples[:BAD_ROWS_SHOWN]
            examples = ", ".join(f"row {example.row}: {example.value}" for example in shown)
            count = f"{fault.count:,}" if fault.count else "all"
            faults.add_row(fault.file, fault.column, fault.reason, count, examples)
        out.print(faults)
    for advice in report.advice:
        out.print(f"advice: {advice}", style="dim", markup=False)
    verdict = "good to import" if report.is_good else f"{report.bad_row_count:,} bad rows"
    out.print(
        f"{report.row_count:,} rows: {verdict}",
        style="green" if report.is_good else "red",
    )
