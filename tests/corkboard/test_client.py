"""The client against servers made for the purpose: values, titles, ids, deadlines, errors."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from corkboard import Client
from corkboard.answers import Action
from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb2
from corkboard.candidate.v1 import candidate_service_pb2_grpc as candidate_grpc
from corkboard.profile.v1 import profile_service_pb2 as profile_pb2
from corkboard.profile.v1 import profile_service_pb2_grpc as profile_grpc
from corkboard.ranking.v1 import ranking_service_pb2 as ranking_pb2
from corkboard.ranking.v1 import ranking_service_pb2_grpc as ranking_grpc
from service_runtime.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Unavailable,
)

TITLES = {"p1": "First", "p2": "Second"}


class FakeProfileService(profile_grpc.ProfileServiceServicer):
    """Keeps the requests that it got; records everything once."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self._seen: set[str] = set()

    def RecordActions(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Record each id once."""
        self.requests.append(request)
        codes = []
        for action in request.actions:
            is_new = action.action_id not in self._seen
            self._seen.add(action.action_id)
            codes.append(
                profile_pb2.ACTION_CODE_RECORDED if is_new else profile_pb2.ACTION_CODE_DUPLICATE,
            )
        return profile_pb2.RecordActionsResponse(codes=codes)

    def GetProfile(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """One cluster around p1."""
        cluster = profile_pb2.Cluster(
            medoid_pin_id="p1",
            importance=2.5,
            action_count=3,
            origin=profile_pb2.CLUSTER_ORIGIN_ONLINE,
        )
        cluster.newest_action_time.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
        profile = profile_pb2.Profile(user_id=request.user_id, clusters=[cluster])
        return profile_pb2.GetProfileResponse(profile=profile)


class FakeCandidateService(candidate_grpc.CandidateServiceServicer):
    """Knows two pins."""

    def GetPins(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Titles of p1 and p2."""
        pins = [
            candidate_pb2.Pin(pin_id=pin_id, is_known=pin_id in TITLES, title=TITLES.get(pin_id))
            for pin_id in request.pin_ids
        ]
        return candidate_pb2.GetPinsResponse(pins=pins)


class FakeRankingService(ranking_grpc.RankingServiceServicer):
    """Answers p2 because of p1; `nowhere` is not found, `limit` 499 invalid, 498 slow."""

    def RecommendPins(self, request: Any, context: Any) -> Any:  # noqa: N802
        """p2, because of p1."""
        if request.query_pin_id == "nowhere":
            context.abort(grpc.StatusCode.NOT_FOUND, "pin nowhere is not in the catalogue")
        if request.limit == 499:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "limit: must be less")
        if request.limit == 498:
            time.sleep(0.5)
        pin = ranking_pb2.RankedPin(pin_id="p2", score=0.5, because_pin_id="p1")
        pin.sources.add(source="pixie", rank=3, score=412, query_pin_id="p1")
        answer = ranking_pb2.RecommendPinsResponse(list_id="l1", pins=[pin], model="hand_tuned")
        answer.profile_age.FromTimedelta(timedelta(hours=2))
        answer.degradations.add(part="source:ann", reason="late")
        return answer


@pytest.fixture
def profile_service() -> FakeProfileService:
    """The fake that keeps requests."""
    return FakeProfileService()


