"""Verbs that change and explain: every field arrives, every answer comes back as a value."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from corkboard import Client
from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb
from corkboard.profile.v1 import profile_service_pb2 as profile_pb
from corkboard.questions import (
    CandidateQuestion,
    Context,
    PinFilter,
    PinRecord,
    QueryPin,
    Rules,
    SaveRecord,
    ShownPin,
)
from corkboard.ranking.v1 import ranking_service_pb2 as ranking_pb
from service_runtime.errors import CorkboardError, InvalidRequest, NotFound

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MODULES = {"candidate": candidate_pb, "profile": profile_pb, "ranking": ranking_pb}


class Recorder(grpc.GenericRpcHandler):
    """Answers any verb with the message that a test laid out, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """A handler for a method that has an answer laid out; none otherwise."""
        _, package, verb = str(details.method).split("/")
        service = package.split(".")[1]
        key = f"{service}.{verb}"
        if key not in self.answers:
            return None
        request_class = getattr(MODULES[service], f"{verb}Request")

        def answer(request: Any, _: grpc.ServicerContext) -> Any:
            self.requests[key] = request
            return self.answers[key]

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=request_class.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


@pytest.fixture
def services() -> Recorder:
    """One recorder that stands for all three services."""
    return Recorder()


@pytest.fixture
def client(services: Recorder) -> Iterator[Client]:
    """A client of it."""
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((services,))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with Client(profile=target, candidate=target, ranking=target) as client:
        yield client
    server.stop(0).wait()


def test_upsert_pins_sends_every_field_and_tells_what_became_of_each(
    client: Client, services: Recorder
) -> None:
    """Codes become words; a rejection stands with its pin."""
    services.answers["candidate.UpsertPins"] = candidate_pb.UpsertPinsResponse(
        codes=[candidate_pb.ITEM_CODE_WRITTEN, candidate_pb.ITEM_CODE_INVALID],
        rejections=[candidate_pb.ItemRejection(index=1, field="quality", reason="above 1")],
    )
    pin = PinRecord(
        "p1", "T", "D", ["food"], "ja", "JP", "ana", "http://x", MOMENT, {"price": "3"}, 0.5, True,
        MOMENT, [1.0], [2.0], [3.0], 2**64 - 1, b"png",
    )  # fmt: skip

    written = client.upsert_pins([pin, PinRecord("p2")], fields=["title"], allow_partial=True)

    sent = services.requests["candidate.UpsertPins"]
    first, second = sent.pins
    assert (first.title, first.owner_id, list(first.topics)) == ("T", "ana", ["food"])
    assert first.expiration_time.ToDatetime(tzinfo=UTC) == MOMENT
    assert (first.quality, first.is_hidden, first.image_hash) == (0.5, True, 2**64 - 1)
    assert (first.attributes["price"], first.image_bytes) == ("3", b"png")
    assert not second.HasField("quality")
    assert not second.HasField("creation_time")
    assert (list(sent.update_mask.paths), sent.allow_partial, sent.validate_only) == (
        ["title"],
        True,
        False,
    )
    assert [(item.item_id, item.code) for item in written] == [("p1", "written"), ("p2", "invalid")]
    assert (written[1].field, written[1].reason) == ("quality", "above 1")


def test_saves_get_an_id_where_none_is_given(client: Client, services: Recorder) -> None:
    """So that repeating a call is told apart from saving twice."""
    codes = [candidate_pb.ITEM_CODE_WRITTEN, candidate_pb.ITEM_CODE_UNCHANGED]
    services.answers["candidate.UpsertSaves"] = candidate_pb.UpsertSavesResponse(codes=codes)
    services.answers["candidate.DeleteSaves"] = candidate_pb.DeleteSavesResponse(
        codes=[candidate_pb.ITEM_CODE_UNKNOWN]
    )

    first, second = client.upsert_saves(
        [SaveRecord("p1", "b1"), SaveRecord("p2", "b1", "ana", "mine", MOMENT, "Bread")]
    )
    (taken,) = client.delete_saves(["mine"])

    sent = services.requests["candidate.UpsertSaves"].saves
    assert len(first.item_id) == 32
    assert [save.save_id for save in sent] == [first.item_id, "mine"]
    assert (second.code, sent[1].board_title) == ("unchanged", "Bread")
    assert (taken.item_id, taken.code) == ("mine", "unknown")


