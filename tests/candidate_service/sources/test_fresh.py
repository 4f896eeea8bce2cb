"""Fresh pins: never too old, hot before lukewarm, there the moment they are made."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.candidate import CandidateQuery, CandidateSource
from candidate_service.fresh_pool import HOUR_US, FreshPins, expected_engagement, hotness
from candidate_service.sources.fresh import FreshSettings, FreshSource
from tests.candidate_service.live_changes import PoolSegment, live_pin, live_save
from tests.candidate_service.world import DAY_US, NOW_US
from tests.contracts.candidate_source import CandidateSourceContract, make_query
from tests.naive import fresh as naive

UNKNOWN = math.nan
RULES = FreshSettings(half_life_days=2.0)


class Clock:
    """Unix seconds that a test sets."""

    def __init__(self) -> None:
        self.now_us = NOW_US

    def __call__(self) -> float:
        """Tell the time."""
        return self.now_us / 1e6


def make_pins(
    pins: list[tuple[int, float, float, float]], *, stands_still: bool = False
) -> FreshPins:
    """Young pins, each (row, age in days, praise, quality); half a save a day is expected."""
    table = np.array(pins, np.float64).reshape(-1, 4)
    return FreshPins(
        table[:, 0].astype(np.int32),
        (NOW_US - table[:, 1] * DAY_US).astype(np.int64),
        table[:, 2].astype(np.float32),
        table[:, 3].astype(np.float32),
        np.linspace(0.0, 3.5, 7 * 24 + 1),
        as_of_us=NOW_US,
        stands_still_us=NOW_US if stands_still else None,
    )


def make_source(
    pins: FreshPins, clock: Clock | None = None, rules: FreshSettings = RULES
) -> FreshSource:
    """The source over these pins."""
    return FreshSource(lambda: pins, rules, clock=clock or Clock())


def with_live(live: PoolSegment) -> CandidateQuery:
    """A query that sees these changes."""
    return dataclasses.replace(make_query([]), live=live)


MANY = make_pins([(row, row % 7, row % 4, (row % 5) / 4) for row in range(30)])


class TestFresh(CandidateSourceContract):
    pin_count = 40
    query_rows = (0, 3)
    answers_without_query_pins = True

    def make_source(self) -> CandidateSource:
        """The source over thirty young pins."""
        return make_source(MANY)

    def make_empty_source(self) -> CandidateSource:
        """The source over a world without young pins."""
        return make_source(make_pins([]))

    def test_filters_do_not_shorten_the_list(self) -> None:
        """Of thirty pins ten may be shown: ten are."""
        allowed = np.arange(40) % 3 == 0
        query = dataclasses.replace(make_query([]), allowed=allowed)

        found = self.make_source().retrieve(query, 10)

        assert len(found) == 10
        assert (found.rows % 3 == 0).all()


def test_better_than_expected_comes_first_whatever_the_age() -> None:
    """Three saves in a day beat five in six days; who does as expected is in the quality pool."""
    source = make_source(make_pins([(1, 6, 5, 0.1), (2, 1, 3, 0.1), (3, 5, 1, 0.1), (4, 3, 1, 1)]))

    found = source.retrieve(make_query([]), 10)

    assert found.rows.tolist()[:2] == [2, 4]  # the best of either pool
    assert found.rows.tolist().index(1) < found.rows.tolist().index(3)


def test_quality_and_youth_order_the_quality_pool() -> None:
    """Nobody praised anything: good before bad at one age, and half as good two days later."""
    source = make_source(
        make_pins(
            [(1, 1, 0, 0.2), (2, 1, 0, 0.9), (3, 3.1, 0, 0.9), (4, 1, 0, 0.45), (5, 1, 0, UNKNOWN)]
        )
    )

    assert source.retrieve(make_query([]), 10).rows.tolist() == [2, 5, 4, 3, 1]


def test_pins_leave_the_pool_when_their_days_are_over() -> None:
    """A pin of six and a half days is gone twelve hours later, without any new generation."""
    clock = Clock()
    source = make_source(make_pins([(1, 6.5, 9, 1), (2, 1, 9, 1)]), clock)

    before = source.retrieve(make_query([]), 10).rows.tolist()
    clock.now_us += DAY_US // 2
    after = source.retrieve(make_query([]), 10).rows.tolist()

    assert sorted(before) == [1, 2]
    assert after == [2]


def test_a_history_that_has_ended_stays_as_fresh_as_on_its_last_day() -> None:
    """Years later the pins of the last week are still the fresh ones."""
    clock = Clock()
    source = make_source(make_pins([(1, 6.5, 9, 1), (2, 1, 9, 1)], stands_still=True), clock)
    clock.now_us += 1000 * DAY_US

    found = source.retrieve(make_query([]), 10)

    assert sorted(found.rows.tolist()) == [1, 2]


def test_a_pin_made_now_is_there_at_once() -> None:
    """Before any build, first of the quality pool among pins of like quality."""
    source, live = make_source(MANY), PoolSegment(40)
    source.retrieve(with_live(live), 10)

    live.add(live_pin(40, quality=1.0))

    assert 40 in source.retrieve(with_live(live), 2).rows


def test_live_saves_make_a_pin_hot() -> None:
    """Six saves within a moment make the pin of this minute the hottest."""
    source, live = make_source(make_pins([(1, 1, 3, 0.5)])), PoolSegment(40)
    live.add(live_pin(40, quality=0.0))

    cold = source.retrieve(with_live(live), 1).rows.tolist()
    live.add(*(live_save(40, f"{at}") for at in range(6)))

    assert cold == [1]
    assert source.retrieve(with_live(live), 1).rows.tolist() == [40]


@pytest.mark.parametrize(
    "change",
    [
        {"is_removed": True},
        {"is_hidden": True},
        {"creation_time_us": NOW_US - 8 * DAY_US},
        {"creation_time_us": None},
        {"quality": 0.1},
    ],
)
def test_live_pins_that_are_not_fresh_are_not_there(change: dict[str, object]) -> None:
    """Removed, hidden, too old, of unknown age, or below the floor of quality."""
    rules = dataclasses.replace(RULES, quality_min=0.2)
    source, live = make_source(MANY, rules=rules), PoolSegment(40)
    live.add(live_pin(40, **change))

    assert 40 not in source.retrieve(with_live(live), 100).rows


def test_a_change_of_a_known_pin_replaces_what_the_generation_says() -> None:
    """A pin that is hidden live leaves the pool; one that is made young enters it."""
    source, live = make_source(MANY), PoolSegment(40)
    live.add(live_pin(5, is_new=False, is_hidden=True), live_pin(35, is_new=False))

    found = source.retrieve(with_live(live), 100).rows

    assert 5 not in found
    assert 35 in found


def test_a_fresh_order_is_kept_until_it_is_old() -> None:
    """With a refresh of half a second a change shows after that, not before."""
    clock = Clock()
    source = make_source(MANY, clock, dataclasses.replace(RULES, refresh_s=0.5))
    live = PoolSegment(40).add(live_save(1, "first"))
    source.retrieve(with_live(live), 1)
    live.add(live_pin(40, quality=1.0))

    early = source.retrieve(with_live(live), 100).rows
    clock.now_us += 600_000
    late = source.retrieve(with_live(live), 100).rows

    assert 40 not in early
    assert 40 in late


@settings(deadline=None, max_examples=50)
@given(
    pin_ages=st.lists(st.integers(0, 12 * HOUR_US), min_size=1, max_size=20),
    events=st.lists(st.tuples(st.integers(0, 12 * HOUR_US), st.floats(0.1, 1.0)), max_size=30),
)
def test_expectation_equals_adding_up_pin_by_pin(
    pin_ages: list[int], events: list[tuple[int, float]]
) -> None:
    """Any pins, any praise: praise per pin and hour lived, hour by hour."""
    curve = expected_engagement(
        np.array([age for age, _ in events], np.int64),
        np.array([strength for _, strength in events]),
        np.array(pin_ages, np.int64),
        age_max_us=10 * HOUR_US,
    )

    expected = naive.expected_engagement(events, pin_ages, hour_count=10)
    np.testing.assert_allclose(curve, expected, rtol=1e-9)


def test_a_pin_of_this_second_is_as_expected() -> None:
    """It stands between those that please and those that disappoint."""
    curve = np.linspace(0.0, 7.0, 169)

    hot = hotness(np.array([0, 0, 9], np.float32), np.array([0, 6, 6]) * DAY_US, curve, prior=2.0)

    assert hot[1] < hot[0] == 0.0 < hot[2]
