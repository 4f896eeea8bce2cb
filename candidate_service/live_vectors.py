"""Vectors of pins that came or changed since the index was built: found as soon as they are known.

A pin that comes with a vector is found by it, where the index holds imported vectors. Where the
index holds learned ones, a new pin gets the mean of the boards that it was saved on, each board the
mean of its pins (fold-in); what is folded in now is learned in full with the next generation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from candidate_service.index_settings import IndexSettings
from candidate_service.live.segment import LiveChanges, LivePin, LiveSave
from candidate_service.selection import is_allowed
from candidate_service.vector_index import LiveVectorIndex, VectorIndex, best_rows
from candidate_service.vector_kernels import scan_cosines, scan_rows

K = TypeVar("K")
V = TypeVar("V")

Neighbours = tuple[NDArray[np.int32], NDArray[np.float32]]
PinsOfBoard = Callable[[str], NDArray[np.int32]]

FOLDED_AT_ONCE: Final = 256
"""Pins that one question folds in at the most; the next question goes on."""
BOARD_PIN_COUNT_MAX: Final = 1000
"""Pins of a board that make its mean; more would not move it."""
GRAPH_FROM: Final = 50_000
"""Rows from which on a graph answers instead of a scan. Measured (`benchmarks/bench_ann.py`): three
queries by a scan of 50,000 x 128 take some 2 ms, two to three times as long as by a graph; with
fewer rows the graph costs the writer, 0.1 ms a row, more than it saves. Guess."""
PLACED_AT_ONCE: Final = 16
"""Older rows that are placed in a new graph with each row that comes, 0.1 to 0.2 ms each."""
LIVE_MARGIN: Final = 1.2
"""How many more that graph is asked for than a filter should leave."""
LIVE_EFFORT: Final = 160
"""Search effort of that graph; its answers are ordered by exact cosines."""
_ROWS_AT_FIRST: Final = 256


class VectorRows:
    """Vectors of some rows in one dimension; one writer, readers do not wait.

    They are searched by a scan, and by a graph where there are many. A replaced vector stays in its
    place, without a row, until the table grows.
    """

    def __init__(self, dimension: int, *, graph_from: int = GRAPH_FROM) -> None:
        """Start empty; with *graph_from* rows a graph is begun."""
        self._graph_from = graph_from
        self._graph: LiveVectorIndex | None = None
        self._unplaced: list[int] = []
        self._vectors = np.zeros((_ROWS_AT_FIRST, dimension), np.float32)
        self._rows = np.full(_ROWS_AT_FIRST, -1, np.int32)
        self._place: dict[int, int] = {}
        self._count = 0
        self._seen = (self._rows[:0], self._vectors[:0])

    def __len__(self) -> int:
        """Return how many rows have a vector."""
        return len(self._place)

    def __contains__(self, row: int) -> bool:
        """Say whether a row has a vector."""
        return row in self._place

    def get(self, row: int) -> NDArray[np.float32] | None:
        """Return a row's vector, None without one."""
        place = self._place.get(row)
        return None if place is None else self._vectors[place]

    def put(self, row: int, vector: NDArray[np.float32]) -> None:
        """Give a row its vector (unit, float32[d])."""
        if self._count == len(self._rows):
            self._grow()
        place = self._place.get(row)
        self._vectors[self._count], self._rows[self._count] = vector, row
        self._place[row] = self._count
        if place is not None:
            self._rows[place] = -1
        self._count += 1
        self._seen = (self._rows[: self._count], self._vectors[: self._count])
        if len(self) >= self._graph_from:
            self._place_in_graph(row, vector)

    def drop(self, row: int) -> None:
        """Let a row have no vector."""
        place = self._place.pop(row, None)
        if place is not None:
            self._rows[place] = -1
            if self._graph is not None:
                self._graph.remove(row)

    def sorted_rows(self) -> NDArray[np.int32]:
        """Return the rows that have a vector, int32[n], ascending."""
        rows = self._seen[0]
        return np.sort(rows[rows >= 0])

    def nearest(
        self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None
    ) -> list[Neighbours]:
        """Return for each query (float32[q, d]) the *count* nearest allowed rows and cosines."""
        seen, vectors = self._seen
        rows = seen.copy()  # the writer takes rows out in place
        usable = np.flatnonzero((rows >= 0) & is_allowed(np.maximum(rows, 0), allowed))
        graph = self._graph
        if graph is not None and not self._unplaced and len(usable) >= self._graph_from:
            fetch = int(LIVE_MARGIN * count * len(graph) / len(usable)) + 16
            return [self._by_graph(graph, query, fetch, count, allowed) for query in queries]
        if len(usable) == len(rows):
            cosines = scan_cosines(vectors, np.ascontiguousarray(queries))
        else:
            cosines = scan_rows(vectors, usable.astype(np.int32), np.ascontiguousarray(queries))
        return [best_rows(rows[usable], row, count) for row in cosines]

    def _by_graph(
        self,
        graph: LiveVectorIndex,
        query: NDArray[np.float32],
        fetch: int,
        count: int,
        allowed: NDArray[np.bool_] | None,
    ) -> Neighbours:
        found = graph.nearest(query, fetch)[0]
        found = found[is_allowed(found, allowed)]
        known = [(row, own) for row in found.tolist() if (own := self.get(row)) is not None]
        rows = np.array([row for row, _ in known], np.int32)
        vectors = np.array([own for _, own in known], np.float32).reshape(len(rows), -1)
        return best_rows(rows, vectors @ query if len(rows) else np.empty(0, np.float32), count)

    def _place_in_graph(self, row: int, vector: NDArray[np.float32]) -> None:
        """Add a row, and some of those that were there before the graph was begun."""
        if self._graph is None:
            self._unplaced = [known for known in self._place if known != row]
            self._graph = LiveVectorIndex(
                len(vector), settings=IndexSettings(), expansion_search=LIVE_EFFORT
            )
        self._graph.add(row, vector)
        for _ in range(min(PLACED_AT_ONCE, len(self._unplaced))):
            older = self._unplaced.pop()
            own = self.get(older)
            if own is not None:
                self._graph.add(older, own)

    def _grow(self) -> None:
        kept = np.flatnonzero(self._rows >= 0)
        size = max(_ROWS_AT_FIRST, 2 * len(kept))
        vectors = np.zeros((size, self._vectors.shape[1]), np.float32)
        rows = np.full(size, -1, np.int32)
        vectors[: len(kept)], rows[: len(kept)] = self._vectors[kept], self._rows[kept]
        self._vectors, self._rows, self._count = vectors, rows, len(kept)
        self._place = {row: place for place, row in enumerate(rows[: len(kept)].tolist())}


