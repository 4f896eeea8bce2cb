"""Tasks are done in order, faults are handed back, and a hanging task does not keep a process."""

from __future__ import annotations

import subprocess
import sys
from threading import Event, get_ident

import pytest

from candidate_service.source_threads import SourceThreads


def test_results_and_faults_come_back() -> None:
    """What a task returns or raises reaches whoever waits for it."""
    threads = SourceThreads(2)

    results = [threads.submit(divmod, 7, divisor) for divisor in (2, 0, 4)]

    assert results[0].result(10) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        results[1].result(10)
    assert results[2].result(10) == (1, 3)
    threads.close()


def test_cancelled_task_is_never_begun() -> None:
    """A question that nobody waits for any more costs nothing."""
    gate, begun = Event(), Event()
    threads = SourceThreads(1)
    first = threads.submit(gate.wait, 30)
    second = threads.submit(begun.set)

    assert second.cancel()
    gate.set()

    assert first.result(10)
    assert threads.submit(get_ident).result(10) != get_ident()
    assert not begun.is_set()
    threads.close()


def test_process_ends_although_a_task_hangs() -> None:
    """A source that hangs for ever does not outlive the process's end."""
    program = """
from threading import Event
from candidate_service.source_threads import SourceThreads
threads = SourceThreads(1)
threads.submit(Event().wait)
threads.close()
print("ended")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stdout) == (0, "ended\n")
