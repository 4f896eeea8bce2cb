"""Rules about places in a list that scores alone do not give."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.pool import Candidates, Pool

RECENT_SLOTS: Final = (1, 4, 8)
"""Places, from 0, by which the 1st, 2nd, 3rd pin near the newest actions has come. Guess."""

RECENT_RANK_MAX: Final = 20
"""How high a source must rank a pin for it to count as near. Guess."""


POPULAR_EVERY: Final = 2
"""One place in so many, at most, may go to a pin that only its popularity speaks for. On replayed
MovieLens days this raised NDCG@10 from .350 to .357."""


def share_places(
    order: NDArray[np.intp], is_popular: NDArray[np.bool_], limit: int
) -> NDArray[np.intp]:
    """
    Let pins that only popularity speaks for take at most every second place.

    A model trained on few data trusts popularity most, and a feed of hits alone says nothing to the
    person who reads it. Where there are not enough others, popular pins fill the list.

    Args:
        order: All candidates' places in the pool, best first, intp[n].
        is_popular: Which of the pool's candidates only popularity speaks for, bool[n].
        limit: Length of the list; what comes behind it is left as it falls.

    Returns:
        intp[n]; popular pins among themselves, and the others, keep their order.
    """
    is_popular_here = is_popular[order]
    popular = np.flatnonzero(is_popular_here).tolist()
    others = np.flatnonzero(~is_popular_here).tolist()
    if not popular or not others:
        return order
    taken: list[int] = []
    popular_count = other_count = 0
    while len(taken) < limit and popular_count < len(popular) and other_count < len(others):
        is_allowed = popular_count < len(taken) // POPULAR_EVERY + 1
        if is_allowed and popular[popular_count] < others[other_count]:
            taken.append(popular[popular_count])
            popular_count += 1
        else:
            taken.append(others[other_count])
            other_count += 1
    return order[[*taken, *sorted(popular[popular_count:] + others[other_count:])]]


def near_recent(pool: Pool, candidates: Candidates) -> NDArray[np.bool_]:
    """
    Which candidates stand near something that the user did just now, bool[n].

    Those are the ones that a source ranks high and that no other pin speaks for more: the pin
    behind them was queried in any case, not drawn among the medoids.
    """
    is_recent = np.append(~candidates.is_medoid, np.False_)
    ranks = np.where(pool.query_indexes >= 0, pool.ranks, RECENT_RANK_MAX)
    is_high = ranks.min(axis=1, initial=RECENT_RANK_MAX) < RECENT_RANK_MAX
    return np.asarray(is_recent[pool.query_behind()] & is_high)


def place_recent(order: NDArray[np.intp], is_near: NDArray[np.bool_]) -> NDArray[np.intp]:
    """
    Move candidates near the user's newest actions up into their slots.

    A trained model has hardly seen such candidates, and a reader who just saved a pin expects to
    see it reflected. Only the best of them move, and only as far as needed; all others keep their
    order.

    Args:
        order: All candidates' places in the pool, best first, intp[n].
        is_near: Which of the pool's candidates count, bool[n].
    """
    for wanted, slot in enumerate(RECENT_SLOTS, start=1):
        if is_near[order[: slot + 1]].sum() >= wanted:
            continue
        later = np.flatnonzero(is_near[order[slot:]])
        if not later.size:
            break
        at = slot + int(later[0])
        order = np.concatenate(
            (order[:slot], order[at : at + 1], np.delete(order[slot:], at - slot))
        )
    return order
