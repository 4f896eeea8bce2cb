"""A real S3 server as a process of its own: moto, which keeps its objects in memory."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

import boto3

BUCKET = "corkboard"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
START_SECONDS_MAX = 30.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


class S3Server:
    """One server with one bucket; may be stopped and started again, empty, on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, folder: str) -> str:
        """A folder of the bucket, as `generations_url` names it."""
        return f"s3://{BUCKET}/{folder}?endpoint={self.endpoint}&region=us-east-1"

    def start(self) -> None:
        """Start it and make the bucket."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                with urlopen(self.endpoint, timeout=5):  # noqa: S310  ours
                    break
            except URLError:
                assert self._process.poll() is None, "moto ended by itself"
                assert time.monotonic() < deadline, "moto did not start in time"
                time.sleep(0.1)
        self.client().create_bucket(Bucket=BUCKET)

    def stop(self) -> None:
        """Kill it; its objects are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self):  # noqa: ANN201  boto3 makes its classes at run time
        """Another client of it, by other people's code."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106  any will do
        )

    def keys(self, folder: str) -> set[str]:
        """Names of all objects below a folder of the bucket."""
        found = self.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{folder}/")
        return {one["Key"].removeprefix(f"{folder}/") for one in found.get("Contents", ())}


@contextmanager
def running() -> Iterator[S3Server]:
    """A server that runs as long as the context."""
    server = S3Server()
    server.start()
    try:
        yield server
    finally:
        server.stop()
