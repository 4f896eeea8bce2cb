"""The whole service on a free port: what a caller sees, good input and bad."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from corkboard.profile.v1 import profile_service_pb2 as pb
from tests.profile_service.worlds import NOW, message, publish_pins, rebuild, serving


def refusal(call: Any, request: Any) -> tuple[grpc.StatusCode, list[str], str]:
    """Status, fields at fault and message of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    status = rpc_status.from_call(caught.value)
    fields: list[str] = []
    for detail in status.details if status else ():
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations]
    return caught.value.code(), fields, caught.value.details() or ""


def test_recorded_actions_show_in_the_next_profile(tmp_path: Path) -> None:
    """Alike pins make one interest, before any batch run."""
    publish_pins(tmp_path)
    with serving(tmp_path) as stub:
        answer = stub.RecordActions(
            pb.RecordActionsRequest(
                actions=[message("1", "tea"), message("2", "pot"), message("3", "car")]
            )
        )
        profile = stub.GetProfile(
            pb.GetProfileRequest(user_id="anna", acted_pin_count_max=10)
        ).profile

    assert list(answer.codes) == [pb.ACTION_CODE_RECORDED] * 3
    assert [cluster.action_count for cluster in profile.clusters] == [2, 1]
    assert {cluster.origin for cluster in profile.clusters} == {pb.CLUSTER_ORIGIN_ONLINE}
    assert profile.online_action_count == 3
    assert not profile.is_cold_start
    assert sorted(profile.acted_pin_ids) == ["car", "pot", "tea"]


def test_unknown_user_is_a_cold_start(tmp_path: Path) -> None:
    """Not an error: an empty profile that says so."""
    with serving(tmp_path) as stub:
        profile = stub.GetProfile(pb.GetProfileRequest(user_id="nobody")).profile

    assert profile.is_cold_start
    assert list(profile.clusters) == []
    assert profile.generation == ""


def test_duplicates_get_their_code_and_count_once(tmp_path: Path) -> None:
    """Within a call, in a repeated call, and with another content."""
    with serving(tmp_path) as stub:
        request = pb.RecordActionsRequest(actions=[message("1"), message("1", "pot"), message("2")])
        first = list(stub.RecordActions(request).codes)
        second = list(stub.RecordActions(request).codes)
        listed = stub.ListActions(pb.ListActionsRequest(user_id="anna")).actions

    recorded, duplicate = pb.ACTION_CODE_RECORDED, pb.ACTION_CODE_DUPLICATE
    assert first == [recorded, duplicate, recorded]
    assert second == [duplicate] * 3
    assert sorted(found.action_id for found in listed) == ["1", "2"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_id": ""}, "user_id"),
        ({"pin_id": ""}, "pin_id"),
        ({"name": ""}, "action_id"),
        ({"pin_id": "x" * 129}, "pin_id"),
        ({"pin_id": "tab\t"}, "pin_id"),
        ({"action_type": pb.ACTION_TYPE_UNSPECIFIED}, "action_type"),
        ({"action_type": 99}, "action_type"),
        ({"strength": 1.5}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"action_time": {"seconds": round(NOW) + 301}}, "action_time"),
        ({"action_time": {"seconds": -1}}, "action_time"),
    ],
)
def test_one_bad_action_refuses_the_call_and_names_it(
    tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    """INVALID_ARGUMENT with index and field; nothing of the call is recorded."""
    bad = message(**{"name": "bad", **change})
    with serving(tmp_path) as stub:
        code, fields, text = refusal(
            stub.RecordActions, pb.RecordActionsRequest(actions=[message("good"), bad])
        )
        listed = stub.ListActions(pb.ListActionsRequest(user_id="anna")).actions

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert fields == [f"actions[1].{field}"]
    assert f"actions[1].{field}" in text
    assert list(listed) == []


def test_partial_calls_record_what_is_right(tmp_path: Path) -> None:
    """With allow_partial each item has its code, and each refused one its reason."""
    late = message("late", action_time={"seconds": round(NOW) + 3600})
    with serving(tmp_path) as stub:
        answer = stub.RecordActions(
            pb.RecordActionsRequest(
                actions=[message("a"), message("b", user_id=""), late, message("c")],
                allow_partial=True,
            )
        )

    invalid, recorded = pb.ACTION_CODE_INVALID, pb.ACTION_CODE_RECORDED
    assert list(answer.codes) == [recorded, invalid, invalid, recorded]
    assert [(found.index, found.field) for found in answer.rejections] == [
        (1, "user_id"),
        (2, "action_time"),
    ]
    assert "300 seconds" in answer.rejections[1].reason


def test_validate_only_records_nothing(tmp_path: Path) -> None:
    """A rehearsal leaves no trace."""
    with serving(tmp_path) as stub:
        stub.RecordActions(pb.RecordActionsRequest(actions=[message("a")], validate_only=True))
        listed = stub.ListActions(pb.ListActionsRequest(user_id="anna")).actions

    assert list(listed) == []


@pytest.mark.parametrize("count", [0, 10_001])
def test_empty_and_oversized_batches_are_refused(tmp_path: Path, count: int) -> None:
    """1 to 10,000 actions a call."""
    actions = [message(f"{n}") for n in range(count)]
    with serving(tmp_path) as stub:
        code, fields, _ = refusal(stub.RecordActions, pb.RecordActionsRequest(actions=actions))

    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["actions"])


