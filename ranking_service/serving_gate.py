"""
Whether a trained model may take the place of the one that serves.

They are compared on newer lists that neither trained on: those shown after the data of the serving
model end.  Lists in random order are fair to both; where too few were logged, all are looked at,
which flatters the serving model, as it put them in order.  So the new one is refused only where it
loses beyond doubt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranking_service.evaluation import list_ndcgs
from ranking_service.examples import Examples
from ranking_service.gate import POSITIVE_COUNT_MIN, shown_on
from ranking_service.query import Surface
from ranking_service.ranker import (
    RANKER_ARTIFACT,
    RANKER_FORMAT_VERSION,
    ObjectiveRanker,
    Trained,
    open_ranker,
)
from service_runtime.errors import Corrupted
from service_runtime.generation_store import GenerationStore

NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Incumbent:
    """
    The model that serves, as far as there is one to compare with.

    Attributes:
        ranker: The model; None = none.
        generation: Its generation; empty = none.
        as_of_us: It knows nothing of this time or later.
        reason: Why there is none although something was published; mostly empty.
    """

    ranker: Trained | ObjectiveRanker | None = None
    generation: str = ""
    as_of_us: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    A new model beside the serving one on the same lists of one surface.

    Attributes:
        difference: NDCG@10 of the new one less that of the serving one, mean over lists; NaN where
            there was too little to compare.
        high: Upper end of its 95 % interval.
        list_count: Lists with a positive that were compared.
        is_random: Whether these were lists in random order.
    """

    difference: float
    high: float
    list_count: int
    is_random: bool

    @property
    def is_lost(self) -> bool:
        """Whether the new model orders worse beyond doubt."""
        return self.high < 0

    def figures(self) -> dict[str, float]:
        """Everything in one flat table."""
        return {
            "ndcg_at_10_against_serving": self.difference,
            "ndcg_at_10_against_serving_high": self.high,
            "lists_against_serving": self.list_count,
            "random_against_serving": float(self.is_random),
        }


def incumbent(store: GenerationStore, *, feature_names: Sequence[str]) -> Incumbent:
    """The model that serves; one that is damaged or made for other features is no rival."""
    try:
        generation = store.current(RANKER_ARTIFACT, format_version=RANKER_FORMAT_VERSION)
        if generation is None:
            return Incumbent()
        ranker = open_ranker(generation.path, feature_names=feature_names)
    except Corrupted as fault:
        return Incumbent(reason=str(fault))
    return Incumbent(ranker, generation.id, generation.manifest.as_of_us)


def compare_with(
    rival: Incumbent, newer: Examples, trained: NDArray[np.float32], surfaces: Sequence[Surface]
) -> Mapping[Surface, Comparison]:
    """
    Compare on each surface that the serving model ranks.

    Args:
        rival: The serving model.
        newer: What models are judged by.
        trained: The new model's scores of *newer*, float32[n].
        surfaces: Where the new one is wanted.
    """
    if rival.ranker is None:
        return {}
    is_unseen = newer.times_us >= rival.as_of_us
    scores = rival.ranker.score(newer.features)
    return {
        surface: _compared(newer, trained, scores, is_unseen & shown_on(surface, newer))
        for surface in surfaces
        if surface in rival.ranker.surfaces
    }


def _compared(
    newer: Examples,
    trained: NDArray[np.float32],
    serving: NDArray[np.float32],
    chosen: NDArray[np.bool_],
) -> Comparison:
    fair = chosen & newer.is_randomised
    is_random = int(newer.labels[fair].sum()) >= POSITIVE_COUNT_MIN
    part = fair if is_random else chosen
    labels, lists = newer.labels[part], newer.lists[part]
    if int(labels.sum()) < POSITIVE_COUNT_MIN:
        return Comparison(float("nan"), float("nan"), 0, is_random=False)
    new, old = (list_ndcgs(labels, scores[part], lists) for scores in (trained, serving))
    gaps = new - old
    half = NORMAL_95 * float(gaps.std(ddof=1)) / np.sqrt(gaps.size) if gaps.size > 1 else np.inf
    mean = float(gaps.mean())
    return Comparison(mean, mean + float(half), gaps.size, is_random=is_random)


def lost(compared: Mapping[Surface, Comparison]) -> str:
    """Where the new model orders worse beyond doubt, in words; empty = nowhere."""
    return ", ".join(
        f"{surface.name.lower()} {one.difference:+.4f} (at most {one.high:+.4f}, "
        f"{one.list_count} lists{' in random order' if one.is_random else ''})"
        for surface, one in compared.items()
        if one.is_lost
    )


def described(rival: Incumbent, compared: Mapping[Surface, Comparison]) -> dict[str, Any]:
    """For a job's report."""
    return {
        "generation": rival.generation,
        "reason": rival.reason,
        "surfaces": {surface.name.lower(): one.figures() for surface, one in compared.items()},
    }
