"""Last night and today as one: nothing counted twice, nothing lost, hides reach across."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profile_service.actions import Action, ActionColumns, ActionType, columns_of, evidence
from profile_service.codec import Declared
from profile_service.online import BatchPart, cluster_columns, fold
from profile_service.profile import ClusterOrigin, Clusters
from tests.profile_service.worlds import AXES, DAY, NOW, RULES, Space, action

SPACE = Space()
BATCH_TIME = NOW - 10 * DAY


def batch_of(*actions: Action) -> BatchPart:
    """The batch part that the job would make of these actions ten days ago."""
    history = columns_of(actions)
    clusters = cluster_columns(history, evidence(history), SPACE, RULES, now=BATCH_TIME)
    return BatchPart(clusters, round(BATCH_TIME * 1e6), lambda: history)


def online_of(*actions: Action) -> ActionColumns:
    """Live actions after the batch run."""
    return columns_of(actions, range(1, len(actions) + 1))


def folded(batch: BatchPart | None, *actions: Action) -> tuple[Clusters, list[ClusterOrigin]]:
    """Both parts together."""
    clusters, origins = fold(batch, online_of(*actions), None, SPACE, RULES, now=NOW)
    return clusters, [ClusterOrigin(origin) for origin in origins.tolist()]


def test_parts_stand_side_by_side_most_important_first() -> None:
    """Today's clusters are appended to last night's, each with its origin."""
    batch = batch_of(action("1", "tea", age_days=12), action("2", "pot", age_days=11))

    clusters, origins = folded(batch, action("3", "car", age_days=1))

    assert list(clusters.medoid_pin_ids)[1] == "car"
    assert clusters.medoid_pin_ids[0] in {"tea", "pot"}
    assert origins == [ClusterOrigin.BATCH, ClusterOrigin.ONLINE]
    assert clusters.action_counts.tolist() == [2, 1]


def test_batch_importance_decays_to_the_moment_of_the_answer() -> None:
    """Scaling what was stored equals computing it afresh now."""
    made = [action("1", "tea", age_days=12), action("2", "pot", age_days=40)]

    clusters, _ = folded(batch_of(*made))

    expected = math.exp(-0.12) + math.exp(-0.40)
    assert clusters.importances.tolist() == pytest.approx([expected], rel=1e-12)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(AXES)), st.floats(0.1, 60), st.booleans()),
        min_size=1,
        max_size=25,
    )
)
def test_total_importance_is_that_of_all_actions(rows: list[tuple[str, float, bool]]) -> None:
    """However actions are split between the parts, each counts exactly once."""
    made = [action(f"{n}", pin, age_days=age) for n, (pin, age, _) in enumerate(rows)]
    old = [one for one in made if one.time_us < BATCH_TIME * 1e6]
    new = [one for one in made if one.time_us >= BATCH_TIME * 1e6]

    clusters, _ = folded(batch_of(*old), *new)

    expected = sum(math.exp(-0.01 * age) for _, age, _ in rows)
    # 1e-7: times are stored in whole microseconds.
    assert clusters.importances.sum() == pytest.approx(expected, rel=1e-7)
    assert clusters.action_counts.sum() == len(rows)


@pytest.mark.parametrize("kind", [ActionType.HIDE, ActionType.REPORT, ActionType.UNSAVE])
def test_hide_today_reaches_into_last_night(kind: ActionType) -> None:
    """The hidden pin's actions leave the batch cluster; its other pins stay."""
    batch = batch_of(
        action("1", "tea", age_days=12),
        action("2", "pot", age_days=12),
        action("3", "car", age_days=12),
    )

    clusters, _ = folded(batch, action("4", "tea", kind=kind))

    assert sorted(clusters.medoid_pin_ids) == ["car", "pot"]
    assert clusters.action_counts.tolist() == [1, 1]


def test_hide_of_a_pin_that_was_never_acted_on_changes_nothing() -> None:
    """Stored clusters are used as they are; the history is not even read."""
    clusters = batch_of(action("1", "tea", age_days=12)).clusters

    def unread() -> ActionColumns:
        raise AssertionError

    batch = BatchPart(clusters, round(BATCH_TIME * 1e6), unread)

    assert folded(batch)[0].action_counts.tolist() == [1]


def test_late_arrival_is_voided_by_an_older_hide() -> None:
    """A save that arrives today but happened before last week's hide does not count."""
    batch = batch_of(action("1", "tea", kind=ActionType.HIDE, age_days=12))

    clusters, _ = folded(batch, action("2", "tea", age_days=20), action("3", "car", age_days=20))

    assert list(clusters.medoid_pin_ids) == ["car"]


def test_recomputed_batch_part_is_what_the_job_would_have_made() -> None:
    """After a hide the answer equals a batch part built without the hidden pin."""
    kept = [action("1", "pot", age_days=30), action("2", "car", age_days=25)]
    batch = batch_of(*kept, action("3", "tea", age_days=15))

    clusters, _ = folded(batch, action("4", "tea", kind=ActionType.HIDE))
    expected, _ = folded(batch_of(*kept))

    assert list(clusters.medoid_pin_ids) == list(expected.medoid_pin_ids)
    assert np.allclose(clusters.importances, expected.importances, rtol=1e-12)


def test_actions_outside_the_window_form_no_interest() -> None:
    """Ninety days and a minute are too long ago."""
    clusters, _ = folded(None, action("1", "tea", age_days=90.001), action("2", "car", age_days=89))

    assert list(clusters.medoid_pin_ids) == ["car"]


def test_pins_that_the_catalogue_does_not_know_wait() -> None:
    """They join once it does; meanwhile the others are clustered."""
    clusters, _ = folded(None, action("1", "brand new"), action("2", "oak"))

    assert list(clusters.medoid_pin_ids) == ["oak"]


def test_declared_interests_seed_and_fade() -> None:
    """They count in full for a newcomer, half at the set importance, and are never lost."""
    declared = Declared(round(NOW * 1e6), ("tea", "car", "elsewhere"))
    weights = []
    for count in (0, 3, 30):
        online = online_of(*(action(f"{n}", "oak", age_days=0) for n in range(count)))
        clusters, origins = fold(None, online, declared, SPACE, RULES, now=NOW)
        picked = origins == ClusterOrigin.DECLARED
        assert sorted(np.array(clusters.medoid_pin_ids)[picked]) == ["car", "elsewhere", "tea"]
        weights.append(clusters.importances[picked].max())

    assert weights[0] == pytest.approx(1.0)
    assert weights[1] == pytest.approx(0.5)
    assert weights[2] < 0.1


def test_alike_declared_pins_are_one_interest() -> None:
    """What a user picks is clustered by the same function."""
    declared = Declared(round(NOW * 1e6), ("tea", "pot", "car"))

    clusters, _ = fold(None, online_of(), declared, SPACE, RULES, now=NOW)

    assert sorted(clusters.action_counts.tolist()) == [1, 2]
