"""Which saves are worth walking over: boards to the point, and a pin's closest boards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candidate_service import pair_kernels

Quota = Callable[[NDArray[np.int64]], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class PruneSettings:
    """Which edges are worth keeping.

    Attributes:
        board_pin_count_min: Boards with fewer pins are left out: a walk over them goes nowhere.
            Range 1.., default 2.
        board_pin_count_max: Of a larger board a sample of so many pins is kept: whoever collects
            everything says little. Range 2.., default 10,000 (guess).
        board_entropy_max: Boards whose topics are more mixed are left out, bits; default 64 = none.
        degree_exponent: A pin with topics on d boards keeps d**delta of them, those whose topics
            are closest to its own. Range (0, 1], default 1 = all (Pixie prunes with 0.91).
        bare_degree_exponent: The same for a pin without topics, which keeps the smallest boards.
            Range (0, 1], default 1 = all (OmniSage prunes with 0.86).
        degree_kept_min: A pin keeps at least so many boards, default 10 (OmniSage).
        degree_kept_max: And at most so many, default 10,000 (OmniSage).
    """

    board_pin_count_min: int = 2
    board_pin_count_max: int = 10_000
    board_entropy_max: float = 64.0
    degree_exponent: float = 1.0
    bare_degree_exponent: float = 1.0
    degree_kept_min: int = 10
    degree_kept_max: int = 10_000


@dataclass(frozen=True, slots=True)
class PinTopics:
    """The topics of each pin, each as often as the others: compressed rows.

    Attributes:
        offsets: Pin p has numbers[offsets[p]:offsets[p + 1]], int64[pins + 1].
        numbers: In [0, count), no number twice for a pin, int32[m].
        count: How many topics there are.
    """

    offsets: NDArray[np.int64]
    numbers: NDArray[np.int32]
    count: int


def prune_edges(
    pins: NDArray[np.int32],
    boards: NDArray[np.int32],
    settings: PruneSettings,
    *,
    seed: int,
    topics: PinTopics | None = None,
) -> NDArray[np.bool_]:
    """Choose the edges to keep; the choice depends on the edges and the seed, not on their order.

    Args:
        pins: Pin row of each edge, int32[e].
        boards: Board row of each edge, int32[e].
        settings: Which are worth keeping.
        seed: Of the samples of large boards.
        topics: Of all pins; None where nothing is known of them.

    Returns:
        bool[e].

    Source: Eksombatchai et al. 2018, section 3.2: boards of mixed topics go, and a pin keeps
    degree**delta boards, the closest by the cosine of topics. Where a pin has no topics it keeps
    the smallest ones (OmniSage, KDD 2025, prunes by degree without topics).
    """
    kept = np.ones(len(pins), np.bool_)
    if not len(pins):
        return kept
    chance = pair_kernels.hash_pairs(pins, boards, seed)
    _keep_first(
        kept, boards, chance, lambda sizes: np.full(len(sizes), settings.board_pin_count_max)
    )
    sizes = np.bincount(boards[kept], minlength=1)
    rank = sizes[boards].astype(np.uint64) << np.uint64(32) | chance >> np.uint64(32)
    exponents = np.full(int(pins.max()) + 1, settings.bare_degree_exponent)
    if topics is not None and topics.count:
        closeness, entropies = topic_agreement(pins, boards, topics)
        kept &= entropies[boards] <= settings.board_entropy_max
        has_topics = np.diff(topics.offsets) > 0
        exponents[has_topics[: len(exponents)]] = settings.degree_exponent
        far = ((1.0 - closeness) * 2**31).astype(np.uint64) << np.uint64(32)
        rank = np.where(has_topics[pins], far | chance >> np.uint64(32), rank)

    def quota(degrees: NDArray[np.int64]) -> NDArray[np.int64]:
        wanted: NDArray[np.int64] = np.ceil(degrees**exponents).astype(np.int64)
        return wanted.clip(settings.degree_kept_min, settings.degree_kept_max)

    _keep_first(kept, pins, rank, quota)
    sizes = np.bincount(boards[kept], minlength=int(boards.max()) + 1)
    kept &= sizes[boards] >= settings.board_pin_count_min
    return kept


def topic_agreement(
    pins: NDArray[np.int32], boards: NDArray[np.int32], topics: PinTopics
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tell how close each pin is to its board, and how mixed each board is.

    A board's topics are the sum of those of its pins, each of which spreads 1 evenly over its own.

    Args:
        pins: Pin row of each edge, int32[e].
        boards: Board row of each edge, int32[e].
        topics: Of all pins.

    Returns:
        Cosine between the topics of pin and board, float64[e], 0 where one has none; and the
        entropy of each board's topics in bits, float64[boards], 0 where it has none.
    """
    board_count = int(boards.max(initial=-1)) + 1
    order = np.argsort(boards, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(np.bincount(boards, minlength=board_count))))
    closeness, entropies = pair_kernels.agree_on_topics(
        offsets, pins[order], topics.offsets, topics.numbers, np.zeros(topics.count)
    )
    by_edge = np.empty(len(pins))
    by_edge[order] = closeness
    return by_edge, entropies


def _keep_first(
    kept: NDArray[np.bool_], nodes: NDArray[np.int32], ranks: NDArray[np.uint64], quota: Quota
) -> None:
    """Of each node's kept edges keep those of the lowest rank, as many as quota(degrees) says."""
    degrees = np.bincount(nodes[kept], minlength=int(nodes.max(initial=-1)) + 1)
    quotas = quota(degrees)
    crowded = np.flatnonzero(kept & (degrees > quotas)[nodes])
    order = crowded[np.lexsort((ranks[crowded], nodes[crowded]))]
    sorted_nodes = nodes[order]
    begins = np.searchsorted(sorted_nodes, sorted_nodes)
    kept[order[np.arange(len(order)) - begins >= quotas[sorted_nodes]]] = False
