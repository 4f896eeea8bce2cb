"""The profile as ranking holds it."""

from typing import Any

import numpy as np
import pytest

from ranking_service.profile import NOBODY, empty_profile
from tests.ranking_service.worlds import NOW, make_profile, pin_id


def test_recent_interests_are_the_newest_online_ones() -> None:
    """Newest first, none that the batch run knew, none too old, not more than asked for."""
    times = np.array([NOW - 50, 0.0, NOW - 10, NOW - 5000, NOW - 20])
    profile = make_profile([1, 2, 3, 4, 5], online_times=times)

    assert profile.recent_ids(since=NOW - 100, count_max=9) == tuple(map(pin_id, (3, 5, 1)))
    assert profile.recent_ids(since=NOW - 100, count_max=2) == tuple(map(pin_id, (3, 5)))
    assert profile.recent_ids(since=-1.0, count_max=9)[-1] == pin_id(4)
    assert profile.recent_ids(since=NOW - 100, count_max=0) == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"online_times": np.zeros(3)},
        {"medoid_ids": ("a",)},
        {"importances": np.array([1.0, np.nan], np.float32)},
        {"importances": np.array([1.0, -1.0], np.float32)},
    ],
)
def test_a_profile_that_does_not_fit_together_is_refused(fields: Any) -> None:
    """Arrays of other lengths, negative and undefined importances are bugs."""
    from dataclasses import replace

    with pytest.raises(ValueError, match="importances"):
        replace(make_profile([1, 2]), **fields)


def test_nobody_is_a_cold_start_but_a_missing_answer_is_not() -> None:
    """Whether nothing is known, or nothing was to be had, is kept apart."""
    assert NOBODY.is_empty
    assert NOBODY.is_cold_start
    assert not empty_profile(missing_reason="away").is_cold_start
