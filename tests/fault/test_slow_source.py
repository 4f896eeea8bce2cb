"""One source is late or raises: the others answer, and answer and metrics name the one."""

import re
import socket
import sys
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from corkboard.stack import Stack
from tests.fault.stacks import PATIENT
from tests.integration.world import copy_of_root, make_stack

DEADLINE_S = 15.0

MODULE = """
import time
from pathlib import Path

from candidate_service.candidate import CandidateList
from candidate_service.source_registry import SourcePlugin


class Slow:
    name = "slow"
    artifacts = ()

    def retrieve(self, query, limit):
        while Path(__file__).with_name("hangs").exists():
            time.sleep(0.1)  # and does not look at its stop
        return CandidateList.empty(self.name)


class Broken:
    name = "broken"
    artifacts = ()

    def retrieve(self, query, limit):
        raise OSError("its file cannot be read")


slow = SourcePlugin("slow", lambda context: Slow(), candidate_count=10)
broken = SourcePlugin("broken", lambda context: Broken(), candidate_count=10)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an installed package of two bad sources, on the path of the services."""
    folder = tmp_path / "site"
    (folder / "bad_sources-1.dist-info").mkdir(parents=True)
    (folder / "bad_sources.py").write_text(MODULE)
    (folder / "bad_sources-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: bad-sources\nVersion: 1\n"
    )
    (folder / "bad_sources-1.dist-info" / "entry_points.txt").write_text(
        textwrap.dedent(
            """
            [corkboard.candidate_sources]
            slow = bad_sources:slow
            broken = bad_sources:broken
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.fixture
def metrics_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def stack(tmp_path: Path, site: Path, metrics_port: int) -> Iterator[Stack]:
    """Three services, the two bad sources beside good ones."""
    assert str(site) not in sys.path, "the sources are for the services only"
    names = '["popular", "ann", "slow", "broken"]'
    settings = {
        **PATIENT,
        "candidate_service": [
            f"sources={names}",
            "retrieval_deadline_ms=1500",
            f"metrics_port={metrics_port}",
        ],
    }
    with make_stack(copy_of_root(tmp_path), settings=settings) as stack:
        yield stack


def outcome_count(port: int, source: str, status: str) -> float:
    """How often a source ended so, by the metrics page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        told = page.read().decode()
    labels = f'{{source="{source}",status="{status}"}}'
    name = re.escape(f"candidate_service_source_outcomes_total{labels}")
    found = re.search(rf"^{name} (\S+)$", told, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_slow_and_broken_sources_cost_only_themselves(
    stack: Stack, site: Path, metrics_port: int
) -> None:
    """
    Answers come from the others within the deadline and name both.

    A source whose threads do not come back is not waited for any more. When it does not hang any
    longer it is asked again.
    """
    kinds = (("slow", "late"), ("broken", "failed"))
    before = [outcome_count(metrics_port, *kind) for kind in kinds]
    with stack.client() as client:
        (site / "hangs").touch()
        first = client.recommend("ana", limit=10, deadline_s=DEADLINE_S)
        later = [client.recommend("ana", limit=10, deadline_s=DEADLINE_S) for _ in range(6)]
        begin = time.monotonic()
        last = client.recommend("ana", limit=10, deadline_s=DEADLINE_S)
        seconds = time.monotonic() - begin
        after = [outcome_count(metrics_port, *kind) for kind in kinds]
        (site / "hangs").unlink()
        time.sleep(0.5)
        healed = client.recommend("ana", limit=10, deadline_s=DEADLINE_S)

    for answer in (first, *later, last):
        assert len(answer.pins) == 10
        parts = {part.part for part in answer.degradations}
        assert parts == {"source:slow", "source:broken"}
        sources = {reason.source for pin in answer.pins for reason in pin.sources}
        assert not sources & {"slow", "broken"}
    assert seconds < DEADLINE_S
    assert [now - then for now, then in zip(after, before, strict=True)] == [8, 8]
    assert {part.part for part in healed.degradations} == {"source:broken"}
