"""How much to expect at a place: rates of each type of action by surface, platform and position."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.memboost.counting import KINDS, Shown

POSITION_COUNT: Final = 100
"""Positions that are told apart; all further ones count as the last of these."""


@dataclass(frozen=True, slots=True)
class RankCurves:
    """
    Global rates of action by where something is shown.

    Attributes:
        rates: Actions of each type an impression, float64[2, P, POSITION_COUNT, len(KINDS)]:
            home feed and related pins; platforms in the table's numbers, 0 for
            those that have none; positions; types.
        is_random: Whether they come from lists in random order, by surface, bool[2].
    """

    rates: NDArray[np.float64]
    is_random: NDArray[np.bool_]

    def weighted(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted actions to expect of one impression, float64[2, P, POSITION_COUNT]."""
        return self.rates @ weights

    def expected(
        self,
        weights: NDArray[np.float64],
        is_related: NDArray[np.bool_],
        platforms: NDArray[np.uint8],
        positions: NDArray[np.uint16],
    ) -> NDArray[np.float64]:
        """Weighted actions to expect of each impression, float64[n]."""
        surfaces = is_related.astype(np.int64)
        known = np.where(platforms < self.rates.shape[1], platforms, 0)
        places = np.minimum(positions, POSITION_COUNT - 1)
        return self.weighted(weights)[surfaces, known, places]


def flat_curves(platform_count: int) -> RankCurves:
    """Nothing is known of any place: nothing is expected."""
    shape = (2, max(1, platform_count), POSITION_COUNT, len(KINDS))
    return RankCurves(np.zeros(shape), np.zeros(2, np.bool_))


def estimate(
    shown: Shown,
    acted: NDArray[np.uint8],
    *,
    platform_count: int,
    smoothing: float,
    random_count_min: int,
) -> RankCurves:
    """
    Estimate the rates, from lists in random order where there are enough of them, else from all.

    In an order that a model chose, good pins stand in front, so that what a place does and what
    its pins deserve cannot be told apart.  A platform's rate is drawn towards that of all
    platforms at the position, and that one towards the mean of all positions, by *smoothing*
    impressions each.

    Args:
        shown: Impressions.
        acted: What was done to each, as `credit` says.
        platform_count: Platforms are 0 to this.
        smoothing: Impressions' worth of the wider rate; above 0.
        random_count_min: Random impressions of a surface from which on they alone count.

    Source: Liu et al. 2017, section 4.1 (expected clicks), 5.3 (randomised traffic).
    """
    curves = flat_curves(platform_count)
    for surface in (0, 1):
        own = (shown.queries != 0) == bool(surface)
        random = own & shown.is_random
        is_random = int(random.sum()) >= random_count_min
        chosen = np.flatnonzero(random if is_random else own)
        curves.is_random[surface] = is_random
        curves.rates[surface] = _rates(shown.take(chosen), acted[chosen], curves, smoothing)
    return curves


def _rates(
    shown: Shown, acted: NDArray[np.uint8], curves: RankCurves, smoothing: float
) -> NDArray[np.float64]:
    """Smoothed rates of one surface, float64[P, POSITION_COUNT, len(KINDS)]."""
    platform_count = curves.rates.shape[1]
    places = np.minimum(shown.positions, POSITION_COUNT - 1).astype(np.int64)
    platforms = np.where(shown.platforms < platform_count, shown.platforms, 0).astype(np.int64)
    cells = platforms * POSITION_COUNT + places
    size = platform_count * POSITION_COUNT
    shape = (platform_count, POSITION_COUNT)
    counts = np.bincount(cells, minlength=size).reshape(shape).astype(np.float64)
    rates = np.zeros((*shape, len(KINDS)))
    for kind in range(len(KINDS)):
        hits = np.bincount(cells, (acted >> kind) & 1, minlength=size).reshape(shape)
        overall = hits.sum() / max(1.0, counts.sum())
        by_place = (hits.sum(0) + smoothing * overall) / (counts.sum(0) + smoothing)
        rates[:, :, kind] = (hits + smoothing * by_place) / (counts + smoothing)
    return rates
