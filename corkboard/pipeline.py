"""Runs the batch jobs of `corkboard.steps` in their order, each a process of its own."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from corkboard.steps import STEP_NAMES, STEPS, Needs, Step, choose_steps, step_of

__all__ = [
    "STEPS",
    "STEP_NAMES",
    "Needs",
    "Order",
    "Outcome",
    "Step",
    "StepResult",
    "Watcher",
    "choose_steps",
    "has_parquet",
    "job_arguments",
    "missing_input",
    "parse_report",
    "run_module",
    "run_steps",
    "step_of",
]

LINES_KEPT = 40


class Outcome(StrEnum):
    """How a step ended."""

    DONE = "done"
    KEPT = "kept"  # a gate found the new artifact worse; the old one goes on serving
    SKIPPED = "skipped"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one step.

    Attributes:
        step: Which.
        outcome: How it ended.
        seconds: How long it took.
        report: The job's last word, as it printed it; {} if it had none.
        reason: Why it was skipped, not run or failed; "" if done.
    """

    step: Step
    outcome: Outcome
    seconds: float = 0.0
    report: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """What all steps of one run share.

    Attributes:
        data_root: Folder that the jobs read and write.
        as_of: Unix seconds; jobs read only what happened before.
        seed: Of all chance in the jobs; the same seed and data give the same artifacts.
        process_count: How many steps may run at a time, >= 1.
    """

    data_root: Path
    as_of: float
    seed: int = 0
    process_count: int = 2


class Watcher:
    """Told how steps get on, from threads of their own; this one ignores it all."""

    def started(self, step: Step) -> None:
        """The step's process is about to run."""

    def said(self, step: Step, line: str) -> None:
        """The step's process wrote a line of progress."""

    def ended(self, result: StepResult) -> None:
        """The step ended, was skipped or will not run."""


def run_steps(
    steps: Sequence[Step],
    order: Order,
    watcher: Watcher | None = None,
) -> tuple[StepResult, ...]:
    """Run jobs in their order, several at a time, until all are done or one has failed.

    Steps that are not among *steps* count as done before.  After a failure what is running is
    finished and nothing new is started.

    Returns:
        One result for each step, in the order of *steps*.
    """
    watcher = watcher or Watcher()
    results: dict[str, StepResult] = {}
    waiting = list(steps)
    running: dict[Future[StepResult], Step] = {}
    with ThreadPoolExecutor(max_workers=order.process_count) as pool:
        while waiting or running:
            failed = [name for name, r in results.items() if r.outcome is Outcome.FAILED]
            for step in [] if failed else _ready(waiting, steps, results):
                if len(running) < order.process_count:
                    waiting.remove(step)
                    running[pool.submit(_run, step, order, watcher)] = step
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                results[running.pop(future).name] = future.result()
    for step in waiting:
        result = StepResult(step, Outcome.NOT_RUN, reason="a step before it failed")
        results[step.name] = result
        watcher.ended(result)
    return tuple(results[step.name] for step in steps)


def run_module(
    module: str,
    arguments: Iterable[str],
    on_line: Callable[[str], None] | None = None,
) -> tuple[int, str, list[str]]:
    """Run `python -m module`.

    Args:
        module: Of this project.
        arguments: Its command line.
        on_line: Told every line of stderr, where jobs show their progress.

    Returns:
        Exit code, last line of stdout ("" if none), last lines of stderr.
    """
    process = subprocess.Popen(  # noqa: S603  our own interpreter and modules
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    said: list[str] = []

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            text = line.rstrip()
            if text:
                said.append(text)
                del said[:-LINES_KEPT]
                if on_line is not None:
                    on_line(text)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        assert process.stdout is not None
        output = process.stdout.read().strip().splitlines()
        code = process.wait()
        listener.join()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()  # type: ignore[union-attr]
        process.stderr.close()  # type: ignore[union-attr]
    return code, output[-1] if output else "", said


def missing_input(needs: Needs, data_root: Path) -> str:
    """Why a step with these needs has nothing to do on this data root; "" if it has."""
    folders = {
        Needs.NOTHING: (),
        Needs.CATALOGUE: ("catalogue/pins", "catalogue/saves"),
        Needs.SAVES: ("catalogue/saves",),
        Needs.ACTIONS: ("events/actions", "catalogue/saves"),
    }[needs]
    if not folders or any(has_parquet(data_root / folder) for folder in folders):
        return ""
    return f"no {needs} have been imported"


def has_parquet(folder: Path) -> bool:
    """Whether a Parquet file lies anywhere below *folder*; symbolic links are followed."""
    return any(
        name.endswith(".parquet")
        for _, _, names in os.walk(folder, followlinks=True)
        for name in names
    )


def job_arguments(order: Order) -> list[str]:
    """The options that every job takes."""
    return [
        "--data-root",
        str(order.data_root),
        "--as-of",
        repr(order.as_of),
        "--seed",
        str(order.seed),
    ]


def _ready(
    waiting: Sequence[Step],
    steps: Sequence[Step],
    results: Mapping[str, StepResult],
) -> list[Step]:
    """The waiting steps whose predecessors, as far as they take part, have ended."""
    taking_part = {step.name for step in steps}
    return [
        step
        for step in waiting
        if all(name in results or name not in taking_part for name in step.after)
    ]


def _run(step: Step, order: Order, watcher: Watcher) -> StepResult:
    """Run one step to its end."""
    if reason := missing_input(step.needs, order.data_root):
        result = StepResult(step, Outcome.SKIPPED, reason=reason)
        watcher.ended(result)
        return result
    watcher.started(step)
    begin = time.monotonic()
    code, last_line, said = run_module(
        step.module,
        job_arguments(order),
        lambda line: watcher.said(step, line),
    )
    seconds = time.monotonic() - begin
    report = parse_report(last_line)
    if code == 0:
        result = StepResult(step, Outcome.DONE, seconds, report)
    else:
        reason = "\n".join(said[-8:]) or f"exit code {code}"
        result = StepResult(step, Outcome.FAILED, seconds, report, reason)
    watcher.ended(result)
    return result


def parse_report(line: str) -> dict[str, object]:
    """A job's last line of stdout as the object that it is; {} if it is none."""
    try:
        report = json.loads(line)
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}