class LiveVectors:
    """The vectors that changed pins came with, and the boards new pins were saved on; a live part.

    One thread writes, any number read.
    """

    def __init__(self) -> None:
        """Start without changes."""
        self._given: dict[int, VectorRows] = {}
        self._saves: dict[str, tuple[int, str]] = {}
        self._boards: dict[int, dict[str, int]] = {}
        self._pins: dict[str, dict[int, int]] = {}
        self._unfolded: dict[int, None] = {}
        self._folded: tuple[VectorIndex, VectorRows] | None = None
        self._folding = Lock()

    def apply(self, changes: LiveChanges) -> None:
        """Take changes in, in the order of the log."""
        for pin in changes.pins:
            self._take_pin(pin)
        for save in changes.saves:
            self._take_save(save)

    def vectors(self, index: VectorIndex, pins_of_board: PinsOfBoard) -> VectorRows | None:
        """Return the vectors that are younger than an index and live in its space; None: none.

        Args:
            index: The index; a row in it that changed is found by its new vector only.
            pins_of_board: Gives the rows of a board of the catalogue, int32[n].
        """
        if not index.is_learned:
            return self._given.get(index.dimension)
        if self._folded is None and not self._unfolded:
            return None
        with self._folding:
            if self._folded is None or self._folded[0] is not index:
                self._folded = (index, VectorRows(index.dimension))
                self._unfolded = dict.fromkeys(list(self._boards))
            self._fold(index, self._folded[1], pins_of_board)
        return self._folded[1]

    def vector(self, row: int) -> NDArray[np.float32] | None:
        """Return the vector that a changed pin is found by (unit, float32[d]), None without one."""
        if self._folded is not None:
            return self._folded[1].get(row)
        tables = list(self._given.values())
        return next((found for table in tables if (found := table.get(row)) is not None), None)

    def _take_pin(self, pin: LivePin) -> None:
        if pin.vector is None:
            return
        length = float(np.linalg.norm(pin.vector))
        if not np.isfinite(length) or length <= 0:
            return
        for table in list(self._given.values()):
            if table is not self._given.get(len(pin.vector)):
                table.drop(pin.row)
        table = self._given.get(len(pin.vector)) or VectorRows(len(pin.vector))
        table.put(pin.row, np.asarray(pin.vector / np.float32(length), np.float32))
        self._given[len(pin.vector)] = table

    def _take_save(self, save: LiveSave) -> None:
        """Keep which boards a pin is on; a save that comes again changes nothing."""
        before = self._saves.get(save.save_id)
        now = None if save.is_removed else (save.pin_row, save.board_id)
        if before == now:
            return
        if before is not None:
            _count(self._boards, before[0], before[1], -1)
            _count(self._pins, before[1], before[0], -1)
            del self._saves[save.save_id]
        if now is not None:
            self._saves[save.save_id] = now
            _count(self._boards, now[0], now[1], 1)
            _count(self._pins, now[1], now[0], 1)
        for changed in (before, now):
            if changed is not None:
                self._unfolded[changed[0]] = None

    def _fold(self, index: VectorIndex, table: VectorRows, pins_of_board: PinsOfBoard) -> None:
        """Give pins that the index has no vector of the mean of their boards."""
        for row in list(self._unfolded)[:FOLDED_AT_ONCE]:
            self._unfolded.pop(row, None)
            if index.has_vector(np.array([row], np.int32))[0]:
                continue
            boards = list(self._boards.get(row, ()))
            means = [self._mean(board, row, index, pins_of_board) for board in boards]
            total = np.sum([mean for mean in means if mean is not None], axis=0)
            length = float(np.linalg.norm(total))
            if length > 0:
                table.put(row, np.asarray(total / length, np.float32))
            else:
                table.drop(row)

    def _mean(
        self, board: str, row: int, index: VectorIndex, pins_of_board: PinsOfBoard
    ) -> NDArray[np.float32] | None:
        """Return a board's direction, without the pin itself (unit, float32[d])."""
        live = np.fromiter(list(self._pins.get(board, ())), np.int32)
        rows = np.unique(np.concatenate([pins_of_board(board), live]))
        rows = rows[index.has_vector(rows) & (rows != row)][:BOARD_PIN_COUNT_MAX]
        mean = index.vectors[rows].sum(axis=0)
        length = float(np.linalg.norm(mean))
        return np.asarray(mean / length) if length > 0 else None


def _count(table: dict[K, dict[V, int]], key: K, value: V, step: int) -> None:
    counts = table.setdefault(key, {})
    counts[value] = counts.get(value, 0) + step
    if not counts[value]:
        del counts[value]
    if not counts:
        del table[key]


def merged(parts: Sequence[Neighbours], count: int) -> Neighbours:
    """Return the best *count* of several lists of neighbours that share no row."""
    rows = np.concatenate([part[0] for part in parts])
    cosines = np.concatenate([part[1] for part in parts])
    return best_rows(rows, cosines, count)


def no_boards(_: str) -> NDArray[np.int32]:
    """Know no board; for an index without a graph beside it."""
    return np.empty(0, np.int32)
