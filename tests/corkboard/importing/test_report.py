"""A report counts everything and shows a little."""

from pathlib import Path

from corkboard.importing.report import EXAMPLES_MAX, VALUE_CHARACTERS_MAX, ValidationReport


def test_examples_are_bounded_over_many_chunks() -> None:
    """The first rows of a reason are kept, however it is fed; the count is whole."""
    report = ValidationReport(Path("x"))
    for start in range(0, 100, 2):
        report.add_rows("a.csv", "c", "is odd", [start, start + 1], ["v", "w"], 2)

    (fault,) = report.faults
    assert fault.count == 100
    assert [example.row for example in fault.examples] == list(range(EXAMPLES_MAX))


def test_long_values_are_shortened() -> None:
    """A megabyte in a cell is not printed."""
    report = ValidationReport(Path("x"))
    report.add_rows("a.csv", "c", "is long", [1], ["y" * 10**6], 1)

    shown = report.faults[0].examples[0].value
    assert len(shown) == VALUE_CHARACTERS_MAX
    assert shown.endswith("…")


def test_faults_of_files_and_of_rows_are_told_apart() -> None:
    """Rows can be skipped, files cannot."""
    report = ValidationReport(Path("x"))
    report.add_rows("a.csv", "c", "is odd", [1], ["v"], 1)
    assert not report.has_bad_file

    report.add_file_fault("b.csv", "has no header line")

    assert report.has_bad_file
    assert [str(fault) for fault in report.faults] == [
        "a.csv, column c: is odd (1 row, first: row 1 'v')",
        "b.csv: has no header line",
    ]
