"""Which actions speak for an interest, and which pins a user has dealt with."""

import numpy as np

from profile_service.actions import (
    STRENGTHS,
    ActionType,
    acted_pins,
    columns_of,
    evidence,
    join,
)
from tests.profile_service.worlds import action


def kept(*actions: tuple[str, ActionType] | tuple[str, ActionType, str]) -> list[bool]:
    """Which of these actions, given oldest first, speak for an interest."""
    made = [
        action(
            f"{n}", row[0], kind=row[1], age_days=50 - n, board_id=row[2] if len(row) > 2 else ""
        )
        for n, row in enumerate(actions)
    ]
    found: list[bool] = evidence(columns_of(made)).tolist()
    return found


def test_every_type_has_a_strength() -> None:
    """No type is forgotten, and strengths are within the wire's range."""
    assert set(STRENGTHS) == set(ActionType)
    assert all(-1 <= strength <= 1 for strength in STRENGTHS.values())


def test_view_in_passing_is_no_evidence() -> None:
    """Weak actions form no interests."""
    assert kept(("tea", ActionType.VIEW), ("tea", ActionType.CLICK)) == [False, True]


def test_hide_and_report_void_what_was_before() -> None:
    """All earlier actions on the pin go, those on other pins and later ones stay."""
    for kind in (ActionType.HIDE, ActionType.REPORT):
        assert kept(
            ("tea", ActionType.SAVE),
            ("pot", ActionType.SAVE),
            ("tea", kind),
            ("tea", ActionType.CLICK),
        ) == [False, True, False, True]


def test_unsave_voids_saves_only() -> None:
    """A click before stays evidence; with a board only saves to that board go."""
    assert kept(
        ("tea", ActionType.SAVE), ("tea", ActionType.CLICK), ("tea", ActionType.UNSAVE)
    ) == [False, True, False]
    assert kept(
        ("tea", ActionType.SAVE, "b1"),
        ("tea", ActionType.SAVE, "b2"),
        ("tea", ActionType.UNSAVE, "b1"),
    ) == [False, True, False]


def test_strength_overrides_the_type() -> None:
    """A weak save is no evidence, a strong view is; a hide never is."""
    made = [
        action("1", strength=0.1, age_days=3),
        action("2", kind=ActionType.VIEW, strength=0.9, age_days=2),
        action("3", "pot", kind=ActionType.HIDE, strength=1.0),
    ]

    assert evidence(columns_of(made)).tolist() == [False, True, False]


def test_acted_pins_are_newest_first_and_unique() -> None:
    """Each pin once, at its newest action; views do not count; the limit holds."""
    made = [
        action("1", "tea", age_days=9),
        action("2", "pot", age_days=8),
        action("3", "car", kind=ActionType.VIEW, age_days=7),
        action("4", "tea", kind=ActionType.CLICK, age_days=6),
    ]

    assert acted_pins(columns_of(made), 10) == (["tea", "pot"], [])
    assert acted_pins(columns_of(made), 1) == (["tea"], [])


def test_hidden_pins_are_told_until_they_are_wished_again() -> None:
    """A save after a hide brings the pin back; a view does not."""
    made = [
        action("1", "tea", kind=ActionType.HIDE, age_days=9),
        action("2", "pot", kind=ActionType.REPORT, age_days=8),
        action("3", "tea", age_days=7),
        action("4", "pot", kind=ActionType.VIEW, age_days=6),
    ]

    assert acted_pins(columns_of(made), 10) == (["tea", "pot"], ["pot"])


def test_join_counts_an_action_once() -> None:
    """The same action in both parts is one action, and the order is by time."""
    old = columns_of([action("a", age_days=5), action("b", age_days=3)])
    new = columns_of([action("b", "pot", age_days=3), action("c", age_days=4)], [7, 8])

    both = join(old, new)

    assert list(both.action_ids) == ["a", "c", "b"]
    assert both.positions.tolist() == [0, 8, 0]
    assert bool(np.all(np.diff(both.times_us) >= 0))
