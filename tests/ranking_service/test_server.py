"""The service over gRPC beside the real profile_service and candidate_service; none is faked."""

import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from candidate_service.config import CandidateConfig
from candidate_service.server import build as build_candidate
from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb
from corkboard.candidate.v1.candidate_service_pb2_grpc import CandidateServiceStub
from corkboard.profile.v1 import profile_service_pb2 as profile_pb
from corkboard.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from corkboard.ranking.v1 import ranking_service_pb2 as pb
from corkboard.ranking.v1.ranking_service_pb2_grpc import RankingServiceStub
from profile_service.config import ProfileConfig
from profile_service.server import build as build_profile
from ranking_service.config import RankingConfig
from ranking_service.impressions import impression_table
from ranking_service.jobs import export_impressions
from ranking_service.server import build as build_ranking
from service_runtime.event_log import read_log
from service_runtime.grpc_server import Server
from service_runtime.job import JobContext
from tests.integration.world import AS_OF, copy_of_root

FAST = {
    "port": 0,
    "metrics_port": 0,
    "fixed_time": AS_OF.timestamp(),
    "drain_wait_seconds": 0.0,
    "generation_poll_seconds": 0.1,
}
STEADY = {"random_share": 0.0, "memboost_refresh_seconds": 0.05}
"""Nothing by chance, and counted at once."""


class House:
    """The three services in this process, on one data root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.profile = build_profile(ProfileConfig(data_root=root, **FAST))
        self.candidate = build_candidate(CandidateConfig(data_root=root, **FAST))
        targets = [f"127.0.0.1:{server.start()}" for server in (self.profile, self.candidate)]
        self.ranking = build_ranking(
            RankingConfig(
                data_root=root,
                profile_target=targets[0],
                candidate_target=targets[1],
                **FAST,
                **STEADY,
            )
        )
        self.candidate_target = targets[1]
        self.channels = [
            grpc.insecure_channel(f"127.0.0.1:{self.ranking.start()}"),
            grpc.insecure_channel(targets[0]),
        ]
        self.stub = RankingServiceStub(self.channels[0])
        self.people = ProfileServiceStub(self.channels[1])

    def recommend(self, *, request_id: str = "r1", timeout: float = 5.0, **fields: Any) -> Any:
        """Call RecommendPins."""
        return self.stub.RecommendPins(
            pb.RecommendPinsRequest(**fields),
            timeout=timeout,
            metadata=[("x-request-id", request_id)],
        )

    def close(self) -> None:
        """Stop what still runs, ranking first."""
        for channel in self.channels:
            channel.close()
        for server in (self.ranking, self.candidate, self.profile):
            server.stop(0)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house for tests that break nothing."""
    house = House(copy_of_root(tmp_path_factory.mktemp("house")))
    yield house
    house.close()


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[House]:
    """A house of one's own."""
    house = House(copy_of_root(tmp_path))
    yield house
    house.close()


@pytest.fixture(scope="module")
def user_id() -> str:
    """Somebody of the tiny world with several interests."""
    return "ana"


def refusal(call: Any) -> grpc.RpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def test_many_users_in_one_call(house: House, user_id: str) -> None:
    """Everybody has the answer that is theirs, and a pin that nobody knows fails nobody else."""
    requests = [
        pb.RecommendPinsRequest(user_id=user_id, limit=5, seed=3),
        pb.RecommendPinsRequest(surface=pb.SURFACE_RELATED_PINS, query_pin_id="nobody-knows-it"),
        pb.RecommendPinsRequest(user_id="a stranger", limit=5, seed=3),
    ]

    answer = house.stub.BatchRecommendPins(
        pb.BatchRecommendPinsRequest(requests=requests), timeout=20
    )

    outcomes = [result.WhichOneof("outcome") for result in answer.results]
    assert outcomes == ["answer", "error", "answer"]
    first, failed, last = answer.results
    alone = house.recommend(user_id=user_id, limit=5, seed=3)
    assert [pin.pin_id for pin in first.answer.pins] == [pin.pin_id for pin in alone.pins]
    assert failed.error.code == "NOT_FOUND"
    assert "nobody-knows-it" in failed.error.message
    assert last.answer.is_cold_start
    assert first.answer.list_id != last.answer.list_id


