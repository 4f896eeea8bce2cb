"""
Learning the light score: what costs nothing to know is made to say what the trained model says.

The model's logits on logged rows are regressed on LIGHT_FEATURES.  Logged rows are what got through
an earlier cut, so what was learnt is taken only where it keeps more of what the model likes best
than hand-tuned weights and rank fusion do, on newer lists.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.examples import Examples
from ranking_service.feature_table import FEATURE_NAMES
from ranking_service.light_score import LIGHT_COLUMNS, LIGHT_FEATURES, RANK_FUSION, LightScore
from ranking_service.query import Surface

ROW_COUNT_MIN: Final = 1000
"""Rows of a surface from which on a light score is learnt for it. Guess."""
RIDGE: Final = 1.0
"""Rows' worth of prior for weights of 0, on columns of spread 1. Guess."""
TOP_COUNT: Final = 10
"""How many of a list count as what the model likes best."""
KEPT_SHARE: Final = 0.5
"""Part of each list that the cut keeps where light scores are compared."""

_IS_RELATED: Final = FEATURE_NAMES.index("is_related")


def learn_light(
    training: Examples,
    training_logits: NDArray[np.float64],
    newer: Examples,
    newer_logits: NDArray[np.float64],
    *,
    otherwise: LightScore,
) -> tuple[LightScore, float]:
    """
    Learn a light score, and choose among it, *otherwise* and rank fusion.

    Args:
        training: Examples that it learns from.
        training_logits: What the model says of them, float64[n].
        newer: Examples that choose.
        newer_logits: What the model says of them.
        otherwise: The light score before any learning.

    Returns:
        The one of the highest `light_recall` on the newer lists, and that recall; the learnt one
        with NaN where no list is long enough to tell.
    """
    learnt = fit_light(
        training.features[:, LIGHT_COLUMNS],
        training_logits,
        training.features[:, _IS_RELATED] == 1,
        otherwise=otherwise,
    )
    candidates: Sequence[LightScore] = (learnt, otherwise, RANK_FUSION)
    is_related = newer.features[:, _IS_RELATED] == 1
    rows = newer.features[:, LIGHT_COLUMNS]
    recalls = []
    for candidate in candidates:
        of_home, of_related = (candidate.of_rows(rows, surface) for surface in Surface)
        light = np.where(is_related, of_related, of_home)
        recalls.append(light_recall(light, newer_logits, newer.lists))
    at = 0 if np.isnan(recalls).all() else int(np.nanargmax(recalls))
    return candidates[at], recalls[at]


def fit_light(
    rows: NDArray[np.float32],
    logits: NDArray[np.float64],
    is_related: NDArray[np.bool_],
    *,
    otherwise: LightScore = RANK_FUSION,
) -> LightScore:
    """
    Learn a light score that says what a model says: ridge regression of its logits.

    Args:
        rows: LIGHT_FEATURES of logged candidates, float32[n, l].
        logits: What the model says of them, float64[n].
        is_related: Which of them stood among related pins, bool[n].
        otherwise: Kept for a surface with fewer than ROW_COUNT_MIN rows.
    """
    weights = {surface: dict(own) for surface, own in otherwise.weights.items()}
    biases = dict(otherwise.biases)
    for surface in Surface:
        is_here = is_related == (surface == Surface.RELATED_PINS)
        if int(is_here.sum()) < ROW_COUNT_MIN:
            continue
        own, wanted = rows[is_here].astype(np.float64), logits[is_here]
        means, spreads = own.mean(axis=0), own.std(axis=0)
        is_telling = spreads > 1e-9
        scaled = (own[:, is_telling] - means[is_telling]) / spreads[is_telling]
        gram = scaled.T @ scaled + RIDGE * np.eye(scaled.shape[1])
        found = np.linalg.solve(gram, scaled.T @ (wanted - wanted.mean())) / spreads[is_telling]
        names = [name for name, telling in zip(LIGHT_FEATURES, is_telling, strict=True) if telling]
        weights[surface] = dict(zip(names, found.tolist(), strict=True))
        biases[surface] = float(wanted.mean() - means[is_telling] @ found)
    return LightScore(weights, biases)


def light_recall(
    light: NDArray[np.float64],
    logits: NDArray[np.float64],
    lists: NDArray[np.int64],
) -> float:
    """
    Mean share of a list's best by the model that a cut by the light score keeps; NaN without lists.

    Args:
        light: Light scores, float64[n].
        logits: What the model says, float64[n].
        lists: The list of each row, int64[n], rows of a list side by side; lists of less than
            twice TOP_COUNT are left out.
    """
    ends = [*np.flatnonzero(np.diff(lists)) + 1, lists.size]
    kept = []
    for begin, end in pairwise([0, *ends]):
        if end - begin < 2 * TOP_COUNT:
            continue
        best = np.argsort(-logits[begin:end], kind="stable")[:TOP_COUNT]
        passed = np.argsort(-light[begin:end], kind="stable")[: int((end - begin) * KEPT_SHARE)]
        kept.append(np.isin(best, passed).mean())
    return float(np.mean(kept)) if kept else float("nan")
