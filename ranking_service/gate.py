"""Whether a trained model may rank: surface by surface, beside the model that it would replace."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.evaluation import Quality, measure
from ranking_service.examples import Examples
from ranking_service.features import FEATURE_NAMES
from ranking_service.query import Surface

POSITIVE_COUNT_MIN: Final = 20
"""Positives without which a set is too small to train, stop or judge on. Guess."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    How a trained model and the hand-tuned one did on the same lists of one surface.

    Attributes:
        trained: Figures of the trained model.
        hand_tuned: Figures of the hand-tuned one.
        training_positives: Positives that it was trained on.
        judging_positives: Positives that it was judged by.
    """

    trained: Quality
    hand_tuned: Quality
    training_positives: int
    judging_positives: int

    @property
    def passes(self) -> bool:
        """Whether it was taught and judged by enough, and orders at least as well."""
        is_known = min(self.training_positives, self.judging_positives) >= POSITIVE_COUNT_MIN
        return is_known and self.trained.ndcg_at_10 >= self.hand_tuned.ndcg_at_10

    def figures(self) -> dict[str, float]:
        """Everything in one flat table."""
        return {
            **self.trained._asdict(),
            **{f"hand_tuned_{name}": value for name, value in self.hand_tuned._asdict().items()},
            "training_positives": self.training_positives,
            "judging_positives": self.judging_positives,
        }


def judge(
    training: Examples,
    newer: Examples,
    *,
    trained: NDArray[np.float32],
    hand_tuned: NDArray[np.float32],
    surfaces: Iterable[Surface],
) -> Mapping[Surface, Verdict]:
    """
    Compare two models on each surface.

    Args:
        training: What the model was trained on.
        newer: What it is judged by.
        trained: Its scores of *newer*, float32[n].
        hand_tuned: The other's, float32[n].
        surfaces: Where it is wanted.
    """
    verdicts = {}
    for surface in surfaces:
        old, new = shown_on(surface, training), shown_on(surface, newer)
        part = newer.where(new)
        verdicts[surface] = Verdict(
            trained=measure(part.labels, trained[new], part.lists),
            hand_tuned=measure(part.labels, hand_tuned[new], part.lists),
            training_positives=int(training.labels[old].sum()),
            judging_positives=int(part.labels.sum()),
        )
    return verdicts


def shown_on(surface: Surface, examples: Examples) -> NDArray[np.bool_]:
    """Which examples were shown on a surface, bool[n]."""
    is_related = examples.features[:, FEATURE_NAMES.index("is_related")] == 1
    return np.asarray(is_related == (surface == Surface.RELATED_PINS))
