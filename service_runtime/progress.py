"""How far a long task is: bars with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final, Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Advance = Callable[[int], None]
"""Told how much was done since the last time."""

PLAIN_SECONDS: Final = 10.0
"""Least time between two plain lines of one task."""


class ProgressView(Protocol):
    """Where tasks show how far they are."""

    def __call__(self, description: str, total: float | None = None) -> Advance:
        """Show a task; *total* None = unknown. The returned function is safe from any thread."""

    def close(self) -> None:
        """Finish all tasks and give the terminal back."""


def open_progress(*, quiet: bool = False, stream: TextIO | None = None) -> ProgressView:
    """Return what suits *stream* (default stderr): bars, lines, or nothing if *quiet*."""
    stream = stream or sys.stderr
    if quiet:
        return SilentProgress()
    return BarProgress(stream) if stream.isatty() else LineProgress(stream)


class SilentProgress:
    """Shows nothing."""

    def __call__(self, description: str, total: float | None = None) -> Advance:  # noqa: ARG002
        """Accept a task."""
        return lambda _count: None

    def close(self) -> None:
        """Do nothing."""


class BarProgress:
    """Bars on a terminal; they stay when they are done."""

    def __init__(self, stream: TextIO) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(file=stream),
        )
        self._progress.start()

    def __call__(self, description: str, total: float | None = None) -> Advance:
        """Add a bar."""
        task = self._progress.add_task(description, total=total)
        return lambda count: self._progress.advance(task, count)

    def close(self) -> None:
        """Fill the bars whose total was unknown, and stop."""
        for task in self._progress.tasks:
            if task.total is None:
                self._progress.update(task.id, total=task.completed)
        self._progress.stop()


class LineProgress:
    """A line every ten seconds for a log file, and one when a task is done."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._tasks: list[_LineTask] = []

    def __call__(self, description: str, total: float | None = None) -> Advance:
        """Begin a task."""
        task = _LineTask(self._stream, description, total, self._clock)
        self._tasks.append(task)
        return task.advance

    def close(self) -> None:
        """Say of every task how much was done."""
        for task in self._tasks:
            task.finish()
        self._tasks.clear()


class _LineTask:
    def __init__(
        self,
        stream: TextIO,
        description: str,
        total: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._description = description
        self._total = total
        self._clock = clock
        self._done = 0
        self._start = self._said = clock()
        self._is_finished = False

    def advance(self, count: int) -> None:
        self._done += count
        if self._total is not None and self._done >= self._total:
            self.finish()
        elif self._clock() - self._said >= PLAIN_SECONDS:
            self._said = self._clock()
            of_total, left = "", ""
            rate = self._done / max(self._said - self._start, 1e-9)
            if self._total:
                of_total = f" of {self._total:,.0f} ({100 * self._done / self._total:.0f} %)"
                left = f", {(self._total - self._done) / max(rate, 1e-9):,.0f} s left"
            self._say(f"{self._done:,}{of_total}, {rate:,.0f}/s{left}")

    def finish(self) -> None:
        if not self._is_finished:
            self._is_finished = True
            self._say(f"{self._done:,} done in {self._clock() - self._start:.1f} s")

    def _say(self, text: str) -> None:
        self._stream.write(f"{self._description}: {text}\n")
        self._stream.flush()


class _RateColumn(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed")
