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

from corkboard.answers import SourceList
from corkboard.client import Client
from corkboard.questions import CandidateQuestion, QueryPin
from corkboard.stack import Stack
from tests.fault.stacks import PATIENT
from tests.integration.world import copy_of_root, make_stack

DEADLINE_S = 15.0
RETRIEVAL_S = 1.5
"""How long candidate_service waits for its sources."""

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
            f"retrieval_deadline_ms={RETRIEVAL_S * 1000:.0f}",
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


def slow_list(client: Client) -> SourceList:
    """How the slow source fared when candidate_service was asked itself."""
    question = CandidateQuestion(query_pins=[QueryPin("typography-2")])
    (found,) = [one for one in client.candidates(question).lists if one.source == "slow"]
    return found


def test_slow_and_broken_sources_cost_only_themselves(
    stack: Stack, site: Path, metrics_port: int
) -> None:
    """
    Answers come from the others within the deadline and name both.

    The slow one is waited for as long as is set and no longer. A source whose threads do not come
    back is not waited for any more. When it does not hang any longer it is asked again.
    """
    kinds = (("slow", "late"), ("broken", "failed"))
    before = [outcome_count(metrics_port, *kind) for kind in kinds]
    with stack.client(deadline_s=DEADLINE_S) as client:
        (site / "hangs").touch()
        waited_for = slow_list(client)
        answers, seconds = [], []
        for _ in range(8):
            begin = time.monotonic()
            answers.append(client.recommend("ana", limit=10))
            seconds.append(time.monotonic() - begin)
        passed_over = slow_list(client)
        after = [outcome_count(metrics_port, *kind) for kind in kinds]
        (site / "hangs").unlink()
        time.sleep(0.5)
        healed = client.recommend("ana", limit=10)

    for answer in answers:
        assert len(answer.pins) == 10
        parts = {part.part for part in answer.degradations}
        assert parts == {"source:slow", "source:broken"}
        sources = {reason.source for pin in answer.pins for reason in pin.sources}
        assert not sources & {"slow", "broken"}
    assert waited_for.status == passed_over.status == "late"
    assert 0.5 * RETRIEVAL_S < waited_for.duration_us / 1e6 < 2 * RETRIEVAL_S
    assert passed_over.duration_us / 1e6 < 0.1 * RETRIEVAL_S
    assert max(seconds) < 5 * RETRIEVAL_S  # it waits but once; the rest is for a busy machine
    assert [now - then for now, then in zip(after, before, strict=True)] == [10, 10]
    assert {part.part for part in healed.degradations} == {"source:broken"}
