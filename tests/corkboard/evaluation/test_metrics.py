"""Figures of lists: worlds computed by hand, and naive twins on random ones."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corkboard.evaluation import metrics
from tests.naive import evaluation as naive

PINS = 12
LISTS = st.lists(st.integers(0, PINS - 1), unique=True, max_size=PINS)
WANTED = st.lists(st.integers(0, PINS - 1), unique=True, min_size=1, max_size=5)
DEPTH = st.integers(1, PINS)


def rows(values: list[int]) -> metrics.Rows:
    """An int32 array."""
    return np.array(values, np.int32)


def test_a_list_computed_by_hand() -> None:
    """Wanted 7 and 3; found at places 0 and 3 of [7, 1, 2, 3]."""
    places = metrics.hit_places(rows([7, 1, 2, 3]), rows([3, 7]))

    assert places.tolist() == [0, 3]
    assert metrics.recall(places, 2, 1) == 0.5
    assert metrics.recall(places, 2, 3) == 0.5
    assert metrics.recall(places, 2, 4) == 1.0
    best = 1 + 1 / math.log2(3)
    assert metrics.discounted_gain(places, 2, 4) == pytest.approx((1 + 1 / math.log2(5)) / best)


def test_one_right_answer_among_others_by_hand() -> None:
    """First: best of three. Second: third of three. Third: ties with both, so place 1."""
    scores = np.array([[3.0, 2.0, 1.0], [0.0, 2.0, 1.0], [1.0, 1.0, 1.0]])

    hit_rate, gain = metrics.one_against_many(scores, depth=2)

    assert hit_rate == pytest.approx(2 / 3)
    assert gain == pytest.approx((1 + 0 + 1 / math.log2(3)) / 3)


def test_who_found_what_alone_by_hand() -> None:
    """Four pairs: both, only a, only b twice... and one that nobody found."""
    a = np.array([True, True, False, False, False])
    b = np.array([True, False, True, True, False])

    found, alone = metrics.found_alone([a, b])

    assert found == 0.8
    assert alone.tolist() == [0.25, 0.5]


def test_novelty_by_hand() -> None:
    """Of 3 users (+1), a pin of all is no surprise, one of nobody is 2 bits."""
    surprise = metrics.surprises(np.array([3, 1, 0]), 3)

    assert surprise.tolist() == [0.0, 1.0, 2.0]
    assert metrics.novelty([rows([0, 2]), rows([1]), rows([])], surprise, 10) == 1.0
    assert metrics.novelty([rows([0, 2])], surprise, 1) == 0.0


def test_nothing_gives_no_number() -> None:
    """Empty inputs are NaN, never 0 and never an error."""
    assert math.isnan(metrics.recall(np.empty(0, np.int64), 0, 10))
    assert math.isnan(metrics.novelty([], np.ones(3), 10))
    assert math.isnan(metrics.percentile([], 0.5))
    assert math.isnan(metrics.mean_interval([float("nan")]).value)
    assert math.isnan(metrics.coverage([], 0, 10))
    assert metrics.interleave([], 3).tolist() == []


def test_percentile_is_a_value_that_was_there() -> None:
    """Nearest rank: of 1 to 100 the 99th percentile is 99."""
    values = [float(value) for value in range(100, 0, -1)]

    assert metrics.percentile(values, 0.5) == 50
    assert metrics.percentile(values, 0.99) == 99
    assert metrics.percentile([7.0], 0.99) == 7


def test_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    """Of 200 samples of 200 coins, about 190 intervals hold 0.5; under 170 is one in 10^12."""
    rng = np.random.default_rng(1)
    held = 0
    for at in range(200):
        interval = metrics.mean_interval(rng.integers(0, 2, 200).astype(float).tolist(), seed=at)
        held += interval.low <= 0.5 <= interval.high

    assert held >= 170


@given(found=LISTS, wanted=WANTED, depth=DEPTH)
@settings(max_examples=200, deadline=None)
def test_recall_and_gain_equal_their_definitions(
    found: list[int], wanted: list[int], depth: int
) -> None:
    """Beside loops over places."""
    places = metrics.hit_places(rows(found), rows(wanted))

    assert metrics.recall(places, len(wanted), depth) == naive.recall(found, wanted, depth)
    assert metrics.discounted_gain(places, len(wanted), depth) == pytest.approx(
        naive.discounted_gain(found, wanted, depth)
    )


@given(
    lists=st.lists(LISTS, min_size=1, max_size=4),
    weights=st.lists(st.integers(0, 5), min_size=4, max_size=4),
    depth=DEPTH,
)
@settings(max_examples=200, deadline=None)
def test_fusing_equals_its_definition(
    lists: list[list[int]], weights: list[int], depth: int
) -> None:
    """Beside a sum over lists for each pin; the scores of the order never rise."""
    arrays, weights = [rows(found) for found in lists], weights[: len(lists)]

    found = metrics.fuse(arrays, weights, depth).tolist()

    scores = naive.fused_scores(lists, weights)
    assert len(found) == min(depth, len(scores))
    assert len(set(found)) == len(found)
    kept = [scores[pin] for pin in found]
    assert kept == pytest.approx(sorted(scores.values(), reverse=True)[:depth])


@given(lists=st.lists(LISTS, min_size=1, max_size=4), depth=DEPTH)
@settings(max_examples=200, deadline=None)
def test_interleaving_and_coverage_equal_their_definitions(
    lists: list[list[int]], depth: int
) -> None:
    """Beside loops over rounds and over pins."""
    arrays = [rows(found) for found in lists]

    assert metrics.interleave(arrays, depth).tolist() == naive.interleave(lists, depth)
    assert metrics.coverage(arrays, PINS, depth) == naive.coverage(lists, PINS, depth)


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_found_alone_equals_its_definition(hits: list[list[bool]]) -> None:
    """Beside loops over pairs; shares of several sources never exceed 1."""
    _, alone = metrics.found_alone([np.array(row) for row in hits])

    assert alone.tolist() == pytest.approx(naive.found_alone(hits))
    assert alone.sum() <= 1 + 1e-9