def test_ten_thousand_actions_fit_in_one_call(tmp_path: Path) -> None:
    """The ceiling itself is allowed, with ids of the greatest length."""
    actions = [message(f"{n:0>128}", f"{n:0>128}", user_id="a" * 128) for n in range(10_000)]
    with serving(tmp_path) as stub:
        codes = list(stub.RecordActions(pb.RecordActionsRequest(actions=actions)).codes)

    assert codes == [pb.ACTION_CODE_RECORDED] * 10_000


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetProfile", pb.GetProfileRequest(user_id="a", cluster_count_max=1001)),
        ("GetProfile", pb.GetProfileRequest(user_id="a", acted_pin_count_max=10_001)),
        ("GetProfile", pb.GetProfileRequest(user_id="a", recent_action_count_max=101)),
        ("GetProfile", pb.GetProfileRequest()),
        ("BatchGetProfiles", pb.BatchGetProfilesRequest()),
        ("ListActions", pb.ListActionsRequest(user_id="a", limit=10_001)),
        ("DeclareInterests", pb.DeclareInterestsRequest(user_id="a", pin_ids=["x", "x"])),
        ("EraseUser", pb.EraseUserRequest()),
    ],
)
def test_limits_over_the_ceiling_are_refused(tmp_path: Path, method: str, request_: Any) -> None:
    """Every request says what it takes, and means it."""
    with serving(tmp_path) as stub:
        code, fields, _ = refusal(getattr(stub, method), request_)

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(fields) == 1


def test_batch_answers_in_the_order_asked(tmp_path: Path) -> None:
    """One profile for each user, unknown ones included, and limits hold for each."""
    with serving(tmp_path) as stub:
        stub.RecordActions(
            pb.RecordActionsRequest(
                actions=[message("1", "tea"), message("2", "car"), message("3", user_id="bert")]
            )
        )
        profiles = stub.BatchGetProfiles(
            pb.BatchGetProfilesRequest(user_ids=["bert", "nobody", "anna"], cluster_count_max=1)
        ).profiles

    assert [profile.user_id for profile in profiles] == ["bert", "nobody", "anna"]
    assert [len(profile.clusters) for profile in profiles] == [1, 0, 1]


def test_listed_actions_are_newest_first_and_whole(tmp_path: Path) -> None:
    """All that was recorded is told, and whether there is more."""
    sent = message(
        "1",
        "tea",
        action_time={"seconds": 5, "nanos": 7000},
        board_id="b",
        list_id="l",
        strength=0.5,
    )
    with serving(tmp_path) as stub:
        stub.RecordActions(pb.RecordActionsRequest(actions=[message("2"), sent]))
        one = stub.ListActions(pb.ListActionsRequest(user_id="anna", limit=1))
        both = stub.ListActions(pb.ListActionsRequest(user_id="anna", limit=2))

    assert one.is_truncated
    assert not both.is_truncated
    assert [found.action_id for found in both.actions] == ["2", "1"]
    assert both.actions[1] == sent


def test_declared_interests_make_a_cold_start_useful(tmp_path: Path) -> None:
    """They stand in the profile, which still says that it is a cold start."""
    publish_pins(tmp_path)
    with serving(tmp_path) as stub:
        stub.DeclareInterests(pb.DeclareInterestsRequest(user_id="anna", pin_ids=["tea", "car"]))
        profile = stub.GetProfile(pb.GetProfileRequest(user_id="anna")).profile

    assert profile.is_cold_start
    assert {cluster.origin for cluster in profile.clusters} == {pb.CLUSTER_ORIGIN_DECLARED}
    assert sorted(cluster.medoid_pin_id for cluster in profile.clusters) == ["car", "tea"]