def names(answer: Any) -> list[str]:
    """Pins of an answer, best first."""
    return [pin.pin_id for pin in answer.pins]


def test_a_known_user_gets_explained_pins(house: House, user_id: str) -> None:
    """Every pin has a score, a place, sources and mostly a reason; nothing is degraded."""
    profile = house.people.GetProfile(
        profile_pb.GetProfileRequest(user_id=user_id, acted_pin_count_max=10_000)
    ).profile

    answer = house.recommend(user_id=user_id, limit=10)

    assert list(answer.degradations) == []
    assert 0 < len(answer.pins) <= 10
    assert [pin.position for pin in answer.pins] == list(range(len(answer.pins)))
    assert all(pin.sources for pin in answer.pins)
    medoids = {cluster.medoid_pin_id for cluster in profile.clusters}
    reasons = {pin.because_pin_id for pin in answer.pins} - {""}
    assert reasons
    assert reasons <= medoids | set(profile.acted_pin_ids)
    assert not set(names(answer)) & set(profile.acted_pin_ids)
    assert {"catalogue", "pin_vectors", "pin_statistics", "profiles"} <= set(answer.generations)
    assert not answer.is_cold_start
    assert answer.HasField("profile_age")


def test_the_same_request_id_gives_the_same_answer(house: House, user_id: str) -> None:
    """An answer can be replayed by its request id."""
    first = house.recommend(user_id=user_id, request_id="again")
    second = house.recommend(user_id=user_id, request_id="again")

    assert first == second


def test_an_unknown_user_gets_popular_pins_marked_so(house: House) -> None:
    """A stranger is never left empty-handed."""
    answer = house.recommend(user_id="a stranger")

    assert answer.is_cold_start
    assert answer.pins
    assert {reason.source for pin in answer.pins for reason in pin.sources} == {"popular"}


def test_related_pins_go_with_the_query_pin(house: House, user_id: str) -> None:
    """The query pin stands behind the pins and is not among them."""
    query_pin_id = house.recommend(user_id=user_id).pins[0].pin_id

    answer = house.recommend(query_pin_id=query_pin_id)

    assert answer.pins
    assert query_pin_id not in names(answer)
    assert {pin.because_pin_id for pin in answer.pins} <= {query_pin_id, ""}
    assert query_pin_id in {pin.because_pin_id for pin in answer.pins}


def test_an_unknown_query_pin_is_not_found(house: House) -> None:
    """The error names the pin."""
    error = refusal(lambda: house.recommend(query_pin_id="no such pin"))

    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert "no such pin" in error.details()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"user_id": "u", "limit": 501}, "limit"),
        ({}, "user_id or query_pin_id"),
        ({"user_id": "u", "surface": 2}, "query_pin_id"),
        ({"user_id": "u" * 129}, "user_id"),
        ({"user_id": "u", "excluded_pin_ids": [""]}, "excluded_pin_ids"),
    ],
)
def test_a_request_that_breaks_a_rule_is_invalid(house: House, fields: Any, named: str) -> None:
    """The error names the field."""
    error = refusal(lambda: house.recommend(**fields))

    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert named in error.details()


def test_given_pins_are_ranked(house: House, user_id: str) -> None:
    """All known pins come back in order, unknown ones are named."""
    some = names(house.recommend(user_id=user_id, limit=5))
    request = pb.RankPinsRequest(user_id=user_id, pin_ids=[*some, "no such pin"])

    answer = house.stub.RankPins(request, timeout=5)

    assert sorted(names(answer)) == sorted(some)
    assert list(answer.unknown_pin_ids) == ["no such pin"]
    assert answer.model == "hand_tuned"


