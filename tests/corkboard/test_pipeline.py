"""Jobs run in their order, side by side where they may, and stop where one fails."""

import threading
from pathlib import Path

import pytest

from corkboard.pipeline import (
    STEPS,
    Needs,
    Order,
    Outcome,
    Step,
    StepResult,
    Watcher,
    choose_steps,
    missing_input,
    parse_report,
    run_module,
    run_steps,
    step_of,
)

JOB = """
import json, pathlib, sys, time
root = pathlib.Path(sys.argv[sys.argv.index("--data-root") + 1])
name = pathlib.Path(__file__).stem
with (root / "order.txt").open("a") as file:
    file.write(f"begin {name}\\n")
print(f"{name} is at work", file=sys.stderr)
if name.startswith("bad"):
    sys.exit("the gate failed")
time.sleep(0.05)
with (root / "order.txt").open("a") as file:
    file.write(f"end {name}\\n")
print(json.dumps({"job": name, "as_of": sys.argv[sys.argv.index("--as-of") + 1]}))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is data root and home of the jobs `a`, `b`, `c` and `bad` at once."""
    for name in ("a", "b", "c", "bad"):
        (tmp_path / f"{name}.py").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def step(name: str, *after: str, needs: Needs = Needs.NOTHING) -> Step:
    """A step that runs the job of the same name."""
    return Step(name=name, module=name, purpose="test", after=after, needs=needs)


def order(root: Path, process_count: int = 2) -> Order:
    """What the steps share."""
    return Order(root, as_of=1234.5, process_count=process_count)


def lines(root: Path) -> list[str]:
    """What the jobs wrote, in order."""
    return (root / "order.txt").read_text().splitlines()


def test_steps_begin_after_those_they_need(root: Path) -> None:
    """C waits for a and b."""
    results = run_steps([step("c", "a", "b"), step("a"), step("b")], order(root))

    assert [result.outcome for result in results] == [Outcome.DONE] * 3
    assert [result.step.name for result in results] == ["c", "a", "b"]
    assert lines(root)[-2:] == ["begin c", "end c"]


def test_one_process_runs_one_step_at_a_time(root: Path) -> None:
    """Begin and end alternate."""
    run_steps([step("a"), step("b"), step("c")], order(root, process_count=1))

    assert [line.split()[0] for line in lines(root)] == ["begin", "end"] * 3


def test_failed_step_stops_what_has_not_begun(root: Path) -> None:
    """What waits is not run and says so; the failure carries the job's words."""
    results = run_steps([step("bad"), step("a", "bad"), step("b", "a")], order(root))

    by_name = {result.step.name: result for result in results}
    assert by_name["bad"].outcome is Outcome.FAILED
    assert "the gate failed" in by_name["bad"].reason
    assert by_name["a"].outcome is by_name["b"].outcome is Outcome.NOT_RUN


def test_step_without_data_is_skipped_with_a_word(root: Path) -> None:
    """Nothing is started for it, and what follows goes on."""
    results = run_steps([step("a", needs=Needs.SAVES), step("b", "a")], order(root))

    assert results[0].outcome is Outcome.SKIPPED
    assert results[0].reason == "no saves have been imported"
    assert results[1].outcome is Outcome.DONE


def test_report_is_the_last_line_of_stdout(root: Path) -> None:
    """The job's JSON, with the as-of time that all steps share."""
    (result,) = run_steps([step("a")], order(root))

    assert result.report == {"job": "a", "as_of": "1234.5"}


def test_watcher_hears_of_begin_progress_and_end(root: Path) -> None:
    """In that order, for each step."""

    class Listening(Watcher):
        def __init__(self) -> None:
            self.heard: list[str] = []
            self.lock = threading.Lock()

        def started(self, step: Step) -> None:
            self.heard.append(f"started {step.name}")

        def said(self, step: Step, line: str) -> None:
            self.heard.append(f"said {step.name}: {line}")

        def ended(self, result: StepResult) -> None:
            self.heard.append(f"ended {result.step.name}")

    listening = Listening()
    run_steps([step("a")], order(root), listening)

    assert listening.heard == ["started a", "said a: a is at work", "ended a"]


def test_run_module_gives_code_last_words_and_complaints(root: Path) -> None:
    """Exit code, stdout's last line, stderr's last lines."""
    code, last, said = run_module("bad", ["--data-root", str(root), "--as-of", "0"])

    assert (code, last) == (1, "")
    assert said == ["bad is at work", "the gate failed"]


def test_choice_by_step_by_artifact_and_from_a_step() -> None:
    """`profiles` means rebuild_profiles; --from leaves out what stands before."""
    assert [s.name for s in choose_steps(only=["profiles", "build_graph"])] == [
        "build_graph",
        "rebuild_profiles",
    ]
    assert choose_steps(first="vector_index")[0].name == "build_vector_index"
    assert choose_steps() == STEPS


def test_unknown_step_is_refused_with_those_there_are() -> None:
    """The message lists the steps."""
    with pytest.raises(ValueError, match="rebuild_profiles"):
        step_of("rebuild")


def test_every_step_stands_after_what_it_needs() -> None:
    """The order of STEPS is an order in which they can run."""
    names = [s.name for s in STEPS]

    assert all(names.index(before) < names.index(s.name) for s in STEPS for before in s.after)
    made = [artifact for s in STEPS for artifact in s.makes]
    assert len(made) == len(set(made)) >= 8


def test_missing_input_follows_links(tmp_path: Path) -> None:
    """A replayed day's root links to the real catalogue."""
    (tmp_path / "real" / "saves").mkdir(parents=True)
    (tmp_path / "real" / "saves" / "x.parquet").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "catalogue").symlink_to(tmp_path / "real")

    assert missing_input(Needs.SAVES, tmp_path / "root") == ""
    assert missing_input(Needs.ACTIONS, tmp_path / "root") == ""
    assert missing_input(Needs.SAVES, tmp_path) == "no saves have been imported"


@pytest.mark.parametrize("line", ["", "done", "[1]", "{broken"])
def test_what_is_no_report_is_an_empty_one(line: str) -> None:
    """Only a JSON object is a report."""
    assert parse_report(line) == {}
