"""A real Envoy with a configuration of ours, on free ports."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ENVOY = Path(sys.executable).with_name("envoy")


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@contextlib.contextmanager
def running(config: Mapping[str, Any], folder: Path, *, admin_port: int) -> Iterator[None]:
    """Run Envoy until the block ends; it is ready when the block begins."""
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(dict(config)))
    log = (folder / "envoy.log").open("w")
    process = subprocess.Popen(
        [ENVOY, "-c", path, "--concurrency", "1", "--disable-hot-restart"],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait_ready(process, admin_port, folder / "envoy.log")
        yield
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _wait_ready(process: "subprocess.Popen[bytes]", admin_port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{admin_port}/ready"
            with urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.05)
    raise TimeoutError(log.read_text()[-2000:])


def statistics(admin_port: int) -> dict[str, int]:
    """Envoy's counters by name."""
    url = f"http://127.0.0.1:{admin_port}/stats?format=json"
    with urllib.request.urlopen(url, timeout=10) as answer:
        told = json.load(answer)["stats"]
    return {one["name"]: one["value"] for one in told if "value" in one}
