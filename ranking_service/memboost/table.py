"""
The counters behind Memboost scores: every remembered impression, sorted by query and result pin.

A pair's sums are made once; the impressions stay beside them, so that counters can be shown by
platform and position, and a pair, a pin or a range of time can be forgotten.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ranking_service.memboost import kernels
from ranking_service.memboost.counting import KINDS, Shown, concatenated
from ranking_service.memboost.curves import POSITION_COUNT, RankCurves, flat_curves
from service_runtime.errors import Corrupted

MEMBOOST: Final = "memboost"
FORMAT_VERSION: Final = 1
OTHER: Final = "other"
"""The platform of clients that do not say what they are."""

_ARRAYS: Final = {
    "query_keys": np.uint64,
    "query_starts": np.int64,
    "result_keys": np.uint64,
    "pair_starts": np.int64,
    "times_us": np.int64,
    "platforms": np.uint8,
    "positions": np.uint16,
    "acted": np.uint8,
    "impression_counts": np.float32,
    "action_counts": np.float32,
    "expected_counts": np.float32,
}


@dataclass(frozen=True, slots=True)
class Reset:
    """
    Something that an operator wants forgotten. What is given must all hold.

    Attributes:
        query_key: Key of the query pin; None = any (0 is the home feed).
        result_key: Key of the result pin; None = any.
        begin_us: Impressions from here on.
        end_us: Impressions before this.
    """

    query_key: int | None
    result_key: int | None
    begin_us: int
    end_us: int

    def matches(
        self,
        queries: NDArray[np.uint64],
        results: NDArray[np.uint64],
        times_us: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Which impressions it forgets, bool[n]."""
        found = (times_us >= self.begin_us) & (times_us < self.end_us)
        if self.query_key is not None:
            found &= queries == np.uint64(self.query_key)
        if self.result_key is not None:
            found &= results == np.uint64(self.result_key)
        return found