def test_candidates_resolve_indexes(client: Client, services: Recorder) -> None:
    """Pins, query pins and groups by id; a source that was late keeps its reason."""
    answer = candidate_pb.RetrieveCandidatesResponse(
        pin_ids=["p1", "p2"], duplicate_groups=[0, 7], catalogue_generation="g"
    )
    answer.lists.add(
        source="pixie", status=candidate_pb.SOURCE_STATUS_OK, pin_indexes=[1, 0], scores=[2, 1],
        query_indexes=[0, -1], duration_us=42,
    )  # fmt: skip
    answer.lists.add(source="ann", status=candidate_pb.SOURCE_STATUS_LATE, reason="slow")
    answer.queried_pins.add(pin_id="q", weight=2, is_medoid=True, inclusion_probability=0.5)
    services.answers["candidate.RetrieveCandidates"] = answer

    found = client.candidates(
        CandidateQuestion(
            query_pins=[QueryPin("q", 2.0, "save", MOMENT)],
            medoid_choice="all",
            query_merge="best-score",
            sources={"pixie": 10, "ann": 0},
            filter=PinFilter('language = "ja"', age_max=timedelta(days=7), is_local_only=True),
        )
    )

    sent = services.requests["candidate.RetrieveCandidates"]
    assert sent.medoid_choice == candidate_pb.MEDOID_CHOICE_ALL
    assert sent.query_merge == candidate_pb.QUERY_MERGE_BEST_SCORE
    assert sent.query_pins[0].action_time.ToDatetime(tzinfo=UTC) == MOMENT
    assert sent.filter.age_max.ToTimedelta() == timedelta(days=7)
    assert not sent.filter.HasField("age_min")
    pixie, ann = found.lists
    assert (pixie.pin_ids, pixie.query_pin_ids) == (("p2", "p1"), ("q", ""))
    assert (ann.status, ann.reason, ann.pin_ids) == ("late", "slow", ())
    assert found.duplicate_groups == {"p2": 7}
    with pytest.raises(InvalidRequest, match="sampled, all"):
        client.candidates(CandidateQuestion(medoid_choice="some"))


def test_search_and_boards(client: Client, services: Recorder) -> None:
    """Best first, as they came; no filter is sent where none is meant."""
    services.answers["candidate.SearchPins"] = candidate_pb.SearchPinsResponse(
        pins=[candidate_pb.FoundPin(pin_id="p1", score=2, title="Cake")], generation="g"
    )
    services.answers["candidate.RetrieveBoards"] = candidate_pb.RetrieveBoardsResponse(
        boards=[candidate_pb.Board(board_id="b1", score=0.5, pin_count=3, pin_ids=["p1"])]
    )

    found = client.search("lemon cake", language="en")
    boards = client.boards([QueryPin("p1")], excluded_board_ids=["mine"]).boards

    assert (found.pins[0].name, str(found).split()) == ("Cake", ["2.000", "Cake"])
    assert not services.requests["candidate.SearchPins"].HasField("filter")
    assert (boards[0].name, boards[0].pin_ids) == ("b1", ("p1",))


def test_rules_and_context_reach_ranking(client: Client, services: Recorder) -> None:
    """What is not said stays unset, so that the scenario decides."""
    answer = ranking_pb.RecommendPinsResponse(list_id="l", is_randomised=True)
    answer.next_page_token = "t"  # noqa: S105  no secret
    services.answers["ranking.RecommendPins"] = answer
    rules = Rules(
        scenario="home",
        diversity=0.0,
        rotation_time=timedelta(hours=1),
        filter=PinFilter(name="shop", parameters={"market": "jp"}, excluded_owner_ids=["x"]),
        experiment_arms={"e": "a"},
    )

    found = client.recommend(
        "ana", rules=rules, context=Context("search", queries=["cake"]), explain=True
    )
    sent = services.requests["ranking.RecommendPins"]
    client.recommend("ana")
    plain = services.requests["ranking.RecommendPins"]

    assert (sent.scenario, sent.filter_name, sent.explain) == ("home", "shop", True)
    assert sent.HasField("diversity")
    assert not sent.HasField("rotation_rate")
    assert sent.context.origin == ranking_pb.ORIGIN_SEARCH
    assert (dict(sent.filter_parameters), list(sent.excluded_owner_ids)) == (
        {"market": "jp"},
        ["x"],
    )
    assert (found.next_page_token, found.is_randomised) == ("t", True)
    assert not plain.HasField("context")
    assert not plain.HasField("diversity")


def test_many_users_are_asked_for_some_at_a_time(client: Client, services: Recorder) -> None:
    """30 users in two calls; who has no answer comes with the error."""
    result = ranking_pb.RecommendPinsResult
    full = result(answer=ranking_pb.RecommendPinsResponse(list_id="l"))
    failed = result(error=ranking_pb.RequestError(code="NOT_FOUND", reason="NO_SUCH", message="no"))
    services.answers["ranking.BatchRecommendPins"] = ranking_pb.BatchRecommendPinsResponse(
        results=[full] * 24 + [failed]
    )
    found = client.recommend_many((f"u{n}" for n in range(30)), limit=3, rules=Rules(scenario="s"))

    first = [next(found) for _ in range(25)]
    sent = services.requests["ranking.BatchRecommendPins"]
    services.answers["ranking.BatchRecommendPins"] = ranking_pb.BatchRecommendPinsResponse(
        results=[full] * 5
    )
    rest = list(found)

    assert [user for user, _ in (*first, *rest)] == [f"u{n}" for n in range(30)]
    assert {(one.limit, one.scenario) for one in sent.requests} == {(3, "s")}
    error = first[-1][1]
    assert isinstance(error, NotFound)
    assert (error.message, error.reason) == ("no", "NO_SUCH")
    assert len(services.requests["ranking.BatchRecommendPins"].requests) == 5


