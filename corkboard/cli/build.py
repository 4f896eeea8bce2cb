"""`corkboard build`: all jobs in their order, with their progress, and what they reported."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot, ExitCode
from corkboard.cli.output import notes, out, print_json
from corkboard.pipeline import STEP_NAMES, Order, Outcome, Step, StepResult, Watcher

MARKS = {
    Outcome.DONE: "[green]done[/green]",
    Outcome.KEPT: "[yellow]kept[/yellow]",
    Outcome.SKIPPED: "[yellow]skipped[/yellow]",
    Outcome.FAILED: "[red]failed[/red]",
    Outcome.NOT_RUN: "[dim]not run[/dim]",
}
LINE_LENGTH_MAX = 60
COUNT = re.compile(r"([\d,]*\d) of ([\d,]*\d)")  # as jobs' plain progress lines have it
LEFT_OUT = frozenset({"job", "status", "seconds", "peak_memory_bytes", "as_of_us"})


def build(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="STEP", help="Steps or artifacts to build; default: all."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="The same as naming a STEP; may be repeated."),
    ] = None,
    first: Annotated[str, typer.Option("--from", help="Begin at this step.")] = "",
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    as_of: Annotated[
        str,
        typer.Option(metavar="TIME", help="Read only what happened before; default: now."),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of all chance in the jobs.")] = 0,
    process_count: Annotated[
        int,
        typer.Option("--processes", min=1, max=16, help="Steps that may run at a time."),
    ] = 2,
    train: Annotated[
        bool,
        typer.Option("--train/--no-train", help="Whether the ranker is trained too."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Run all batch jobs in order: from imported data to what the services answer from.

    Each job publishes a new generation; running services take it over by themselves.  A job without
    data is skipped and says so.  Steps: STEP_NAMES.

    Examples:
      corkboard build

      corkboard build --only rebuild_profiles

      corkboard build --from build_graph --no-train
    """
    from service_runtime.job import parse_time

    results = build_all(
        data_root,
        names=[*(names or []), *(only or [])],
        first=first,
        as_of=parse_time(as_of) / 1e6 if as_of else time.time(),
        seed=seed,
        process_count=process_count,
        with_training=train,
    )
    if as_json:
        print_json([result_as_json(result) for result in results])
    else:
        print_results(results)
    if any(result.outcome is Outcome.FAILED for result in results):
        raise typer.Exit(ExitCode.FAILED)


build.__doc__ = (build.__doc__ or "").replace(
    "STEP_NAMES", ", ".join([*STEP_NAMES, "train_ranker"])
)


def build_all(
    data_root: Path,
    *,
    names: Sequence[str] = (),
    first: str = "",
    as_of: float,
    seed: int = 0,
    process_count: int = 2,
    with_training: bool = True,
) -> tuple[StepResult, ...]:
    """Run the jobs and, as the last step, the ranker's training, showing progress.

    Raises:
        ValueError: A name is no step and no artifact.
    """
    from corkboard.pipeline import choose_steps, run_steps
    from corkboard.replay import TRAIN_STEP
    from corkboard.replay import train as train_ranker

    training_named = [name for name in names if name in (TRAIN_STEP.name, *TRAIN_STEP.makes)]
    job_names = [name for name in names if name not in training_named]
    is_training_only = (bool(training_named) and not job_names) or first == TRAIN_STEP.name
    steps: tuple[Step, ...] = ()
    if not is_training_only:
        steps = choose_steps(only=job_names, first=first)
    order = Order(data_root, as_of, seed, process_count)
    with StepDisplay() as display:
        results = run_steps(steps, order, display)
        is_sound = all(result.outcome in (Outcome.DONE, Outcome.SKIPPED) for result in results)
        if with_training and is_sound and (training_named or not names):
            results = (*results, train_ranker(order, display))
    return results


class StepDisplay(Watcher):
    """For each running step a bar and the last thing that it said."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[name]:<26}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.description}[/dim]"),
            console=notes,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def started(self, step: Step) -> None:
        """Show a spinner with the step's purpose."""
        self._tasks[step.name] = self._progress.add_task(step.purpose, name=step.name, total=None)

    def said(self, step: Step, line: str) -> None:
        """Show the step's last line of progress."""
        if step.name in self._tasks:
            task = self._tasks[step.name]
            if count := COUNT.search(line):
                done, total = (int(part.replace(",", "")) for part in count.groups())
                self._progress.update(task, completed=done, total=total)
            text = escape(_readable(line)[:LINE_LENGTH_MAX])
            self._progress.update(task, description=text)

    def ended(self, result: StepResult) -> None:
        """Replace the spinner by one lasting line."""
        if (task := self._tasks.pop(result.step.name, None)) is not None:
            self._progress.remove_task(task)
        seconds = f"{result.seconds:6.1f} s" if result.outcome is Outcome.DONE else " " * 8
        last_words = escape(result.reason.splitlines()[-1]) if result.reason else ""
        reason = f"  [dim]{last_words}[/dim]" if last_words else ""
        said = result.step.purpose if result.outcome is Outcome.DONE else ""
        mark = Text.from_markup(MARKS[result.outcome])
        mark.pad_right(9 - len(mark))
        line = f"{result.step.name:<26}{seconds}  [dim]{said}[/dim]{reason}"
        self._progress.console.print(mark + Text.from_markup(line))


def print_results(results: Sequence[StepResult]) -> None:
    """A table of what the jobs reported, and the whole reason of a failure."""
    from corkboard.cli.tables import make_table

    table = make_table("", "step", "outcome", "#seconds", "report")
    for result in results:
        last_words = "".join(result.reason.splitlines()[-1:])
        table.add_row(
            result.step.name,
            Text.from_markup(MARKS[result.outcome]),
            f"{result.seconds:.1f}" if result.seconds else "",
            last_words or facts_in_words(result.report),
        )
    out.print(table)
    for result in results:
        if result.outcome is Outcome.FAILED:
            notes.print(f"{result.step.name} failed:", style="red")
            notes.print(result.reason, markup=False)


def facts_in_words(report: Mapping[str, object]) -> str:
    """A job's report on one line: its numbers, without ids, paths and anything nested deeply."""
    words = []
    for key, value in report.items():
        if key in LEFT_OUT:
            continue
        if isinstance(value, Mapping):
            flat = {name: inner for name, inner in value.items() if isinstance(inner, int | float)}
            words.append(f"{key.replace('_', ' ')}: {facts_in_words(flat)}" if flat else "")
        elif isinstance(value, bool):
            words.append(key.replace("_", " ") if value else "")
        elif isinstance(value, int) and not key.endswith(("_us", "_bytes")):
            words.append(f"{key.replace('_', ' ')} {value:,}")
        elif isinstance(value, float):
            words.append(f"{key.replace('_', ' ')} {value:.4g}")
    return " · ".join(filter(None, words))


def result_as_json(result: StepResult) -> dict[str, object]:
    """One result for machines."""
    return {
        "step": result.step.name,
        "outcome": result.outcome.value,
        "seconds": round(result.seconds, 3),
        "reason": result.reason,
        "report": dict(result.report),
    }


def _readable(line: str) -> str:
    """A log line in JSON as its event; any other line as it is."""
    if line.startswith("{"):
        try:
            return str(json.loads(line).get("event", line))
        except ValueError:
            return line
    return line
