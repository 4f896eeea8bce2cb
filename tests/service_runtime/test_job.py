"""A job's main: arguments in, one report line and an exit code out."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import Field

from service_runtime.config import ServiceConfig
from service_runtime.errors import Corrupted, InvalidRequest
from service_runtime.job import JobContext, JobFailed, execute_job, parse_time


class Config(ServiceConfig):
    """Settings of a service that only tests have."""

    window_days: int = Field(90, ge=1, le=365, description="Days.")


Context = JobContext[Config]


def report_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the last line of stdout."""
    lines = capsys.readouterr().out.splitlines()
    report: dict[str, Any] = json.loads(lines[-1])
    return report


def test_report_is_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What run returns, with name, status, time and memory, is one JSON object on stdout."""

    def run(context: Context) -> dict[str, Any]:
        print("chatter")  # noqa: T201
        context.engine.register("t", pa.table({"x": [1, 2]}))
        return {"rows": np.int64(context.engine.count("t")), "window": context.config.window_days}

    code = execute_job(
        "count", run, Config,
        arguments=["--data-root", str(tmp_path), "--set", "window_days=7", "--as-of", "2026-01-31"],
    )  # fmt: skip

    report = report_of(capsys)
    assert code == 0
    assert report["job"] == "count"
    assert report["status"] == "done"
    assert report["rows"] == 2
    assert report["window"] == 7
    assert report["as_of_us"] == 1_769_817_600_000_000
    assert report["seconds"] >= 0
    assert report["peak_memory_bytes"] > 0


def test_context_is_what_the_command_line_says(tmp_path: Path) -> None:
    """Folder, seed, shard, own arguments and a seeded generator reach the job."""
    seen: list[Context] = []

    def run(context: Context) -> dict[str, Any]:
        seen.append(context)
        return {}

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--impressions", nargs="*")

    arguments = ["--data-root", str(tmp_path), "--seed", "5", "--shard", "1/4", "--quiet"]
    execute_job(
        "look", run, Config, add_arguments=add_arguments,
        arguments=[*arguments, "--impressions", "a", "b", "--set", "fixed_time=1000.5"],
    )  # fmt: skip

    (context,) = seen
    assert context.data_root == tmp_path
    assert context.generations.root == tmp_path / "generations"
    assert context.shard == (1, 4)
    assert context.arguments.impressions == ["a", "b"]
    assert context.as_of_us == 1_000_500_000
    assert context.as_of == 1000.5
    assert context.rng.integers(1 << 60) == np.random.default_rng(5).integers(1 << 60)


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        (JobFailed("recall 0.8 < 0.95", hint="h", report={"recall": 0.8}), 1, "gate_failed"),
        (InvalidRequest("no such folder"), 2, "refused"),
        (Corrupted("a file is damaged"), 2, "refused"),
        (ZeroDivisionError("bug"), 3, "failed"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_have_their_exit_code_and_a_report(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault: BaseException,
    code: int,
    status: str,
) -> None:
    """Whatever happens, the last line is a report, and the code says whose turn it is."""

    def run(context: Context) -> dict[str, Any]:
        context.log.debug("about to fail")
        raise fault

    assert execute_job("fail", run, Config, arguments=["--data-root", str(tmp_path)]) == code

    report = report_of(capsys)
    assert report["status"] == status
    assert report.get("recall") == (0.8 if code == 1 else None)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "window_dais=3"],
        ["--set", "window_days=0"],
        ["--set", "log_key_file=/absent/log.key"],
        ["--shard", "4/4"],
        ["--as-of", "x"],
    ],
)
def test_bad_arguments_are_refused_before_the_job_runs(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Exit code 2 and the reason, on stderr for people and in the report for programs."""

    def run(context: Context) -> dict[str, Any]:
        raise AssertionError(context)

    assert execute_job("x", run, Config, arguments=arguments) == 2

    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"] in captured.err


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("0", 0),
        ("1769817600", 1_769_817_600_000_000),
        ("1769817600.25", 1_769_817_600_250_000),
        ("2026-01-31", 1_769_817_600_000_000),
        ("2026-01-31T00:00:00Z", 1_769_817_600_000_000),
        ("2026-01-31T02:00:00+02:00", 1_769_817_600_000_000),
    ],
)
def test_times_are_iso_or_unix(text: str, time_us: int) -> None:
    """Both ways of writing a moment give it, UTC unless said otherwise."""
    assert parse_time(text) == time_us


@pytest.mark.parametrize("text", ["", "yesterday", "inf", "2026-13-01"])
def test_other_times_are_refused(text: str) -> None:
    """What is no time is named."""
    with pytest.raises(InvalidRequest, match="is not a time"):
        parse_time(text)


def test_a_job_as_a_process(tmp_path: Path) -> None:
    """Started for real: help teaches, stdout is only the report, plain progress is on stderr."""
    script = tmp_path / "job.py"
    script.write_text(
        "from service_runtime.config import ServiceConfig\n"
        "from service_runtime.job import run_job\n"
        "def run(context):\n"
        "    'Count to ten.'\n"
        "    context.progress('counting', 10)(10)\n"
        "    return {'counted': 10}\n"
        "run_job('count', run, ServiceConfig)\n"
    )
    command = [sys.executable, str(script)]
    root = Path(__file__).parents[2]

    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False, env={"PYTHONPATH": str(root)})  # fmt: skip  # noqa: E501
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=root, check=False, env={"PYTHONPATH": str(root)})  # fmt: skip  # noqa: E501

    assert done.returncode == 0
    assert json.loads(done.stdout)["counted"] == 10
    assert "counting: 10 done" in done.stderr
    assert told.returncode == 0
    assert "Count to ten." in told.stdout
    assert "--as-of" in told.stdout
