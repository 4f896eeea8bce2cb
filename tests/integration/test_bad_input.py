"""Malformed requests over the wire: refused with field and reason, never UNKNOWN, never a trace."""

import math
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb2
from corkboard.candidate.v1 import candidate_service_pb2_grpc as candidate_grpc
from corkboard.profile.v1 import profile_service_pb2 as profile_pb2
from corkboard.profile.v1 import profile_service_pb2_grpc as profile_grpc
from corkboard.ranking.v1 import ranking_service_pb2 as ranking_pb2
from corkboard.ranking.v1 import ranking_service_pb2_grpc as ranking_grpc
from corkboard.stack import Stack
from tests.integration.world import AS_OF

LONG = "x" * 129
HOUR = 3600


class Stubs:
    """Plain stubs of the shared stack: what a client in any language has."""

    def __init__(self, stack: Stack) -> None:
        self.channels = [
            grpc.insecure_channel(stack.targets[name])
            for name in ("profile_service", "candidate_service", "ranking_service")
        ]
        self.profile = profile_grpc.ProfileServiceStub(self.channels[0])
        self.candidate = candidate_grpc.CandidateServiceStub(self.channels[1])
        self.ranking = ranking_grpc.RankingServiceStub(self.channels[2])


@pytest.fixture(scope="module")
def stubs(stack: Stack) -> Iterator[Stubs]:
    """Closed at the end of the module."""
    stubs = Stubs(stack)
    yield stubs
    for channel in stubs.channels:
        channel.close()


def action(**values: Any) -> profile_pb2.Action:
    """A good action with some fields replaced."""
    fields: dict[str, Any] = {
        "action_id": "a1",
        "user_id": "wire",
        "pin_id": "cooking-1",
        "action_type": profile_pb2.ACTION_TYPE_SAVE,
    }
    return profile_pb2.Action(**{**fields, **values})


def action_at(seconds_from_now: float) -> profile_pb2.Action:
    """A good action at another time."""
    moved = action()
    moved.action_time.FromNanoseconds(round((AS_OF.timestamp() + seconds_from_now) * 1e9))
    return moved


def record(*actions: profile_pb2.Action) -> profile_pb2.RecordActionsRequest:
    """A request with these actions."""
    return profile_pb2.RecordActionsRequest(actions=actions)


def query(weight: float, pin_id: str = "cooking-1") -> candidate_pb2.RetrieveCandidatesRequest:
    """A retrieval with one query pin."""
    pins = [candidate_pb2.QueryPin(pin_id=pin_id, weight=weight)]
    return candidate_pb2.RetrieveCandidatesRequest(query_pins=pins)


