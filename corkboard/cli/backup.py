"""Commands that copy a data root and bring it back: backup, restore."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from corkboard.cli.audit import note_done
from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot
from corkboard.cli.output import out, print_json

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Where the backup is.")]


def backup(
    folder: Folder, data_root: DataRoot = DEFAULT_DATA_ROOT, as_json: AsJson = False
) -> None:
    """Copy the data root into DIR while the services go on.

    Everything that was acknowledged before the command began is in the copy.  Every file has a
    checksum; `corkboard restore` checks them all.

    Example:
      corkboard backup /backups/monday
    """
    from corkboard.backup import back_up, size_of
    from service_runtime.progress import open_progress

    progress = open_progress()
    try:
        advance = progress("copying", size_of(data_root))
        report = back_up(data_root, folder, now=datetime.now(UTC), advance=advance)
    finally:
        progress.close()
    note_done(data_root, "backup", folder=str(folder), file_count=report.file_count)
    if as_json:
        print_json(report)
        return
    out.print(
        f"{report.file_count:,} files, {report.byte_count / 1e6:,.1f} MB in {report.folder}",
        markup=False,
    )


def restore(
    folder: Folder,
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    is_checked_only: Annotated[
        bool, typer.Option("--check", help="Look at every byte of the backup, restore nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the backup in DIR back into a data root that is not there yet or holds no file.

    Example:
      corkboard restore /backups/monday --data-root /srv/corkboard
    """
    from corkboard.backup import check
    from corkboard.backup import restore as bring_back
    from service_runtime.progress import open_progress

    progress = open_progress()
    try:
        if is_checked_only:
            report = check(folder)
        else:
            report = bring_back(folder, data_root, advance=progress("restoring"))
            note_done(data_root, "restore", folder=str(folder), file_count=report.file_count)
    finally:
        progress.close()
    if as_json:
        print_json(report)
        return
    how = "whole in" if is_checked_only else "in"
    out.print(
        f"{report.file_count:,} files of {report.time:%F %H:%M} UTC are {how} {report.folder}",
        markup=False,
    )
