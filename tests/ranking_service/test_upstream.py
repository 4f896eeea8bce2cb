"""What goes over the wire to the other services and back; failures are in test_server."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb
from corkboard.profile.v1 import profile_service_pb2 as profile_pb
from ranking_service.asking import CandidateAsk
from ranking_service.config import RankingConfig
from ranking_service.pin_keys import key_of
from ranking_service.profile import RecentActions
from ranking_service.query import PinFilter, Viewer
from ranking_service.upstream import (
    Stubs,
    Upstream,
    decode_candidates,
    decode_profile,
    encode_ask,
)
from service_runtime.telemetry import Metrics
from service_runtime.validation import violations
from tests.ranking_service.worlds import NOW, make_world, pin_id

ASK = CandidateAsk(
    user_id="user",
    query_pin_ids=("q",),
    medoid_ids=("a", "b", "c"),
    importances=np.array([1e6, 3.0, 0.0], np.float32),
    medoid_sample_count=3,
    viewer=Viewer("ja", "JP"),
    excluded_pin_ids=("x", "y"),
    seed=2**64 - 1,
)


def test_an_ask_is_a_valid_request() -> None:
    """Nothing that ranking asks breaks a rule of candidate_service, faded interests included."""
    request = encode_ask(ASK)

    assert violations(request) == []
    assert [pin.pin_id for pin in request.query_pins] == ["q"]
    weights = [pin.weight for pin in request.medoids]
    assert weights == pytest.approx([1.0, 3e-6, 1e-9])
    assert (request.viewer.language, request.seed) == ("ja", 2**64 - 1)
    assert list(request.excluded_pin_ids) == ["x", "y"]


def test_an_ask_without_interests_is_valid() -> None:
    """Nobody's home feed starts from nothing."""
    nothing = replace(ASK, query_pin_ids=(), medoid_ids=(), importances=np.empty(0, np.float32))

    assert violations(encode_ask(nothing)) == []


def test_what_the_user_does_is_sent_along() -> None:
    """Recent actions with kind and time, session, declared interests, words, filter, owners."""
    recent = RecentActions(("r", "m"), ("save", ""), np.array([NOW, NOW]))
    request = encode_ask(
        replace(
            ASK,
            recent=recent,
            session_pin_ids=tuple(f"s{place}" for place in range(150)),
            declared_pin_ids=("d",),
            query_text="red shoes",
            excluded_owner_ids=("user", *(f"o{place}" for place in range(1500))),
            filter=PinFilter("language = $l", "safe", (("l", "ja"),)),
            quotas=(("pixie", 50), ("ann", 0)),
        )
    )

    assert violations(request) == []
    named, saved, medoid = request.query_pins
    assert (named.pin_id, named.action_type, named.HasField("action_time")) == ("q", "", False)
    assert (saved.pin_id, saved.action_type) == ("r", "save")
    assert saved.action_time.ToNanoseconds() == round(NOW * 1e9)
    assert not medoid.HasField("action_time")
    assert len(request.session_pin_ids) == 100
    assert list(request.declared_pin_ids) == ["d"]
    assert request.query_text == "red shoes"
    assert request.filter.excluded_owner_ids[0] == "user"
    assert (request.filter.name, dict(request.filter.parameters)) == ("safe", {"l": "ja"})
    assert [(quota.source, quota.candidate_count) for quota in request.sources] == [
        ("pixie", 50),
        ("ann", 0),
    ]


def test_recent_actions_and_attributes_are_decoded() -> None:
    """Kinds are words, newest first as told."""
    message = profile_pb.Profile(declared_pin_ids=["d1", "d2"])
    message.attributes.language = "ja"
    for pin, kind in (("a", profile_pb.ACTION_TYPE_SAVE), ("b", profile_pb.ACTION_TYPE_LONG_CLICK)):
        message.recent_actions.add(pin_id=pin, action_type=kind).action_time.FromSeconds(int(NOW))

    profile = decode_profile(message)

    assert profile.recent_actions.pin_ids == ("a", "b")
    assert profile.recent_actions.kinds == ("save", "long_click")
    assert profile.recent_actions.times.tolist() == [NOW, NOW]
    assert profile.declared_pin_ids == ("d1", "d2")
    assert (profile.language, profile.country) == ("ja", "")


def test_showable_asks_for_no_texts() -> None:
    """A hundred pins with long descriptions need not fit into an answer for one flag of each."""
    asked: list[candidate_pb.GetPinsRequest] = []

    def get_pins(request: candidate_pb.GetPinsRequest, **_: object) -> candidate_pb.GetPinsResponse:
        asked.append(request)
        answer = candidate_pb.GetPinsResponse()
        answer.pins.add(pin_id="a", is_known=True)
        answer.pins.add(pin_id="b", is_known=True, is_hidden=True)
        answer.pins.add(pin_id="c")
        return answer

    candidate: Any = SimpleNamespace(GetPins=get_pins)
    stubs = Stubs(profile=candidate, candidate=candidate)
    upstream = Upstream(stubs, RankingConfig(), Metrics("ranking_service"))

    assert upstream.showable(("a", "b", "c")) == {"a"}
    assert [list(request.read_mask.paths) for request in asked] == [["is_hidden"]]
    assert violations(asked[0]) == []


