"""Every benchmark runs in small with the tests, so that none rots; nobody judges the times."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "benchmarks").glob("bench_*.py"))


def test_there_are_benchmarks() -> None:
    """An empty folder would pass the test below in silence."""
    assert len(SCRIPTS) >= 6


@pytest.mark.parametrize("script", SCRIPTS)
def test_benchmark_runs_in_small(script: str) -> None:
    """Every benchmark runs with --quick and prints a section with a table."""
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.lstrip().startswith("## ")
    assert "|---" in done.stdout or "| ---" in done.stdout
