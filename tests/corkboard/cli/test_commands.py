"""The commands as a user meets them: help that teaches, hints, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corkboard.cli import app, exit_code_of
from corkboard.cli.build import facts_in_words
from corkboard.cli.hints import closest_pins
from corkboard.cli.options import ExitCode
from corkboard.cli.serve import exit_in_words, parse_settings
from service_runtime import errors

COMMANDS = [command.name for command in app.registered_commands]
GROUPS = {group.name: group.typer_instance for group in app.registered_groups}
GROUP_COMMANDS = [
    (f"{name} {command.name or command.callback.__name__}", command)  # type: ignore[union-attr]
    for name, group in GROUPS.items()
    for command in group.registered_commands  # type: ignore[union-attr]
]
NOBODY = ["--ranking-target", "127.0.0.1:1", "--profile-target", "127.0.0.1:1"]
NOBODY += ["--candidate-target", "127.0.0.1:1", "--deadline", "2"]


def corkboard(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "corkboard", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_promised_commands_are_there() -> None:
    """As the README names them."""
    promised = {"validate", "import", "build", "up", "profile", "recommend", "related", "record"}

    promised |= {"declare", "erase", "rank", "demo", "status", "export"}
    promised |= {"search", "boards", "sources", "explain", "impressions", "experiment", "rollback"}
    more = {"adjust", "describe", "merge", "erasure", "backup", "restore", "simulate", "promote"}
    more |= {"doctor", "audit"}
    assert promised | more == set(COMMANDS)
    assert {"pins", "saves", "memboost", "evaluate"} <= GROUPS.keys()


@pytest.mark.parametrize("command", app.registered_commands, ids=COMMANDS)
def test_every_command_teaches_by_example(command: object) -> None:
    """Its help holds at least one line that can be typed."""
    name, help_text = command.name, command.callback.__doc__  # type: ignore[attr-defined]

    assert "Example" in help_text
    assert f"corkboard {name}" in help_text


@pytest.mark.parametrize("named", GROUP_COMMANDS, ids=[name for name, _ in GROUP_COMMANDS])
def test_every_command_of_a_group_teaches_by_example(named: tuple[str, object]) -> None:
    """As those that stand alone."""
    name, command = named
    help_text = command.callback.__doc__  # type: ignore[attr-defined]

    assert "Example" in help_text
    assert f"corkboard {name}" in help_text


def test_help_lists_commands_and_exit_codes() -> None:
    """`corkboard --help` is the whole map."""
    shown = corkboard("--help")

    assert shown.returncode == ExitCode.DONE
    assert "Exit codes" in shown.stdout
    assert all(str(name) in shown.stdout for name in [*COMMANDS, *GROUPS])


def test_unreachable_service_is_one_sentence_a_hint_and_code_4() -> None:
    """No stack trace, and what to do."""
    shown = corkboard(*NOBODY, "recommend", "u1")

    assert shown.returncode == ExitCode.UNREACHABLE
    assert "corkboard up" in shown.stderr
    assert "Traceback" not in shown.stderr
    assert shown.stdout == ""


def test_status_without_services_and_data_is_readable_json(tmp_path: Path) -> None:
    """Machines can ask before anything runs."""
    shown = corkboard(*NOBODY, "status", "--json", "--data-root", str(tmp_path))

    document = json.loads(shown.stdout)
    assert shown.returncode == ExitCode.UNREACHABLE
    assert {state["health"] for state in document["services"]} == {"UNREACHABLE"}
    assert document["artifacts"] == []


def test_unknown_step_is_wrong_usage(tmp_path: Path) -> None:
    """The message lists the steps."""
    shown = corkboard("build", "rebuild", "--data-root", str(tmp_path))

    assert shown.returncode == ExitCode.USAGE
    assert "rebuild_profiles" in shown.stderr


def test_build_without_data_skips_with_a_word(tmp_path: Path) -> None:
    """An empty data root is no failure and no success: each step says what it lacks."""
    shown = corkboard("build", "graph", "--json", "--data-root", str(tmp_path))

    (result,) = json.loads(shown.stdout)
    assert shown.returncode == ExitCode.DONE
    assert (result["outcome"], result["reason"]) == ("skipped", "no saves have been imported")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidRequest("x"), ExitCode.USAGE),
        (errors.NotFound("x"), ExitCode.NOT_FOUND),
        (errors.Unavailable("x"), ExitCode.UNREACHABLE),
        (errors.DeadlineExceeded("x"), ExitCode.UNREACHABLE),
        (errors.Corrupted("x"), ExitCode.FAILED),
        (errors.BindFailed("x"), ExitCode.FAILED),
    ],
)
def test_families_of_errors_have_their_exit_codes(
    error: errors.CorkboardError,
    code: ExitCode,
) -> None:
    """As --help documents them."""
    assert exit_code_of(error) == code


def test_hint_finds_pins_by_part_of_a_title_or_by_a_slip_in_the_id(tmp_path: Path) -> None:
    """`fargo` and `m10O` both lead to m100."""
    folder = tmp_path / "catalogue" / "pins"
    folder.mkdir(parents=True)
    table = pa.table({"pin_id": ["m100", "m7"], "title": ["Fargo (1996)", None]})
    pq.write_table(table, folder / "import-1.parquet")

    assert "m100 (Fargo (1996))" in closest_pins(tmp_path, "fargo")
    assert "m100 (Fargo (1996))" in closest_pins(tmp_path, "m10O")
    assert "case-sensitive" in closest_pins(tmp_path, "zzzzzz")
    assert "case-sensitive" in closest_pins(tmp_path / "none", "m100")


def test_settings_go_to_the_service_they_name() -> None:
    """`SERVICE.FIELD=VALUE`, refused in any other form."""
    given = ["ranking_service.worker_count=2", "profile_service.log_level=debug"]

    assert parse_settings(given) == {
        "ranking_service": ["worker_count=2"],
        "profile_service": ["log_level=debug"],
    }
    for wrong in ("worker_count=2", "ranking.worker_count=2", "ranking_service.worker_count"):
        with pytest.raises(ValueError, match=r"SERVICE\.FIELD=VALUE"):
            parse_settings([wrong])


def test_exit_codes_read_as_words() -> None:
    """A signal is named."""
    assert exit_in_words(1) == "exit code 1"
    assert exit_in_words(-9) == "killed by SIGKILL"


def test_reports_are_shown_by_their_numbers() -> None:
    """Ids, paths and byte counts stay out of the table."""
    report = {
        "job": "x",
        "pin_count": 1664,
        "recall": 0.98765,
        "peak_memory_bytes": 1,
        "q": {"a": 2},
    }

    assert facts_in_words(report) == "pin count 1,664 · recall 0.9877 · q: a 2"
