"""Pins as large as they may be, against real servers: answers stay small, and so does memory."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from corkboard import Client
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1.candidate_service_pb2_grpc import CandidateServiceStub
from corkboard.questions import CandidateQuestion, PinRecord
from corkboard.stack import Stack
from tests.integration.world import copy_of_root, make_stack

TEXT_BYTES = 65_536
LARGE_COUNT = 45
"""Enough for an answer with all their texts to be above the limit."""
LIMIT = 4 * 1024 * 1024
MEMORY_GROWTH_MAX = 150 << 20
"""Of one look-up; an answer of 10,000 large pins would take twelve gigabytes."""


def large_pin(at: int) -> PinRecord:
    """A pin with as much of everything as it may have."""
    return PinRecord(
        pin_id=f"large-{at}",
        title="t" * TEXT_BYTES,
        description=f"{'d' * (TEXT_BYTES - 8)} zebu{at:03}",
        image_url="i" * TEXT_BYTES,
        topics=[f"{topic:0128d}" for topic in range(64)],
        owner_id="o" * 128,
        attributes={f"a{name}": "v" * 500 for name in range(32)},
    )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers of this module's own, since everybody would see its pins."""
    with make_stack(copy_of_root(tmp_path_factory.mktemp("large"))) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    """Asks them, when the large pins are there."""
    with stack.client(deadline_s=60) as client:
        pins = [large_pin(at) for at in range(LARGE_COUNT)]
        for at in range(0, LARGE_COUNT, 15):
            written = client.upsert_pins(pins[at : at + 15])
            assert {item.code for item in written} == {"written"}
        until = time.monotonic() + 30
        while len(client.candidates(CandidateQuestion()).live_pins) < LARGE_COUNT:
            assert time.monotonic() < until
        yield client


def memory_peak(stack: Stack) -> int:
    """The most memory that candidate_service ever had, bytes."""
    status = Path(f"/proc/{stack.children['candidate_service'].process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("count", [22, 3000, 10_000])
@pytest.mark.usefixtures("client")
def test_too_large_an_answer_is_refused_without_the_memory_for_it(stack: Stack, count: int) -> None:
    """The caller learns why and what to do; the service goes on."""
    before = memory_peak(stack)
    with grpc.insecure_channel(stack.targets["candidate_service"]) as channel:
        stub = CandidateServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.GetPins(wire.GetPinsRequest(pin_ids=["large-0"] * count), timeout=60)
        fine = stub.GetPins(wire.GetPinsRequest(pin_ids=["large-0"] * 10), timeout=60)

    status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert info.reason == "ANSWER_TOO_LARGE"
    assert "fewer pins" in info.metadata["hint"]
    assert len(fine.pins) == 10
    assert memory_peak(stack) - before < MEMORY_GROWTH_MAX


def test_the_client_gets_them_in_parts(client: Client) -> None:
    """However many are asked for, in the order asked; titles alone in few calls."""
    asked = [f"large-{at}" for at in reversed(range(LARGE_COUNT))] * 2

    pins = client.pins(asked)
    titles = client.titles(asked)

    assert [pin.pin_id for pin in pins] == asked
    assert {len(pin.title) + len(pin.image_url) for pin in pins} == {2 * TEXT_BYTES}
    assert {len(title) for title in titles.values()} == {TEXT_BYTES}
    assert len(titles) == LARGE_COUNT


def test_recommendations_do_not_suffer(client: Client) -> None:
    """Large pins that are not in the catalogue yet are recommended, and nothing is degraded."""
    whole = client.recommend("ana", limit=50, seed=1)
    nobody = client.recommend("somebody-new", limit=50, seed=1)

    for answer in (whole, nobody):
        assert not [part for part in answer.degradations if "ranker" not in part.part]
    assert {pin_id[:6] for pin_id in nobody.pin_ids} >= {"large-"}


def test_found_pins_have_short_titles(client: Client) -> None:
    """A search that finds all of them is answered."""
    found = client.search("t" * 500, limit=1000)
    one = client.search("zebu007")

    assert [pin.pin_id for pin in one.pins] == ["large-7"]
    assert {len(pin.title) for pin in (*found.pins, *one.pins)} == {1024}


def test_candidates_of_all_sources_fit(client: Client, stack: Stack) -> None:
    """At the largest quotas, with excluded pins and query pins to the ceiling."""
    names = [source.source for source in client.catalogue().sources]
    request = wire.RetrieveCandidatesRequest(
        query_pins=[wire.QueryPin(pin_id=f"large-{at}", weight=1) for at in range(LARGE_COUNT)],
        medoids=[wire.QueryPin(pin_id=f"{at:0128d}", weight=1) for at in range(1000)],
        sources=[wire.SourceQuota(source=name, candidate_count=2000) for name in names],
        excluded_pin_ids=[f"{at:0128d}" for at in range(20_000)],
    )
    with grpc.insecure_channel(stack.targets["candidate_service"]) as channel:
        answer = CandidateServiceStub(channel).RetrieveCandidates(request, timeout=60)

    assert {pin.pin_id for pin in answer.live_pins} == {f"large-{at}" for at in range(LARGE_COUNT)}
    assert all(len(pin.topics) == 64 and not pin.title for pin in answer.live_pins)
    assert len(answer.unknown_pin_ids) == 1000
    assert answer.ByteSize() < LIMIT
