"""
Requests to stop that cannot be lost: from signals and from other threads.

A Python signal handler runs only when the main thread next executes Python code. A signal that
arrives just before that thread starts to wait for a lock or queue would not be noticed until the
wait is over (seen: a drain of 300 s that a second SIGTERM did not cut). So signals write a byte to
a socket at the moment they arrive, and waiting means reading that socket.
"""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable

_BY_CALL = 0


class StopRequests:
    """What asks a server to stop, in order of arrival."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def ask(self) -> None:
        """Add a request; from any thread."""
        with contextlib.suppress(BlockingIOError):  # thousands are waiting already
            self._writer.send(bytes([_BY_CALL]))

    def wait(self, timeout_s: float | None = None) -> str:
        """
        Take the next request.

        Args:
            timeout_s: Longest wait, seconds; None = for ever.

        Returns:
            `SIGTERM`, `SIGINT` or `call`; empty if none came in time.
        """
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        if not poll.poll(None if timeout_s is None else timeout_s * 1000):
            return ""
        number = self._reader.recv(1)[0]
        return "call" if number == _BY_CALL else signal.Signals(number).name

    def listen_to_signals(self) -> None:
        """Let every signal that has a handler in Python be a request. Main thread only."""
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)


class StopAsked(BaseException):
    """A signal arrived while the process was starting; unwinds building and warm-up."""


class SignalHandlers:
    """
    What SIGTERM and SIGINT do besides being requests.

    The first unwinds a start that is under way; the third ends the process at once.

    Args:
        exit_now: Ends the process with an exit code, without tidying up.
    """

    def __init__(self, exit_now: Callable[[int], object] = os._exit) -> None:
        self.is_starting = True
        self._count = 0
        self._exit_now = exit_now
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: object) -> None:
        self._count += 1
        if self._count >= 3:
            self._exit_now(128 + number)
        if self.is_starting and self._count == 1:
            raise StopAsked