@pytest.fixture
def target(profile_service: FakeProfileService) -> Iterator[str]:
    """One server that stands for all three services."""
    server = grpc.server(ThreadPoolExecutor(4))
    profile_grpc.add_ProfileServiceServicer_to_server(profile_service, server)
    candidate_grpc.add_CandidateServiceServicer_to_server(FakeCandidateService(), server)
    ranking_grpc.add_RankingServiceServicer_to_server(FakeRankingService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture
def client(target: str) -> Iterator[Client]:
    """A client of that server."""
    with Client(profile=target, candidate=target, ranking=target) as client:
        yield client


def test_recommend_gives_values_with_titles_of_pins_and_of_those_behind_them(
    client: Client,
) -> None:
    """A printed answer reads by titles; nothing of it is a message."""
    answer = client.recommend("u1", limit=25)

    (pin,) = answer.pins
    assert (pin.name, pin.because_name, pin.position) == ("Second", "First", 0)
    assert pin.sources[0].source == "pixie"
    assert answer.profile_age == timedelta(hours=2)
    assert answer.degradations[0].part == "source:ann"
    assert "1. Second  (because of First)" in str(answer)
    assert "degraded: source:ann: late" in str(answer)


def test_recommend_falls_back_to_ids_when_the_catalogue_cannot_be_asked(target: str) -> None:
    """Titles adorn an answer, so their absence does not cost it."""
    with Client(profile=target, candidate="127.0.0.1:1", ranking=target) as client:
        answer = client.recommend("u1")

    assert answer.pins[0].name == "p2"


def test_related_to_an_unknown_pin_raises_not_found_naming_it(client: Client) -> None:
    """The family of errors, not a gRPC status, reaches the caller."""
    with pytest.raises(NotFound, match="nowhere"):
        client.related("nowhere")


def test_refused_request_raises_invalid_request(client: Client) -> None:
    """INVALID_ARGUMENT is InvalidRequest."""
    with pytest.raises(InvalidRequest, match="limit"):
        client.recommend("u1", limit=499)


def test_call_gives_up_at_its_deadline(client: Client) -> None:
    """A slow answer is DeadlineExceeded."""
    with pytest.raises(DeadlineExceeded):
        client.recommend("u1", limit=498, deadline_s=0.05)


def test_absent_server_is_unavailable() -> None:
    """Nobody listens: said as such, at once."""
    with Client(ranking="127.0.0.1:1", deadline_s=2) as client, pytest.raises(Unavailable):
        client.recommend("u1")


def test_record_makes_an_id_where_none_is_given_and_keeps_one_that_is(
    client: Client,
    profile_service: FakeProfileService,
) -> None:
    """Ids are unique by default; repeating an id is a duplicate."""
    made = {client.record("u1", "p1").action_id for _ in range(3)}
    first = client.record("u1", "p1", action_id="mine")
    again = client.record("u1", "p1", action_id="mine")

    assert len(made) == 3
    assert (first.code, again.code) == ("recorded", "duplicate")
    assert profile_service.requests[-1].actions[0].action_id == "mine"


def test_record_all_sends_every_field(
    client: Client,
    profile_service: FakeProfileService,
) -> None:
    """Type, time, strength, board and list arrive as given."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
    action = Action("u1", "p1", "long-click", "a1", moment, 0.5, "b1", "l1")

    client.record_all([action])

    sent = profile_service.requests[0].actions[0]
    assert sent.action_type == profile_pb2.ACTION_TYPE_LONG_CLICK
    assert sent.action_time.ToDatetime(tzinfo=UTC) == moment
    assert (sent.strength, sent.board_id, sent.list_id) == (0.5, "b1", "l1")


def test_unknown_action_type_is_refused_before_it_is_sent(
    client: Client,
    profile_service: FakeProfileService,
) -> None:
    """The message lists what there is."""
    with pytest.raises(InvalidRequest, match="long_click"):
        client.record("u1", "p1", "stare")

    assert profile_service.requests == []


def test_profile_gives_clusters_by_title_and_origin(client: Client) -> None:
    """Enumerations become words, timestamps aware times."""
    (cluster,) = client.profile("u1").clusters

    assert (cluster.name, cluster.origin) == ("First", "online")
    assert cluster.newest_action_time == datetime(2026, 1, 2, tzinfo=UTC)


def test_pins_come_in_the_order_asked_with_unknown_ones_marked(client: Client) -> None:
    """One entry for each id."""
    found = client.pins(["p2", "x", "p1"])

    assert [(pin.pin_id, pin.is_known) for pin in found] == [
        ("p2", True),
        ("x", False),
        ("p1", True),
    ]
    assert found[1].name == "x"


def test_client_may_be_shared_between_threads(client: Client) -> None:
    """Eight threads, one client, each gets its own answer."""
    found: list[str] = []

    def ask() -> None:
        found.extend(client.recommend("u1").pins[0].pin_id for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == ["p2"] * 40


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.recommend("u1"),
        lambda client: client.related("p1"),
        lambda client: client.rank(["p1"]),
        lambda client: client.models(),
        lambda client: client.record("u1", "p1"),
        lambda client: client.profile("u1"),
        lambda client: client.actions("u1"),
        lambda client: client.declare("u1", ["p1"]),
        lambda client: client.erase("u1"),
        lambda client: client.pins(["p1"]),
        lambda client: client.catalogue(),
    ],
)
def test_every_method_has_a_deadline(ask: Callable[[Client], object]) -> None:
    """A server that accepts and never answers holds nobody for longer than the deadline."""
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            Client(profile=target, candidate=target, ranking=target, deadline_s=0.1) as client,
            pytest.raises((DeadlineExceeded, Unavailable)),
        ):
            ask(client)
