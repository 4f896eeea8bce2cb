"""How many saves say that a pin is on a board, where it is more than one; read as a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

_BITS = 32


class SaveCounts(Mapping[tuple[int, int], int]):
    """Counts by (pin row, board row), found by halving: nothing is built when it is opened."""

    def __init__(self, rows: NDArray[np.int32]) -> None:
        """
        Take the counts over.

        Args:
            rows: Pin, board and count, int32[n, 3], sorted by pin and then board, none twice.
        """
        self._pairs = rows[:, 0].astype(np.int64) << _BITS | rows[:, 1]
        self._counts = rows[:, 2]

    def __getitem__(self, pair: tuple[int, int]) -> int:
        wanted = pair[0] << _BITS | pair[1]
        at = int(np.searchsorted(self._pairs, wanted))
        if at == len(self._pairs) or self._pairs[at] != wanted:
            raise KeyError(pair)
        return int(self._counts[at])

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        mask = (1 << _BITS) - 1
        return ((pair >> _BITS, pair & mask) for pair in self._pairs.tolist())
