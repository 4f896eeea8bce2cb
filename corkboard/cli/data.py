"""Commands that bring data in and out: validate, import, export."""

from pathlib import Path
from typing import Annotated

import typer

from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot

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
    raise NotImplementedError


def import_(
    folder: Folder, data_root: DataRoot = DEFAULT_DATA_ROOT, as_json: AsJson = False
) -> None:
    """Take a folder of pins, saves and actions into the data root."""
    raise NotImplementedError


def import_folder_showing(folder: Path, data_root: Path) -> None:
    """X"""


def export(data_root: DataRoot = DEFAULT_DATA_ROOT, as_json: AsJson = False) -> None:
    """Write what the running services recorded to Parquet under the data root, by day."""
    raise NotImplementedError
