"""
The models that give a pool its scores: hand-tuned weights, and gradient boosted trees.

LightGBM trains; serving scores with `kernels.score_trees`, which gives the same sums to the bit at
a small part of the cost.  A model that the fast scorer cannot take, or rows with a NaN, are scored
by LightGBM itself: slower, never different.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

import lightgbm
import numpy as np
from numpy.typing import NDArray

from ranking_service import kernels
from ranking_service.forest import Forest, ForestUnsupported, parse_forest
from ranking_service.query import Surface
from service_runtime.errors import Corrupted
from service_runtime.generation_store import Generation, GenerationStore
from service_runtime.live import Live

RANKER_ARTIFACT: Final = "ranker"
RANKER_FORMAT_VERSION: Final = 1
HAND_TUNED: Final = "hand_tuned"
POINTWISE_GBDT: Final = "pointwise_gbdt"

_MODEL_FILE: Final = "model.txt"
_FEATURES_FILE: Final = "features.json"


class RankerCorrupted(Corrupted):
    """A model generation cannot be used: damaged, or made for other features."""

    HINT = "train it anew: python -m ranking_service.jobs.train_ranker"


class Ranker(Protocol):
    """Gives each row of features how likely it is that the user acts on that pin."""

    model: str
    """Kind of model, as answers and metrics name it."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Score rows; a row's score depends on that row only.

        Args:
            features: float32[n, f], columns in the order of `features.FEATURE_NAMES`.

        Returns:
            float32[n] in [0, 1], higher is better.
        """


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
        self._bias = bias
        self._columns = np.array([feature_names.index(name) for name in weights], np.int64)
        self._weights = np.array(list(weights.values()), np.float64)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Ranker.score`."""
        return _probabilities(self.logits(features))

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The weighted sums behind the scores, float64[n]."""
        sums = np.full(features.shape[0], self._bias, np.float64)
        for column, weight in zip(self._columns, self._weights, strict=True):
            sums += features[:, column] * weight
        return sums


class HandTuned:
    """
    The model before any training: a set of weights for each surface; see `Ranker`.

    Args:
        weights: For each surface, weight by feature name.
        feature_names: Columns of the rows that will be scored; `is_related` tells the surface.
        bias: Added to each sum.

    Raises:
        ValueError: If a weight names no feature.
    """

    def __init__(
        self,
        weights: Mapping[Surface, Mapping[str, float]],
        feature_names: Sequence[str],
        *,
        bias: float,
    ) -> None:
        self.model = HAND_TUNED
        self.weights = weights
        self._home, self._related = (
            HandTunedRanker(weights[surface], feature_names, bias=bias) for surface in Surface
        )
        self._is_related = feature_names.index("is_related")

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Ranker.score`."""
        return _probabilities(self.logits(features))

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The weighted sums behind the scores, float64[n]."""
        is_related = features[:, self._is_related] == 1
        if not is_related.any():
            return self._home.logits(features)
        return np.where(is_related, self._related.logits(features), self._home.logits(features))


class GbdtRanker:
    """
    Gradient boosted trees, scored to the bit as LightGBM does.

    Args:
        model_text: What `Booster.model_to_string` gives.
        model: Kind of model.
        bias: Added to each raw score before the logistic: undoes the up-weighting of positives.
        base: What the trees were boosted from; its logits are added. None = from nothing.
        surfaces: Where the model proved good; it does not rank elsewhere.

    Raises:
        RankerCorrupted: If the text is damaged, or not even LightGBM can read it.
    """

    def __init__(
        self,
        model_text: str,
        *,
        model: str = POINTWISE_GBDT,
        bias: float = 0.0,
        base: HandTuned | None = None,
        surfaces: Iterable[Surface] = Surface,
    ) -> None:
        self.model = model
        self._base = base
        self.surfaces = frozenset(surfaces)
        self._bias = bias
        self.fallback_reason = ""
        """Why LightGBM itself scores; empty where the fast scorer does."""
        self._model_text = model_text
        self._forest: Forest | None = None
        self._booster: lightgbm.Booster | None = None
        try:
            self._forest = parse_forest(model_text)
        except ForestUnsupported as fault:
            self.fallback_reason = str(fault)
            self._booster = self._open_booster()
        except ValueError as fault:  # LightGBM would read such a text, and beyond its arrays
            raise RankerCorrupted(f"the model is damaged: {fault}") from fault

    @classmethod
    def open(cls, folder: Path, *, feature_names: Sequence[str]) -> Self:
        """
        Open a generation's folder.

        Args:
            folder: Holds `model.txt` and `features.json`.
            feature_names: What this build of the service computes, in order.

        Raises:
            RankerCorrupted: If a file is unreadable or the model wants other features.
        """
        try:
            described = json.loads((folder / _FEATURES_FILE).read_text(encoding="utf-8"))
            model_text = (folder / _MODEL_FILE).read_text(encoding="utf-8")
            names, model = described["names"], described["model"]
            bias = float(described["bias"])
            surfaces = [Surface[name.upper()] for name in described["surfaces"]]
            base = _read_base(described["base"], names)
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise RankerCorrupted(f"{folder}: cannot read the model: {fault}") from fault
        if list(names) != list(feature_names):
            differing = sorted(set(names) ^ set(feature_names)) or "their order"
            raise RankerCorrupted(f"{folder}: made for other features: {differing}")
        ranker = cls(model_text, model=model, bias=bias, base=base, surfaces=surfaces)
        if ranker.output_count != 1:
            raise RankerCorrupted(f"{folder}: the model gives {ranker.output_count} scores a row")
        if ranker.feature_count != len(feature_names):
            raise RankerCorrupted(
                f"{folder}: {_MODEL_FILE} has {ranker.feature_count} features, "
                f"{_FEATURES_FILE} names {len(feature_names)}"
            )
        return ranker

    @staticmethod
    def write(
        folder: Path,
        model_text: str,
        *,
        feature_names: Sequence[str],
        model: str = POINTWISE_GBDT,
        bias: float = 0.0,
        base: HandTuned | None = None,
        surfaces: Iterable[Surface] = Surface,
    ) -> None:
        """Write what `open` reads into an existing folder."""
        described = {
            "model": model,
            "bias": bias,
            "surfaces": sorted(surface.name.lower() for surface in surfaces),
            "base": base and {at.name.lower(): dict(base.weights[at]) for at in Surface},
            "names": list(feature_names),
        }
        (folder / _MODEL_FILE).write_text(model_text, encoding="utf-8")
        (folder / _FEATURES_FILE).write_text(json.dumps(described, indent=1), encoding="utf-8")

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
        """See `Ranker.score`."""
        return _probabilities(self.logits(features))

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the scores are the logistic of: trees, base and bias, float64[n]."""
        sigmoid = 1.0 if self._forest is None else self._forest.sigmoid
        logits = sigmoid * self.raw_scores(features) + self._bias
        return logits if self._base is None else logits + self._base.logits(features)

    def _booster_scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        if features.shape[0] == 0:
            return np.empty(0, np.float64)
        if self._booster is None:
            self._booster = self._open_booster()
        scores = self._booster.predict(features, raw_score=True, num_threads=1)
        return np.asarray(scores, np.float64)

    def _open_booster(self) -> lightgbm.Booster:
        try:
            return lightgbm.Booster(model_str=self._model_text)
        except lightgbm.basic.LightGBMError as fault:
            raise RankerCorrupted(f"LightGBM cannot read the model: {fault}") from fault


