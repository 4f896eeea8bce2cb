"""Which of a user's medoids to start from: a few, in proportion to their importance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUADRATURE_STEP = 0.1
QUADRATURE_SPAN = (-18.0, 6.0)
"""Nodes of the integral over log time; the step and the span give 1e-6, see the tests."""
QUADRATURE_WORK_MAX = 2000
"""Draws x answers x medoids up to which the integral takes at most 2 ms."""


@dataclass(frozen=True, slots=True)
class MedoidSample:
    """Some medoids, and how likely each was to be among them.

    Attributes:
        indexes: Positions in the importances, int32[k], in the order drawn.
        inclusion_probabilities: With which probability each is in a sample of this size,
            float64[k], in (0, 1]: the propensity by which a log of the sample is corrected.
    """

    indexes: NDArray[np.int32]
    inclusion_probabilities: NDArray[np.float64]


def sample_medoids(importances: NDArray[np.float64], count: int, seed: int) -> MedoidSample:
    """Draw *count* medoids by importance without replacement.

    Each medoid of importance S gets the key u^(1/S), u uniform in (0, 1); the largest keys win.
    That equals drawing one after another in proportion to the importance of those that are left.

    Args:
        importances: How much each cluster weighs, float64[n], finite and > 0.
        count: How many to draw (e in the paper), >= 0; all of them when there are no more.
        seed: The same seed draws the same medoids, in [0, 2**64).

    Returns:
        The sample; empty when there are no medoids.

    Cost: O(n log n), and O(n^2) for the probabilities up to three draws; at most about 5 ms.
    Source: Pal et al. 2020, section 4 (e = 3); Efraimidis and Spirakis 2006, algorithm A. The
        paper does not say whether it draws with replacement; we do not, so that no query is wasted.
    """
    total = len(importances)
    uniforms = np.random.default_rng(seed).random(total)
    if count >= total:
        chosen = _best_keys(uniforms, importances)
        return MedoidSample(chosen, np.ones(total))
    chosen = _best_keys(uniforms, importances)[:count]
    return MedoidSample(chosen, inclusion_probabilities(importances, count, chosen))


def _best_keys(
    uniforms: NDArray[np.float64], importances: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Order by u^(1/S), best first; in logarithms, as u^(1/S) underflows for a small S."""
    keys = np.log1p(-uniforms) / importances  # 1 - u is uniform too, and never 0
    return np.argsort(-keys, kind="stable").astype(np.int32)


def inclusion_probabilities(
    importances: NDArray[np.float64], count: int, chosen: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return how likely each of *chosen* is to be among *count* drawn without replacement.

    Args:
        importances: float64[n], finite and > 0, n > count.
        count: How many are drawn, >= 1.
        chosen: Positions to answer for, int32[k].

    Returns:
        float64[k] in (0, 1]: exact up to three draws; beyond that within 1e-6 for few medoids, and
        within some 4 % for many (measured on log-normal importances).
    """
    if count == 0 or len(chosen) == 0:
        return np.empty(0)
    p = importances / importances.sum()
    if count <= 3:
        chances = _up_to_three(p, count, chosen)
    elif count * len(chosen) * len(p) <= QUADRATURE_WORK_MAX:
        chances = _by_quadrature(p, count, chosen)
    else:
        chances = _by_common_time(p, count, chosen)
    return np.clip(chances, np.finfo(np.float64).tiny, 1.0)


def _up_to_three(
    p: NDArray[np.float64], count: int, chosen: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Sum over the orders in which the others may come first."""
    own = p[chosen]
    result = own.copy()
    if count >= 2:
        rest, left = _left_after(p)
        second = p / rest  # j first, then one of those left
        result += own * (second.sum() - second[chosen])
    if count == 3:
        pairs = second[:, None] * p / left  # j first, k second, then one of those left
        pairs.flat[:: len(p) + 1] = 0.0
        result += own * (pairs.sum() - pairs[chosen].sum(axis=1) - pairs[:, chosen].sum(axis=0))
    return result


def _left_after(p: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is left of 1 after j (float64[n]) and after j and k (float64[n, n]).

    Where one or two medoids hold nearly everything, 1 - p would be rounding noise: there the others
    are added up instead.
    """
    others = p.copy()
    largest = int(others.argmax())
    others[largest] = 0.0
    rest = 1.0 - p
    rest[largest] = others.sum()
    next_largest = int(others.argmax())
    others[next_largest] = 0.0
    left = rest[:, None] - p
    left[:, largest] = left[largest]
    left[largest, next_largest] = left[next_largest, largest] = others.sum()
    left.flat[:: len(p) + 1] = 1.0  # j = k does not occur
    return rest, left


def _by_quadrature(
    p: NDArray[np.float64], count: int, chosen: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Integrate over the time at which the medoid rings.

    Let each medoid ring once, after an exponential time with rate p: the first *count* to ring are
    the sample. Medoid i is in it when fewer than *count* others rang before it.
    """
    low, high = QUADRATURE_SPAN
    nodes = np.arange(low - np.log(p.max()), high - np.log(p.min()), QUADRATURE_STEP)
    times = np.exp(nodes)
    fewer = np.zeros((len(chosen), count, len(times)))  # chance that exactly c others rang
    fewer[:, 0] = 1.0
    for j, rate in enumerate(p):
        rang = np.where(chosen == j, 0.0, 1.0)[:, None] * -np.expm1(-rate * times)
        shifted = fewer[:, :-1] * rang[:, None]
        fewer *= (1.0 - rang)[:, None]
        fewer[:, 1:] += shifted
    own = p[chosen][:, None]
    density = own * np.exp(-own * times) * times * QUADRATURE_STEP
    return np.asarray((density * fewer.sum(axis=1)).sum(axis=1))


def _by_common_time(
    p: NDArray[np.float64], count: int, chosen: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Take the sample as those that ring before the time at which *count* are expected to have.

    Source: Rosen 1972 (asymptotic inclusion probabilities of successive sampling).
    """
    low, high = 0.0, float(count) / p.min()
    for _ in range(100):
        time = 0.5 * (low + high)
        if -np.expm1(-p * time).sum() < count:
            low = time
        else:
            high = time
    return np.asarray(-np.expm1(-p[chosen] * high))