def test_recent_actions_are_those_that_speak_of_taste(tmp_path: Path) -> None:
    """Newest first, as many as asked for; what was hidden, taken back or only seen is left out."""
    seconds = round(NOW)
    sent = [
        message("1", "tea", action_time={"seconds": seconds - 50}),
        message("2", "car", action_time={"seconds": seconds - 40}),
        message(
            "3", "pot", action_type=pb.ACTION_TYPE_CLICK, action_time={"seconds": seconds - 30}
        ),
        message("4", "oak", action_type=pb.ACTION_TYPE_VIEW, action_time={"seconds": seconds - 20}),
        message("5", "car", action_type=pb.ACTION_TYPE_HIDE, action_time={"seconds": seconds - 10}),
    ]
    with serving(tmp_path) as stub:
        stub.RecordActions(pb.RecordActionsRequest(actions=sent))
        request = pb.GetProfileRequest(user_id="anna", recent_action_count_max=5)
        recent = stub.GetProfile(request).profile.recent_actions
        one = pb.BatchGetProfilesRequest(user_ids=["anna", "bert"], recent_action_count_max=1)
        several = stub.BatchGetProfiles(one).profiles
        unasked = stub.GetProfile(pb.GetProfileRequest(user_id="anna")).profile

    assert [(found.pin_id, found.action_type) for found in recent] == [
        ("pot", pb.ACTION_TYPE_CLICK),
        ("tea", pb.ACTION_TYPE_SAVE),
    ]
    assert [found.action_time.seconds for found in recent] == [seconds - 30, seconds - 50]
    assert [[found.pin_id for found in profile.recent_actions] for profile in several] == [
        ["pot"],
        [],
    ]
    assert list(unasked.recent_actions) == []


def test_declared_pins_are_told_in_their_order(tmp_path: Path) -> None:
    """Also those that the catalogue does not know; an empty declaration takes them back."""
    with serving(tmp_path) as stub:
        get = pb.GetProfileRequest(user_id="anna")
        stub.DeclareInterests(
            pb.DeclareInterestsRequest(user_id="anna", pin_ids=["tea", "unheard of", "car"])
        )
        declared = stub.GetProfile(get).profile
        stub.DeclareInterests(pb.DeclareInterestsRequest(user_id="anna"))
        taken_back = stub.GetProfile(get).profile

    assert list(declared.declared_pin_ids) == ["tea", "unheard of", "car"]
    assert list(taken_back.declared_pin_ids) == []