@dataclass(frozen=True, slots=True)
class Serving:
    """
    The model that scores now.

    Attributes:
        ranker: The model.
        generation: Its generation; empty for the hand-tuned one.
        missing_reason: Why it is not a trained model although there is one; mostly empty.
    """

    ranker: Ranker
    generation: str = ""
    missing_reason: str = ""


class Rankers:
    """
    The trained model of the newest good generation, and the hand-tuned one where there is none.

    Args:
        store: Where the generations are.
        hand_tuned: Scores as long as no generation can, and on surfaces it was not trained on.
        feature_names: What this build of the service computes, in order.
    """

    def __init__(
        self, store: GenerationStore, hand_tuned: Ranker, *, feature_names: Sequence[str]
    ) -> None:
        self._store = store
        self._hand_tuned = hand_tuned
        self.live: Live[GbdtRanker] = Live(
            store,
            RANKER_ARTIFACT,
            RANKER_FORMAT_VERSION,
            lambda generation: GbdtRanker.open(generation.path, feature_names=feature_names),
        )

    def serving(self, surface: Surface) -> Serving:
        """The model that scores there now."""
        snapshot = self.live.snapshot()
        if snapshot is not None:
            if surface in snapshot[1].surfaces:
                return Serving(snapshot[1], snapshot[0].id)
            return Serving(self._hand_tuned)
        if self.live.refused_count:
            return Serving(self._hand_tuned, missing_reason="no trained model could be used")
        return Serving(self._hand_tuned)

    def published(self) -> list[Generation]:
        """Every model generation that is whole, newest first."""
        found = []
        for generation_id in reversed(self._store.generations(RANKER_ARTIFACT)):
            with suppress(Corrupted):
                found.append(self._store.verify(RANKER_ARTIFACT, generation_id))
        return found


def _read_base(
    described: Mapping[str, Mapping[str, float]] | None, names: Sequence[str]
) -> HandTuned | None:
    """What a model was boosted from, with the weights of that time and no bias of its own."""
    if described is None:
        return None
    weights = {Surface[name.upper()]: weights for name, weights in described.items()}
    return HandTuned(weights, names, bias=0.0)


def _probabilities(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    """The logistic function of each score, without overflow."""
    magnitude = np.exp(-np.abs(scores))
    probabilities = np.where(scores >= 0, 1.0, magnitude) / (1.0 + magnitude)
    return probabilities.astype(np.float32)
