"""Joining what was shown with what was done, against the slow and obvious way."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service.memboost.counting import Shown, concatenated, credit, once
from tests.naive import memboost as naive
from tests.ranking_service.memboost.worlds import (
    HOUR_US,
    act_rows,
    kinds_of,
    random_world,
    shown_rows,
)


@given(seed=st.integers(0, 2**32 - 1), window=st.sampled_from([1, HOUR_US, 24 * HOUR_US]))
@settings(max_examples=60, deadline=None)
def test_every_action_is_credited_as_the_slow_twin_does(seed: int, window: int) -> None:
    """By list where one is named, else to the user's latest impression of the pin."""
    shown, acts = random_world(seed)

    found = credit(shown_rows(shown), act_rows(acts), window_us=window)

    expected = naive.credited(shown, acts, window)
    times = [row[6] for row in shown]
    assert len(set(zip(times, (row[3] for row in shown), strict=True))) == len(shown)
    assert [kinds_of(int(bits)) for bits in found] == expected


def test_early_late_and_repeated_actions_are_handled() -> None:
    """A clock that is ahead, an action after the window and one told twice change nothing more."""
    shown = [("l", "ann", "q", "p", "ios", 0, 10 * HOUR_US)]
    acts = [
        ("l", "ann", "p", "save", 9 * HOUR_US),
        ("l", "ann", "p", "click", 10 * HOUR_US + 5),
        ("l", "ann", "p", "click", 10 * HOUR_US + 5),
        ("l", "ann", "p", "long_click", 11 * HOUR_US),
        ("", "bob", "p", "close_up", 10 * HOUR_US + 5),
    ]

    (bits,) = credit(shown_rows(shown), act_rows(acts), window_us=HOUR_US)

    assert kinds_of(int(bits)) == {"click"}


def test_a_list_that_was_logged_twice_counts_once() -> None:
    """Each pin of a list is one impression, the earliest telling of it."""
    first = [("l", "ann", "q", "p", "ios", 0, 5), ("l", "ann", "q", "r", "ios", 1, 5)]
    again = [("l", "ann", "q", "p", "ios", 3, 9)]

    rows = once(concatenated((shown_rows(again), shown_rows(first)), Shown))

    assert len(rows) == 2
    assert rows.times_us.tolist() == [5, 5]
    assert sorted(rows.positions.tolist()) == [0, 1]


def test_nothing_at_all_is_credited_with_nothing() -> None:
    """Empty worlds are no special case."""
    assert credit(shown_rows([]), act_rows([]), window_us=1).size == 0
    assert not credit(shown_rows(random_world(1)[0]), act_rows([]), window_us=1).any()
    assert np.array_equal(once(shown_rows([])).times_us, np.empty(0, np.int64))
