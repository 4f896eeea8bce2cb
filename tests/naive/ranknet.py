"""RankNet's loss, pair by pair, and its derivatives by differences."""

from typing import Any

import numpy as np


def ranknet_loss(scores: Any, labels: Any, lists: Any) -> float:
    """Sum over lists and positives of the mean over negatives of log(1 + exp(s_j - s_i))."""
    total = 0.0
    for number in set(lists.tolist()):
        members = [k for k in range(len(scores)) if lists[k] == number]
        bad = [k for k in members if labels[k] == 0]
        for i in members:
            if labels[i] > 0 and bad:
                total += sum(np.log1p(np.exp(scores[j] - scores[i])) for j in bad) / len(bad)
    return total


def slopes(scores: Any, labels: Any, lists: Any, step: float = 1e-5) -> Any:
    """First derivatives by central differences."""
    found = []
    for k in range(len(scores)):
        up, down = scores.copy(), scores.copy()
        up[k] += step
        down[k] -= step
        rise = ranknet_loss(up, labels, lists) - ranknet_loss(down, labels, lists)
        found.append(rise / (2 * step))
    return np.array(found)
