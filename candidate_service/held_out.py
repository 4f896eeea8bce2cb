"""How good a list or a scorer is, told by facts that it has not seen: figures for manifests.

The figures mean the same for every job, so that generations and sources can be compared:

* `held_out_hit_rate`: share of the facts kept out that the first 100 hold.
* `held_out_lift`: that, divided by what as many pins at random would hold.
* `held_out_auc`: share of the other pins that rank below the true one; 0.5 = chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

DEPTH: Final = 100


@dataclass(frozen=True, slots=True)
class Foreseen:
    """How facts that were kept out were foreseen.

    Attributes:
        count: How many facts; without any the rates are 0 and the area is that of chance.
        hit_rate: Share of them among the first 100.
        lift: Against as many pins at random.
        auc: Mean share of other pins ranked below.
        popular_hit_rate: Hit rate of the same facts by popularity alone.
    """

    count: int = 0
    hit_rate: float = 0.0
    lift: float = 0.0
    auc: float = 0.5
    popular_hit_rate: float = 0.0

    def figures(self) -> dict[str, float]:
        """Return them for a manifest; none where nothing was kept out."""
        if not self.count:
            return {}
        return {
            "held_out_hit_rate": self.hit_rate,
            "held_out_lift": self.lift,
            "held_out_auc": self.auc,
            "held_out_popular_hit_rate": self.popular_hit_rate,
        }


def judge_next(
    score: Callable[[NDArray[np.int32]], NDArray[np.float32]],
    sessions: Sequence[NDArray[np.int32]],
    truths: NDArray[np.int32],
    *,
    popularity: NDArray[np.float32],
) -> Foreseen:
    """Rank each true next pin among all pins that are not in its session.

    Args:
        score: Gives every pin a number, float32[n], higher is likelier.
        sessions: Pins before each truth.
        truths: What came next, int32[m].
        popularity: Of every pin, float32[n], any scale.

    Cost: one scoring of all pins for each fact.
    """
    if not len(truths):
        return Foreseen()
    ranks, popular_ranks, counts = [], [], []
    for session, truth in zip(sessions, truths.tolist(), strict=True):
        is_other = np.ones(len(popularity), np.bool_)
        is_other[session] = False
        is_other[truth] = False
        ranks.append(_rank(score(session), truth, is_other))
        popular_ranks.append(_rank(popularity, truth, is_other))
        counts.append(is_other.sum())
    shares = np.array(ranks) / np.maximum(counts, 1)
    hit_rate = float((np.array(ranks) < DEPTH).mean())
    chance = float(np.minimum(1.0, DEPTH / (np.array(counts) + 1)).mean())
    return Foreseen(
        count=len(ranks),
        hit_rate=hit_rate,
        lift=hit_rate / chance,
        auc=float(1.0 - shares.mean()),
        popular_hit_rate=float((np.array(popular_ranks) < DEPTH).mean()),
    )


def _rank(scores: NDArray[np.float32], truth: int, is_other: NDArray[np.bool_]) -> float:
    """Return how many others score higher, those of equal score counted half."""
    others = scores[is_other]
    return float((others > scores[truth]).sum() + 0.5 * (others == scores[truth]).sum())


def judge_list(
    rows: NDArray[np.int32],
    later: NDArray[np.float64],
    *,
    eligible: NDArray[np.bool_] | None = None,
) -> Foreseen:
    """See how much of what people did later one list for all holds in its first 100.

    Args:
        rows: The list, best first, made without knowing what came later.
        later: How often each catalogue row was chosen later, float64[n], >= 0.
        eligible: Which rows the list is drawn from, bool[n]; None = all.
    """
    counted = later if eligible is None else later * eligible
    total = float(counted.sum())
    if total <= 0:
        return Foreseen()
    size = len(later) if eligible is None else int(eligible.sum())
    hit_rate = float(counted[rows[:DEPTH]].sum() / total)
    places = np.full(len(later), (len(rows) + size) / 2)
    places[rows] = np.arange(len(rows))
    below = 1.0 - places / max(1, size - 1)
    return Foreseen(
        count=int(np.ceil(total)),
        hit_rate=hit_rate,
        lift=hit_rate / min(1.0, DEPTH / max(1, size)),
        auc=float((counted * below.clip(0.0, 1.0)).sum() / total),
        popular_hit_rate=hit_rate,
    )
