"""What pins have in common when a list should not be full of it: their owner, their board."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service.graph import PinBoardGraph
from candidate_service.live.segment import LiveSegment
from candidate_service.pin_columns import PinColumns
from candidate_service.selection import UNGROUPED
from service_runtime.errors import NotReady


def owner_groups(
    columns: PinColumns, live: LiveSegment, rows: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return a number for the owner of each row, int64[n]; equal owners have equal numbers.

    Args:
        columns: Of the catalogue.
        live: The changes since.
        rows: Of both, >= 0.
    """
    owners = columns.words("owner_id")
    groups = np.full(len(rows), UNGROUPED, np.int64)
    known = rows < columns.count
    groups[known] = owners.codes[rows[known]]
    if not live.change_count:
        return groups
    changed = [(at, pin) for at, row in enumerate(rows.tolist()) if (pin := live.pin(row))]
    if not changed:
        return groups
    names = [pin.owner_id for _, pin in changed]
    codes = pc.index_in(pa.array(names, pa.large_string()), value_set=owners.words).to_pylist()
    younger: dict[str, int] = {}
    for (at, _), name, code in zip(changed, names, codes, strict=True):
        if not name:
            groups[at] = UNGROUPED
        elif code is None:
            groups[at] = len(owners.words) + younger.setdefault(name, len(younger))
        else:
            groups[at] = code
    return groups


class BoardGroups:
    """The largest board of each pin, for one generation of the graph after the other."""

    def __init__(self, graph: Callable[[], PinBoardGraph]) -> None:
        """Remember how to get at the graph that serves now."""
        self._graph = graph
        self._made: tuple[PinBoardGraph, NDArray[np.int32]] | None = None
        self._lock = Lock()

    def of(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the largest board of each row, int64[n].

        UNGROUPED for pins that are on no board or younger than the graph, and for all of them while
        there is no graph.
        """
        try:
            largest = self._largest(self._graph())
        except NotReady:
            return np.full(len(rows), UNGROUPED, np.int64)
        groups = np.full(len(rows), UNGROUPED, np.int64)
        known = rows < len(largest)
        groups[known] = largest[rows[known]]
        return groups

    def _largest(self, graph: PinBoardGraph) -> NDArray[np.int32]:
        with self._lock:
            if self._made is None or self._made[0] is not graph:
                self._made = (graph, largest_boards(graph))
            return self._made[1]


def largest_boards(graph: PinBoardGraph) -> NDArray[np.int32]:
    """Return the board with most pins of each pin, int32[pins], -1 without one.

    Among equally large boards the one with the higher row counts.

    Cost: O(e) time and memory; 10 million edges take about 0.2 s.
    """
    offsets, boards = graph.pin_edges
    sizes = np.diff(graph.board_edges[0]).astype(np.int64)
    largest = np.full(graph.pin_count, UNGROUPED, np.int32)
    has_boards = np.flatnonzero(np.diff(offsets))
    if len(has_boards):
        keys = (sizes[boards] << 32) | boards
        best = np.maximum.reduceat(keys, np.asarray(offsets)[has_boards].astype(np.int64))
        largest[has_boards] = (best & 0xFFFFFFFF).astype(np.int32)
    return largest
