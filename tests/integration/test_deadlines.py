"""Time and hanging up travel through the three real services."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import grpc
import pytest

from corkboard.ranking.v1.ranking_service_pb2 import RecommendPinsRequest
from corkboard.ranking.v1.ranking_service_pb2_grpc import RankingServiceStub
from corkboard.stack import Stack
from tests.integration.hops import Hop, hops
from tests.integration.world import copy_of_root, make_stack

BUDGETS = ["profile_budget_ms=25000", "candidate_budget_ms=25000", "own_reserve_ms=2000"]
"""So long that only the caller's deadline counts."""


class Chain(NamedTuple):
    """ranking_service, with something that looks in front of each service that it calls."""

    stack: Stack
    stub: RankingServiceStub
    profile: Hop
    candidate: Hop


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Three services, with a hop before profile_service and one before candidate_service."""
    with hops(2) as (profile, candidate):
        targets = [
            f"profile_target=127.0.0.1:{profile.port}",
            f"candidate_target=127.0.0.1:{candidate.port}",
        ]
        settings = {"ranking_service": [*BUDGETS, "deadline_seconds=60", *targets]}
        root = copy_of_root(tmp_path_factory.mktemp("deadlines"))
        with make_stack(root, settings=settings) as stack:
            profile.target = stack.targets["profile_service"]
            candidate.target = stack.targets["candidate_service"]
            with grpc.insecure_channel(stack.targets["ranking_service"]) as channel:
                yield Chain(stack, RankingServiceStub(channel), profile, candidate)


def test_what_is_left_shrinks_from_hop_to_hop(chain: Chain) -> None:
    """The caller's 8 s become less before profile_service, and less again before the next."""
    chain.profile.passed.clear()
    chain.candidate.passed.clear()
    answer = chain.stub.RecommendPins(RecommendPinsRequest(user_id="ana", limit=5), timeout=8.0)

    (profile,) = [one for one in chain.profile.passed if one.method == "GetProfile"]
    (candidate,) = [one for one in chain.candidate.passed if one.method == "RetrieveCandidates"]
    reserve_s = 2.0
    assert len(answer.pins) == 5
    assert 0 < candidate.seconds_left < profile.seconds_left <= 8.0 - reserve_s


def test_hanging_up_reaches_the_service_behind(chain: Chain) -> None:
    """The caller cancels: the question to candidate_service ends at once, not after its 25 s."""
    chain.candidate.is_holding = True
    try:
        call = chain.stub.RecommendPins.future(
            RecommendPinsRequest(user_id="ana", limit=5), timeout=60
        )
        assert chain.candidate.held.acquire(timeout=30), "candidate_service was never asked"
        started = time.monotonic()
        call.cancel()
        assert chain.candidate.let_go.acquire(timeout=15), "the question went on"
        took = time.monotonic() - started
    finally:
        chain.candidate.is_holding = False

    lines = chain.stack.last_lines("ranking_service")
    assert took < 15
    assert not any("call.crashed" in line for line in lines)


def test_answer_is_in_time_though_the_service_behind_is_not(chain: Chain) -> None:
    """What is kept back is enough to answer without it; it is told to stop before."""
    chain.candidate.is_holding = True
    try:
        answer = chain.stub.RecommendPins(RecommendPinsRequest(user_id="ana", limit=5), timeout=6.0)
        assert chain.candidate.let_go.acquire(timeout=15), "the question went on"
    finally:
        chain.candidate.is_holding = False

    assert len(answer.pins) == 5
    assert "candidates" in [part.part for part in answer.degradations]