def test_the_built_in_model_is_listed(house: House) -> None:
    """Before any training the hand-tuned model serves."""
    (model,) = house.stub.ListModels(pb.ListModelsRequest(), timeout=5).models

    assert (model.model, model.is_serving, model.generation) == ("hand_tuned", True, "")


def test_shown_lists_are_logged(fragile: House) -> None:
    """After the answer the list is in the log, with one row of features a pin."""
    answer = fragile.recommend(user_id="a stranger", limit=7)
    fragile.ranking.stop(0)

    folder = fragile.root / "live" / "impressions" / "main"
    tables = [impression_table(record.payload) for record in read_log(folder)]

    assert [table["list_id"][0].as_py() for table in tables] == [answer.list_id]
    assert tables[0]["pin_id"].to_pylist() == names(answer)
    assert tables[0]["impression_time_us"][0].as_py() == round(AS_OF.timestamp() * 1e6)


def test_a_pin_of_a_second_ago_is_in_answers(fragile: House) -> None:
    """A home feed shows it with reasons, related pins start from it; an unknown pin is unknown."""
    channel = grpc.insecure_channel(fragile.candidate_target)
    candidates = CandidateServiceStub(channel)
    record = candidate_pb.PinRecord(
        pin_id="brand new", title="new pots", topics=["pottery"], owner_id="bob"
    )
    candidates.UpsertPins(candidate_pb.UpsertPinsRequest(pins=[record]), timeout=10)

    def shown() -> Any:
        answer = fragile.recommend(user_id="ana", limit=500, request_id=f"r{time.monotonic()}")
        return next((pin for pin in answer.pins if pin.pin_id == "brand new"), None)

    found = until(shown)
    related = fragile.recommend(query_pin_id="brand new", limit=10)
    own = fragile.recommend(user_id="bob", limit=500)
    channel.close()

    assert found is not None
    assert found.sources
    assert "brand new" not in names(related)
    assert "brand new" not in names(own), "nobody is shown what is their own"


