"""Query pins count by action and age, and wrong actions are named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candidate_service.action_types import STRENGTHS
from candidate_service.query_weights import DAY_US, query_weights
from service_runtime.errors import InvalidRequest

NOW_US = 20_000 * DAY_US


def weigh(kinds: list[str], ages_days: list[float], *, half_life_days: float = 10.0) -> list[float]:
    """Weights of actions of weight 1, so many days ago."""
    times = np.array([NOW_US - int(age * DAY_US) for age in ages_days], np.int64)
    ones = np.ones(len(kinds))
    return query_weights(ones, kinds, times, now_us=NOW_US, half_life_days=half_life_days).tolist()


def test_every_half_life_halves() -> None:
    """10 days ago half, 20 a quarter; now all of it."""
    assert weigh(["save"] * 3, [0, 10, 20]) == pytest.approx([1, 0.5, 0.25])


def test_actions_count_by_their_strength() -> None:
    """A save counts most, a click less, a hide nothing; nothing said counts as a save."""
    assert weigh(["save", "click", "hide", ""], [0] * 4) == [1, STRENGTHS["click"], 0, 1]


def test_unset_and_future_times_count_as_now() -> None:
    """A clock that runs ahead must not make a pin count for more than it does now."""
    times = np.array([0, NOW_US + DAY_US], np.int64)

    found = query_weights(
        np.array([2.0, 3.0]), ["", "save"], times, now_us=NOW_US, half_life_days=1
    )

    assert found.tolist() == [2, 3]


@given(
    weight=st.floats(1e-9, 1e9),
    kind=st.sampled_from(["", *STRENGTHS]),
    time_us=st.integers(0, 2**62),
    half_life=st.floats(0.01, 36_500),
)
def test_weights_are_finite_and_never_grow(
    weight: float, kind: str, time_us: int, half_life: float
) -> None:
    """Whatever the age: at most what was given, at least 0."""
    (found,) = query_weights(
        np.array([weight]), [kind], np.array([time_us]), now_us=NOW_US, half_life_days=half_life
    )

    assert 0 <= found <= weight


def test_unknown_action_is_named() -> None:
    """The caller learns which field, and what there is."""
    with pytest.raises(InvalidRequest, match="'admire'") as fault:
        weigh(["save", "admire"], [0, 0])

    assert fault.value.field == "query_pins[1].action_type"
    assert "long_click" in fault.value.hint


def test_no_pins() -> None:
    """Nothing gives nothing."""
    assert weigh([], []) == []
