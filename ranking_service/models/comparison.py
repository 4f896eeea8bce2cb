"""
All models on the same rows: what each is worth, what each family of features is, and each slice.

Judged are the newer lists that no model trained on, by order (NDCG, PR-AUC), by probabilities
(calibration), by what a reader would meet who looks at places with falling chance, and by what the
first ten show (diversity, coverage).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.evaluation import CUT, measure
from ranking_service.examples import Examples
from ranking_service.feature_table import FAMILIES, FEATURE_NAMES
from ranking_service.gate import POSITIVE_COUNT_MIN
from ranking_service.models.calibration import calibration_error, reliability
from ranking_service.models.entries import MODELS, SESSION_PAIRS, Fitted, Recipe, fit
from ranking_service.models.example_split import Slice, Split
from ranking_service.models.pairs import Negatives, is_unrelated_popular
from ranking_service.tree_ranker import POINTWISE_GBDT

EXAMINATION: Final = (0.68, 0.61, 0.48, 0.34, 0.28, 0.20, 0.11, 0.10, 0.08, 0.06)
"""Chance that a reader looks at each place. Declared, not measured: Joachims et al. 2005, fixations
on ten results, smoothed; real feeds differ."""

COLD_COUNT_MAX: Final = 5
"""Up to so many pins of their own people count as cold."""

_HISTORY: Final = FEATURE_NAMES.index("history_count")
_ACTIONS: Final = FEATURE_NAMES.index("action_count")

Say = Callable[[str], None]
"""Told what is being done."""


def compare(
    split: Split,
    recipe: Recipe,
    *,
    vectors: NDArray[np.float32] | None = None,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """
    Train every model and judge all of them on the same rows.

    Args:
        split: The examples.
        recipe: How; its model is the one that families, slices and weights are tried on.
        vectors: Of the pins of `split.newer`, float32[n, d], for diversity; None = not told.
        say: Told what is being done.

    Returns:
        By section; see `judged`.
    """
    models = {}
    for model in MODELS:
        say(f"training {model}")
        fitted = fit(replace(recipe, model=model), split)
        models[model] = judged(fitted, split.newer, vectors)
    return {
        "models": models,
        "families": families(split, recipe, say),
        "negatives": negatives(split, recipe, say),
        "weights": weights(split, recipe, say),
        "slices": slices(split, recipe, say),
    }


def judged(fitted: Fitted, newer: Examples, vectors: NDArray[np.float32] | None) -> dict[str, Any]:
    """All figures of one model on the newer lists."""
    scores = fitted.judged
    is_cold = newer.features[:, _HISTORY] <= np.log1p(COLD_COUNT_MAX)
    is_cold &= newer.features[:, _ACTIONS] <= np.log1p(COLD_COUNT_MAX)
    parts = {"cold": is_cold, "warm": ~is_cold}
    return {
        **measure(newer.labels, scores, newer.lists)._asdict(),
        "calibration_error": calibration_error(scores, newer.labels),
        "examined": examined(newer, scores),
        **shown(newer, scores, vectors),
        "flipped": flipped(newer, scores),
        "trees": fitted.size,
        "positive_weight": fitted.weight,
        **{
            name: {
                **measure(newer.labels[part], scores[part], newer.lists[part])._asdict(),
                "lists": len(np.unique(newer.lists[part])),
            }
            for name, part in parts.items()
        },
        "reliability": [bar._asdict() for bar in reliability(scores, newer.labels)],
    }


def places(examples: Examples, scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Place of each example in its list if it were ordered by score, from 0, int64[n]."""
    order = np.lexsort((np.arange(scores.size), -scores, examples.lists))
    _, starts, counts = np.unique(examples.lists[order], return_index=True, return_counts=True)
    found = np.empty(scores.size, np.int64)
    found[order] = np.arange(scores.size) - np.repeat(starts, counts)
    return found


def examined(examples: Examples, scores: NDArray[np.float32]) -> float:
    """Positives that a reader would meet, a list: sum of EXAMINATION at their places, mean."""
    chances = np.array([*EXAMINATION, 0.0])
    met = chances[np.minimum(places(examples, scores), len(EXAMINATION))]
    list_count = len(np.unique(examples.lists))
    return float((met * examples.labels).sum() / max(list_count, 1))