def until(holds: Any, seconds: float = 10.0) -> Any:
    """Wait until something holds; returns what it gave."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    return holds()


def test_what_is_remembered_can_be_seen_and_forgotten(fragile: House) -> None:
    """Shown, confirmed, saved, looked up, reset: over the wire and back."""
    query = fragile.recommend(user_id="ana").pins[0].pin_id
    answer = fragile.recommend(user_id="ana", query_pin_id=query, context={"platform": "ios"})
    pin = answer.pins[1].pin_id
    shown = pb.RecordImpressionsRequest(
        list_id=answer.list_id,
        user_id="ana",
        query_pin_id=query,
        platform="ios",
        pins=[pb.ShownPin(pin_id=pin, position=4), pb.ShownPin(pin_id="advert", is_inserted=True)],
    )
    pair = pb.GetMemboostRequest(query_pin_id=query, result_pin_id=pin)

    first = fragile.stub.RecordImpressions(shown, timeout=5)
    again = fragile.stub.RecordImpressions(shown, timeout=5)

    def counted() -> Any:
        found = fragile.stub.GetMemboost(pair, timeout=5)
        return found if any(counter.position == 4 for counter in found.counters) else None

    found = until(counted)
    assert (first.recorded_count, again.recorded_count) == (2, 0)
    assert found.score.impression_count == 1
    assert [(c.platform, c.position, c.impression_count) for c in found.counters] == [("ios", 4, 1)]
    reset = fragile.stub.ResetMemboost(
        pb.ResetMemboostRequest(query_pin_id=query, result_pin_id=pin, reason="test"), timeout=5
    )
    # The clock of the tests stands still, so that nothing was shown before now.
    assert reset.reset_id
    never = fragile.stub.GetMemboost(
        pb.GetMemboostRequest(query_pin_id=query, result_pin_id="never shown"), timeout=5
    )
    assert (never.score.score, never.score.boost, list(never.counters)) == (0.0, 0.0, [])


@pytest.mark.parametrize(
    ("verb", "request_", "named"),
    [
        ("RecordImpressions", pb.RecordImpressionsRequest(list_id="l"), "pins"),
        (
            "RecordImpressions",
            pb.RecordImpressionsRequest(
                list_id="l", pins=[{"pin_id": "p"}], impression_time={"seconds": 1}
            ),
            "impression_time",
        ),
        ("GetMemboost", pb.GetMemboostRequest(query_pin_id="q"), "result_pin_id"),
        ("ResetMemboost", pb.ResetMemboostRequest(reason="r"), "must be given"),
        (
            "ResetMemboost",
            pb.ResetMemboostRequest(begin_time={"seconds": 9}, end_time={"seconds": 9}),
            "end_time",
        ),
        ("ExplainPin", pb.ExplainPinRequest(pin_id="p"), "request"),
        ("RecommendPins", pb.RecommendPinsRequest(user_id="u", rotation_rate=2), "rotation_rate"),
        ("RecommendPins", pb.RecommendPinsRequest(user_id="u", diversity=2), "diversity"),
    ],
)
def test_bad_input_is_named(house: House, verb: str, request_: Any, named: str) -> None:
    """INVALID_ARGUMENT, and which field it is."""
    error = refusal(lambda: getattr(house.stub, verb)(request_, timeout=5))

    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert named in error.details()


@pytest.mark.parametrize(
    ("verb", "request_"),
    [
        ("GetExperiment", pb.GetExperimentRequest(experiment="nothing")),
        ("RecommendPins", pb.RecommendPinsRequest(user_id="u", scenario="nothing")),
        ("RecommendPins", pb.RecommendPinsRequest(user_id="u", experiment_arms={"nothing": "a"})),
    ],
)
def test_what_nobody_configured_is_not_found(house: House, verb: str, request_: Any) -> None:
    """By its name."""
    error = refusal(lambda: getattr(house.stub, verb)(request_, timeout=5))

    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert "nothing" in error.details()


def test_an_answer_explains_itself(house: House, user_id: str) -> None:
    """Every pin where asked; one pin, in the answer or not, by its own verb."""
    answer = house.recommend(user_id=user_id, explain=True, limit=5, seed=7)
    request = pb.RecommendPinsRequest(user_id=user_id, limit=5, seed=7)
    acted = house.people.GetProfile(
        profile_pb.GetProfileRequest(user_id=user_id, acted_pin_count_max=1)
    ).profile.acted_pin_ids[0]

    def explain(pin_id: str) -> Any:
        return house.stub.ExplainPin(
            pb.ExplainPinRequest(request=request, pin_id=pin_id), timeout=5
        )

    assert all(pin.explanation.contributions for pin in answer.pins)
    inside, outside, unknown = explain(answer.pins[2].pin_id), explain(acted), explain("unheard of")
    assert (inside.absence, inside.pin.position) == (pb.ABSENCE_UNSPECIFIED, 2)
    assert inside.pin.sources
    assert outside.absence == pb.ABSENCE_EXCLUDED
    assert unknown.absence == pb.ABSENCE_UNKNOWN_PIN
    assert "unheard of" in unknown.detail


def test_pages_follow_each_other_over_the_wire(house: House, user_id: str) -> None:
    """No pin comes twice, and a page is refused to others."""
    first = house.recommend(user_id=user_id, limit=5)
    second = house.recommend(user_id=user_id, limit=5, page_token=first.next_page_token)
    error = refusal(lambda: house.recommend(user_id="other", page_token=first.next_page_token))

    assert first.next_page_token
    assert second.pins
    assert not set(names(first)) & set(names(second))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_an_erased_user_leaves_every_store(fragile: House) -> None:
    """A receipt for each store of all three services; after the jobs nobody knows the user."""
    answer = fragile.recommend(user_id="ana")
    fragile.stub.RecordImpressions(
        pb.RecordImpressionsRequest(
            list_id=answer.list_id, user_id="ana", pins=[pb.ShownPin(pin_id=answer.pins[0].pin_id)]
        ),
        timeout=5,
    )
    request = pb.GetErasureRequest(user_id="ana")
    assert until(lambda: stores_of(fragile, request)["ranking:impression_logs"].record_count == 2)
    assert not fragile.stub.GetErasure(request, timeout=5).is_erased

    receipt = fragile.stub.EraseUser(pb.EraseUserRequest(user_id="ana"), timeout=10)
    context = JobContext(
        config=RankingConfig(data_root=fragile.root),
        as_of_us=round(AS_OF.timestamp() * 1e6) + 1,
        arguments=Namespace(out=None),
    )
    report = export_impressions.run(context)
    context.close()

    told = {store.store.split(":")[0] for store in receipt.stores}
    assert told == {"ranking", "profile", "candidate"}
    assert receipt.receipt_id
    assert not [s for s in receipt.stores if s.state == pb.ERASURE_STATE_NOT_REACHED]
    assert report["rows"] == 0
    left = {
        name: store
        for name, store in stores_of(fragile, request).items()
        if name.startswith("ranking:")
    }
    assert {store.state for store in left.values()} == {pb.ERASURE_STATE_ERASED}, left


def test_each_erasure_has_a_receipt_of_its_own(fragile: House) -> None:
    """Also where a caller sends one request id twice."""
    twice = [
        fragile.stub.EraseUser(
            pb.EraseUserRequest(user_id=user), timeout=10, metadata=[("x-request-id", "same")]
        ).receipt_id
        for user in ("ana", "bob")
    ]

    assert twice[0] != twice[1]


def test_a_service_that_is_away_is_not_reached(fragile: House) -> None:
    """The receipt says so, and what to do."""
    fragile.candidate.stop(0)

    receipt = fragile.stub.EraseUser(pb.EraseUserRequest(user_id="ana"), timeout=10)

    (away,) = [s for s in receipt.stores if s.state == pb.ERASURE_STATE_NOT_REACHED]
    assert away.store == "candidate:all"
    assert "call again" in away.detail


def stores_of(house: House, request: Any) -> dict[str, Any]:
    """What every store says of a user, by store."""
    return {store.store: store for store in house.stub.GetErasure(request, timeout=10).stores}


def parts(answer: Any) -> set[str]:
    """What an answer says is not as it should be."""
    return {gap.part for gap in answer.degradations}


def timed(call: Any) -> tuple[Any, float]:
    """An answer and how long it took."""
    begin = time.monotonic()
    return call(), time.monotonic() - begin


def test_without_profile_service_the_answer_is_popular_and_marked(fragile: House) -> None:
    """A stopped profile_service costs the interests, not the answer."""
    fragile.recommend(user_id="a stranger")
    fragile.profile.stop(0)

    answer, seconds = timed(lambda: fragile.recommend(user_id="a stranger", timeout=3))

    assert parts(answer) == {"profile"}
    assert answer.pins
    assert seconds < 3


def test_without_candidate_service_the_last_lists_serve_and_are_marked(
    fragile: House, user_id: str
) -> None:
    """Who asked before gets the same pins again; who did not gets what is popular."""
    before = fragile.recommend(user_id=user_id, limit=5)
    fragile.candidate.stop(0)

    again, seconds = timed(lambda: fragile.recommend(user_id=user_id, limit=5, timeout=3))
    stranger = fragile.recommend(user_id="a stranger", timeout=3)

    assert parts(again) == parts(stranger) == {"candidates"}
    assert names(again) == names(before)
    assert stranger.pins
    assert seconds < 3


def test_with_both_away_there_is_still_an_answer(fragile: House) -> None:
    """Ranking alone answers from its own statistics, and comes back by itself."""
    fragile.profile.stop(0)
    fragile.candidate.stop(0)

    answer = fragile.recommend(user_id="a stranger", timeout=3)

    assert parts(answer) == {"profile", "candidates"}
    assert answer.pins


def test_a_stopped_server_lets_its_log_go(fragile: House) -> None:
    """A new process on the same data root can start at once."""
    fragile.ranking.stop(0)

    second: Server = build_ranking(RankingConfig(data_root=fragile.root, **FAST))

    assert second.start() > 0
    second.stop(0)
