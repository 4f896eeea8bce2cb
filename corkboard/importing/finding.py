"""Which files of a folder hold what, told by their names and, for pairs, by their columns."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from corkboard.importing.columns import ACTIONS, FORMS, PAIR_NAMES, SAVES, Form
from corkboard.importing.reading import Unreadable, column_names, suffix_of
from corkboard.importing.report import ValidationReport


def find_files(folder: Path, report: ValidationReport) -> list[tuple[Path, Form]]:
    """Return the files of a folder with what they are, and note in the report what is neither."""
    if not folder.is_dir():
        report.add_file_fault("", f"{folder} is not a folder")
        return []
    found: list[tuple[Path, Form]] = []
    unknown: list[Path] = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or any(part.startswith((".", "_")) for part in relative.parts):
            continue
        if not suffix_of(path):
            continue
        stem = relative.parts[0].lower().split(".")[0] if len(relative.parts) > 1 else path.name
        form = _form_of(stem.lower(), path, report)
        if form is None:
            unknown.append(path)
        else:
            found.append((path, form))
    if not found and len(unknown) == 1 and not report.faults:
        form = _pairs_form(unknown[0])
        if form is not None:
            return [(unknown[0], form)]
    for path in unknown:
        name = path.relative_to(folder).as_posix()
        known = [*FORMS, *PAIR_NAMES]
        close = get_close_matches(path.name.split(".")[0].lower(), known, 1, cutoff=0.6)
        hint = f"; did you mean {close[0]}{suffix_of(path)}?" if close else ""
        report.advice.append(f"{name} is left out: its name is none of {', '.join(known)}{hint}")
    return found


def _form_of(name: str, path: Path, report: ValidationReport) -> Form | None:
    """Tell by its name what a file is: `pins.csv`, `pins-2026.parquet`, `pins/part-0.parquet`."""
    for stem in (*FORMS, *PAIR_NAMES):
        rest = name.removeprefix(stem)
        if rest != name and (not rest or rest[0] in ".-_"):
            if stem in FORMS:
                return FORMS[stem]
            form = _pairs_form(path)
            if form is None:
                report.add_file_fault(path.name, "needs a user column and a pin column")
            return form
    return None


def _pairs_form(path: Path) -> Form | None:
    """Saves if there are a user and a pin column, actions if there is an action type as well."""
    try:
        names = column_names(path)
    except Unreadable:
        return None
    meant = {column.name for name in names if (column := ACTIONS.column_named(name))}
    if not {"user_id", "pin_id"} <= meant:
        return None
    return ACTIONS if "action_type" in meant else SAVES
