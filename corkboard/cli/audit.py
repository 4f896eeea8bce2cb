"""`corkboard audit`: who took back or changed what."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot
from corkboard.cli.output import notes, out, print_json

SHOWN_FIRST = ("time", "by", "action")


def audit(
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Newest lines shown.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what was imported, erased, published, rolled back and changed in the rules, by whom.

    Reads the audit files of the data root; people appear as hashes.  Services write the same to
    their logs (`audit.recorded`).

    Example:
      corkboard audit --json | jq '.[] | select(.action == "EraseUser")'
    """
    from corkboard.cli.tables import make_table
    from service_runtime.audit_trail import read_trail

    lines = list(read_trail(data_root))[-limit:]
    if as_json:
        print_json(lines)
        return
    table = make_table("Audit", *SHOWN_FIRST, "facts")
    for line in lines:
        facts = " ".join(f"{key}={line[key]}" for key in line if key not in SHOWN_FIRST)
        time, by, action = (str(line.get(key, "")) for key in SHOWN_FIRST)
        table.add_row(time[:19], by, action, facts)
    out.print(table)


def note_done(data_root: Path, action: str, **facts: object) -> None:
    """Keep a line about what a command did; said on the terminal if it cannot be kept."""
    from service_runtime.audit_trail import AuditTrail

    try:
        AuditTrail(data_root, "corkboard").add(action, {"caller": _who(), **facts})
    except OSError as error:
        notes.print(f"the audit log has no line of this: {error}", style="yellow", markup=False)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"  # a container's user without a name