def shown(
    examples: Examples, scores: NDArray[np.float32], vectors: NDArray[np.float32] | None
) -> dict[str, float]:
    """What the first ten of each list show: coverage of all pins, and diversity within a list."""
    is_first = places(examples, scores) < CUT
    pins = examples.pin_keys
    coverage = len(np.unique(pins[is_first])) / max(len(np.unique(pins)), 1)
    if vectors is None:
        return {"coverage": coverage, "diversity": float("nan")}
    lists, count = np.unique(examples.lists[is_first], return_inverse=True)
    sums = np.zeros((len(lists), vectors.shape[1]))
    np.add.at(sums, count, vectors[is_first])
    sizes = np.bincount(count, minlength=len(lists)).astype(float)
    own = np.bincount(count, weights=np.square(vectors[is_first]).sum(axis=1))
    pairs = np.maximum(sizes * (sizes - 1.0), 1.0)
    likeness = (np.square(sums).sum(axis=1) - own) / pairs
    return {"coverage": coverage, "diversity": float(1.0 - likeness[sizes > 1].mean())}


def flipped(examples: Examples, scores: NDArray[np.float32]) -> float:
    """
    How often an unrelated popular pin stands above a saved pin of the same list.

    A model that was never shown such pins as negatives may have their order the wrong way round.
    NaN where no list has both.
    """
    popular = is_unrelated_popular(examples) & (examples.labels == 0)
    wrong = pairs = 0
    starts = np.r_[0, np.flatnonzero(np.diff(examples.lists)) + 1, len(examples)]
    for begin, end in pairwise(starts.tolist()):
        part = slice(begin, end)
        good = scores[part][examples.labels[part] == 1]
        bad = scores[part][popular[part]]
        wrong += int((bad[:, None] > good).sum())
        pairs += bad.size * good.size
    return wrong / pairs if pairs else float("nan")


def families(split: Split, recipe: Recipe, say: Say) -> dict[str, Any]:
    """What is lost without each family of features."""
    found = {}
    for left_out in ("", *FAMILIES):
        say(f"without {left_out or 'nothing'}")
        chosen = replace(recipe, left_out=(left_out,) if left_out else ())
        found[left_out or "none"] = _short(fit(chosen, split), split.newer)
    return found


def negatives(split: Split, recipe: Recipe, say: Say) -> dict[str, Any]:
    """What it does to `session_pairs` to see neighbours and unrelated popular pins as negatives."""
    found = {}
    for kind in Negatives:
        say(f"negatives: {kind}")
        fitted = fit(replace(recipe, model=SESSION_PAIRS, negatives=kind), split)
        flips = flipped(split.newer, fitted.judged)
        found[kind.value] = {**_short(fitted, split.newer), "flipped": flips}
    return found


def weights(split: Split, recipe: Recipe, say: Say) -> dict[str, Any]:
    """What it does to weigh positives up, calibration corrected after it."""
    found = {}
    for name, fixed in (("automatic", 0.0), ("none", 1.0)):
        say(f"weight of positives: {name}")
        fitted = fit(replace(recipe, model=POINTWISE_GBDT, positive_weight=fixed), split)
        found[name] = {**_short(fitted, split.newer), "positive_weight": fitted.weight}
    return found


def slices(split: Split, recipe: Recipe, say: Say) -> dict[str, Any]:
    """
    What training on randomly ordered lists only, on all, or on both is worth.

    Judged by randomly ordered lists alone: ordered ones flatter whoever ordered them. Empty where
    too few were logged.
    """
    first, second = (half.where(half.is_randomised) for half in split.halves)
    random = split.training.where(split.training.is_randomised)
    if min(int(part.labels.sum()) for part in (first, second, random)) < POSITIVE_COUNT_MIN:
        return {}
    fair = Split(split.training, (first, second), split.boundary_us)
    found = {}
    for kind in Slice:
        say(f"slice: {kind}")
        fitted = fit(replace(recipe, slice=kind), fair)
        found[kind.value] = {
            **_short(fitted, fair.newer),
            "examples": len(fair.only(kind).training),
        }
    return found


def _short(fitted: Fitted, newer: Examples) -> Mapping[str, float]:
    """The few figures of a side by side."""
    quality = measure(newer.labels, fitted.judged, newer.lists)
    return {
        **quality._asdict(),
        "calibration_error": calibration_error(fitted.judged, newer.labels),
    }


def described(recipe: Recipe) -> dict[str, Any]:
    """A recipe for a report."""
    boosting = asdict(recipe.boosting)
    boosting.pop("advance")
    return {
        "model": recipe.model,
        "left_out": list(recipe.left_out),
        "slice": recipe.slice.value,
        **boosting,
    }
