"""What users say about their interests, and that it follows the interest, not the pin."""

from __future__ import annotations

import pytest

from profile_service.actions import ActionType, columns_of
from profile_service.adjustments import (
    ADJUSTMENTS_MAX,
    Adjustment,
    AdjustmentKind,
    forgotten,
    with_adjustment,
)
from profile_service.online import BatchPart, cluster_columns, fold
from tests.profile_service.worlds import DAY, NOW, RULES, Space, action

RESET, MUTE = AdjustmentKind.RESET, AdjustmentKind.MUTE
BOOST, FORGET = AdjustmentKind.BOOST, AdjustmentKind.FORGET
SPACE = Space()
ACTIONS = columns_of(
    [action(f"{pin}", pin, age_days=age) for pin, age in (("tea", 3), ("pot", 2), ("car", 1))]
)


def said(pin_id: str, kind: AdjustmentKind, *, age_days: float = 0.5) -> Adjustment:
    """What was said half a day ago."""
    return Adjustment(pin_id, kind, round((NOW - age_days * DAY) * 1e6))


def folded(*adjustments: Adjustment, batch: BatchPart | None = None) -> dict[str, float]:
    """Importance by medoid of the actions above."""
    online = columns_of([]) if batch else ACTIONS
    clusters, _ = fold(batch, online, None, SPACE, RULES, now=NOW, adjustments=adjustments)
    return dict(zip(clusters.medoid_pin_ids, clusters.importances.tolist(), strict=True))


def interests(clusters: dict[str, float]) -> set[str]:
    """Which of the two interests there are."""
    return {"tea" if medoid in {"tea", "pot", "cup"} else "car" for medoid in clusters}


def batch_of_all(*, as_of_age_days: float) -> BatchPart:
    """A batch part that knows the actions above, built so many days ago."""
    kept = ACTIONS.strengths > 0
    now = NOW - as_of_age_days * DAY
    clusters = cluster_columns(ACTIONS, kept, SPACE, RULES, now=now)
    return BatchPart(clusters, round(now * 1e6), lambda: ACTIONS)


@pytest.mark.parametrize("pin_id", ["tea", "pot", "cup"])
def test_muted_interests_are_left_out(pin_id: str) -> None:
    """Whichever pin of the interest stands for it, also one that the user never acted on."""
    assert interests(folded(said(pin_id, MUTE))) == {"car"}
    assert interests(folded(said(pin_id, MUTE), batch=batch_of_all(as_of_age_days=0.9))) == {"car"}


def test_boosted_interests_count_twice() -> None:
    """And the others as before."""
    plain, boosted = folded(), folded(said("cup", BOOST))

    for medoid, importance in boosted.items():
        factor = 1 if medoid == "car" else 2
        assert importance == pytest.approx(factor * plain[medoid])


def test_forgotten_actions_count_no_more_and_later_ones_do() -> None:
    """Tea was forgotten before the pot came: the pot is an interest of its own."""
    clusters, _ = fold(
        None,
        ACTIONS,
        None,
        SPACE,
        RULES,
        now=NOW,
        adjustments=[said("tea", FORGET, age_days=2.5)],
    )

    counts = dict(zip(clusters.medoid_pin_ids, clusters.action_counts.tolist(), strict=True))
    assert counts == {"pot": 1, "car": 1}


def test_forgetting_reaches_into_the_batch_part() -> None:
    """The batch run knew nothing of it; the read computes the clusters without the interest."""
    batch = batch_of_all(as_of_age_days=0.9)

    assert interests(folded(said("tea", FORGET), batch=batch)) == {"car"}


def test_a_batch_part_made_after_forgetting_holds() -> None:
    """The job has left the actions out already: what it says now is new."""
    batch = batch_of_all(as_of_age_days=0.1)

    assert interests(folded(said("tea", FORGET), batch=batch)) == {"tea", "car"}


def test_pins_unknown_to_the_catalogue_are_matched_by_name() -> None:
    """Without a vector only the pin itself is meant."""
    actions = columns_of([action("1", "strange"), action("2", "other"), action("3", "tea")])

    gone = forgotten(actions, [said("strange", FORGET)], SPACE, alpha=1.0)

    names = [pin for pin, is_gone in zip(actions.pin_ids, gone, strict=True) if is_gone]
    assert names == ["strange"]


def test_later_words_replace_earlier_ones_and_reset_takes_back() -> None:
    """But what was forgotten stays forgotten."""
    spoken = with_adjustment((), said("tea", MUTE))
    boosted = with_adjustment(spoken, said("tea", BOOST))
    reset = with_adjustment(boosted, said("tea", RESET))
    forgotten_first = with_adjustment((), said("car", FORGET))

    assert [one.kind for one in boosted] == [BOOST]
    assert reset == ()
    assert [one.kind for one in with_adjustment(forgotten_first, said("car", BOOST))] == [
        FORGET,
        BOOST,
    ]
    assert [one.kind for one in with_adjustment(forgotten_first, said("car", RESET))] == [FORGET]


def test_only_so_many_are_kept() -> None:
    """The oldest go first."""
    spoken: tuple[Adjustment, ...] = ()
    for at in range(ADJUSTMENTS_MAX + 5):
        spoken = with_adjustment(spoken, said(f"p{at}", MUTE))

    assert len(spoken) == ADJUSTMENTS_MAX
    assert spoken[0].pin_id == "p5"


def test_hidden_kinds_are_no_evidence_whatever_is_said() -> None:
    """A boost makes nothing of a hide."""
    hidden = columns_of([action("1", "tea"), action("2", "tea", kind=ActionType.HIDE, age_days=0)])

    clusters, _ = fold(None, hidden, None, SPACE, RULES, now=NOW, adjustments=[said("tea", BOOST)])

    assert len(clusters) == 0
