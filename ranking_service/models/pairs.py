"""
Which pin should be above which: the pairs that the linear pairwise models learn from.

*rank_svm* learns from what is remembered over many lists: under one query pin a result with the
higher Memboost belongs above one with the lower, and any with a Memboost above an unrelated popular
pin.  *session_pairs* learns from single lists: a saved pin belongs above the pins shown before it.
With only those the model learns that what stood low is good, and never sees what stands far from
the query; so neighbours after the saved pin and unrelated popular pins can be added as negatives.

Source: Liu et al. 2017, section 4.
"""

from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.examples import Examples
from ranking_service.features import FEATURE_NAMES

SMOOTHING: Final = 1.0
"""Actions added to the seen and to the expected ones: a pair shown once says little. Guess."""
MARGIN: Final = 0.2
"""By how much two Memboosts must differ to be a pair, in nats. Guess."""
PAIRS_PER_ROW_MAX: Final = 4
"""Pairs that each better pin takes part in; more of the same list say little new. Guess."""
POSITION_MAX: Final = 500
"""Positions beyond share one expected rate."""

_POPULAR_RANK: Final = FEATURE_NAMES.index("popular_rank")
_SOURCE_COUNT: Final = FEATURE_NAMES.index("source_count")

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows of the better and of the worse example, int64[p] each."""


class Negatives(StrEnum):
    """What a session adds to the pins shown before the saved one."""

    NONE = "none"
    NEIGHBOURS = "neighbours"
    POPULAR = "popular"
    BOTH = "both"


def memboost_pairs(examples: Examples, rng: np.random.Generator) -> Pairs:
    """
    Pairs of results under the same query: higher Memboost above lower, any above popular ones.

    The scores are counted from these very examples, so that no other log is needed: clicks over
    expected clicks, the rate of each position over all lists being what is expected there.
    """
    boosts, first_rows, groups = pair_boosts(examples)
    popular = np.flatnonzero(is_unrelated_popular(examples))
    better: list[NDArray[np.int64]] = []
    worse: list[NDArray[np.int64]] = []
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    for members in np.split(order, starts[1:]):
        if boosts[members].max() <= 0:
            continue
        for _ in range(PAIRS_PER_ROW_MAX):
            other = rng.permutation(members)
            is_pair = boosts[members] > boosts[other] + MARGIN
            better.append(first_rows[members[is_pair]])
            worse.append(first_rows[other[is_pair]])
        if popular.size:
            winners = first_rows[members[boosts[members] > 0]]
            better.append(winners)
            worse.append(popular[rng.integers(0, popular.size, winners.size)])
    return _joined(better, worse)


def pair_boosts(
    examples: Examples,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """
    Memboost of every (query, pin) of the examples.

    Returns:
        For each pair: log((actions + a) / (expected + a)), float64[p]; its first example, int64[p];
        its query's number, int64[p].
    """
    positions = np.minimum(examples.positions, POSITION_MAX)
    shown = np.bincount(positions, minlength=POSITION_MAX + 1)
    acted = np.bincount(positions, weights=examples.labels, minlength=POSITION_MAX + 1)
    rates = acted / np.maximum(shown, 1)
    keys = np.stack([examples.query_keys, examples.pin_keys], axis=1)
    _, first_rows, places = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    places = places.ravel()
    actions = np.bincount(places, weights=examples.labels)
    expected = np.bincount(places, weights=rates[positions])
    boosts = np.log((actions + SMOOTHING) / (expected + SMOOTHING))
    return boosts, first_rows.astype(np.int64), examples.query_keys[first_rows]


def session_pairs(examples: Examples, negatives: Negatives, rng: np.random.Generator) -> Pairs:
    """
    Pairs of pins of the same list: each positive above pins that were shown before it.

    Args:
        examples: In order of list and position.
        negatives: What is added: as many pins right after the positive, or pins of the list that
            only their popularity speaks for.
        rng: Draws where there are more than PAIRS_PER_ROW_MAX.
    """
    popular = is_unrelated_popular(examples)
    positives = np.flatnonzero(examples.labels == 1)
    _, starts, lengths = np.unique(examples.lists, return_index=True, return_counts=True)
    place = np.searchsorted(starts, positives, side="right") - 1
    better: list[NDArray[np.int64]] = []
    worse: list[NDArray[np.int64]] = []
    for row, start, length in zip(positives, starts[place], lengths[place], strict=True):
        drawn = [_draw(np.arange(start, row), rng)]
        if negatives in (Negatives.NEIGHBOURS, Negatives.BOTH):
            drawn.append(np.arange(row + 1, min(row + 1 + drawn[0].size, start + length)))
        if negatives in (Negatives.POPULAR, Negatives.BOTH):
            drawn.append(_draw(start + np.flatnonzero(popular[start : start + length]), rng))
        rows = np.concatenate(drawn)
        rows = rows[examples.labels[rows] == 0]
        better.append(np.full(rows.size, row))
        worse.append(rows)
    return _joined(better, worse)


def is_unrelated_popular(examples: Examples) -> NDArray[np.bool_]:
    """Where nothing but popularity proposed a pin, bool[n]."""
    features = examples.features
    return np.asarray((features[:, _POPULAR_RANK] > 0) & (features[:, _SOURCE_COUNT] == 1))


def _draw(rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    if rows.size <= PAIRS_PER_ROW_MAX:
        return rows
    return rng.choice(rows, PAIRS_PER_ROW_MAX, replace=False)


def _joined(better: list[NDArray[np.int64]], worse: list[NDArray[np.int64]]) -> Pairs:
    nothing = np.empty(0, np.int64)
    return (
        np.concatenate([nothing, *better]).astype(np.int64),
        np.concatenate([nothing, *worse]).astype(np.int64),
    )