def test_explanation_comes_whole(client: Client, services: Recorder) -> None:
    """Features, Memboost, rules; `""` where the pin is in the answer."""
    pin = ranking_pb.RankedPin(pin_id="p1", score=0.5)
    pin.explanation.model_score = 0.25
    pin.explanation.contributions.add(feature="age", value=1, contribution=-0.5)
    pin.explanation.memboost.impression_count = 9
    pin.explanation.rules.add(rule="owner_cap", position_before=1, position_after=4)
    services.answers["ranking.ExplainPin"] = ranking_pb.ExplainPinResponse(
        pin=pin, absence=ranking_pb.ABSENCE_BEYOND_LIMIT, detail="place 40 of 25"
    )

    found = client.explain("p1", user_id="ana", query_pin_id="q")

    sent = services.requests["ranking.ExplainPin"].request
    assert sent.surface == ranking_pb.SURFACE_RELATED_PINS
    assert found.absence == "beyond_limit"
    explanation = found.pin.explanation
    assert explanation is not None
    assert explanation.contributions[0].contribution == -0.5
    assert explanation.memboost is not None
    assert explanation.memboost.impression_count == 9
    assert explanation.rules[0].position_after == 4


def test_memboost_impressions_and_experiments(client: Client, services: Recorder) -> None:
    """Counters with their actions, counts, intervals."""
    counter = ranking_pb.MemboostCounter(platform="ios", position=2, action_counts={"save": 3})
    services.answers["ranking.GetMemboost"] = ranking_pb.GetMemboostResponse(counters=[counter])
    services.answers["ranking.ResetMemboost"] = ranking_pb.ResetMemboostResponse(
        pair_count=4, reset_id="r"
    )
    services.answers["ranking.RecordImpressions"] = ranking_pb.RecordImpressionsResponse(
        recorded_count=1
    )
    result = ranking_pb.ArmResult(arm="a", volume=ranking_pb.Estimate(value=2, low=1, high=3))
    services.answers["ranking.GetExperiment"] = ranking_pb.GetExperimentResponse(
        experiment="e", shares={"a": 0.5}, results=[result]
    )

    assert client.memboost("q", "p1").counters[0].action_counts == {"save": 3}
    assert client.reset_memboost(begin_time=MOMENT).pair_count == 4
    reset = services.requests["ranking.ResetMemboost"]
    assert (reset.HasField("begin_time"), reset.HasField("end_time")) == (True, False)
    assert client.record_impressions("l", [ShownPin("p1", 3)], impression_time=MOMENT) == 1
    assert services.requests["ranking.RecordImpressions"].pins[0].position == 3
    assert client.experiment("e").results[0].volume.high == 3


def test_users_are_described_merged_and_adjusted(client: Client, services: Recorder) -> None:
    """Words become enumerations; a word that is none is refused before it is sent."""
    services.answers["profile.UpdateUser"] = profile_pb.UpdateUserResponse()
    services.answers["profile.AdjustCluster"] = profile_pb.AdjustClusterResponse()
    services.answers["profile.MergeUsers"] = profile_pb.MergeUsersResponse(action_count=7)

    client.update_user("ana", language="ja")
    client.adjust_interest("ana", "p1", "mute")

    assert services.requests["profile.UpdateUser"].attributes.language == "ja"
    adjusted = services.requests["profile.AdjustCluster"].adjustment
    assert adjusted == profile_pb.CLUSTER_ADJUSTMENT_MUTE
    assert client.merge_users("visitor", "ana").action_count == 7
    with pytest.raises(InvalidRequest, match="mute, boost, forget"):
        client.adjust_interest("ana", "p1", "shout")


def test_erasure_asks_all_three_and_names_who_did_not_answer(
    client: Client, services: Recorder
) -> None:
    """ranking_service has no such verb here: its line says not reached, and nothing is erased."""
    erased = profile_pb.StoreErasure(store="profiles", state=profile_pb.ERASURE_STATE_ERASED)
    services.answers["profile.EraseUser"] = profile_pb.EraseUserResponse(
        receipt_id="r", stores=[erased]
    )
    services.answers["profile.GetErasure"] = profile_pb.GetErasureResponse(is_erased=True)
    services.answers["candidate.EraseUser"] = candidate_pb.EraseUserResponse(
        stores=[candidate_pb.StoreErasure(store="saves", state=candidate_pb.ERASURE_STATE_HIDDEN)]
    )
    services.answers["candidate.GetErasure"] = candidate_pb.GetErasureResponse(is_erased=True)

    receipt = client.erase("ana")
    check = client.erasure("ana")

    assert [(store.store, store.state) for store in receipt.stores] == [
        ("profiles", "erased"),
        ("saves", "hidden"),
        ("ranking_service", "not_reached"),
    ]
    assert not check.is_erased
    services.answers["ranking.GetErasure"] = ranking_pb.GetErasureResponse(is_erased=True)
    assert client.erasure("ana").is_erased


def test_erasure_that_profile_service_refuses_is_an_error(client: Client) -> None:
    """Nothing was erased, so there is no receipt."""
    with pytest.raises(CorkboardError):
        client.erase("ana")