RECORD = "profile.RecordActions"
RECOMMEND = "ranking.RecommendPins"
CASES = [
    ("id empty", RECORD, record(action(user_id="")), "actions[0].user_id"),
    ("id too long", RECORD, record(action(), action(pin_id=LONG)), "actions[1].pin_id"),
    ("id with newline", RECORD, record(action(action_id="a\nb")), "actions[0].action_id"),
    ("no type", RECORD, record(action(action_type=0)), "actions[0].action_type"),
    ("unknown type", RECORD, record(action(action_type=99)), "actions[0].action_type"),
    ("NaN strength", RECORD, record(action(strength=math.nan)), "actions[0].strength"),
    ("infinite strength", RECORD, record(action(strength=math.inf)), "actions[0].strength"),
    ("strength over 1", RECORD, record(action(strength=1.5)), "actions[0].strength"),
    ("time in the future", RECORD, record(action_at(HOUR)), "actions[0].action_time"),
    (
        "time before 1970",
        RECORD,
        record(action_at(-60 * 365 * 24 * HOUR)),
        "actions[0].action_time",
    ),
    ("empty batch", RECORD, record(), "actions"),
    ("10,001 items", RECORD, record(*[action()] * 10_001), "actions"),
    ("user empty", "profile.GetProfile", profile_pb2.GetProfileRequest(), "user_id"),
    (
        "user too long",
        "profile.GetProfile",
        profile_pb2.GetProfileRequest(user_id=LONG),
        "user_id",
    ),
    (
        "clusters over the ceiling",
        "profile.GetProfile",
        profile_pb2.GetProfileRequest(user_id="u", cluster_count_max=1001),
        "cluster_count_max",
    ),
    (
        "no users",
        "profile.BatchGetProfiles",
        profile_pb2.BatchGetProfilesRequest(),
        "user_ids",
    ),
    (
        "an empty user among others",
        "profile.BatchGetProfiles",
        profile_pb2.BatchGetProfilesRequest(user_ids=["a", ""]),
        "user_ids[1]",
    ),
    (
        "actions over the ceiling",
        "profile.ListActions",
        profile_pb2.ListActionsRequest(user_id="u", limit=10_001),
        "limit",
    ),
    (
        "101 declared pins",
        "profile.DeclareInterests",
        profile_pb2.DeclareInterestsRequest(user_id="u", pin_ids=[f"p{n}" for n in range(101)]),
        "pin_ids",
    ),
    (
        "declared twice",
        "profile.DeclareInterests",
        profile_pb2.DeclareInterestsRequest(user_id="u", pin_ids=["p", "p"]),
        "pin_ids",
    ),
    (
        "no requests",
        "ranking.BatchRecommendPins",
        ranking_pb2.BatchRecommendPinsRequest(),
        "requests",
    ),
    (
        "one of many for nobody",
        "ranking.BatchRecommendPins",
        ranking_pb2.BatchRecommendPinsRequest(requests=[{"user_id": "a"}, {}]),
        "requests[1]",
    ),
    (
        "2,600 pins together",
        "ranking.BatchRecommendPins",
        ranking_pb2.BatchRecommendPinsRequest(requests=[{"user_id": "a", "limit": 26}] * 100),
        "requests",
    ),
    ("nobody to erase", "profile.EraseUser", profile_pb2.EraseUserRequest(), "user_id"),
    (
        "limit over the ceiling",
        RECOMMEND,
        ranking_pb2.RecommendPinsRequest(user_id="u", limit=501),
        "limit",
    ),
    (
        "recommend to a name too long",
        RECOMMEND,
        ranking_pb2.RecommendPinsRequest(user_id=LONG),
        "user_id",
    ),
    (
        "unknown surface",
        RECOMMEND,
        ranking_pb2.RecommendPinsRequest(user_id="u", surface=9),  # type: ignore[arg-type]
        "surface",
    ),
    (
        "a filter's parameter without a filter",
        RECOMMEND,
        ranking_pb2.RecommendPinsRequest(user_id="u", filter_parameters={"most": "5"}),
        "filter.parameters",
    ),
    (
        "an excluded id empty",
        RECOMMEND,
        ranking_pb2.RecommendPinsRequest(user_id="u", excluded_pin_ids=["a", ""]),
        "excluded_pin_ids[1]",
    ),
    ("nothing to rank", "ranking.RankPins", ranking_pb2.RankPinsRequest(), "pin_ids"),
    (
        "1,001 to rank",
        "ranking.RankPins",
        ranking_pb2.RankPinsRequest(pin_ids=[f"p{n}" for n in range(1001)]),
        "pin_ids",
    ),
    ("no weight", "candidate.RetrieveCandidates", query(0.0), "query_pins[0].weight"),
    ("NaN weight", "candidate.RetrieveCandidates", query(math.nan), "query_pins[0].weight"),
    ("infinite weight", "candidate.RetrieveCandidates", query(math.inf), "query_pins[0].weight"),
    ("empty query", "candidate.RetrieveCandidates", query(1.0, ""), "query_pins[0].pin_id"),
    ("no pins", "candidate.GetPins", candidate_pb2.GetPinsRequest(), "pin_ids"),
    (
        "10,001 pins",
        "candidate.GetPins",
        candidate_pb2.GetPinsRequest(pin_ids=["p"] * 10_001),
        "pin_ids",
    ),
]


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_bad_request_is_refused_with_field_and_reason(
    stubs: Stubs,
    method: str,
    request_: Any,
    field: str,
) -> None:
    """INVALID_ARGUMENT, a machine-readable violation of the right field, and no trace of code."""
    service, name = method.split(".")

    with pytest.raises(grpc.RpcError) as raised:
        getattr(getattr(stubs, service), name)(request_, timeout=10)

    error: Any = raised.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    violations = violations_of(error)
    assert field in [violation.field for violation in violations]
    assert all(violation.description for violation in violations)
    assert "Traceback" not in error.details()
    assert ".py" not in error.details()


