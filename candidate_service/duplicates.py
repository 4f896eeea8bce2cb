"""Which pins show the same picture: near-duplicate groups, made by a job, read by whoever shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from candidate_service.artifacts import Artifacts
from service_runtime.errors import Corrupted
from service_runtime.generations import Draft, Generation

ARTIFACT: Final = "duplicates"
FORMAT_VERSION: Final = 1
GROUPS_FILE: Final = "groups.npy"
REPRESENTATIVES_FILE: Final = "representatives.npy"


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Near-duplicate groups by catalogue row; read-only.

    Attributes:
        groups: Number of the group, int32[n], >= 1; 0 = the pin is alone.
        representatives: One pin of each group, and every pin that is alone, bool[n].
    """

    groups: NDArray[np.int32]
    representatives: NDArray[np.bool_]

    def groups_of(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the group of each row, int32[m]; 0 for pins younger than the generation."""
        groups = np.zeros(len(rows), np.int32)
        known = (rows >= 0) & (rows < len(self.groups))
        groups[known] = self.groups[rows[known]]
        return groups


_OPENED: Final[WeakKeyDictionary[Artifacts, Callable[[], Duplicates]]] = WeakKeyDictionary()


def duplicates_of(artifacts: Artifacts) -> Callable[[], Duplicates]:
    """Return what gives the groups that serve now, or raises NotReady; the same for all who ask."""
    if artifacts not in _OPENED:
        _OPENED[artifacts] = artifacts.add(ARTIFACT, FORMAT_VERSION, open_duplicates)
    return _OPENED[artifacts]


def write_duplicates(draft: Draft, duplicates: Duplicates) -> None:
    """Write the groups of a generation in the making; its details need `pin_count`."""
    np.save(draft.path(GROUPS_FILE), duplicates.groups, allow_pickle=False)
    np.save(draft.path(REPRESENTATIVES_FILE), duplicates.representatives, allow_pickle=False)


def open_duplicates(generation: Generation) -> Duplicates:
    """Map a generation.

    Raises:
        Corrupted: Its arrays do not fit each other.
    """
    try:
        groups, representatives = (
            np.load(generation.file(name), mmap_mode="r", allow_pickle=False)
            for name in (GROUPS_FILE, REPRESENTATIVES_FILE)
        )
    except (OSError, ValueError) as fault:
        raise _unreadable(generation, str(fault)) from fault
    shape = (generation.manifest.details.get("pin_count"),)
    dtypes = (groups.dtype.name, representatives.dtype.name)
    if dtypes != ("int32", "bool") or not groups.shape == representatives.shape == shape:
        raise _unreadable(generation, f"it holds {dtypes} of {groups.shape}, expected {shape}")
    return Duplicates(groups, representatives)


def _unreadable(generation: Generation, reason: str) -> Corrupted:
    return Corrupted(
        f"duplicates {generation.id} cannot be opened: {reason}",
        hint="build it again: corkboard build duplicates",
    )
