"""CORKBOARD_NO_SKIPS: where all tools are meant to be there, a run without one of them is red."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = """
import pytest

def test_passes():
    pass

def test_tool_is_missing():
    pytest.skip("no C compiler")

@pytest.fixture
def tool():
    pytest.skip("no iptables")

def test_tool_of_a_fixture_is_missing(tool):
    pass

@pytest.mark.skipif(True, reason="prometheus is not installed")
def test_mark():
    pass

def test_is_switched_on():
    pytest.skip("containers cannot be tried: CORKBOARD_IMAGE names no image")

@pytest.mark.xfail(strict=True)
def test_is_known_to_fail():
    raise AssertionError
"""
WHOLE_MODULE = 'import pytest\npytest.skip("no onnxruntime", allow_module_level=True)\n'


@pytest.mark.parametrize(
    ("switch", "expected"),
    [
        ("", {"passed": 1, "skipped": 5, "xfailed": 1}),
        ("1", {"passed": 1, "skipped": 1, "failed": 1, "xfailed": 1, "error": 3}),
    ],
)
def test_skips_fail_where_none_is_allowed(
    tmp_path: Path, switch: str, expected: dict[str, int]
) -> None:
    """Skips of tests, of fixtures, of marks and of whole modules; not those of switches."""
    (tmp_path / "test_some.py").write_text(MODULE)
    (tmp_path / "test_whole.py").write_text(WHOLE_MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.conftest",
    ]
    ran = subprocess.run(
        [*command, "--continue-on-collection-errors", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "CORKBOARD_NO_SKIPS": switch, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    counts = re.findall(r"(\d+) (passed|skipped|failed|xfailed|error)", ran.stdout.splitlines()[-1])

    assert {word: int(count) for count, word in counts} == expected, ran.stdout
    assert bool(ran.returncode) == bool(switch)
