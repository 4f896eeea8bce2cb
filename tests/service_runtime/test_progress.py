"""Progress is seen where people look and never gets in the way."""

import io
from collections.abc import Callable

from service_runtime.progress import BarProgress, LineProgress, SilentProgress, open_progress


def ticking(step: float) -> Callable[[], float]:
    """A clock that goes on by *step* at each look."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += step
        return now

    return clock


def test_lines_come_every_ten_seconds_with_rate_and_time_left() -> None:
    """A log file gets few lines, each with how much, how fast and how long yet."""
    stream = io.StringIO()
    progress = LineProgress(stream, clock=ticking(6.0))
    advance = progress("reading", 100)
    for _ in range(4):
        advance(10)
    advance(60)
    progress.close()

    lines = stream.getvalue().splitlines()
    assert lines[0] == "reading: 20 of 100 (20 %), 1/s, 72 s left"
    assert lines[-1].startswith("reading: 100 done in")
    assert 2 <= len(lines) <= 4


def test_lines_of_an_unknown_total_say_what_was_done() -> None:
    """Without a total there is no time left to tell; the end is told when the view closes."""
    stream = io.StringIO()
    progress = LineProgress(stream, clock=ticking(1.0))
    progress("reading")(1500)
    progress.close()

    assert stream.getvalue() == "reading: 1,500 done in 2.0 s\n"


def test_bars_are_drawn() -> None:
    """On a terminal there is a bar with count and description."""
    stream = io.StringIO()
    progress = BarProgress(stream)
    progress("reading", 10)(10)
    progress("counting")(5)
    progress.close()

    assert "reading" in stream.getvalue()
    assert "10/10" in stream.getvalue()
    assert "5/5" in stream.getvalue()


def test_the_view_suits_its_stream() -> None:
    """Quiet shows nothing, a file gets lines."""
    assert isinstance(open_progress(quiet=True), SilentProgress)
    assert isinstance(open_progress(stream=io.StringIO()), LineProgress)
