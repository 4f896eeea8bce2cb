"""Requests to stop: none is lost, whatever the main thread does."""

import subprocess
import sys
import threading
from pathlib import Path

from service_runtime.stop_requests import StopRequests

ROOT = Path(__file__).parents[2]

# A process that sends itself a signal from another thread while the main one begins to wait, many
# times; prints how many requests came.
STORM = """
import os, signal, threading
from service_runtime.stop_requests import StopRequests

requests = StopRequests()
signal.signal(signal.SIGTERM, lambda *_: None)
requests.listen_to_signals()
begin = threading.Barrier(2)

def send():
    for _ in range(2000):
        begin.wait()
        os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=send, daemon=True).start()
came = 0
for _ in range(2000):
    begin.wait()
    came += requests.wait(20) == "SIGTERM"
print(came)
"""


def test_requests_are_taken_one_by_one() -> None:
    """Each request is there once; none means an empty answer after the time given."""
    requests = StopRequests()
    requests.ask()
    requests.ask()

    assert [requests.wait(0), requests.wait(0), requests.wait(0)] == ["call", "call", ""]


def test_request_from_another_thread_wakes_who_waits() -> None:
    """A waiting thread returns as soon as another asks."""
    requests = StopRequests()
    threading.Timer(0.05, requests.ask).start()

    assert requests.wait(30) == "call"


def test_too_many_requests_do_no_harm() -> None:
    """Asking a hundred thousand times neither blocks nor fails."""
    requests = StopRequests()

    for _ in range(100_000):
        requests.ask()

    assert requests.wait(0) == "call"


def test_no_signal_is_lost_at_the_brink_of_waiting() -> None:
    """2,000 signals, each sent as the wait for it begins, wake 2,000 waits."""
    done = subprocess.run(
        [sys.executable, "-c", STORM],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )

    assert int(done.stdout) == 2000
