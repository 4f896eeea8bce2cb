"""`corkboard doctor` as an operator runs it, against real servers."""

import json
import subprocess
import sys

from corkboard.cli.options import ExitCode
from corkboard.stack import SERVICES, Stack


def doctor(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it on the stack's data root and services."""
    targets = []
    for service in SERVICES:
        targets += [f"--{service.removesuffix('_service')}-target", stack.targets[service]]
    command = [*targets, "doctor", "--data-root", str(stack.data_root), *arguments]
    return subprocess.run(
        [sys.executable, "-m", "corkboard", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_running_stack_has_no_problem(stack: Stack) -> None:
    """The tiny world is old, which is a warning; everything else is well."""
    done = doctor(stack, "--json")

    found = json.loads(done.stdout)
    problems = [one for one in found["findings"] if one["level"] == "problem"]
    assert problems == []
    assert done.returncode == ExitCode.DONE, done.stderr
    checks = {one["check"]: one for one in found["findings"]}
    for service in SERVICES:
        assert "SERVING" in str(
            [one["told"] for one in found["findings"] if one["check"] == service]
        )
    assert checks["generation profiles"]["remedy"]
    assert checks["live action log"]["level"] == "ok"


def test_problem_is_told_with_its_remedy_and_exit_code_1(stack: Stack) -> None:
    """Quiet: only what is wrong."""
    command = ["--profile-target", "127.0.0.1:1", "doctor", "--data-root", str(stack.data_root)]
    done = subprocess.run(
        [sys.executable, "-m", "corkboard", *command, "--quiet"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == ExitCode.FAILED
    assert "✗ profile_service: 127.0.0.1:1 is UNREACHABLE\n      → corkboard up" in done.stdout
    assert "✓" not in done.stdout
