"""
Gradient boosted trees as a ranker: LightGBM's scores to the bit, at a small part of the cost.

LightGBM trains; serving scores with `kernels.score_trees`.  A model that the fast scorer cannot
take, or rows with a NaN, are scored by LightGBM itself: slower, never different.
"""

from collections.abc import Iterable
from typing import Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from ranking_service import kernels
from ranking_service.forest import Forest, ForestUnsupported, parse_forest
from ranking_service.light_score import RANK_FUSION, LightScore
from ranking_service.linear_ranker import HandTuned, probabilities
from ranking_service.models.calibration import Calibration
from ranking_service.query import Surface
from service_runtime.errors import Corrupted

POINTWISE_GBDT: Final = "pointwise_gbdt"


class RankerCorrupted(Corrupted):
    """A model generation cannot be used: damaged, or made for other features."""

    HINT = "train it anew: python -m ranking_service.jobs.train_ranker"


class GbdtRanker:
    """
    Gradient boosted trees, scored to the bit as LightGBM does.

    Args:
        model_text: What `Booster.model_to_string` gives.
        model: Kind of model.
        calibration: Makes logits of what the trees and the base add up to; undoes the up-weighting
            of positives, and gives pairwise models a scale.
        base: What the trees were boosted from; its logits are added. None = from nothing.
        surfaces: Where the model proved good; it does not rank elsewhere.
        memboost_gain: How much a remembered boost moves the logit.
        light: Chooses what it scores.

    Raises:
        RankerCorrupted: If the text is damaged, or not even LightGBM can read it.
    """

    def __init__(
        self,
        model_text: str,
        *,
        model: str = POINTWISE_GBDT,
        calibration: Calibration = Calibration(),  # noqa: B008  frozen
        base: HandTuned | None = None,
        surfaces: Iterable[Surface] = Surface,
        memboost_gain: float = 0.0,
        light: LightScore = RANK_FUSION,
    ) -> None:
        self.model = model
        self.light = light
        self.base = base
        self.surfaces = frozenset(surfaces)
        self.memboost_gain = memboost_gain
        self.calibration = calibration
        self.fallback_reason = ""
        """Why LightGBM itself scores; empty where the fast scorer does."""
        self.model_text = model_text
        self._forest: Forest | None = None
        self._booster: lightgbm.Booster | None = None
        try:
            self._forest = parse_forest(model_text)
        except ForestUnsupported as fault:
            self.fallback_reason = str(fault)
            self._booster = self._open_booster()
        except ValueError as fault:  # LightGBM would read such a text, and beyond its arrays
            raise RankerCorrupted(f"the model is damaged: {fault}") from fault

    @property
    def feature_count(self) -> int:
        """Number of columns that the model reads."""
        if self._forest is not None:
            return len(self._forest.feature_names)
        assert self._booster is not None
        return int(self._booster.num_feature())

    @property
    def output_count(self) -> int:
        """Scores that the model gives each row; only models of one can rank."""
        return 1 if self._booster is None else int(self._booster.num_model_per_iteration())

    def raw_scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """
        Sum the leaves of all trees: float64[n], equal to the bit to LightGBM's raw score.

        Args:
            features: float32[n, f].

        Raises:
            ValueError: If f is not the model's number of features.
        """
        if features.ndim != 2 or features.shape[1] != self.feature_count:
            raise ValueError(f"rows of shape {features.shape}, wanted [n, {self.feature_count}]")
        forest = self._forest
        if forest is not None:
            scores = np.empty(features.shape[0], np.float64)
            is_done = kernels.score_trees(
                np.ascontiguousarray(features, np.float32),
                forest.columns,
                forest.thresholds,
                forest.masks,
                forest.node_starts,
                forest.leaf_values,
                scores,
            )
            if is_done:
                return scores
        return self._booster_scores(features)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `ranker.Ranker.score`."""
        return probabilities(self.logits(features))

    def sums(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the trees and the base add up to, before calibration: float64[n]."""
        sums = self._sigmoid * self.raw_scores(features)
        return sums if self.base is None else sums + self.base.logits(features)

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `ranker.Ranker.logits`."""
        return self.calibration.logits(self.sums(features))

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """
        See `ranker.Ranker.contributions`.

        Of the trees against their average over the training rows, of the base against 0.

        Source: Lundberg et al. 2018 (TreeSHAP), as LightGBM has it.
        """
        if not features.shape[0]:
            return np.zeros(features.shape, np.float64)
        booster = self._opened()
        found = np.asarray(booster.predict(features, pred_contrib=True, num_threads=1), np.float64)
        total = self._sigmoid * found[:, :-1]
        if self.base is not None:
            total = total + self.base.contributions(features)
        return self.calibration.slope * total

    @property
    def _sigmoid(self) -> float:
        return 1.0 if self._forest is None else self._forest.sigmoid

    def _booster_scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        if features.shape[0] == 0:
            return np.empty(0, np.float64)
        scores = self._opened().predict(features, raw_score=True, num_threads=1)
        return np.asarray(scores, np.float64)

    def _opened(self) -> lightgbm.Booster:
        if self._booster is None:
            self._booster = self._open_booster()
        return self._booster

    def _open_booster(self) -> lightgbm.Booster:
        try:
            return lightgbm.Booster(model_str=self.model_text)
        except lightgbm.basic.LightGBMError as fault:
            raise RankerCorrupted(f"LightGBM cannot read the model: {fault}") from fault
