"""Each job is a process with a report and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.candidate_service.world import write_pins, write_saves


def run_job(name: str, data_root: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a job as cron would, and return its exit code and its report."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            f"candidate_service.jobs.{name}",
            "--data-root",
            str(data_root),
            "--quiet",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def test_jobs_report_and_publish(tmp_path: Path) -> None:
    """From imported saves to an index, one process after another."""
    write_saves(tmp_path, [("a", "p"), ("a", "q"), ("b", "q"), ("b", "r")])

    for name in ("build_catalogue", "learn_vectors", "build_vector_index", "build_popular"):
        code, report = run_job(name, tmp_path)
        assert (code, report["status"]) == (0, "done"), report
        assert (tmp_path / "generations").exists()

    assert report["acted_pin_count"] == 3


@pytest.mark.parametrize("name", ["learn_vectors", "build_vector_index"])
def test_job_without_what_it_reads_says_what_to_do(name: str, tmp_path: Path) -> None:
    """Exit code 2, and the hint names the job to run first."""
    code, report = run_job(name, tmp_path)

    assert (code, report["status"]) == (2, "refused")
    assert "corkboard build" in report["hint"]


def test_bad_vector_is_bad_input(tmp_path: Path) -> None:
    """Exit code 2, and the report names the pin."""
    write_pins(tmp_path, [{"pin_id": "bad", "vector": [0.0, 0.0]}])
    run_job("build_catalogue", tmp_path)

    code, report = run_job("learn_vectors", tmp_path)

    assert code == 2
    assert "'bad'" in report["error"]
