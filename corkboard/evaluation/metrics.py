"""Figures of lists against what people did afterwards; arrays in, numbers out.

A *list* is distinct pin rows, best first; *wanted* are the rows that a user acted on afterwards.
Nothing here knows where a list came from, so products and baselines are judged by the same code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int32]
RESAMPLES = 1_000
FUSION_OFFSET = 60.0
"""Flattens the top of reciprocal ranks; as in the paper, and as ranking_service counts them."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % bootstrap interval; NaN throughout where there was nothing."""

    value: float
    low: float
    high: float


def hit_places(found: Rows, wanted: Rows) -> NDArray[np.int64]:
    """Places from 0, ascending, at which a list holds wanted rows; int64[h].

    Args:
        found: A list, int32[n], distinct.
        wanted: int32[w], distinct, in any order.
    """
    return np.flatnonzero(np.isin(found, wanted))


def recall(places: NDArray[np.int64], wanted_count: int, depth: int) -> float:
    """Share of the wanted rows that are among the first *depth* of a list; NaN if none is wanted.

    Source: Pal et al. 2020, section 6.1: |actions ∩ retrieved| / |actions|.
    """
    if not wanted_count:
        return float("nan")
    return int(np.searchsorted(places, depth)) / wanted_count


def discounted_gain(places: NDArray[np.int64], wanted_count: int, depth: int) -> float:
    """NDCG at *depth* with gains of 0 and 1; NaN if nothing is wanted.

    Source: Järvelin and Kekäläinen 2002.
    """
    if not wanted_count:
        return float("nan")
    gained = (1.0 / np.log2(places[places < depth] + 2.0)).sum()
    best = (1.0 / np.log2(np.arange(min(wanted_count, depth)) + 2.0)).sum()
    return float(gained / best)


def one_against_many(scores: NDArray[np.float64], depth: int = 10) -> tuple[float, float]:
    """Hit rate and NDCG at *depth* of one right answer among others.

    Args:
        scores: float64[n, m], higher is better, the right answer in the first column; a tie takes
            the place in the middle of those that tie.
        depth: How many places count.

    Source: He et al. 2017, section 4.1 (the protocol).
    """
    better = (scores[:, 1:] > scores[:, :1]).sum(axis=1)
    places = better + 0.5 * (scores[:, 1:] == scores[:, :1]).sum(axis=1)
    hits = places < depth
    return float(hits.mean()), float(np.where(hits, 1 / np.log2(places + 2), 0.0).mean())


def coverage(lists: Sequence[Rows], pin_count: int, depth: int) -> float:
    """Share of a catalogue that is in the first *depth* of at least one list; NaN without pins.

    Args:
        lists: Of all users; numbers need not be below *pin_count*.
        pin_count: Size of the catalogue.
        depth: How many places count.
    """
    if not pin_count:
        return float("nan")
    heads = [rows[:depth] for rows in lists]
    return len(np.unique(np.concatenate(heads))) / pin_count if heads else 0.0


def novelty(lists: Sequence[Rows], surprise: NDArray[np.float64], depth: int) -> float:
    """Mean surprise, in bits, of the pins in the first *depth*, list by list; NaN without any.

    Args:
        lists: Of all users.
        surprise: Of each row, as `surprises` gives it.
        depth: How many places count.

    Source: Vargas and Castells 2011 (expected self-information; Zhou et al. 2010).
    """
    means = [float(surprise[rows[:depth]].mean()) for rows in lists if len(rows)]
    return float(np.mean(means)) if means else float("nan")


def surprises(user_counts: NDArray[np.int64], user_count: int) -> NDArray[np.float64]:
    """Bits of surprise at meeting each pin: -log2 of the share of users who acted on it before.

    Args:
        user_counts: Users who acted on each row, int64[p].
        user_count: All users, >= 0; one is added to both so that no pin is infinitely novel.
    """
    return np.log2((user_count + 1) / (user_counts + 1.0))


def found_alone(hits: Sequence[NDArray[np.bool_]]) -> tuple[float, NDArray[np.float64]]:
    """What each source finds, and what would be missed without it.

    Args:
        hits: For each source, bool[n]: whether it found each of the n wanted pairs.

    Returns:
        Share of the pairs that any source found, and float64[sources]: of the found pairs, the
        share that this source alone found.  NaN where there are no pairs; 0 where none was found.
    """
    if not hits or not len(hits[0]):
        return float("nan"), np.full(len(hits), np.nan)
    table = np.stack(hits)
    finders = table.sum(axis=0)
    found = int((finders > 0).sum())
    alone = (table & (finders == 1)).sum(axis=1) / max(found, 1)
    return found / table.shape[1], alone.astype(np.float64)


def interleave(lists: Sequence[Rows], depth: int) -> Rows:
    """One list out of several: each in turn gives its best pin that is not there yet.

    Args:
        lists: In the order in which they take turns.
        depth: Length of the result at the most.
    """
    merged: dict[int, None] = {}
    for place in range(max((len(rows) for rows in lists), default=0)):
        for rows in lists:
            if place < len(rows):
                merged.setdefault(int(rows[place]), None)
        if len(merged) >= depth:
            break
    return np.fromiter(merged, np.int32, len(merged))[:depth]


def fuse(lists: Sequence[Rows], weights: Sequence[float], depth: int) -> Rows:
    """One list out of several: pins by the sum over lists of weight / (60 + rank), rank from 1.

    Args:
        lists: Distinct pins each, best first.
        weights: How much each list counts, >= 0.
        depth: Length of the result at the most.

    Returns:
        Best first; among equals the smaller pin.

    Source: Cormack, Clarke and Buettcher 2009.
    """
    if not any(len(rows) for rows in lists):
        return np.empty(0, np.int32)
    parts = [
        weight / (FUSION_OFFSET + 1.0 + np.arange(len(rows)))
        for rows, weight in zip(lists, weights, strict=True)
    ]
    pins, places = np.unique(np.concatenate(lists), return_inverse=True)
    scores = np.bincount(places, np.concatenate(parts), len(pins))
    return pins[np.lexsort((pins, -scores))][:depth].astype(np.int32)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that *share* of the values do not exceed, nearest rank; NaN without values."""
    if not len(values):
        return float("nan")
    ordered = np.sort(np.asarray(values, np.float64))
    return float(ordered[max(0, int(np.ceil(share * len(ordered))) - 1)])


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Mean of the values that are numbers, with a 95 % percentile bootstrap over them.

    Source: Efron 1979.
    """
    known = np.asarray([value for value in values if value == value], np.float64)  # noqa: PLR0124  NaN
    if not len(known):
        nothing = float("nan")
        return Interval(nothing, nothing, nothing)
    rng = np.random.default_rng(seed)
    means = [known[rng.integers(0, len(known), len(known))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(known.mean()), float(low), float(high))
