"""Medoids are drawn by importance, without replacement, and their chances are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candidate_service.medoid_sampling import inclusion_probabilities, sample_medoids
from tests.naive.medoid_sampling import inclusion_probability

IMPORTANCES = st.lists(st.floats(1e-9, 1e9), min_size=2, max_size=6)


@given(importances=IMPORTANCES, count=st.integers(1, 5))
def test_inclusion_probabilities_equal_the_sum_over_all_orders(
    importances: list[float], count: int
) -> None:
    """For any importances the reported chance is the chance."""
    if count >= len(importances):
        return
    chosen = np.arange(len(importances), dtype=np.int32)

    actual = inclusion_probabilities(np.asarray(importances), count, chosen)

    expected = [inclusion_probability(importances, count, i) for i in range(len(importances))]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-9)  # quadrature: 1e-6


def test_many_draws_from_many_medoids_are_near_the_truth() -> None:
    """Where the integral would take too long the chances are within 4 % of drawn frequencies.

    20,000 samples of 12 out of 60: the standard error of the least likely of the ten most
    important is 0.8 %, so 4 % and 4 standard errors never meet by chance.
    """
    importances = np.sort(np.random.default_rng(3).lognormal(0, 1, 60))[::-1]
    rng = np.random.default_rng(4)
    keys = np.log(rng.random((20_000, 60))) / importances
    drawn = np.argsort(-keys, axis=1)[:, :12]
    frequencies = np.bincount(drawn.ravel(), minlength=60) / 20_000

    chances = inclusion_probabilities(importances, 12, np.arange(60, dtype=np.int32))

    assert chances.sum() == pytest.approx(12, rel=1e-6)
    np.testing.assert_allclose(chances[:10], frequencies[:10], rtol=0.04 + 4 * 0.008)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_inclusion_probabilities_add_up_to_the_count(count: int) -> None:
    """A sample of k holds k medoids, so the chances of all sum to k."""
    importances = np.random.default_rng(3).lognormal(0, 2, 60)

    chances = inclusion_probabilities(importances, count, np.arange(60, dtype=np.int32))

    assert chances.sum() == pytest.approx(count, rel=1e-6)


def test_draw_frequencies_match_the_reported_chances() -> None:
    """Over 4,000 seeds each medoid is drawn as often as it says.

    The bound is 4.5 standard deviations for each of 5 medoids: false alarm below 1e-4.
    """
    importances = np.array([8.0, 4.0, 2.0, 1.0, 0.5])
    draws = 4000
    seen = np.zeros(5)
    for seed in range(draws):
        seen[sample_medoids(importances, 3, seed).indexes] += 1

    chances = inclusion_probabilities(importances, 3, np.arange(5, dtype=np.int32))

    deviation = np.sqrt(chances * (1 - chances) / draws)
    assert (np.abs(seen / draws - chances) < 4.5 * deviation).all()


@given(importances=IMPORTANCES, count=st.integers(0, 8), seed=st.integers(0, 2**64 - 1))
def test_sample_is_distinct_and_replayable(importances: list[float], count: int, seed: int) -> None:
    """No medoid twice, never more than there are, the same for the same seed."""
    sample = sample_medoids(np.asarray(importances), count, seed)
    again = sample_medoids(np.asarray(importances), count, seed)

    assert len(sample.indexes) == min(count, len(importances))
    assert len(set(sample.indexes.tolist())) == len(sample.indexes)
    np.testing.assert_array_equal(sample.indexes, again.indexes)
    assert ((sample.inclusion_probabilities > 0) & (sample.inclusion_probabilities <= 1)).all()


def test_all_medoids_when_there_are_no_more_than_asked() -> None:
    """With as many draws as medoids, each is certain."""
    sample = sample_medoids(np.array([1.0, 1e-9]), 3, 5)

    assert sorted(sample.indexes.tolist()) == [0, 1]
    assert sample.inclusion_probabilities.tolist() == [1.0, 1.0]


def test_no_medoids_give_an_empty_sample() -> None:
    """A user without clusters has nothing to start from."""
    assert len(sample_medoids(np.empty(0), 3, 1).indexes) == 0


def test_vanishing_importance_is_drawn_last() -> None:
    """Keys are compared in logarithms: 1e-300 neither underflows nor wins."""
    drawn = sample_medoids(np.array([1e-300, 1.0, 1.0, 1.0]), 3, 11)

    assert 0 not in drawn.indexes.tolist()
