"""Ranking figures by their definitions, with loops over pairs and lists."""

import math
from collections.abc import Sequence


def auc(labels: Sequence[int], scores: Sequence[float]) -> float:
    """Share of (positive, negative) pairs in the right order, ties counted half."""
    positives = [score for label, score in zip(labels, scores, strict=True) if label]
    negatives = [score for label, score in zip(labels, scores, strict=True) if not label]
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


def average_precision(labels: Sequence[int], scores: Sequence[float]) -> float:
    """Sum over distinct thresholds of the gain in recall times the precision there."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        above = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        recall = sum(above) / sum(labels)
        total += (recall - recall_before) * sum(above) / len(above)
        recall_before = recall
    return total


def ndcg(labels: Sequence[int], scores: Sequence[float], cut: int) -> float:
    """Discounted gain of one list's head beside that of the best order."""
    order = sorted(range(len(labels)), key=lambda place: (-scores[place], place))
    gained = sum(labels[place] / math.log2(rank + 2) for rank, place in enumerate(order[:cut]))
    best = sum(1 / math.log2(rank + 2) for rank in range(min(cut, sum(labels))))
    return gained / best
