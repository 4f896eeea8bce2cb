"""
Settings of trees by random search, on training lists alone.

The newest part of the training lists plays the part of newer ones: every trial is trained on the
rest and judged there.  The lists that judge the published model have no say, so what is measured of
it stays honest.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ranking_service.evaluation import mean_ndcg
from ranking_service.models.entries import Recipe, fit
from ranking_service.models.example_split import Split, split

LEAF_COUNTS: Final = (7, 15, 31, 63)
LEARNING_RATES: Final = (0.01, 0.1)
"""Drawn evenly by logarithm between these."""
LEAF_ROW_COUNTS: Final = (20, 50, 100, 200, 500)


@dataclass(frozen=True, slots=True)
class Trial:
    """
    One try.

    Attributes:
        leaf_count: Leaves of a tree.
        learning_rate: Shrinkage of each tree.
        leaf_row_count: Examples in a leaf at the least.
        ndcg_at_10: On the newest training lists; NaN without a positive there.
    """

    leaf_count: int
    learning_rate: float
    leaf_row_count: int
    ndcg_at_10: float


def search(
    recipe: Recipe, outer: Split, *, count: int, newer_share: float
) -> tuple[Recipe, tuple[Trial, ...]]:
    """
    Try settings and take the best; the given ones are tried first and win a tie.

    Args:
        recipe: What is to be trained; trees.
        outer: Its examples; only `outer.training` is looked at.
        count: Trials, >= 1.
        newer_share: Share of the training lists, the newest, that judges trials.

    Raises:
        JobFailed: If there is too little for an inner split.
    """
    training = outer.training
    boundary_us = int(np.quantile(training.times_us, 1.0 - newer_share, method="higher"))
    inner = split(training, boundary_us)
    inner.only(recipe.slice).refuse_few()
    rng = np.random.default_rng(recipe.boosting.seed)
    recipes, trials = [], []
    for number in range(count):
        drawn = recipe if not number else _drawn(recipe, rng)
        scores = fit(drawn, inner).judged
        newer, settings = inner.newer, drawn.boosting
        trials.append(
            Trial(
                settings.leaf_count_max,
                settings.learning_rate,
                settings.leaf_row_count_min,
                mean_ndcg(newer.labels, scores, newer.lists),
            )
        )
        recipes.append(drawn)
    best = int(np.argmax([trial.ndcg_at_10 for trial in trials]))
    return recipes[best], tuple(trials)


def _drawn(recipe: Recipe, rng: np.random.Generator) -> Recipe:
    low, high = np.log(LEARNING_RATES)
    drawn = replace(
        recipe.boosting,
        leaf_count_max=int(rng.choice(LEAF_COUNTS)),
        learning_rate=float(np.exp(rng.uniform(low, high))),
        leaf_row_count_min=int(rng.choice(LEAF_ROW_COUNTS)),
    )
    return replace(recipe, boosting=drawn)
