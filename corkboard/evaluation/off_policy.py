"""What another ranker would have earned, from logs of the one that served.

A logged choice counts by how much more likely the other ranker would have made it.  That is right
on average wherever the log's own chances are right and it could have made every choice that the
other one makes; it scatters the more the two differ, which the intervals show.

Three estimators: IPS weighs rewards; SNIPS divides by the weights' mean, which costs a little bias
and saves much scatter; DR (doubly robust) starts from a model of the reward and weighs only what
the model gets wrong, and is right if either the chances or the model are.

Source: Horvitz and Thompson 1952 (IPS); Swaminathan and Joachims 2015 (SNIPS); Dudik, Langford and
Li 2011 (DR).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
NORMAL_95 = 1.959964
WEIGHT_MAX = np.inf


@dataclass(frozen=True, slots=True)
class Logged:
    """Choices that were made and what they earned.  Arrays are parallel.

    Attributes:
        rewards: What each choice earned, float64[n].
        logged_chances: Chance with which it was made, float64[n], in (0, 1].
        target_chances: Chance with which the other policy makes it, float64[n], in [0, 1].
        clusters: Choices that are not independent bear one number, for example those of one list;
            int64[n].
    """

    rewards: Float64Array
    logged_chances: Float64Array
    target_chances: Float64Array
    clusters: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check the arrays.

        Raises:
            ValueError: A length differs, a chance is out of range or a reward is not finite.
        """
        sizes = {len(self.rewards), len(self.logged_chances), len(self.target_chances)}
        if sizes != {len(self.clusters)}:
            raise ValueError(f"the arrays differ in length: {sorted(sizes)}, {len(self.clusters)}")
        if not np.isfinite(self.rewards).all():
            raise ValueError("a reward is not finite")
        if not ((self.logged_chances > 0) & (self.logged_chances <= 1)).all():
            raise ValueError("a logged chance is not in (0, 1]: such a choice was never made")
        if not ((self.target_chances >= 0) & (self.target_chances <= 1)).all():
            raise ValueError("a target chance is not in [0, 1]")

    @property
    def weights(self) -> Float64Array:
        """How many choices of the other policy each logged one stands for, float64[n]."""
        return self.target_chances / self.logged_chances


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a policy earns a choice.

    Attributes:
        estimator: `ips`, `snips`, `dr` or `mean`.
        value: The estimate; NaN without choices.
        low: Lower end of the 95 % interval.
        high: Upper end.
        effective_count: Choices made by the policy itself that would tell as much (Kish): below a
            hundred or so an estimate says little, whatever its interval.
    """

    estimator: str
    value: float
    low: float
    high: float
    effective_count: float


def on_policy_mean(logged: Logged) -> Estimate:
    """What the log itself earned."""
    ones = np.ones(len(logged.rewards))
    return _estimate("mean", logged.rewards, ones, logged, np.ones_like(ones))


def ips(logged: Logged, *, weight_max: float = WEIGHT_MAX) -> Estimate:
    """Inverse propensity score: the mean of weight times reward.

    Args:
        logged: The choices.
        weight_max: Larger weights are cut to this: less scatter, some bias towards 0.
    """
    weights = np.minimum(logged.weights, weight_max)
    ones = np.ones_like(weights)
    return _estimate("ips", weights * logged.rewards, ones, logged, weights)


def snips(logged: Logged, *, weight_max: float = WEIGHT_MAX) -> Estimate:
    """Self-normalised: as `ips`, divided by the mean weight."""
    weights = np.minimum(logged.weights, weight_max)
    return _estimate("snips", weights * logged.rewards, weights, logged, weights)


def doubly_robust(
    logged: Logged,
    *,
    predicted: Float64Array,
    expected: Float64Array,
    weight_max: float = WEIGHT_MAX,
) -> Estimate:
    """Doubly robust: what a model expects, and weighted what it missed.

    Args:
        logged: The choices.
        predicted: Reward that the model predicts of each logged choice, float64[n]; the model must
            not have seen that choice (fit it on other lists).
        expected: Reward that it predicts of the other policy's choice there: the mean over all
            choices by their target chances, float64[n].
        weight_max: As for `ips`.
    """
    weights = np.minimum(logged.weights, weight_max)
    values = expected + weights * (logged.rewards - predicted)
    return _estimate("dr", values, np.ones_like(weights), logged, weights)


def overlap_shortfall(logged: Logged) -> float:
    """How far the mean weight is from 1: the share of the policy that the log says nothing about.

    About 0 where the log could have made every choice of the other policy; above a few percent
    beyond scatter, no estimate from this log can be trusted.
    """
    return float("nan") if not len(logged.weights) else float(1.0 - logged.weights.mean())


def _estimate(
    name: str,
    numerators: Float64Array,
    denominators: Float64Array,
    logged: Logged,
    weights: Float64Array,
) -> Estimate:
    """Ratio of sums, with the interval of its linearisation over whole clusters (delta method)."""
    nothing = float("nan")
    if not len(numerators):
        return Estimate(name, nothing, nothing, nothing, 0.0)
    _, places = np.unique(logged.clusters, return_inverse=True)
    tops = np.bincount(places, weights=numerators)
    bottoms = np.bincount(places, weights=denominators)
    bottom = float(bottoms.sum())
    value = float(tops.sum()) / bottom if bottom else 0.0
    rest = tops - value * bottoms
    count = len(tops)
    scatter = float(np.sqrt((rest**2).sum() * count / max(count - 1, 1)))
    half = NORMAL_95 * scatter / bottom if bottom else nothing
    squares = float((weights**2).sum())
    effective = float(weights.sum()) ** 2 / squares if squares else 0.0
    return Estimate(name, value, value - half, value + half, effective)