def test_neither_user_nor_query_pin_is_refused(stubs: Stubs) -> None:
    """A request about nobody and nothing says so."""
    with pytest.raises(grpc.RpcError) as raised:
        stubs.ranking.RecommendPins(ranking_pb2.RecommendPinsRequest(), timeout=10)

    error: Any = raised.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "user_id or query_pin_id" in error.details()


def test_unknown_query_pin_is_not_found_by_name(stubs: Stubs) -> None:
    """NOT_FOUND names the pin."""
    request = ranking_pb2.RecommendPinsRequest(query_pin_id="ghost-7")

    with pytest.raises(grpc.RpcError) as raised:
        stubs.ranking.RecommendPins(request, timeout=10)

    error: Any = raised.value
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "ghost-7" in error.details()


def test_one_bad_action_refuses_the_whole_batch(stubs: Stubs) -> None:
    """By default all or nothing: the good one is not recorded either."""
    good = action(action_id="all-or-nothing", user_id="wire-whole")

    with pytest.raises(grpc.RpcError):
        stubs.profile.RecordActions(record(good, action(pin_id="")), timeout=10)

    listed = stubs.profile.ListActions(profile_pb2.ListActionsRequest(user_id="wire-whole"))
    assert list(listed.actions) == []


def test_partial_batch_refuses_only_the_bad_ones(stubs: Stubs) -> None:
    """With allow_partial each bad action has its code, field and reason."""
    request = record(
        action(action_id="part-1", user_id="wire-part"),
        action(action_id="part-2", user_id="wire-part", pin_id=LONG),
        action(action_id="part-3", user_id="wire-part", pin_id="cooking-2"),
    )
    request.allow_partial = True

    response = stubs.profile.RecordActions(request, timeout=10)

    assert list(response.codes) == [
        profile_pb2.ACTION_CODE_RECORDED,
        profile_pb2.ACTION_CODE_INVALID,
        profile_pb2.ACTION_CODE_RECORDED,
    ]
    (rejection,) = response.rejections
    assert rejection.index == 1
    assert "pin_id" in rejection.field
    assert rejection.reason


def test_validate_only_records_nothing(stubs: Stubs) -> None:
    """A dry run answers as the real one would."""
    request = record(action(action_id="dry-1", user_id="wire-dry"))
    request.validate_only = True

    response = stubs.profile.RecordActions(request, timeout=10)

    assert list(response.codes) == [profile_pb2.ACTION_CODE_RECORDED]
    listed = stubs.profile.ListActions(profile_pb2.ListActionsRequest(user_id="wire-dry"))
    assert list(listed.actions) == []


def test_ten_thousand_actions_are_taken_at_once(stubs: Stubs) -> None:
    """The ceiling itself is allowed."""
    actions = [action(action_id=f"many-{n}", user_id="wire-many") for n in range(10_000)]

    response = stubs.profile.RecordActions(record(*actions), timeout=30)

    assert set(response.codes) == {profile_pb2.ACTION_CODE_RECORDED}


def violations_of(error: Any) -> list[error_details_pb2.BadRequest.FieldViolation]:
    """The field violations in a refusal's details."""
    status = rpc_status.from_call(error)
    assert status is not None, "the refusal carries no details"
    found = []
    for detail in status.details:
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            found.extend(bad_request.field_violations)
    return found
