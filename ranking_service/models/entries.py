"""
The trainer: one recipe for every model, so that they can be compared on the same rows.

`hand_tuned` needs no training.  `rank_svm` (v1), `session_pairs` (v2), `ranknet_gbdt` (v3) and
`pointwise_gbdt` (v4) are the versions of Related Pins; `logistic` and `lambdamart` are baselines.

Each half of the newer lists says when trees stop and calibrates the model that the other half
judges, so that nothing is judged by rows that chose or scaled it.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.examples import Examples
from ranking_service.feature_table import FEATURE_NAMES, columns_of
from ranking_service.hand_tuned import HOME_WEIGHTS, RELATED_WEIGHTS
from ranking_service.linear_ranker import HAND_TUNED, HandTuned, LinearRanker
from ranking_service.models.boosting import BoostSettings, Loss, boost
from ranking_service.models.calibration import (
    Calibration,
    fit_bias,
    fit_gain,
    fit_slope_and_bias,
    positive_weight,
)
from ranking_service.models.example_split import Slice, Split, row_weights
from ranking_service.models.linear import fit_buckets, fit_pairwise
from ranking_service.models.pairs import Negatives, memboost_pairs, session_pairs
from ranking_service.query import Surface
from ranking_service.tree_ranker import POINTWISE_GBDT, GbdtRanker

RANK_SVM: Final = "rank_svm"
SESSION_PAIRS: Final = "session_pairs"
RANKNET_GBDT: Final = "ranknet_gbdt"
LOGISTIC: Final = "logistic"
LAMBDAMART: Final = "lambdamart"

TRAINED_MODELS: Final = (
    RANK_SVM,
    SESSION_PAIRS,
    RANKNET_GBDT,
    POINTWISE_GBDT,
    LOGISTIC,
    LAMBDAMART,
)
"""Models that can be trained and served."""
MODELS: Final = (HAND_TUNED, *TRAINED_MODELS)
"""Models that can be compared."""

_LOSSES: Final = {
    RANKNET_GBDT: Loss.RANKNET,
    POINTWISE_GBDT: Loss.POINTWISE,
    LAMBDAMART: Loss.LAMBDAMART,
}
TREE_MODELS: Final = tuple(_LOSSES)
"""Models that are made of trees."""
_MEMBOOST: Final = FEATURE_NAMES.index("memboost")

Trained = GbdtRanker | LinearRanker


@dataclass(frozen=True, slots=True)
class Recipe:
    """
    How a model is made.

    Attributes:
        model: One of MODELS.
        boosting: How trees are boosted; its seed is that of all chance.
        positive_weight: Weight of a positive; 0 = by the share of positives.
        negatives: What `session_pairs` adds to the pins shown before the saved one.
        left_out: Families and features that are not looked at.
        slice: Which lists train.
    """

    model: str
    boosting: BoostSettings
    positive_weight: float = 0.0
    negatives: Negatives = Negatives.BOTH
    left_out: tuple[str, ...] = ()
    slice: Slice = Slice.ALL


@dataclass(frozen=True, slots=True)
class Fitted:
    """
    A trained model, and how it judged rows that it never saw.

    Attributes:
        ranker: The model, calibrated on all newer lists; None for `hand_tuned`.
        judged: Calibrated scores of the newer lists, each half by what the other half chose,
            float32[n], in the order of `Split.newer`.
        size: Trees; 0 for linear models.
        weight: Of a positive beside a negative in training.
    """

    ranker: Trained | None
    judged: NDArray[np.float32]
    size: int
    weight: float


@dataclass(frozen=True, slots=True)
class _Grown:
    """A model before calibration: what each half chose, and what is served."""

    chosen: tuple[Trained | HandTuned, Trained | HandTuned]
    final: Trained | HandTuned
    size: int = 0
    weight: float = 1.0


def fit(recipe: Recipe, split: Split) -> Fitted:
    """
    Train one model.

    Raises:
        ValueError: If the model or a family is unknown, or there is nothing to learn from.
    """
    if recipe.model not in MODELS:
        raise ValueError(f"{recipe.model!r} is none of {', '.join(MODELS)}")
    if recipe.left_out:
        split = _without(split, recipe.left_out)
    split = split.only(recipe.slice)
    grown = _grow(recipe, split)
    calibrate = fit_bias if recipe.model == POINTWISE_GBDT else fit_slope_and_bias
    judged = []
    for number, judging in enumerate(split.halves):
        chosen, stopping = grown.chosen[1 - number], split.halves[1 - number]
        found = calibrate(_sums(chosen, stopping), stopping.labels)
        logits = found.logits(_sums(chosen, judging))
        judged.append((1.0 / (1.0 + np.exp(-logits))).astype(np.float32))
    scores = np.concatenate(judged)
    ranker = grown.final
    if isinstance(ranker, HandTuned):
        return Fitted(None, scores, 0, 1.0)
    newer = split.newer
    calibration = calibrate(_sums(ranker, newer), newer.labels)
    logits = calibration.logits(_sums(ranker, newer))
    gain = fit_gain(logits, newer.labels, newer.features[:, _MEMBOOST])
    return Fitted(finished(ranker, calibration, gain), scores, grown.size, grown.weight)


def finished(
    ranker: Trained,
    calibration: Calibration,
    memboost_gain: float,
    surfaces: Sequence[Surface] = tuple(Surface),
) -> Trained:
    """The same model with what was fitted or decided after it was trained."""
    done = copy(ranker)
    done.calibration = calibration
    done.memboost_gain = memboost_gain
    done.surfaces = frozenset(surfaces)
    return done


def starting_point(left_out: Sequence[str] = ()) -> HandTuned:
    """
    What trees are boosted from: with few data the model is the hand-tuned one, a little better.

    On replayed MovieLens: NDCG@10 .26 instead of .24 for people with a profile.
    """
    gone = {FEATURE_NAMES[column] for column in columns_of(left_out)}
    weights = {
        Surface.HOME_FEED: {k: v for k, v in HOME_WEIGHTS.items() if k not in gone},
        Surface.RELATED_PINS: {k: v for k, v in RELATED_WEIGHTS.items() if k not in gone},
    }
    return HandTuned(weights, FEATURE_NAMES, bias=0.0)


def _sums(ranker: Trained | HandTuned, examples: Examples) -> NDArray[np.float64]:
    if isinstance(ranker, HandTuned):
        return ranker.logits(examples.features)
    if isinstance(ranker, GbdtRanker):
        return ranker.sums(examples.features)
    return ranker.summed.sums(examples.features)


def _grow(recipe: Recipe, split: Split) -> _Grown:
    """The model itself, before anything is calibrated."""
    if recipe.model == HAND_TUNED:
        base = starting_point(recipe.left_out)
        return _Grown((base, base), base)
    if recipe.model in _LOSSES:
        return _trees(recipe, split)
    fits: dict[str, Callable[[], LinearRanker]] = {
        RANK_SVM: lambda: _pairwise(recipe, split.training),
        SESSION_PAIRS: lambda: _pairwise(recipe, split.training),
        LOGISTIC: lambda: _logistic(recipe, split.training),
    }
    linear = fits[recipe.model]()
    return _Grown((linear, linear), linear)


def _trees(recipe: Recipe, split: Split) -> _Grown:
    base = starting_point(recipe.left_out)
    training = split.training
    weight = positive_weight(training.labels, fixed=recipe.positive_weight)
    boosted = boost(
        training,
        split.halves,
        loss=_LOSSES[recipe.model],
        weight=weight,
        row_weights=row_weights(training, recipe.slice),
        base=base.logits,
        settings=recipe.boosting,
    )

    def made(size: int) -> GbdtRanker:
        return GbdtRanker(boosted.text(size), model=recipe.model, base=base)

    size = max(1, round(sum(boosted.sizes) / 2))
    first, second = boosted.sizes
    return _Grown((made(first), made(second)), made(size), size, weight)


def _pairwise(recipe: Recipe, training: Examples) -> LinearRanker:
    rng = np.random.default_rng(recipe.boosting.seed)
    if recipe.model == RANK_SVM:
        better, worse = memboost_pairs(training, rng)
    else:
        better, worse = session_pairs(training, recipe.negatives, rng)
    summed = fit_pairwise(training.features, better, worse, seed=recipe.boosting.seed)
    return LinearRanker(recipe.model, summed, calibration=Calibration())


def _logistic(recipe: Recipe, training: Examples) -> LinearRanker:
    weight = positive_weight(training.labels, fixed=recipe.positive_weight)
    weights = np.where(training.labels == 1, weight, 1.0) * row_weights(training, recipe.slice)
    summed = fit_buckets(training.features, training.labels, weights)
    return LinearRanker(recipe.model, summed, calibration=Calibration())


def _without(split: Split, left_out: Sequence[str]) -> Split:
    """The same examples with some columns 0."""
    columns = columns_of(left_out)

    def blind(examples: Examples) -> Examples:
        features = examples.features.copy()
        features[:, columns] = 0.0
        return replace(examples, features=features)

    first, second = split.halves
    return Split(blind(split.training), (blind(first), blind(second)), split.boundary_us)