@dataclass(frozen=True, slots=True)
class MemboostTable:
    """
    Remembered impressions by pair, and each pair's sums.

    Attributes:
        query_keys: Distinct query pins, ascending, uint64[Q]; 0 = home feed.
        query_starts: Where each query pin's pairs start, int64[Q + 1].
        result_keys: Result pin of each pair, ascending within a query pin, uint64[P].
        pair_starts: Where each pair's impressions start, int64[P + 1].
        times_us: When each impression was, int64[E].
        platforms: On which client, uint8[E]: place in *platform_names*.
        positions: Where, uint16[E].
        acted: What followed, a bit for each of KINDS, uint8[E].
        impression_counts: Of each pair, float32[P].
        action_counts: Weighted actions of each pair, float32[P].
        expected_counts: Weighted actions to expect of each pair, float32[P].
        platform_names: Clients.
        curves: How much to expect where.
        weights: Weight of each of KINDS, float64[4].
        is_forgotten: Impressions that a reset took out of all sums, bool[E]; None = none.
    """

    query_keys: NDArray[np.uint64]
    query_starts: NDArray[np.int64]
    result_keys: NDArray[np.uint64]
    pair_starts: NDArray[np.int64]
    times_us: NDArray[np.int64]
    platforms: NDArray[np.uint8]
    positions: NDArray[np.uint16]
    acted: NDArray[np.uint8]
    impression_counts: NDArray[np.float32]
    action_counts: NDArray[np.float32]
    expected_counts: NDArray[np.float32]
    platform_names: tuple[str, ...]
    curves: RankCurves
    weights: NDArray[np.float64]
    is_forgotten: NDArray[np.bool_] | None = None

    @property
    def pair_count(self) -> int:
        """Number of pairs."""
        return self.result_keys.size

    def pairs_of(self, query_key: int) -> tuple[int, int]:
        """The stretch of pairs of a query pin; empty if nothing was shown under it."""
        place = int(np.searchsorted(self.query_keys, np.uint64(query_key)))
        if place == self.query_keys.size or int(self.query_keys[place]) != query_key:
            return 0, 0
        return int(self.query_starts[place]), int(self.query_starts[place + 1])

    def find(self, query_key: int, result_keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The pair of each result pin under a query pin, int64[n]; -1 = never shown."""
        begin, end = self.pairs_of(query_key)
        return kernels.find_pairs(self.result_keys, begin, end, result_keys)

    def query_of_pairs(self) -> NDArray[np.uint64]:
        """The query pin of each pair, uint64[P]."""
        return np.repeat(self.query_keys, np.diff(self.query_starts))

    def without(self, resets: Sequence[Reset]) -> Self:
        """The table with the sums that it would have, had the forgotten never been shown."""
        if not resets or not self.pair_count:
            return self
        pairs = np.repeat(np.arange(self.pair_count), np.diff(self.pair_starts))
        queries = self.query_of_pairs()
        forgotten = np.zeros(self.times_us.size, np.bool_)
        for reset in resets:
            forgotten |= reset.matches(queries[pairs], self.result_keys[pairs], self.times_us)
        kept = ~forgotten
        expected = self.curves.expected(
            self.weights, queries[pairs[kept]] != 0, self.platforms[kept], self.positions[kept]
        )
        sums = pair_sums(pairs[kept], self.pair_count, self.acted[kept], expected, self.weights)
        return replace(self, is_forgotten=forgotten, **sums)

    def places_of(self, pair: int) -> NDArray[np.intp]:
        """The impressions of a pair that are not forgotten, intp[e]."""
        places = np.arange(int(self.pair_starts[pair]), int(self.pair_starts[pair + 1]))
        return places if self.is_forgotten is None else places[~self.is_forgotten[places]]

    def write(self, folder: Path) -> None:
        """Write what `open` reads into an existing folder."""
        for name, dtype in _ARRAYS.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(getattr(self, name), dtype))
        np.save(folder / "rates.npy", self.curves.rates)
        told = {
            "platforms": list(self.platform_names),
            "kinds": list(KINDS),
            "weights": self.weights.tolist(),
            "is_random": self.curves.is_random.tolist(),
        }
        (folder / "memboost.json").write_text(json.dumps(told, indent=1), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """
        Map a table.

        Raises:
            Corrupted: If a file is missing or does not fit the others.
        """
        try:
            told = json.loads((folder / "memboost.json").read_text(encoding="utf-8"))
            arrays: dict[str, Any] = {
                name: _mapped(folder / f"{name}.npy") for name in (*_ARRAYS, "rates")
            }
            rates = np.array(arrays.pop("rates"), np.float64)
            curves = RankCurves(rates, np.array(told["is_random"], np.bool_))
            table = cls(
                **arrays,
                platform_names=tuple(told["platforms"]),
                curves=curves,
                weights=np.array(told["weights"], np.float64),
            )
            fits = (
                told["kinds"] == list(KINDS)
                and {name: getattr(table, name).dtype for name in _ARRAYS}
                == {name: np.dtype(dtype) for name, dtype in _ARRAYS.items()}
                and rates.shape == (2, max(1, len(table.platform_names)), POSITION_COUNT, 4)
                and table.query_starts.size == table.query_keys.size + 1
                and table.pair_starts.size == table.pair_count + 1
                and int(table.query_starts[-1]) == table.pair_count
                and int(table.pair_starts[-1]) == table.times_us.size == table.acted.size
                and table.positions.size == table.platforms.size == table.acted.size
                and table.impression_counts.size == table.pair_count
                and table.action_counts.size == table.expected_counts.size == table.pair_count
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError) as fault:
            raise Corrupted(f"{folder}: the Memboost table cannot be read: {fault}") from fault
        if not fits:
            raise Corrupted(f"{folder}: the files of the Memboost table do not fit each other")
        return table


def make_table(
    shown: Shown,
    acted: NDArray[np.uint8],
    curves: RankCurves,
    *,
    platform_names: Iterable[str],
    weights: NDArray[np.float64],
) -> MemboostTable:
    """
    Sort impressions by pair and sum them up.

    Args:
        shown: Impressions, each once.
        acted: What was done to each, as `counting.credit` says.
        curves: How much to expect where.
        platform_names: Clients, in the impressions' numbers.
        weights: Weight of each of KINDS.

    Cost: O(n log n).
    """
    order = np.lexsort((shown.positions, shown.times_us, shown.pins, shown.queries))
    rows, bits = shown.take(order), acted[order]
    starts_query = np.ones(len(rows), np.bool_)
    starts_query[1:] = np.diff(rows.queries) != 0
    starts_pair = starts_query.copy()
    starts_pair[1:] |= np.diff(rows.pins) != 0
    pair_firsts = np.flatnonzero(starts_pair)
    query_firsts = np.flatnonzero(starts_query[pair_firsts])
    pairs = np.cumsum(starts_pair) - 1
    expected = curves.expected(weights, rows.queries != 0, rows.platforms, rows.positions)
    return MemboostTable(
        query_keys=rows.queries[pair_firsts[query_firsts]],
        query_starts=np.append(query_firsts, pair_firsts.size).astype(np.int64),
        result_keys=rows.pins[pair_firsts],
        pair_starts=np.append(pair_firsts, len(rows)).astype(np.int64),
        times_us=rows.times_us,
        platforms=rows.platforms,
        positions=rows.positions,
        acted=bits,
        platform_names=tuple(platform_names),
        curves=curves,
        weights=weights,
        **pair_sums(pairs, pair_firsts.size, bits, expected, weights),
    )


def empty_table() -> MemboostTable:
    """Nothing was ever shown."""
    nothing = concatenated((), Shown)
    return make_table(
        nothing,
        np.empty(0, np.uint8),
        flat_curves(1),
        platform_names=(OTHER,),
        weights=np.ones(len(KINDS)),
    )


def pair_sums(
    pairs: NDArray[np.int64],
    pair_count: int,
    acted: NDArray[np.uint8],
    expected: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> dict[str, Any]:
    """Impressions, weighted actions and weighted expected actions of each pair, float32[P]."""
    bits = (acted[:, None] >> np.arange(len(KINDS), dtype=np.uint8)) & 1
    sums = {
        "impression_counts": np.bincount(pairs, minlength=pair_count),
        "action_counts": np.bincount(pairs, bits @ weights, minlength=pair_count),
        "expected_counts": np.bincount(pairs, expected, minlength=pair_count),
    }
    return {name: values.astype(np.float32) for name, values in sums.items()}


def _mapped(path: Path) -> NDArray[np.generic]:
    """An array of a file, mapped where it has anything in it."""
    array = np.load(path, allow_pickle=False, mmap_mode="r" if path.stat().st_size > 256 else None)
    return np.asarray(array)
