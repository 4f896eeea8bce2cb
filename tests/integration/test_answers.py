"""What users get from three real servers: recommendations, relatives, cold starts, changes."""

import itertools
from datetime import timedelta

import pytest

from corkboard import Client
from corkboard.answers import Action
from datasets import tiny
from service_runtime.errors import NotFound
from tests.integration.world import AS_OF

PIN_IDS = {f"{interest}-{n}" for interest in tiny.INTERESTS for n in range(1, 11)}
fresh_ids = (f"visitor-{n}" for n in itertools.count())


def interest_of(pin_id: str) -> str:
    """`cooking-3` is about cooking."""
    return pin_id.rsplit("-", 1)[0]


def saved_by(user_id: str) -> set[str]:
    """What somebody of the tiny world saved."""
    return {save.pin_id for save in tiny.load().saves if save.user_id == user_id}


def test_home_feed_is_about_the_users_interests_and_says_why(client: Client) -> None:
    """Most of ana's first ten are of her three interests, each because of a pin that she saved."""
    answer = client.recommend("ana", limit=10, seed=1)

    own = {"cooking", "hiking", "typography"}
    assert not answer.degradations
    assert not answer.is_cold_start
    assert sum(interest_of(pin.pin_id) in own for pin in answer.pins) >= 7
    assert sum(pin.because_pin_id in saved_by("ana") for pin in answer.pins) >= 7
    assert all(pin.sources for pin in answer.pins)


def test_answer_is_ordered_without_repeats_and_within_the_limit(client: Client) -> None:
    """Positions count from 0, no pin comes twice, nothing unknown comes at all."""
    answer = client.recommend("ben", limit=7)

    assert len(answer.pins) == 7
    assert [pin.position for pin in answer.pins] == list(range(7))
    assert len(set(answer.pin_ids)) == 7
    assert set(answer.pin_ids) <= PIN_IDS
    assert all(pin.title for pin in answer.pins)


def test_pins_already_acted_on_are_left_out_unless_asked_for(client: Client) -> None:
    """What ana saved comes back only with include_acted_pins."""
    without = client.recommend("ana", limit=60)
    with_them = client.recommend("ana", limit=60, include_acted_pins=True)

    assert saved_by("ana").isdisjoint(without.pin_ids)
    assert saved_by("ana") & set(with_them.pin_ids)


def test_hidden_pins_never_come_back(client: Client) -> None:
    """Max hid two pins; they are gone whatever is asked for."""
    for include in (False, True):
        answer = client.recommend("max", limit=60, include_acted_pins=include)
        assert {"cooking-1", "pottery-5"}.isdisjoint(answer.pin_ids)


def test_excluded_pins_are_left_out(client: Client) -> None:
    """As the request says."""
    first = client.recommend("ana", limit=5, seed=3).pin_ids

    answer = client.recommend("ana", limit=60, seed=3, excluded_pin_ids=first)

    assert set(first).isdisjoint(answer.pin_ids)


def test_same_seed_gives_the_same_answer(client: Client) -> None:
    """Chance is the seed's alone."""
    answers = [client.recommend("gus", limit=20, seed=11) for _ in range(3)]

    assert len({answer.pin_ids for answer in answers}) == 1
    assert len({answer.list_id for answer in answers}) == 3


def test_related_pins_go_with_the_query_pin(client: Client) -> None:
    """Most relatives of a typography pin are about typography; itself is not among them."""
    answer = client.related("typography-2", limit=6)

    assert "typography-2" not in answer.pin_ids
    assert sum(interest_of(pin_id) == "typography" for pin_id in answer.pin_ids) >= 4
    assert any(pin.because_pin_id == "typography-2" for pin in answer.pins)


def test_related_pins_for_a_user_leave_out_what_they_saved(client: Client) -> None:
    """Chloe saved eight typography pins; she is shown the others."""
    answer = client.related("typography-2", user_id="chloe", limit=20)

    assert saved_by("chloe").isdisjoint(answer.pin_ids)


def test_unknown_query_pin_is_not_found_by_name(client: Client) -> None:
    """The error names the pin."""
    with pytest.raises(NotFound, match="no-such-pin"):
        client.related("no-such-pin")


def test_unknown_user_gets_a_useful_cold_start_marked_so(client: Client) -> None:
    """What is popular, in full number."""
    answer = client.recommend("nobody-ever", limit=20)

    assert answer.is_cold_start
    assert len(answer.pins) == 20
    assert not answer.degradations
    assert {reason.source for pin in answer.pins for reason in pin.sources} == {"popular"}


def test_one_recorded_action_changes_the_next_answer(client: Client) -> None:
    """A stranger saves an aquarium pin and sees aquariums because of it."""
    user_id = next(fresh_ids)
    before = client.recommend(user_id, limit=10, seed=5)

    recorded = client.record(user_id, "aquariums-3", "save", list_id=before.list_id)
    after = client.recommend(user_id, limit=10, seed=5)

    assert recorded.code == "recorded"
    assert before.is_cold_start
    assert not after.is_cold_start
    assert any(pin.because_pin_id == "aquariums-3" for pin in after.pins)
    assert sum(interest_of(pin_id) == "aquariums" for pin_id in after.pin_ids) > sum(
        interest_of(pin_id) == "aquariums" for pin_id in before.pin_ids
    )


