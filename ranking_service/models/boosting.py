"""
The tree models: LightGBM with three objectives, boosted from the hand-tuned model's logits.

Pointwise: logistic, each example by itself.  RankNet: pairs of one list, with derivatives of our
own.  LambdaMART: LightGBM's own lambdarank, a baseline.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from ranking_service.evaluation import mean_ndcg
from ranking_service.examples import Examples
from ranking_service.features import FEATURE_NAMES
from ranking_service.models import kernels

POSITIVES_PER_LEAF: Final = 200
"""Positives that one more leaf of a tree takes. Guess; on 2,000 of them 7 to 15 leaves did best."""
LEAF_COUNT_MIN: Final = 7
STOP_ROUND_COUNT: Final = 30
"""Trees without progress after which training stops. Guess."""
THREADED_ROW_COUNT: Final = 1_000_000
"""Examples from which on several threads train; below, they mostly wait for each other: on two busy
cores 106,000 examples took 5 times as long (and 8 times the CPU) with two threads as with one."""


class Loss(StrEnum):
    """What the trees are boosted on."""

    POINTWISE = "binary"
    RANKNET = "ranknet"
    LAMBDAMART = "lambdarank"


@dataclass(frozen=True, slots=True)
class BoostSettings:
    """
    How to boost.

    Attributes:
        tree_count_max: Most trees.
        leaf_count_max: Most leaves of a tree.
        learning_rate: Shrinkage.
        leaf_row_count_min: Least examples in a leaf.
        threads: Threads that may train.
        seed: Of sampling.
        advance: Told 1 after each tree.
    """

    tree_count_max: int
    leaf_count_max: int
    learning_rate: float
    leaf_row_count_min: int
    threads: int
    seed: int
    advance: Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Boosted:
    """
    Trees, and how many of them serve each judging part best.

    Attributes:
        booster: All trees.
        sizes: One for each judging part.
    """

    booster: lightgbm.Booster
    sizes: tuple[int, ...]

    def text(self, size: int) -> str:
        """LightGBM's model text of the first *size* trees."""
        return str(self.booster.model_to_string(num_iteration=max(size, 1)))


def boost(
    training: Examples,
    parts: tuple[Examples, ...],
    *,
    loss: Loss,
    weight: float,
    row_weights: NDArray[np.float64],
    base: Callable[[NDArray[np.float32]], NDArray[np.float64]],
    settings: BoostSettings,
) -> Boosted:
    """
    Boost trees until none of the judging parts gets better.

    Args:
        training: In order of lists.
        parts: Later examples; each says for itself when to stop.
        loss: What is boosted on.
        weight: Of a positive beside a negative; pairwise losses balance by themselves.
        row_weights: Of each training example, float64[n]; of whole lists for pairwise losses.
        base: Logits to start from, of rows of features.
        settings: How.
    """
    chosen = parameters(training, loss, settings)
    rows = _dataset(training, chosen, loss, weight, base, row_weights=row_weights)
    booster = lightgbm.Booster(chosen, rows)
    sets = [_dataset(part, chosen, loss, weight, base, reference=rows) for part in parts]
    for number, judging in enumerate(sets):
        booster.add_valid(judging, f"part_{number}")
    ndcg = None if loss is Loss.POINTWISE else _ndcg(sets, parts)
    derivatives = _ranknet(training, row_weights) if loss is Loss.RANKNET else None
    best, sizes = [-np.inf] * len(parts), [1] * len(parts)
    for size in range(1, settings.tree_count_max + 1):
        is_finished = booster.update(fobj=derivatives)
        settings.advance(1)
        for number, (_, _, value, is_higher_better, *_) in enumerate(booster.eval_valid(ndcg)):
            gain = value if is_higher_better else -value
            if gain > best[number]:
                best[number], sizes[number] = gain, size
        if is_finished or (parts and size - max(sizes) >= STOP_ROUND_COUNT):
            break
    if not parts:
        sizes = [booster.current_iteration()]
    return Boosted(booster, tuple(sizes))


def parameters(training: Examples, loss: Loss, settings: BoostSettings) -> dict[str, Any]:
    """How to boost: the settings, fewer leaves where there is little to learn from."""
    affordable = int(training.labels.sum()) // POSITIVES_PER_LEAF
    pairwise = {"lambdarank_truncation_level": 30, "label_gain": [0, 1]}
    return {
        "objective": "none" if loss is Loss.RANKNET else loss.value,
        "metric": "binary_logloss" if loss is Loss.POINTWISE else "none",
        "num_leaves": min(settings.leaf_count_max, max(LEAF_COUNT_MIN, affordable)),
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": min(settings.leaf_row_count_min, max(1, len(training) // 20)),
        "min_sum_hessian_in_leaf": 1e-3,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "seed": settings.seed,
        "num_threads": settings.threads if len(training) >= THREADED_ROW_COUNT else 1,
        "deterministic": True,
        "force_row_wise": True,
        "zero_as_missing": False,
        "verbose": -1,
        **(pairwise if loss is Loss.LAMBDAMART else {}),
    }


def _dataset(
    examples: Examples,
    chosen: Mapping[str, Any],
    loss: Loss,
    weight: float,
    base: Callable[[NDArray[np.float32]], NDArray[np.float64]],
    *,
    row_weights: NDArray[np.float64] | float = 1.0,
    reference: lightgbm.Dataset | None = None,
) -> lightgbm.Dataset:
    """
    Examples as LightGBM takes them, positives with their weight.

    The parameters go to every set: one made without them sets the number of threads of the whole
    process back to all cores.
    """
    own = np.where(examples.labels == 1, weight, 1.0) if loss is Loss.POINTWISE else 1.0
    weights = np.broadcast_to(own * row_weights, examples.labels.shape)
    return lightgbm.Dataset(
        examples.features,
        examples.labels,
        params=dict(chosen),
        weight=None if loss is Loss.RANKNET else np.ascontiguousarray(weights),
        group=np.diff(list_starts(examples.lists)) if loss is Loss.LAMBDAMART else None,
        init_score=base(examples.features),
        feature_name=list(FEATURE_NAMES),
        reference=reference,
    )


def list_starts(lists: NDArray[np.int64]) -> NDArray[np.int64]:
    """First example of each list, and the number of examples at the end, int64[lists + 1]."""
    changes = np.flatnonzero(np.diff(lists)) + 1
    return np.concatenate(([0], changes, [lists.size])).astype(np.int64)


def _ranknet(
    training: Examples, row_weights: NDArray[np.float64]
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """The derivatives of RankNet's loss as LightGBM asks for them."""
    starts = list_starts(training.lists)
    labels = training.labels.astype(np.float64)
    gradients, hessians = np.empty(labels.size), np.empty(labels.size)

    def derivatives(scores: Any, _rows: Any) -> tuple[Any, Any]:
        kernels.ranknet_gradients(
            np.asarray(scores, np.float64), labels, starts, gradients, hessians
        )
        return gradients * row_weights, hessians * row_weights

    return derivatives


def _ndcg(
    sets: list[lightgbm.Dataset], parts: tuple[Examples, ...]
) -> Callable[[Any, Any], tuple[str, float, bool]]:
    """NDCG@10 of a judging part as LightGBM asks for it."""
    part_by_set = {id(rows): part for rows, part in zip(sets, parts, strict=True)}

    def measure(scores: Any, rows: Any) -> tuple[str, float, bool]:
        part = part_by_set[id(rows)]
        return "ndcg", mean_ndcg(part.labels, np.asarray(scores, np.float32), part.lists), True

    return measure
