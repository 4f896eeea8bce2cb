"""The doctor's look at the object store that generations come from."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from corkboard.doctor.finding import Finding, Level
from corkboard.doctor.report import look
from corkboard.doctor.store import LAG_SECONDS, look_at_store
from service_runtime.generations import Generation, GenerationStore, open_generations
from tests.service_runtime.s3_server import BUCKET, CREDENTIALS, S3Server, running


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """One S3 server for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch, running() as server:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield server


def publish(store: GenerationStore, artifact: str = "catalogue") -> Generation:
    """Publish a generation of one file."""
    with store.draft(artifact, format_version=1) as draft:
        draft.path("a.txt").write_text("hello")
        return draft.publish(as_of_us=7)


def found_at(root: Path, url: str, *, after_s: float = 0.0) -> dict[str, Finding]:
    """What is found, by check; some time after all of it was published."""
    findings = look_at_store(root, url, request_seconds=2.0, clock=lambda: time.time() + after_s)
    return {finding.check: finding for finding in findings}


def test_what_is_published_and_fetched_is_good(tmp_path: Path, server: S3Server) -> None:
    """The store answers, says what it has, and this machine has the same."""
    url = server.url("good")
    generation = publish(open_generations(tmp_path, url))
    publish(open_generations(tmp_path, url), "graph")

    found = found_at(tmp_path, url, after_s=LAG_SECONDS * 2)

    assert {one.level for one in found.values()} == {Level.OK}
    assert found["object store"].told.endswith("has catalogue, graph")
    assert generation.id in found["published catalogue"].told


def test_copy_that_lags_is_told_once_it_should_be_here(tmp_path: Path, server: S3Server) -> None:
    """A moment after publishing it is on its way; minutes later nobody fetches it."""
    url = server.url("lag")
    first = publish(open_generations(tmp_path / "here", url))
    second = publish(open_generations(tmp_path / "jobs", url))

    soon = found_at(tmp_path / "here", url)["published catalogue"]
    later = found_at(tmp_path / "here", url, after_s=LAG_SECONDS * 2)["published catalogue"]

    assert soon.level is Level.OK
    assert later.level is Level.WARNING
    assert second.id in later.told
    assert f"here {first.id}" in later.told
    assert "generation.fetch_failed" in later.remedy


def test_machine_without_a_copy_is_told(tmp_path: Path, server: S3Server) -> None:
    """A new one that has fetched nothing."""
    url = server.url("new")
    publish(open_generations(tmp_path / "jobs", url))

    told = found_at(tmp_path / "here", url, after_s=LAG_SECONDS * 2)["published catalogue"]

    assert told.level is Level.WARNING
    assert told.told.endswith("here none")


def test_what_was_never_published_is_told(tmp_path: Path, server: S3Server) -> None:
    """Built before the URL was set: only this machine has it."""
    url = server.url("partly")
    publish(open_generations(tmp_path, url))
    publish(open_generations(tmp_path), "graph")

    told = found_at(tmp_path, url)["published graph"]

    assert told.level is Level.WARNING
    assert told.remedy == "corkboard build --only build_graph"


@pytest.mark.parametrize("damage", ["no manifest", "no id"])
def test_damage_there_is_a_problem(tmp_path: Path, server: S3Server, damage: str) -> None:
    """What is current cannot be taken by anybody, whatever is here."""
    url = server.url(damage.replace(" ", ""))
    store = open_generations(tmp_path, url)
    generation = publish(store)
    assert store.remote is not None
    if damage == "no manifest":
        store.remote.store.remove(f"catalogue/{generation.id}/manifest.json")
    else:
        store.remote.store.write("catalogue/CURRENT", b"../../etc\n")

    told = found_at(tmp_path, url)["published catalogue"]

    assert told.level is Level.PROBLEM
    assert "corkboard build catalogue" in told.remedy


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_wrong_place_is_a_warning(tmp_path: Path, server: S3Server, place: str) -> None:
    """An empty folder, or a bucket that is not there: nothing to fetch, so ask about the name."""
    url = server.url("empty")

    found = found_at(tmp_path, url.replace(BUCKET, "nobodys") if place == "bucket" else url)

    assert set(found) == {"object store"}
    assert found["object store"].level is Level.WARNING
    assert "bucket" in found["object store"].remedy


@contextmanager
def refusing() -> Iterator[str]:
    """Address of an S3 server that knows nobody's key."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Refuse."""
            code = "<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(code)))
            self.end_headers()
            self.wfile.write(code.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.usefixtures("server")
def test_wrong_credentials_are_a_problem(tmp_path: Path) -> None:
    """The store's own word is told, and where credentials come from."""
    with refusing() as endpoint:
        found = found_at(tmp_path, f"s3://{BUCKET}/x?endpoint={endpoint}&region=us-east-1")

    assert found["object store"].level is Level.PROBLEM
    assert "INVALID_ACCESS_KEY_ID" in found["object store"].told
    assert "AWS_ACCESS_KEY_ID" in found["object store"].remedy


@pytest.mark.usefixtures("server")
def test_store_that_is_silent_is_a_problem_within_seconds(tmp_path: Path) -> None:
    """A firewall that swallows, say: services wait longer, who asks now does not."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        found = found_at(tmp_path, f"s3://{BUCKET}/x?endpoint={endpoint}&region=us-east-1")

    assert time.monotonic() - started < 10
    assert {one.level for one in found.values()} == {Level.PROBLEM}


def test_report_looks_at_the_store_that_is_set(
    tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, however many services name it; not at all where none does."""
    url = server.url("report")
    publish(open_generations(tmp_path, url))
    without = [one.check for one in look(tmp_path, None)]
    monkeypatch.setenv("CORKBOARD_GENERATIONS_URL", url)

    checks = [one.check for one in look(tmp_path, None)]

    assert "object store" not in without
    assert checks.count("object store") == 1
    assert "published catalogue" in checks
