"""How good an order is: the figures by which models are compared, on the same examples."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

CUT: Final = 10
"""Length of the head of a list that NDCG looks at."""


class Quality(NamedTuple):
    """
    Figures of one model on one set of examples; all but log_loss: higher is better.

    Attributes:
        auc: Chance that a positive is above a negative; NaN without both.
        pr_auc: Average precision; NaN without positives.
        ndcg_at_10: Mean over lists with a positive; NaN without such lists.
        log_loss: Of the probabilities, in nats.
    """

    auc: float
    pr_auc: float
    ndcg_at_10: float
    log_loss: float


def measure(
    labels: NDArray[np.int8], scores: NDArray[np.float32], lists: NDArray[np.int64]
) -> Quality:
    """
    Measure scores against labels.

    Args:
        labels: 1 = positive, int8[n].
        scores: Probabilities, float32[n].
        lists: The list that each example was shown in, int64[n].
    """
    return Quality(
        auc=auc(labels, scores),
        pr_auc=average_precision(labels, scores),
        ndcg_at_10=mean_ndcg(labels, scores, lists),
        log_loss=log_loss(labels, scores),
    )


def auc(labels: NDArray[np.int8], scores: NDArray[np.float32]) -> float:
    """Area under the ROC curve, ties counted half. Source: Mann and Whitney's U."""
    positives = int(labels.sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        return float("nan")
    _, groups, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = mean_ranks[groups][labels == 1].sum()
    return float((rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives))


def average_precision(labels: NDArray[np.int8], scores: NDArray[np.float32]) -> float:
    """Mean precision at each positive; equal scores enter together, so their order is moot."""
    positives = int(labels.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order], dtype=np.int64)
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    gained = np.diff(hits[last], prepend=0)
    return float((gained * hits[last] / (last + 1)).sum() / positives)


def mean_ndcg(
    labels: NDArray[np.int8], scores: NDArray[np.float32], lists: NDArray[np.int64]
) -> float:
    """Mean of `list_ndcgs`; NaN without any."""
    found = list_ndcgs(labels, scores, lists)
    return float(found.mean()) if found.size else float("nan")


def list_ndcgs(
    labels: NDArray[np.int8], scores: NDArray[np.float32], lists: NDArray[np.int64]
) -> NDArray[np.float64]:
    """
    Discounted gain of the first ten of each list, beside the best possible, float64[k].

    Lists without a positive say nothing and are left out, so the same labels and lists give
    parallel arrays whatever the scores are; equal scores keep their order.

    Source: Järvelin and Kekäläinen 2002, with gain = label and log2 discount.
    """
    if not labels.any():
        return np.empty(0)
    order = np.lexsort((np.arange(scores.size), -scores, lists))
    _, starts, counts = np.unique(lists[order], return_index=True, return_counts=True)
    ranks = np.arange(scores.size) - np.repeat(starts, counts)
    discounts = np.where(ranks < CUT, 1.0 / np.log2(ranks + 2.0), 0.0)
    gained = np.add.reduceat(labels[order] * discounts, starts)
    positives = np.minimum(np.add.reduceat(labels[order].astype(np.int64), starts), CUT)
    best = np.concatenate(([0.0], np.cumsum(1.0 / np.log2(np.arange(CUT) + 2.0))))
    is_telling = positives > 0
    return np.asarray(gained[is_telling] / best[positives[is_telling]], np.float64)


def log_loss(labels: NDArray[np.int8], scores: NDArray[np.float32]) -> float:
    """Mean negative log likelihood of the labels, probabilities held within 1e-7 of 0 and 1."""
    if not labels.size:
        return float("nan")
    chances = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.where(labels == 1, np.log(chances), np.log1p(-chances)).mean())
