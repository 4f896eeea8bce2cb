"""Experiments: who is in which arm, and what each arm earned, with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
"""Of the intervals."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """
    A figure with its interval.

    Attributes:
        value: The figure.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ArmResult:
    """
    What one arm, or one source within it, earned.

    Attributes:
        arm: The arm.
        source: The source; empty = all of them together.
        user_count: Users who were shown something.
        impression_count: Pins shown.
        volume: Saves and clicks for each thousand pins shown.
        propensity: Share of users who saved or clicked.
    """

    arm: str
    source: str
    user_count: int
    impression_count: int
    volume: Estimate
    propensity: Estimate


def arm_of(user_id: str, salt: str, shares: Mapping[str, float]) -> str:
    """
    The arm of a user: the same at all times, on all machines, without any state.

    Args:
        user_id: Who.
        salt: Of the experiment, so that experiments split users independently.
        shares: Share of users by arm, sum 1; the order does not matter.
    """
    digest = blake2b(f"{salt}\0{user_id}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") / 2**64
    for arm, share in sorted(shares.items()):
        if point < share:
            return arm
        point -= share
    return max(shares)


def measure_arm(
    arm: str,
    source: str,
    impressions: NDArray[np.int64],
    actions: NDArray[np.int64],
) -> ArmResult:
    """
    Volume and propensity of one arm.

    Args:
        arm: Its name.
        source: The source, empty = all.
        impressions: Pins shown to each user, int64[u], >= 1.
        actions: Saved or clicked ones among them, int64[u].

    Volume is a ratio of sums over users, who are independent where their actions are not: its
    variance is that of the linearised ratio (delta method).  Propensity is a share of users, with
    Wilson's interval.

    Source: volume and propensity are the two metrics of Pal et al. 2020, section 5.2.
    """
    return ArmResult(
        arm=arm,
        source=source,
        user_count=int(impressions.size),
        impression_count=int(impressions.sum()),
        volume=_ratio(actions.astype(np.float64) * 1000, impressions.astype(np.float64)),
        propensity=wilson(int((actions > 0).sum()), int(impressions.size)),
    )


def wilson(hit_count: int, count: int, confidence: float = CONFIDENCE) -> Estimate:
    """
    A share with Wilson's interval; of nothing, anything between 0 and 1.

    Source: Wilson 1927.
    """
    if not count:
        return Estimate(0.0, 0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = hit_count / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half))


def loss_probability(arm: ArmResult, control: ArmResult, loss_max: float) -> float:
    """
    How likely the figures are if the arm lost at most *loss_max* of the control's propensity.

    A one-sided test of two shares; near 0 = the arm loses more than that beyond doubt.
    """
    if not arm.user_count or not control.user_count:
        return 1.0
    first, second = arm.propensity.value, control.propensity.value * (1.0 - loss_max)
    pooled = (first * arm.user_count + second * control.user_count) / (
        arm.user_count + control.user_count
    )
    spread = sqrt(pooled * (1 - pooled) * (1 / arm.user_count + 1 / control.user_count))
    if not spread:
        return 1.0
    return NormalDist().cdf((first - second) / spread)


def _ratio(tops: NDArray[np.float64], bottoms: NDArray[np.float64]) -> Estimate:
    """Sum of tops over sum of bottoms, with the interval of the linearised ratio."""
    if not bottoms.sum():
        return Estimate(0.0, 0.0, 0.0)
    value = float(tops.sum() / bottoms.sum())
    count = tops.size
    if count < 2:
        return Estimate(value, 0.0, 1000.0)
    residuals = tops - value * bottoms
    error = sqrt(count * float(residuals.var(ddof=1))) / float(bottoms.sum())
    half = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * error
    return Estimate(value, max(0.0, value - half), value + half)