def test_young_pins_get_rows_behind_the_catalogue(tmp_path: Path) -> None:
    """What our catalogue lacks is known for this request, with what was told of it."""
    world = make_world(tmp_path, 10)
    message = candidate_pb.RetrieveCandidatesResponse(
        pin_ids=["young", pin_id(4), "strange", "other"], duplicate_groups=[7, 0, 0, 7]
    )
    vector = [2.0] + [0.0] * 15
    message.live_pins.add(
        pin_id="young", language="ja", topics=["art", "new"], owner_id="o", vector=vector
    ).creation_time.FromSeconds(int(NOW))
    message.live_pins.add(pin_id="other", vector=[1.0])
    message.live_pins.add(pin_id=pin_id(4), language="xx")
    message.lists.add(
        source="fresh",
        status=candidate_pb.SOURCE_STATUS_OK,
        pin_indexes=[0, 1, 2, 3],
        scores=[4, 3, 2, 1],
        query_indexes=[-1] * 4,
    )

    candidates = decode_candidates(message, world)
    live = candidates.live
    seen = replace(world, live=live)

    assert candidates.lists[0].rows.tolist() == [10, 4, -1, 11]
    assert live is not None
    assert live.ids == ("young", "other")
    assert live.vectors[0, 0] == 1.0
    assert not live.vectors[1].any(), "a vector of another length counts as none"
    assert live.language_codes.tolist() == [world.catalogue.languages.code("ja"), -1]
    assert live.topic_codes.tolist() == [world.catalogue.topic_code_by_word["art"]]
    assert live.topic_offsets.tolist() == [0, 1, 1]
    assert live.creation_times[0] == NOW
    assert np.isnan(live.creation_times[1])
    assert seen.ids(np.array([11, 4, 10], np.int32)) == ["other", pin_id(4), "young"]
    assert seen.owner_keys(np.array([10, 4], np.int32)).tolist() == [key_of("o"), 0]
    assert candidates.groups_of(np.array([4, 11, 10], np.int32)).tolist() == [0, 7, 7]
    assert candidates.without_live().lists[0].rows.tolist() == [-1, 4, -1, -1]


def test_a_profile_is_decoded_with_what_is_new_in_it() -> None:
    """Only clusters from after the batch run carry the time of their newest action."""
    message = profile_pb.Profile(user_id="user", acted_pin_ids=["a"], hidden_pin_ids=["h"])
    for origin in (profile_pb.CLUSTER_ORIGIN_BATCH, profile_pb.CLUSTER_ORIGIN_ONLINE):
        cluster = message.clusters.add(
            medoid_pin_id=f"m{origin}", importance=0.5, action_count=2, origin=origin
        )
        cluster.newest_action_time.FromNanoseconds(round(NOW * 1e9))
    message.batch_time.FromNanoseconds(round((NOW - 60) * 1e9))

    profile = decode_profile(message)

    assert profile.medoid_ids == ("m1", "m2")
    assert profile.online_times.tolist() == [0.0, NOW]
    assert (profile.acted_pin_ids, profile.hidden_pin_ids) == (("a",), ("h",))
    assert profile.batch_time == NOW - 60
    assert decode_profile(profile_pb.Profile()).batch_time == 0


def test_candidates_are_decoded_to_rows(tmp_path: Path) -> None:
    """Indexes become rows, strange pins become -1, late sources become gaps."""
    world = make_world(tmp_path, 10)
    message = candidate_pb.RetrieveCandidatesResponse(pin_ids=[pin_id(4), "strange", pin_id(2)])
    message.lists.add(
        source="pixie",
        status=candidate_pb.SOURCE_STATUS_OK,
        pin_indexes=[2, 1, 0],
        scores=[3, 2, 1],
        query_indexes=[0, -1, 1],
        generation="g1",
    )
    message.lists.add(source="ann", status=candidate_pb.SOURCE_STATUS_LATE, reason="took too long")
    message.queried_pins.add(pin_id=pin_id(7), is_medoid=True, inclusion_probability=0.5)
    message.queried_pins.add(pin_id="gone", is_medoid=False, inclusion_probability=1.0)

    candidates = decode_candidates(message, world)

    (proposals,) = candidates.lists
    assert proposals.rows.tolist() == [2, -1, 4]
    assert proposals.query_indexes.tolist() == [0, -1, 1]
    assert candidates.queried_rows.tolist() == [7, -1]
    assert candidates.is_medoid.tolist() == [True, False]
    assert candidates.missing == (("source:ann", "took too long"),)
    assert candidates.generations == (("source:pixie", "g1"),)


def test_an_empty_answer_is_decoded(tmp_path: Path) -> None:
    """No list, no pin, no harm."""
    candidates = decode_candidates(
        candidate_pb.RetrieveCandidatesResponse(), make_world(tmp_path, 3)
    )

    assert candidates.lists == ()
    assert candidates.queried_rows.size == 0
