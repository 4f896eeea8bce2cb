"""docs/failures.md: each row has tests that show it, and each test of a fault has its row."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "failures.md"
NAMED = re.compile(r"`([\w./]+\.py)::(\w+)`")

PROMISED = (
    "profile_service is down or slow",
    "candidate_service is down or slow",
    "one source is late, hangs or raises",
    "an artifact is damaged",
    "the disk is full",
    "the map of the action log is full",
    "kill -9 at any moment",
    "too much load",
    "a malformed or enormous request",
)
"""What the design says that callers survive; the design's own table is no part of this tree."""


def rows() -> list[list[str]]:
    """The cells of each row of the table."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def named_tests(path: Path) -> set[str]:
    """The test functions of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {name for name in names if name.startswith("test_")}


def test_each_row_names_tests_that_exist() -> None:
    """A failure that nobody has seen survived is no promise."""
    found = rows()

    assert len(found) > 15
    for failure, answer, shown in found:
        named = NAMED.findall(shown)
        assert answer, failure
        assert named, f"no test shows: {failure}"
        for file, name in named:
            assert name in named_tests((HERE / file).resolve()), f"{failure}: {file}::{name}"


def test_what_the_design_promises_has_its_row() -> None:
    """A row that is lost takes its promise with it."""
    failures = [failure for failure, _, _ in rows()]

    for promised in PROMISED:
        assert len([failure for failure in failures if failure.startswith(promised)]) == 1, promised


def test_each_fault_test_has_its_row() -> None:
    """What is tested is also told."""
    told = {name for _, _, shown in rows() for _, name in NAMED.findall(shown)}
    here = [path for path in HERE.glob("test_*.py") if path != Path(__file__)]
    untold = {(path.name, name) for path in here for name in named_tests(path) if name not in told}

    assert len(here) > 10
    assert not untold