def test_full_map_is_told_with_its_remedy_while_reads_go_on(tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED names the setting; what was acknowledged is still served."""
    with serving(tmp_path, live_map_bytes=1 << 20) as stub:
        recorded = 0
        code, text = None, ""
        while code is None:
            actions = [message(f"{recorded + n}" + "x" * 99, f"{n}") for n in range(100)]
            try:
                stub.RecordActions(pb.RecordActionsRequest(actions=actions))
                recorded += 100
            except grpc.RpcError as fault:
                code, text = fault.code(), fault.details() or ""
        listed = stub.ListActions(pb.ListActionsRequest(user_id="anna", limit=10_000)).actions
        profile = stub.GetProfile(pb.GetProfileRequest(user_id="anna")).profile

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "live_map_bytes" in text
    assert len(listed) == recorded
    assert len(profile.clusters) > 0


def test_attributes_are_told_as_they_were_last_stored(tmp_path: Path) -> None:
    """Replaced whole; a user nobody described has none."""
    get = pb.GetProfileRequest(user_id="anna")
    with serving(tmp_path) as stub:
        before = stub.GetProfile(get).profile
        for words in ({"language": "ja", "country": "JP"}, {"segment": "teens"}):
            known = pb.UserAttributes(**words)
            stub.UpdateUser(pb.UpdateUserRequest(user_id="anna", attributes=known))
        after = stub.GetProfile(get).profile
        code, fields, _ = refusal(stub.UpdateUser, pb.UpdateUserRequest(user_id="anna"))

    assert not before.HasField("attributes")
    assert after.attributes == pb.UserAttributes(segment="teens")
    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["attributes"])


def test_adjustments_reach_the_next_answer(tmp_path: Path) -> None:
    """Mute, take it back, forget: each shows at once."""
    publish_pins(tmp_path)
    get = pb.GetProfileRequest(user_id="anna", recent_action_count_max=9)
    recents = []

    def medoids() -> list[str]:
        profile = stub.GetProfile(get).profile
        recents.append([found.pin_id for found in profile.recent_actions])
        return [found.medoid_pin_id for found in profile.clusters]

    def adjust(kind: str) -> None:
        stub.AdjustCluster(
            pb.AdjustClusterRequest(
                user_id="anna",
                medoid_pin_id="cup",
                adjustment=pb.ClusterAdjustment.Value(f"CLUSTER_ADJUSTMENT_{kind}"),
            )
        )

    with serving(tmp_path) as stub:
        stub.RecordActions(
            pb.RecordActionsRequest(actions=[message("1", "tea"), message("2", "car")])
        )
        seen = [medoids()]
        for kind in ("MUTE", "RESET", "FORGET", "RESET"):
            adjust(kind)
            seen.append(medoids())
        code, fields, _ = refusal(
            stub.AdjustCluster, pb.AdjustClusterRequest(user_id="anna", medoid_pin_id="tea")
        )

    assert [sorted(found) for found in recents] == [sorted(found) for found in seen]
    assert [sorted(found) for found in seen] == [
        ["car", "tea"],
        ["car"],
        ["car", "tea"],
        ["car"],
        ["car"],
    ]
    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["adjustment"])


def test_a_visitor_becomes_a_member(tmp_path: Path) -> None:
    """Batched and live actions, picks and words move; the visitor is then unknown."""
    publish_pins(tmp_path)
    hour_ago = {"seconds": round(NOW) - 3600}
    early = [message("old", "tea", user_id="visitor", action_time=hour_ago)]
    with serving(tmp_path) as stub:
        stub.RecordActions(pb.RecordActionsRequest(actions=early))
    rebuild(tmp_path)
    request = pb.MergeUsersRequest(source_user_id="visitor", target_user_id="member")
    get_member = pb.GetProfileRequest(user_id="member", acted_pin_count_max=9)
    later = [message("new", "pot", user_id="visitor"), message("own", "car", user_id="member")]
    with serving(tmp_path) as stub:
        stub.RecordActions(pb.RecordActionsRequest(actions=later))
        for user, pins in (("visitor", ["tea", "oak"]), ("member", ["oak"])):
            stub.DeclareInterests(pb.DeclareInterestsRequest(user_id=user, pin_ids=pins))
        stub.UpdateUser(
            pb.UpdateUserRequest(user_id="visitor", attributes=pb.UserAttributes(language="ja"))
        )
        first, second = stub.MergeUsers(request), stub.MergeUsers(request)
        member = stub.GetProfile(get_member).profile
        visitor = stub.GetProfile(pb.GetProfileRequest(user_id="visitor")).profile
        again = stub.RecordActions(pb.RecordActionsRequest(actions=early)).codes
    rebuild(tmp_path, as_of=NOW + 10)
    with serving(tmp_path, fixed_time=NOW + 20) as stub:
        rebuilt = stub.GetProfile(get_member).profile
        listed = stub.ListActions(pb.ListActionsRequest(user_id="member")).actions
        erasure = stub.GetErasure(pb.GetErasureRequest(user_id="visitor"))

    assert (first.action_count, first.declared_pin_count) == (2, 1)
    assert (second.action_count, second.declared_pin_count) == (0, 0)
    assert sorted(member.acted_pin_ids) == ["car", "pot", "tea"]
    assert list(member.declared_pin_ids) == ["oak", "tea"]
    assert member.attributes.language == "ja"
    assert visitor.is_cold_start
    assert not visitor.clusters
    assert list(again) == [pb.ACTION_CODE_DUPLICATE]
    assert sorted(rebuilt.acted_pin_ids) == ["car", "pot", "tea"]
    assert sorted(found.action_id for found in listed) == ["new", "old", "own"]
    assert erasure.is_erased


def test_merging_a_user_with_themselves_is_refused(tmp_path: Path) -> None:
    """It would erase them."""
    with serving(tmp_path) as stub:
        code, _, text = refusal(
            stub.MergeUsers, pb.MergeUsersRequest(source_user_id="a", target_user_id="a")
        )

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "differ" in text


def test_an_erasure_can_be_verified(tmp_path: Path) -> None:
    """Hidden until the batch runs again, then erased everywhere; never erased is not erased."""
    publish_pins(tmp_path)
    ask = pb.GetErasureRequest(user_id="anna")
    with serving(tmp_path) as stub:
        stub.RecordActions(
            pb.RecordActionsRequest(
                actions=[message("1", "tea", action_time={"seconds": round(NOW) - 60})]
            )
        )
    rebuild(tmp_path)
    with serving(tmp_path) as stub:
        before = stub.GetErasure(ask)
        receipt = stub.EraseUser(pb.EraseUserRequest(user_id="anna"))
        hidden = stub.GetErasure(ask)
    rebuild(tmp_path, as_of=NOW + 10)
    with serving(tmp_path, fixed_time=NOW + 20) as stub:
        gone = stub.GetErasure(ask)
        stub.RecordActions(pb.RecordActionsRequest(actions=[message("2", "tea")]))
        back = stub.GetErasure(ask)

    states = {found.store: found.state for found in hidden.stores}
    assert not before.is_erased
    assert before.receipt_id == ""
    assert not hidden.is_erased
    assert states["live_actions"] == pb.ERASURE_STATE_ERASED
    assert states["profiles"] == states["event_log"] == pb.ERASURE_STATE_HIDDEN
    assert gone.is_erased
    assert gone.receipt_id == hidden.receipt_id == receipt.receipt_id
    assert gone.erase_time == receipt.erase_time
    assert not back.is_erased
