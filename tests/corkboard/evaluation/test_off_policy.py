"""Off-policy estimates on simulated logs whose answer is known, and against slow twins."""

from typing import Any

import numpy as np
import pytest

from corkboard.evaluation.off_policy import (
    Logged,
    doubly_robust,
    ips,
    on_policy_mean,
    overlap_shortfall,
    snips,
)
from corkboard.simulate.bandit import BanditWorld
from tests.naive.off_policy import naive_dr, naive_ips, naive_snips

COUNT = 20_000


def simulated(seed: int, *, count: Any = COUNT) -> Any:
    """A world, a logging and a target policy, a log, and the predictions of a rough model."""
    rng = np.random.default_rng(seed)
    world = BanditWorld.draw(rng)
    logging, target = world.policy(4.0, rng), world.policy(12.0, rng)
    logged, situations, choices = world.log(logging, target, count, rng)
    model = 0.5 * world.rates + 0.05
    expected = (target * model).sum(axis=1)[situations]
    return world.value(target), logged, model[situations, choices], expected


def test_estimates_find_the_known_answer() -> None:
    """In 40 worlds the 95 % intervals of all three hold the true value nearly always.

    A right interval misses at least 7 of 40 times with chance 0.003; three estimators: 0.01.
    """
    missed = {"ips": 0, "snips": 0, "dr": 0}
    for seed in range(40):
        truth, logged, predicted, expected = simulated(seed, count=4000)
        for found in (
            ips(logged),
            snips(logged),
            doubly_robust(logged, predicted=predicted, expected=expected),
        ):
            missed[found.estimator] += not found.low <= truth <= found.high

    assert max(missed.values()) <= 6


def test_what_the_log_itself_earned_misleads() -> None:
    """The naive mean is off where the estimates are not: that is what they are for."""
    truth, logged, predicted, expected = simulated(3)

    naive = on_policy_mean(logged)
    robust = doubly_robust(logged, predicted=predicted, expected=expected)

    assert not naive.low <= truth <= naive.high
    assert abs(robust.value - truth) < 0.3 * abs(naive.value - truth)


def test_estimates_equal_their_slow_twins() -> None:
    """Loops over single choices give the same sums."""
    _, logged, predicted, expected = simulated(5, count=300)

    assert ips(logged).value == pytest.approx(naive_ips(logged), rel=1e-12)
    assert snips(logged).value == pytest.approx(naive_snips(logged), rel=1e-12)
    robust = doubly_robust(logged, predicted=predicted, expected=expected).value
    assert robust == pytest.approx(naive_dr(logged, predicted, expected), rel=1e-12)


def test_a_model_of_the_reward_narrows_the_interval() -> None:
    """Doubly robust scatters less than IPS where its model knows something."""
    _, logged, predicted, expected = simulated(7)

    robust = doubly_robust(logged, predicted=predicted, expected=expected)
    weighted = ips(logged)

    assert robust.high - robust.low < weighted.high - weighted.low


def test_the_same_policy_is_judged_by_its_own_mean() -> None:
    """Weights of 1 leave everything as it was; all of the log counts."""
    rewards = np.array([1.0, 0.0, 0.0, 1.0])
    chances = np.full(4, 0.25)
    logged = Logged(rewards, chances, chances, np.arange(4))

    assert ips(logged).value == snips(logged).value == 0.5
    assert snips(logged).effective_count == 4
    assert overlap_shortfall(logged) == 0


def test_a_log_that_never_tried_says_so() -> None:
    """Where the other policy does what the log never did, the shortfall tells."""
    rng = np.random.default_rng(0)
    chances = np.array([[0.5, 0.5, 0.0]])
    target = np.array([[0.1, 0.1, 0.8]])
    world = BanditWorld(np.ones(1), np.array([[0.1, 0.1, 0.9]]))
    logged, _, _ = world.log(chances, target, 2000, rng)

    assert overlap_shortfall(logged) == pytest.approx(0.8)


def test_lists_are_counted_whole() -> None:
    """Repeating each choice ten times under one number does not make the interval narrower."""
    _, logged, _, _ = simulated(9, count=400)
    ten = [np.repeat(values, 10) for values in (logged.rewards, logged.logged_chances)]
    repeated = Logged(*ten, np.repeat(logged.target_chances, 10), np.repeat(logged.clusters, 10))

    once, often = ips(logged), ips(repeated)

    assert often.high - often.low == pytest.approx(once.high - once.low, rel=1e-9)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logged_chances", 0.0),
        ("logged_chances", 1.5),
        ("target_chances", -0.1),
        ("rewards", np.nan),
    ],
)
def test_impossible_logs_are_refused(field: Any, value: Any) -> None:
    """A chance of 0 for what was done, or above 1, is an error and not a large weight."""
    arrays = {
        "rewards": np.zeros(2),
        "logged_chances": np.full(2, 0.5),
        "target_chances": np.full(2, 0.5),
        "clusters": np.arange(2),
    }
    arrays[field] = np.array([0.5, value])

    with pytest.raises(ValueError, match=r"chance|finite"):
        Logged(**arrays)


def test_an_empty_log_gives_nothing() -> None:
    """No choices, no figure: NaN, not an error."""
    empty = Logged(np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.int64))

    assert np.isnan(ips(empty).value)
    assert np.isnan(overlap_shortfall(empty))
