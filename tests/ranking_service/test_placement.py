"""Placing what goes with the user's newest actions."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ranking_service.placement import (
    POPULAR_EVERY,
    RECENT_SLOTS,
    near_recent,
    place_recent,
    share_places,
)
from ranking_service.pool import merge
from tests.ranking_service.worlds import make_candidates, make_list


@given(marks=st.lists(st.booleans(), max_size=40), seed=st.integers(0, 2**32 - 1))
def test_placement_is_a_stable_permutation_that_fills_the_slots(marks: Any, seed: int) -> None:
    """Nothing is lost or doubled, the others keep their order, and the slots are reached."""
    is_near = np.array(marks, np.bool_)
    order = np.random.default_rng(seed).permutation(is_near.size)

    placed = place_recent(order, is_near)

    assert sorted(placed.tolist()) == sorted(order.tolist())
    for chosen in (is_near, ~is_near):
        assert placed[chosen[placed]].tolist() == order[chosen[order]].tolist()
    for wanted, slot in enumerate(RECENT_SLOTS, start=1):
        if slot < is_near.size and is_near.sum() >= wanted:
            assert is_near[placed[: slot + 1]].sum() >= wanted


def test_a_list_that_has_them_in_front_is_left_alone() -> None:
    """Placement never moves a pin down that earned its place."""
    order = np.arange(12)
    is_near = np.isin(order, [0, 3, 5, 11])

    assert place_recent(order, is_near).tolist() == order.tolist()


def test_near_means_ranked_high_from_a_pin_that_was_asked_for_in_any_case() -> None:
    """Sampled medoids, low ranks and popular pins do not count."""
    candidates = make_candidates(
        make_list("ann", [1, 2], [0, 1]),
        make_list("pixie", range(10, 40), [1] * 30),
        make_list("popular", [3]),
        queried=[50, 51],
    )
    candidates = replace(candidates, is_medoid=np.array([True, False]))
    pool = merge(candidates, excluded_rows=np.empty(0, np.int32))

    assert pool.rows[near_recent(pool, candidates)].tolist() == [2, *range(10, 30)]


def test_an_empty_pool_has_nothing_to_place() -> None:
    """No candidates, no order."""
    candidates = make_candidates()
    pool = merge(candidates, excluded_rows=np.empty(0, np.int32))

    assert place_recent(np.empty(0, np.intp), near_recent(pool, candidates)).size == 0


@given(
    marks=st.lists(st.booleans(), max_size=40),
    seed=st.integers(0, 2**32 - 1),
    limit=st.integers(1, 50),
)
def test_popular_pins_take_every_second_place_at_most(
    marks: list[bool], seed: int, limit: int
) -> None:
    """As long as there are others; nothing is lost, and each kind keeps its order."""
    is_popular = np.array(marks, np.bool_)
    order = np.random.default_rng(seed).permutation(is_popular.size)

    shared = share_places(order, is_popular, limit)

    assert sorted(shared.tolist()) == sorted(order.tolist())
    head = is_popular[shared[:limit]]
    for chosen in (is_popular, ~is_popular):
        assert shared[chosen[shared]].tolist() == order[chosen[order]].tolist()
    for length in range(1, head.size + 1):
        if (~head[:length]).sum() < (~is_popular).sum():
            assert head[:length].sum() <= -(-length // POPULAR_EVERY)


def test_a_list_that_is_mixed_well_is_left_alone() -> None:
    """The rule only ever moves a pin where it is broken."""
    order = np.array([3, 0, 2, 1, 4])
    is_popular = np.array([False, True, False, True, False])

    assert share_places(order, is_popular, 5).tolist() == order.tolist()
