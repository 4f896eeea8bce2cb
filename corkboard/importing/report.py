"""What was found in an import folder: files, bad rows with their reasons, advice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

EXAMPLES_MAX: Final = 5
"""Bad rows shown for one reason in one column of one file; all are counted."""
VALUE_CHARACTERS_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class Example:
    """
    One bad row.

    Attributes:
        row: Its number in the file, the first data row is 1 (a CSV file's header is not counted).
        value: What stood there, shortened.
    """

    row: int
    value: str


@dataclass(slots=True)
class Fault:
    """
    One reason why rows of a file are bad.

    Attributes:
        file: Name of the file within the folder.
        column: As the user called it; empty if it is about the whole row or file.
        reason: What is wrong, to be read after the column's name.
        count: How many rows.
        examples: The first of them.
    """

    file: str
    column: str
    reason: str
    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def __str__(self) -> str:
        """One line: `pins.csv, column pin_id: is missing (3 rows, first: row 7 '')`."""
        where = f"{self.file}, column {self.column}" if self.column else self.file
        if not self.examples:
            return f"{where}: {self.reason}"
        first = self.examples[0]
        plural = "s" if self.count != 1 else ""
        return (
            f"{where}: {self.reason} ({self.count:,} row{plural}, first: row {first.row} "
            f"{first.value})"
        )


@dataclass(slots=True)
class FileReport:
    """
    One file of the folder.

    Attributes:
        file: Name within the folder.
        form: What it was read as: `pins`, `saves` or `actions`.
        row_count: Rows read.
        bad_row_count: Rows with at least one fault.
        columns: The user's columns and what each was taken for.
        ignored_columns: The user's columns that mean nothing to us.
    """

    file: str
    form: str
    row_count: int = 0
    bad_row_count: int = 0
    columns: dict[str, str] = field(default_factory=dict)
    ignored_columns: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ValidationReport:
    """Everything that was found; `is_good` says whether it can be imported as it is."""

    folder: Path
    files: list[FileReport] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether no row and no file is bad."""
        return not self.faults

    @property
    def row_count(self) -> int:
        """Rows read in all files."""
        return sum(file.row_count for file in self.files)

    @property
    def bad_row_count(self) -> int:
        """Rows with at least one fault in all files."""
        return sum(file.bad_row_count for file in self.files)

    @property
    def has_bad_file(self) -> bool:
        """Whether something is wrong that skipping rows does not mend."""
        return any(fault.count == 0 for fault in self.faults)

    def add_file_fault(self, file: str, reason: str, column: str = "") -> None:
        """Note that a whole file cannot be used."""
        self.faults.append(Fault(file, column, reason))

    def add_rows(
        self, file: str, column: str, reason: str, rows: list[int], values: list[Any], count: int
    ) -> None:
        """Note bad rows: the first few of them, and how many there are."""
        for fault in self.faults:
            if (fault.file, fault.column, fault.reason) == (file, column, reason):
                break
        else:
            fault = Fault(file, column, reason)
            self.faults.append(fault)
        fault.count += count
        room = EXAMPLES_MAX - len(fault.examples)
        for row, value in list(zip(rows, values, strict=True))[: max(room, 0)]:
            fault.examples.append(Example(row, _shown(value)))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with the totals."""
        return {
            "folder": str(self.folder),
            "is_good": self.is_good,
            "row_count": self.row_count,
            "bad_row_count": self.bad_row_count,
            "files": [asdict(file) for file in self.files],
            "faults": [asdict(fault) for fault in self.faults],
            "advice": list(self.advice),
        }


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    if len(text) <= VALUE_CHARACTERS_MAX:
        return text
    return text[: VALUE_CHARACTERS_MAX - 1] + "…"
