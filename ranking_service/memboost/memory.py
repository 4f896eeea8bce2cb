"""What serving asks of Memboost: batch and live counters together, scores, winners."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.memboost.counting import KINDS
from ranking_service.memboost.table import MemboostTable, empty_table

WINNER_SCAN_MAX: Final = 20_000
"""Pairs of one query pin that are looked through for winners; of more, the most acted on."""


@dataclass(frozen=True, slots=True)
class Counts:
    """
    What is remembered of some result pins under one query pin; parallel arrays.

    Attributes:
        impressions: Times shown, float32[n].
        actions: Weighted actions, float32[n].
        expected: Weighted actions to expect where they were shown, float32[n].
    """

    impressions: NDArray[np.float32]
    actions: NDArray[np.float32]
    expected: NDArray[np.float32]

    def scores(self, smoothing: float) -> NDArray[np.float32]:
        """
        log((actions + a) / (expected + a)), float32[n]; exactly 0 where a pair was never shown.

        Source: Liu et al. 2017, section 4.1.
        """
        return np.log((self.actions + smoothing) / (self.expected + smoothing)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Counter:
    """
    What is remembered of one pair at one place.

    Attributes:
        platform: The client.
        position: Where it was shown, from 0.
        impression_count: Times it was shown there.
        action_counts: Actions by type.
        expected_count: Weighted actions to expect of so many impressions there.
    """

    platform: str
    position: int
    impression_count: int
    action_counts: dict[str, int]
    expected_count: float


@dataclass(frozen=True, slots=True)
class Memboost:
    """
    The counters of this moment.

    Attributes:
        tables: The nightly one and the live one; each pair's sums are added.
        smoothing: a of the score, > 0.
        generation: Of the nightly table; empty without one.
    """

    tables: tuple[MemboostTable, ...] = field(default_factory=lambda: (empty_table(),))
    smoothing: float = 1.0
    generation: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered at all."""
        return not any(table.pair_count for table in self.tables)

    def counts(self, query_key: int, result_keys: NDArray[np.uint64]) -> Counts:
        """What is remembered of result pins under a query pin (0 = home feed); zeros = nothing."""
        sums = np.zeros((3, result_keys.size), np.float32)
        for table in self.tables:
            pairs = table.find(query_key, result_keys)
            places = np.flatnonzero(pairs >= 0)
            found = pairs[places]
            sums[0, places] += table.impression_counts[found]
            sums[1, places] += table.action_counts[found]
            sums[2, places] += table.expected_counts[found]
        return Counts(sums[0], sums[1], sums[2])

    def scores(self, query_key: int, result_keys: NDArray[np.uint64]) -> NDArray[np.float32]:
        """The Memboost score of result pins under a query pin, float32[n]."""
        return self.counts(query_key, result_keys).scores(self.smoothing)

    def winners(
        self, query_key: int, count_max: int, *, score_min: float, impressions_min: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """
        The result pins remembered best under a query pin, best first: keys and scores.

        Source: Memboost insertion, Liu et al. 2017, section 4.1.
        """
        keys = np.unique(np.concatenate([_most_acted(table, query_key) for table in self.tables]))
        counts = self.counts(query_key, keys)
        scores = counts.scores(self.smoothing)
        is_good = (scores >= score_min) & (counts.impressions >= impressions_min)
        good = np.flatnonzero(is_good)
        best = good[np.argsort(-scores[good], kind="stable")[:count_max]]
        return keys[best], scores[best]

    def counters(self, query_key: int, result_key: int) -> list[Counter]:
        """Everything behind one pair's score, by platform and position."""
        cells: dict[tuple[str, int], tuple[int, NDArray[np.int64], float]] = {}
        wanted = np.array([result_key], np.uint64)
        for table in self.tables:
            pair = int(table.find(query_key, wanted)[0])
            if pair < 0:
                continue
            stretch = table.places_of(pair)
            platforms, positions = table.platforms[stretch], table.positions[stretch]
            related = np.full(platforms.size, query_key != 0)
            expected = table.curves.expected(table.weights, related, platforms, positions)
            acted = table.acted[stretch]
            bits = (acted[:, None] >> np.arange(len(KINDS), dtype=np.uint8)) & 1
            for i in range(platforms.size):
                cell = (table.platform_names[int(platforms[i])], int(positions[i]))
                count, actions, sum_ = cells.get(cell, (0, np.zeros(len(KINDS), np.int64), 0.0))
                cells[cell] = (count + 1, actions + bits[i], sum_ + float(expected[i]))
        return [
            Counter(
                platform,
                position,
                count,
                dict(zip(KINDS, actions.tolist(), strict=True)),
                expected_count,
            )
            for (platform, position), (count, actions, expected_count) in sorted(cells.items())
        ]


NO_MEMORY: Final = Memboost()
"""Nothing is remembered."""


def _most_acted(table: MemboostTable, query_key: int) -> NDArray[np.uint64]:
    """Keys of a query pin's pairs, at most WINNER_SCAN_MAX of them."""
    begin, end = table.pairs_of(query_key)
    if end - begin <= WINNER_SCAN_MAX:
        return table.result_keys[begin:end]
    actions = table.action_counts[begin:end]
    best = np.argpartition(actions, actions.size - WINNER_SCAN_MAX)[-WINNER_SCAN_MAX:]
    return table.result_keys[begin:end][best]
