"""Hashes near a hash, exactly: tables by 16-bit parts for sealed pins, a scan for live ones."""

from __future__ import annotations

from itertools import combinations
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import hash_kernels
from candidate_service.image_hash import is_informative
from candidate_service.live.segment import LiveChanges
from service_runtime.errors import Corrupted
from service_runtime.generations import Draft, Generation

HASH_ROWS_FILE: Final = "hash_rows.npy"
HASHES_FILE: Final = "hashes.npy"
DISTANCE_MAX: Final = 11
"""Beyond it the look-up would compare everything with everything."""


def near_masks(bit_count_max: int) -> NDArray[np.uint16]:
    """Return all 16-bit words with at most so many bits set, uint16[m]."""
    words = [
        sum(1 << bit for bit in bits)
        for count in range(bit_count_max + 1)
        for bits in combinations(range(16), count)
    ]
    return np.array(words, np.uint16)


class HammingIndex:
    """The hashes of many pictures; read-only, safe from any number of threads.

    Memory: 24 bytes a hash and 2 MB.
    """

    def __init__(self, rows: NDArray[np.int32], hashes: NDArray[np.uint64]) -> None:
        """Sort the hashes into tables; those of flat areas are left out.

        Args:
            rows: Whose each is, int32[n], ascending.
            hashes: uint64[n].
        """
        told = is_informative(hashes)
        self.rows = rows[told]
        self.hashes = np.ascontiguousarray(hashes[told])
        self._offsets = np.zeros((4, 65_537), np.int64)
        self._places = np.empty((4, len(self.hashes)), np.int32)
        hash_kernels.build_tables(self.hashes, self._offsets, self._places)

    def __len__(self) -> int:
        """Return how many hashes can be found."""
        return len(self.hashes)

    def near(self, query: int, distance_max: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the rows whose hashes differ from a hash in at most so many bits.

        Args:
            query: In [0, 2**64).
            distance_max: In [0, `DISTANCE_MAX`].

        Returns:
            Rows int32[m] and distances int64[m], nearest first, lower row first among equals.
        """
        found = np.empty(len(self.hashes), np.int32)
        masks = near_masks(distance_max // 4)
        count = hash_kernels.find_within(
            self.hashes, self._offsets, self._places, masks, np.uint64(query), distance_max, found
        )
        places = found[:count]
        distances = np.bitwise_count(self.hashes[places] ^ np.uint64(query)).astype(np.int64)
        order = np.lexsort((self.rows[places], distances))
        return self.rows[places[order]], distances[order]

    def groups(self, weights: NDArray[np.float32], distance_max: int) -> NDArray[np.int32]:
        """Return the row that leads each hash's group, int32[n], in the order of `rows`.

        Args:
            weights: How much each should lead, float32[n]; among equals the lower row leads.
            distance_max: Members are within it of their leader, in [0, `DISTANCE_MAX`].
        """
        order = np.lexsort((self.rows, -weights))
        leaders = np.empty(len(self.hashes), np.int32)
        hash_kernels.group_by_leaders(
            self.hashes,
            self._offsets,
            self._places,
            near_masks(distance_max // 4),
            order,
            distance_max,
            leaders,
        )
        return self.rows[leaders]


class LiveHashes:
    """Hashes of pictures that were added or changed."""

    def __init__(self) -> None:
        """Start empty."""
        self._hashes: dict[int, int] = {}
        self._replaced: set[int] = set()
        self._lock = Lock()

    def apply(self, changes: LiveChanges) -> None:
        """Take changed pins in."""
        with self._lock:
            for pin in changes.pins:
                self._replaced.add(pin.row)
                if pin.is_removed or pin.image_hash is None:
                    self._hashes.pop(pin.row, None)
                else:
                    self._hashes[pin.row] = pin.image_hash

    def hash_of(self, row: int) -> int | None:
        """Return a changed pin's hash, None where it has none or did not change."""
        return self._hashes.get(row)

    def is_changed(self, row: int) -> bool:
        """Say whether a pin was added or changed."""
        return row in self._replaced

    def near(self, query: int, distance_max: int) -> NDArray[np.int32]:
        """Return the changed pins within so many bits, int32[m], nearest first."""
        with self._lock:
            rows = np.fromiter(self._hashes.keys(), np.int32, len(self._hashes))
            hashes = np.fromiter(self._hashes.values(), np.uint64, len(self._hashes))
        distances = np.bitwise_count(hashes ^ np.uint64(query))
        near = np.flatnonzero((distances <= distance_max) & is_informative(hashes))
        return rows[near[np.lexsort((rows[near], distances[near]))]]


def write_hashes(draft: Draft, rows: NDArray[np.int32], hashes: NDArray[np.uint64]) -> None:
    """Write the hashes beside the groups made of them; arguments as of `HammingIndex`."""
    np.save(draft.path(HASH_ROWS_FILE), rows, allow_pickle=False)
    np.save(draft.path(HASHES_FILE), hashes, allow_pickle=False)


def open_hashes(generation: Generation) -> HammingIndex:
    """Load the hashes of a generation of `duplicates` and sort them; 50 ms for a million.

    Raises:
        Corrupted: The arrays do not fit each other.
    """
    try:
        rows, hashes = (
            np.load(generation.file(name), allow_pickle=False)
            for name in (HASH_ROWS_FILE, HASHES_FILE)
        )
    except (OSError, ValueError) as fault:
        raise _unreadable(generation, str(fault)) from fault
    dtypes = (rows.dtype.name, hashes.dtype.name)
    if dtypes != ("int32", "uint64") or rows.ndim != 1 or rows.shape != hashes.shape:
        raise _unreadable(generation, f"it holds {dtypes} of {rows.shape} and {hashes.shape}")
    index = HammingIndex(rows, hashes)
    index.near(0, 0)  # compiles the look-up now, not within somebody's deadline
    return index


def _unreadable(generation: Generation, reason: str) -> Corrupted:
    return Corrupted(
        f"the hashes of duplicates {generation.id} cannot be opened: {reason}",
        hint="build it again: python -m candidate_service.jobs.build_duplicates",
    )
