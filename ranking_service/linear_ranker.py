"""Rankers that add weights up: the hand-tuned ones, and trained linear models."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ranking_service.light_score import RANK_FUSION, LightScore, light_of
from ranking_service.models.calibration import Calibration
from ranking_service.query import Surface

HAND_TUNED: Final = "hand_tuned"

HAND_TUNED_MEMBOOST_GAIN: Final = 0.5
"""How much a remembered boost moves the logit of a model that was never fitted. Guess."""


class HandTunedRanker:
    """
    A linear model with named weights: what ranks before any training.

    Args:
        weights: Weight by feature name; features that are not named weigh 0.
        feature_names: Columns of the rows that will be scored.
        bias: Added to each sum.

    Raises:
        ValueError: If a weight names no feature.
    """

    def __init__(
        self, weights: Mapping[str, float], feature_names: Sequence[str], *, bias: float = 0.0
    ) -> None:
        if unknown := sorted(set(weights) - set(feature_names)):
            raise ValueError(f"weights of unknown features: {', '.join(unknown)}")
        self.model = HAND_TUNED
        self.memboost_gain = HAND_TUNED_MEMBOOST_GAIN
        self._bias = bias
        self._columns = np.array([feature_names.index(name) for name in weights], np.int64)
        self._weights = np.array(list(weights.values()), np.float64)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `ranker.Ranker.score`."""
        return probabilities(self.logits(features))

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The weighted sums behind the scores, float64[n]."""
        sums = np.full(features.shape[0], self._bias, np.float64)
        for column, weight in zip(self._columns, self._weights, strict=True):
            sums += features[:, column] * weight
        return sums

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `ranker.Ranker.contributions`; against 0, as nothing was trained."""
        out = np.zeros(features.shape, np.float64)
        out[:, self._columns] = features[:, self._columns] * self._weights
        return out


class HandTuned:
    """
    The model before any training: a set of weights for each surface; see `ranker.Ranker`.

    A coarse machine score comes first, and hand tuning is added to it; both can be told apart.

    Args:
        weights: For each surface, weight by feature name.
        feature_names: Columns of the rows that will be scored; `is_related` tells the surface.
        bias: Added to each sum.
        coarse_names: Features whose weights make the coarse score.

    Raises:
        ValueError: If a weight names no feature.
    """

    def __init__(
        self,
        weights: Mapping[Surface, Mapping[str, float]],
        feature_names: Sequence[str],
        *,
        bias: float,
        coarse_names: Sequence[str] = (),
    ) -> None:
        self.model = HAND_TUNED
        self.memboost_gain = HAND_TUNED_MEMBOOST_GAIN
        self.light = light_of(weights, bias=bias)
        self.weights = weights
        self._home, self._related = (
            HandTunedRanker(weights[surface], feature_names, bias=bias) for surface in Surface
        )
        coarse = {
            surface: {name: weight for name, weight in own.items() if name in coarse_names}
            for surface, own in weights.items()
        }
        self._coarse_home, self._coarse_related = (
            HandTunedRanker(coarse[surface], feature_names, bias=bias) for surface in Surface
        )
        self._is_related = feature_names.index("is_related")

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `ranker.Ranker.score`."""
        return probabilities(self.logits(features))

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The weighted sums behind the scores, float64[n]."""
        is_related = features[:, self._is_related] == 1
        if not is_related.any():
            return self._home.logits(features)
        return np.where(is_related, self._related.logits(features), self._home.logits(features))

    def coarse_logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The coarse machine score, before hand tuning: float64[n]."""
        is_related = features[:, self._is_related] == 1
        return np.where(
            is_related,
            self._coarse_related.logits(features),
            self._coarse_home.logits(features),
        )

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `ranker.Ranker.contributions`; against 0, as nothing was trained."""
        is_related = features[:, self._is_related] == 1
        return np.where(
            is_related[:, None],
            self._related.contributions(features),
            self._home.contributions(features),
        )


class Summed(Protocol):
    """A trained model that adds something up; see `models.linear`."""

    def sums(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The sums, float64[n]; a row's sum depends on that row only."""

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What each feature adds against its mean, float64[n, f]."""


class LinearRanker:
    """
    A trained linear model; see `ranker.Ranker`.

    Args:
        model: Kind of model.
        summed: What it adds up.
        calibration: Makes logits of the sums.
        surfaces: Where the model proved good.
        memboost_gain: How much a remembered boost moves the logit.
        light: Chooses what it scores.
    """

    def __init__(
        self,
        model: str,
        summed: Summed,
        *,
        calibration: Calibration,
        surfaces: frozenset[Surface] = frozenset(Surface),
        memboost_gain: float = 0.0,
        light: LightScore = RANK_FUSION,
    ) -> None:
        self.model = model
        self.light = light
        self.surfaces = surfaces
        self.memboost_gain = memboost_gain
        self.summed = summed
        self.calibration = calibration

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `ranker.Ranker.score`."""
        return probabilities(self.logits(features))

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `ranker.Ranker.logits`."""
        return self.calibration.logits(self.summed.sums(features))

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `ranker.Ranker.contributions`."""
        return self.calibration.slope * self.summed.contributions(features)


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    """The logistic function of each logit, without overflow, float32[n]."""
    magnitude = np.exp(-np.abs(logits))
    chances = np.where(logits >= 0, 1.0, magnitude) / (1.0 + magnitude)
    return chances.astype(np.float32)
