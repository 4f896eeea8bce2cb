"""A DNS server for one name, as a cluster has for a headless Service: all addresses at once."""

import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class NameServer:
    """Answers questions for IPv4 addresses over UDP; whatever else is asked, there is none."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = list(addresses)
        """What is answered now; may be changed at any time."""
        self.question_count = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])

    def run(self) -> None:
        """Answer until closed."""
        while True:
            try:
                question, asker = self._socket.recvfrom(4096)
            except OSError:
                return
            if not question:
                return
            self._socket.sendto(self._answer(question), asker)

    def close(self) -> None:
        """End `run`."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))

    def _answer(self, question: bytes) -> bytes:
        end = question.index(b"\0", 12) + 5  # header, the name's labels, type and class
        (kind,) = struct.unpack(">H", question[end - 4 : end - 2])
        found = self.addresses if kind == 1 else []
        self.question_count += kind == 1
        head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)
        # A pointer to the name in the question; type A, class IN, 1 s to live, 4 bytes.
        records = [
            struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address)
            for address in found
        ]
        return head + question[12:end] + b"".join(records)


@contextmanager
def serving_names(addresses: Sequence[str]) -> Iterator[NameServer]:
    """A running name server."""
    server = NameServer(addresses)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