def test_recorded_action_is_an_online_cluster_until_the_next_build(client: Client) -> None:
    """Noor's saved dish comes from the batch, today's boots from the log."""
    client.record("noor", "hiking-3", "save")

    profile = client.profile("noor")

    origins = {cluster.medoid_pin_id: cluster.origin for cluster in profile.clusters}
    assert origins["hiking-3"] == "online"
    assert "batch" in origins.values()
    assert profile.online_action_count == 1


def test_hiding_a_pin_takes_it_out_of_the_next_answer(client: Client) -> None:
    """At once, not after the next build."""
    user_id = next(fresh_ids)
    shown = client.recommend(user_id, limit=5, seed=2).pin_ids

    client.record(user_id, shown[0], "hide")

    assert shown[0] not in client.recommend(user_id, limit=60, seed=2).pin_ids


def test_duplicate_action_has_its_code_and_counts_once(client: Client) -> None:
    """Sent three times, there once."""
    user_id = next(fresh_ids)
    action = Action(user_id, "pottery-4", "save", action_id=f"{user_id}-only")

    codes = [client.record_all([action])[0].code for _ in range(3)]

    assert codes == ["recorded", "duplicate", "duplicate"]
    assert len(client.actions(user_id)) == 1
    assert client.profile(user_id).clusters[0].action_count == 1


def test_duplicate_within_one_batch_counts_once(client: Client) -> None:
    """The first of a batch wins."""
    user_id = next(fresh_ids)
    action = Action(user_id, "pottery-4", "save", action_id=f"{user_id}-only")

    codes = [recorded.code for recorded in client.record_all([action, action])]

    assert codes == ["recorded", "duplicate"]
    assert len(client.actions(user_id)) == 1


def test_imported_save_recorded_again_counts_once(client: Client) -> None:
    """The import's id `save:<save id>` is as good as any."""
    save = next(save for save in tiny.load().saves if save.user_id == "hana")
    before = len(client.actions("hana", limit=1000))

    again = Action("hana", save.pin_id, "save", action_id=f"save:{save.save_id}")
    client.record_all([again])

    assert len(client.actions("hana", limit=1000)) == before


def test_declared_interests_shape_the_first_answer(client: Client) -> None:
    """Somebody picks woodworking at sign-up and sees it before having done anything."""
    user_id = next(fresh_ids)

    client.declare(user_id, ["woodworking-1", "woodworking-4"])
    profile = client.profile(user_id)
    answer = client.recommend(user_id, limit=10)

    assert {cluster.origin for cluster in profile.clusters} == {"declared"}
    assert sum(interest_of(pin_id) == "woodworking" for pin_id in answer.pin_ids) >= 4


def test_erased_user_is_a_stranger_and_the_receipt_names_the_stores(client: Client) -> None:
    """Live and imported actions are gone from every answer at once."""
    client.record("emre", "cooking-1", "save")

    receipt = client.erase("emre")

    assert receipt.receipt_id
    assert {"erased", "hidden", "not_reached"} >= {store.state for store in receipt.stores}
    assert any("impression" in store.store for store in receipt.stores)
    assert client.actions("emre") == ()
    assert client.recommend("emre").is_cold_start


def test_erased_user_may_come_back_with_a_clean_slate(client: Client) -> None:
    """What they do afterwards counts, what they did before does not."""
    user_id = next(fresh_ids)
    client.record(user_id, "cooking-1")
    client.erase(user_id)

    later = AS_OF + timedelta(minutes=1)  # the servers' clocks stand still
    client.record_all([Action(user_id, "hiking-1", action_time=later)])

    assert [action.pin_id for action in client.actions(user_id)] == ["hiking-1"]


def test_rank_orders_given_pins_and_names_unknown_ones(client: Client) -> None:
    """A user of typography sees letters before fish."""
    answer = client.rank(["aquariums-1", "ghost", "typography-9"], user_id="chloe")

    assert [pin.pin_id for pin in answer.pins] == ["typography-9", "aquariums-1"]
    assert answer.unknown_pin_ids == ("ghost",)


def test_profile_of_ana_has_her_three_interests(client: Client) -> None:
    """Ward on learned vectors finds what the hand-made world put in."""
    profile = client.profile("ana")

    interests = {interest_of(cluster.medoid_pin_id) for cluster in profile.clusters}
    assert {"cooking", "hiking", "typography"} <= interests
    assert sum(cluster.action_count for cluster in profile.clusters) >= 16
    assert profile.generation
    importances = [cluster.importance for cluster in profile.clusters]
    assert importances == sorted(importances, reverse=True)


def test_user_of_long_ago_is_a_cold_start_whose_pins_stay_out(client: Client) -> None:
    """Olga's actions are outside the window; what she saved is still not shown to her as new."""
    answer = client.recommend("olga", limit=60)

    assert client.profile("olga").clusters == ()
    assert len(answer.pins) >= 25
    assert saved_by("olga").isdisjoint(answer.pin_ids)


def test_every_source_is_ready_and_counts_its_pins(client: Client) -> None:
    """The catalogue knows sixty pins and four sources."""
    catalogue = client.catalogue()

    assert catalogue.pin_count == 60
    assert {source.source for source in catalogue.sources} >= {
        "ann",
        "board_cooccurrence",
        "pixie",
        "popular",
    }
    assert all(source.is_ready for source in catalogue.sources)


def test_hand_tuned_model_serves_before_any_training(client: Client) -> None:
    """It is listed, and named in answers."""
    serving = [model.model for model in client.models() if model.is_serving]

    assert serving == ["hand_tuned"]
    assert client.recommend("ana").model == "hand_tuned"
