"""A network that can be broken: a TCP proxy between two services."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

PIECE_BYTES = 4096
STALL_SECONDS = 0.2
"""Linux's shortest wait before it sends a packet again."""
STALL_SHARE = 0.05
"""Of all pieces."""
CLOSE_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset instead of what is left."""


class Network(Enum):
    """How the network between the two is."""

    WHOLE = "whole"
    PARTED = "parted"
    """Nothing arrives and nothing is refused, as behind a pulled cable."""
    RESETTING = "resetting"
    """Every connection is reset."""
    STALLING = "stalling"
    """Now and then bytes come late, by what a lost packet costs until it is sent again."""


class Proxy:
    """
    Listens on a port of its own and carries bytes to an upstream.

    Attributes:
        upstream: `host:port` to carry to; may be set after the start.
        network: May be changed at any time; also governs connections that are open.
    """

    def __init__(self, dice: random.Random) -> None:
        """Listen on a free port."""
        self.upstream = ""
        self.network = Network.WHOLE
        self._dice = dice
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def become(self, network: Network) -> None:
        """Change the network."""
        self.network = network
        if network is Network.RESETTING:
            for one in list(self._open):
                _reset(one)

    def close(self) -> None:
        """Close the listener and all connections."""
        self._listener.close()
        for one in list(self._open):
            _reset(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        self._open.add(near)
        host, _, port = self.upstream.rpartition(":")
        try:
            while self.network is Network.PARTED:
                time.sleep(0.01)
            if self.network is Network.RESETTING:
                return
            with socket.create_connection((host, int(port))) as far:
                self._open.add(far)
                back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
                back.start()
                self._pump(near, far)
                back.join()
                self._open.discard(far)
        except OSError:
            pass
        finally:
            self._open.discard(near)
            _reset(near)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                while self.network is Network.PARTED:
                    time.sleep(0.01)
                if self.network is Network.STALLING and self._dice.random() < STALL_SHARE:
                    time.sleep(STALL_SECONDS)
                sink.sendall(piece)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxies(count: int, dice: random.Random) -> Iterator[list[Proxy]]:
    """Some proxies for the length of a context."""
    made = [Proxy(dice) for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.close()


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CLOSE_AT_ONCE)
        one.shutdown(socket.SHUT_RDWR)
    one.close()
