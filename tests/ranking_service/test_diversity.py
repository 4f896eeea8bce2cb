"""The determinantal order: what the formula says, and where it is not the marginal one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service import rule_kernels
from ranking_service.arrange import DETERMINANTAL_OWN_SHARE as OWN
from ranking_service.profile import empty_profile
from ranking_service.query import Surface
from tests.naive.determinantal import gains, likeness, naive_determinantal
from tests.ranking_service import test_recommend
from tests.ranking_service.test_recommend import ask, names
from tests.ranking_service.worlds import (
    make_candidates,
    make_list,
    make_store,
    pin_id,
    unit_vectors,
)

RELATED = ask(surface=Surface.RELATED_PINS, query_pin_id=pin_id(0), limit=10)
EVERYTHING = make_candidates(make_list("ann", range(1, 60)), queried=[0])


@pytest.fixture(scope="module")
def store(tmp_path_factory: Any) -> Any:
    """A random world."""
    return make_store(tmp_path_factory.mktemp("world"), 60)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    diversity=st.floats(0, 1),
    count=st.integers(0, 14),
    dimension=st.sampled_from([2, 6, 20]),
)
def test_each_choice_is_the_best_by_the_determinants(
    seed: int, diversity: float, count: int, dimension: int
) -> None:
    """With copies, opposites and pins without a vector; more pins than dimensions."""
    rng = np.random.default_rng(seed)
    relevances = np.sort(rng.random(12))[::-1].copy()
    vectors = unit_vectors(12, dimension, seed)
    vectors[3] = 0
    vectors[7] = vectors[5]
    vectors[8] = -vectors[1]

    order = rule_kernels.determinantal_order(relevances, vectors, diversity, count, OWN).tolist()

    assert sorted(order) == list(range(12))
    alike = likeness(vectors, OWN)
    chosen_count = min(count, 12)
    for step in range(chosen_count):
        found = gains(relevances, alike, order[:step], diversity, OWN)
        assert found[order[step]] == pytest.approx(max(found.values()), abs=1e-5)
    assert order[chosen_count:] == sorted(order[chosen_count:])


def test_it_is_the_naive_order() -> None:
    """Whole orders, where no two gains are nearly equal."""
    vectors = unit_vectors(30, 8, 5)
    relevances = np.linspace(1, 0, 30)

    order = rule_kernels.determinantal_order(relevances, vectors, 0.6, 10, OWN)

    assert order.tolist() == naive_determinantal(relevances, vectors, 0.6, 10, OWN)


def test_it_sees_what_two_pins_say_together() -> None:
    """Between two chosen pins there is nothing new; beside one of them there is.

    The third stands in the middle of the first two (cosine .71 to each), the fourth nearer to the
    first (.75) but in a direction of its own: by the most alike pin alone the third comes next, by
    all pins together the fourth.
    """
    vectors = np.zeros((4, 4), np.float32)
    vectors[0, 0] = vectors[1, 1] = 1
    vectors[2, :2] = np.sqrt(0.5)
    vectors[3, 0], vectors[3, 2] = 0.75, np.sqrt(1 - 0.75**2)
    relevances = np.array([1.0, 0.9, 0.5, 0.5])

    marginal = rule_kernels.marginal_order(relevances, vectors, 0.5, 4)
    determinantal = rule_kernels.determinantal_order(relevances, vectors, 0.5, 4, OWN)

    assert marginal.tolist() == [0, 1, 2, 3]
    assert determinantal.tolist() == [0, 1, 3, 2]


def test_a_copy_loses_as_much_as_under_the_marginal_order() -> None:
    """Of two equal pins one comes at once, the other after all that is as good but for d."""
    vectors = np.eye(5, dtype=np.float32)
    vectors[1] = vectors[0]
    relevances = np.array([1.0, 1.0, 0.9, 0.8, 0.1])

    order = rule_kernels.determinantal_order(relevances, vectors, 0.4, 5, OWN)

    assert order.tolist()[0] == 0
    assert order.tolist().index(1) >= 3


def test_a_scenario_may_ask_for_it(store: Any) -> None:
    """At 0 it changes nothing, above it lists are less alike, and the trace says what moved."""
    book = '[scenarios.related_pins]\ndiversity_method = "determinantal"\n'
    profile = empty_profile()
    recommender, _, _ = test_recommend.make(
        store, candidates=EVERYTHING, profile=profile, book=book
    )
    plain, _, _ = test_recommend.make(store, candidates=EVERYTHING, profile=profile)
    vectors = recommender._artifacts.world().vectors

    def shown(diversity: float) -> Any:
        return names(recommender.recommend(replace(RELATED, diversity=diversity)))

    def alike(diversity: float) -> float:
        rows = [int(name[4:]) for name in shown(diversity)]
        return float((vectors[rows] @ vectors[rows].T)[np.triu_indices(10, 1)].mean())

    assert shown(0.0) == names(plain.recommend(RELATED))
    assert shown(0.7) != names(plain.recommend(replace(RELATED, diversity=0.7)))
    assert alike(1.0) < alike(0.5) < alike(0.0)
    moved = recommender.recommend(replace(RELATED, diversity=0.7, is_explained=True))
    assert {rule.rule for pin in moved.pins for rule in pin.explanation.rules} == {"diversity"}
