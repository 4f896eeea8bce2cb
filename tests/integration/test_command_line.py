"""The command line against real servers, as a user in a terminal has it."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from corkboard.cli.options import ExitCode
from corkboard.stack import SERVICES, Stack
from tests.integration.world import AS_OF, copy_of_root

READY_SECONDS_MAX = 60.0
FREE_PORTS = ["--profile-port", "0", "--candidate-port", "0", "--ranking-port", "0"]


def corkboard(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command against the shared stack."""
    targets = [
        "--profile-target",
        stack.targets["profile_service"],
        "--candidate-target",
        stack.targets["candidate_service"],
        "--ranking-target",
        stack.targets["ranking_service"],
    ]
    return subprocess.run(
        [sys.executable, "-m", "corkboard", *targets, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Up:
    """A running `corkboard up`, with every line that it wrote."""

    def __init__(self, root: Path, *arguments: str) -> None:
        settings = []
        for service in SERVICES:
            settings += ["--set", f"{service}.fixed_time={AS_OF.timestamp()}"]
            settings += ["--set", f"{service}.drain_wait_seconds=0"]
            settings += ["--set", f"{service}.metrics_port=0"]
        command = [sys.executable, "-m", "corkboard", "up", "--data-root", str(root)]
        self.process = subprocess.Popen(
            [*command, *FREE_PORTS, *settings, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._new: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._new.put(self.lines[-1])

    def wait_for(self, words: str) -> str:
        """The next line that holds *words*; fails if none comes in time."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                line = self._new.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no line with {words!r}; there were:\n" + "\n".join(self.lines[-20:]))
            if words in line:
                return line

    def end(self) -> int:
        """Exit code; the process is killed if it does not end by itself."""
        try:
            code = self.process.wait(timeout=30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        self._reader.join(timeout=5)
        return code


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A `corkboard up` of one's own, serving."""
    running = Up(copy_of_root(tmp_path))
    try:
        running.wait_for("corkboard is up")
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
        running.end()


def test_recommend_prints_titles_and_reasons(stack: Stack) -> None:
    """A table that a person can judge."""
    shown = corkboard(stack, "recommend", "ana", "--limit", "5", "--seed", "1")

    assert shown.returncode == ExitCode.DONE, shown.stderr
    assert "because you saved" in shown.stdout
    assert "For ana" in shown.stdout


def test_recommend_json_has_what_the_table_has(stack: Stack) -> None:
    """For machines: the same answer, whole."""
    shown = corkboard(stack, "recommend", "ana", "--limit", "5", "--seed", "1", "--json")

    document = json.loads(shown.stdout)
    assert len(document["pins"]) == 5
    assert all(pin["title"] and pin["sources"] for pin in document["pins"])
    assert document["list_id"]


def test_stranger_is_told_how_to_teach(stack: Stack) -> None:
    """A cold start is an answer with a hint, not an error."""
    shown = corkboard(stack, "recommend", "stranger-at-the-prompt")

    assert shown.returncode == ExitCode.DONE
    assert "cold start" in shown.stdout
    assert "corkboard record stranger-at-the-prompt" in shown.stderr


def test_related_to_a_title_hints_at_the_pin_that_was_meant(stack: Stack) -> None:
    """`sourdough` is no id, but part of one pin's title."""
    root = str(stack.data_root)

    shown = corkboard(stack, "related", "sourdough", "--data-root", root)

    assert shown.returncode == ExitCode.NOT_FOUND
    assert "cooking-1 (Sourdough with a dark crust)" in " ".join(shown.stderr.split())


def test_related_shows_what_goes_with_a_pin(stack: Stack) -> None:
    """By its title."""
    shown = corkboard(stack, "related", "typography-2", "-n", "4")

    assert shown.returncode == ExitCode.DONE, shown.stderr
    assert "With A specimen of wood type" in shown.stdout
    assert "cold start" not in shown.stdout


def test_profile_names_interests_by_title(stack: Stack) -> None:
    """With shares."""
    shown = corkboard(stack, "profile", "ben")

    assert shown.returncode == ExitCode.DONE, shown.stderr
    assert "%" in shown.stdout
    assert "batch" in shown.stdout


def test_record_declare_rank_and_erase_answer_in_words(stack: Stack) -> None:
    """The life of a visitor."""
    recorded = corkboard(stack, "record", "prompt", "cooking-2", "--id", "prompt-1")
    again = corkboard(stack, "record", "prompt", "cooking-2", "--id", "prompt-1", "--json")
    unknown = corkboard(stack, "record", "prompt", "not-there-yet")
    declared = corkboard(stack, "declare", "prompt", "hiking-1", "hiking-2")
    ranked = corkboard(stack, "rank", "prompt", "hiking-3", "pottery-1", "ghost")
    erased = corkboard(stack, "erase", "prompt", "--yes")

    assert "recorded: prompt save Miso soup in ten minutes" in recorded.stdout
    assert json.loads(again.stdout)["code"] == "duplicate"
    assert "does not know not-there-yet" in unknown.stderr
    assert declared.returncode == ExitCode.DONE
    assert "not in the catalogue: ghost" in ranked.stdout
    assert "Receipt" in erased.stdout


def test_wrong_action_type_lists_the_right_ones(stack: Stack) -> None:
    """Exit code 2."""
    shown = corkboard(stack, "record", "prompt", "cooking-2", "--type", "stare")

    assert shown.returncode == ExitCode.USAGE
    assert "long_click" in shown.stderr


def test_status_shows_health_sources_models_and_artifacts(stack: Stack) -> None:
    """Everything serves, from artifacts that are whole."""
    shown = corkboard(stack, "status", "--json", "--data-root", str(stack.data_root))

    document = json.loads(shown.stdout)
    assert shown.returncode == ExitCode.DONE
    assert {state["health"] for state in document["services"]} == {"SERVING"}
    assert document["catalogue"]["pin_count"] == 60
    assert {state["artifact"] for state in document["artifacts"]} >= {
        "board_cooccurrence",
        "catalogue",
        "graph",
        "pin_statistics",
        "pin_vectors",
        "popular",
        "profiles",
        "vector_index",
    }
    assert not any(state["fault"] for state in document["artifacts"])


def test_export_writes_what_was_shown_and_done(stack: Stack) -> None:
    """Impressions and actions as Parquet by day, while the services run."""
    corkboard(stack, "record", "exporter", "cooking-2")
    corkboard(stack, "recommend", "exporter")

    shown = corkboard(stack, "export", "--json", "--data-root", str(stack.data_root))

    reports = json.loads(shown.stdout)
    assert reports["actions"]["exported_count"] >= 1
    assert reports["impressions"]["rows"] >= 25
    assert list(stack.data_root.glob("events/impressions/day=*/*.parquet"))


def test_up_says_ready_for_each_service_and_once_for_all(up: Up) -> None:
    """Four lines that a person or a script can wait for."""
    ready = [line for line in up.lines if " ready on 127.0.0.1:" in line]

    assert sorted(line.split()[0] for line in ready) == sorted(SERVICES)
    assert up.lines[-1].startswith("corkboard is up") or any(
        line.startswith("corkboard is up") for line in up.lines
    )


def test_up_ends_cleanly_on_ctrl_c(up: Up) -> None:
    """Drained, exit code 0, no trace of Python."""
    os.killpg(up.process.pid, signal.SIGINT)

    assert up.end() == ExitCode.DONE
    assert "stopped:" in up.lines[-1]
    assert not any("Traceback" in line for line in up.lines)


def test_up_notices_a_dead_child_and_says_how_it_died(up: Up) -> None:
    """The others are stopped and the exit code is 1."""
    children = subprocess.run(
        ["pgrep", "-P", str(up.process.pid), "-f", "candidate_service"],
        capture_output=True,
        text=True,
        check=True,
    )
    os.kill(int(children.stdout.split()[0]), signal.SIGKILL)

    assert up.end() == ExitCode.FAILED
    assert any("candidate_service ended by itself: killed by SIGKILL" in line for line in up.lines)


def test_up_with_a_wrong_setting_says_which_and_stops_all(tmp_path: Path) -> None:
    """The service's own words come through."""
    running = Up(copy_of_root(tmp_path), "--set", "ranking_service.worker_count=-3")

    assert running.end() == ExitCode.FAILED
    text = " ".join(running.lines)
    assert "ranking_service exited with 2" in text
    assert "worker_count" in text


@pytest.mark.parametrize(
    ("vector", "word"),
    [([1.0, 2.0], "4 numbers"), ([float("nan")] * 4, "finite"), ([0.0] * 4, "zero")],
    ids=["wrong dimension", "NaN", "zero vector"],
)
def test_bad_vector_is_refused_by_validate_with_row_and_reason(
    tmp_path: Path,
    vector: list[float],
    word: str,
) -> None:
    """Before anything is imported; the other rows are good."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {"pin_id": ["a", "b", "c"], "vector": [[1.0, 0.0, 0.0, 0.0]] * 2 + [vector]}
    pq.write_table(pa.table(rows), tmp_path / "pins.parquet")

    shown = subprocess.run(
        [sys.executable, "-m", "corkboard", "validate", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )

    faults = json.loads(shown.stdout)["faults"]
    assert shown.returncode == ExitCode.USAGE
    assert any(word in fault["reason"] and fault["column"] == "vector" for fault in faults), faults


def test_demo_of_the_tiny_world_goes_from_nothing_to_an_answer_offline(tmp_path: Path) -> None:
    """All jobs, three services, everything that the demo promises to show."""
    shown = subprocess.run(
        [sys.executable, "-m", "corkboard", "demo", "--tiny", "--data-root", str(tmp_path / "d")],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert shown.returncode == ExitCode.DONE, shown.stderr
    for words in (
        "interests",
        "Home feed of ana",
        "What goes with",
        "now saves",
        "The next answer",
    ):
        assert words in shown.stdout


def test_demo_refuses_to_empty_a_folder_that_it_did_not_make(tmp_path: Path) -> None:
    """Nobody loses data to a demo."""
    (tmp_path / "precious.txt").write_text("mine")

    shown = subprocess.run(
        [sys.executable, "-m", "corkboard", "demo", "--tiny", "--data-root", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert shown.returncode == ExitCode.USAGE
    assert (tmp_path / "precious.txt").read_text() == "mine"
