"""Services that share nothing with the jobs but an object store."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from corkboard.importing import import_folder
from datasets import tiny
from tests.integration.world import AS_OF, build, make_stack
from tests.service_runtime.s3_server import CREDENTIALS, S3Server, running

SWAP_SECONDS_MAX = 30.0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A real S3 server, and its credentials in the environment of what the test starts."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running() as server:
        yield server


def test_jobs_publish_to_the_store_and_services_elsewhere_answer_from_it(
    tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new build is swapped in while the services run; without the store they go on."""
    url = server.url("generations")
    jobs_root = tmp_path / "jobs"
    import_folder(tiny.load(as_of=AS_OF).write(tmp_path / "import"), jobs_root)
    services_root = tmp_path / "services"
    monkeypatch.setenv("CORKBOARD_GENERATIONS_URL", url)
    monkeypatch.setenv("CORKBOARD_GENERATIONS_FETCH_SECONDS", "0.2")
    build(jobs_root, "build_catalogue", "build_graph")
    shutil.rmtree(jobs_root / "generations")  # the next job has only the store to build on
    build(jobs_root, "build_popular")

    with make_stack(services_root) as stack, stack.client() as client:
        first = client.related("cooking-1", user_id="ana", limit=10)
        build(jobs_root, "build_popular")
        deadline = time.monotonic() + SWAP_SECONDS_MAX
        while True:
            second = client.related("cooking-1", user_id="ana", limit=10)
            popular = {one.source: one for one in client.catalogue().sources}["popular"]
            newest = (jobs_root / "generations/popular/CURRENT").read_text().strip()
            if newest in popular.generations.values():
                break
            assert time.monotonic() < deadline, "the new generation was not swapped in"
            time.sleep(0.1)
        server.stop()
        time.sleep(1.0)
        third = client.related("cooking-1", user_id="ana", limit=10)

    assert first.pins
    assert second.pins
    assert third.pins
    assert "catalogue" in first.generations
    assert list((services_root / "generations" / "graph").iterdir())
