"""The lists of pins and boards whose saves changed since a graph was built, beside its own.

Only nodes that changed have a live list, and a walk looks there first (`live_kernels`). One thread
writes; walks read without a lock. The words of new nodes become visible before anything points to
them: new boards, new pins, other pins, other boards, in that order.

Source: Sharma et al. 2016 (GraphJet) for a writable segment beside sealed ones; that a save can be
taken back, and that lists are copied when they change, is ours.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import live_kernels
from candidate_service.graph import PinBoardGraph
from service_runtime.errors import Exhausted

View = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int32]]
"""Words of the pins, words of the boards, and all live lists."""

EMPTY_VIEW: Final[View] = (np.zeros(1, np.uint64), np.zeros(1, np.uint64), np.zeros(4, np.int32))

_ROWS_AT_FIRST: Final = 1024
_ENTRIES_AT_FIRST: Final = 65_536

Pair = tuple[str, int]
"""Id of a board and row of a pin."""


@dataclass(slots=True)
class Saved:
    """Why a pin is, or is not, on a board.

    Attributes:
        made: Ids of the saves that say so.
        undone: Ids of the saves that were taken back.
    """

    made: set[str] = field(default_factory=set)
    undone: set[str] = field(default_factory=set)

    def is_there(self, sealed_count: int) -> bool:
        """Say whether the pin is on the board, of which a graph knows so many saves."""
        return bool(self.made) or sealed_count > len(self.undone)


class LiveEdges:
    """The live lists over one graph: one thread writes, any number read.

    Attributes:
        graph: Sealed, beneath; not kept alive from here: whoever reads holds it.
        view: What walks read; replaced whole when it grows.
        has_changes: Whether anything is different from the graph.
        pins_that_lost: Pins that were taken off a board since; some may be back.
    """

    def __init__(self, graph: PinBoardGraph, entry_count_max: int) -> None:
        """Begin without changes."""
        self.graph: PinBoardGraph = weakref.proxy(graph)
        self._entry_count_max = entry_count_max
        self.has_changes = False
        self._pin_count = graph.pin_count
        self._board_rows: dict[str, int] = {}
        self._board_ids: list[str] = []
        self._is_there: dict[tuple[int, int], bool] = {}
        self._new_pins: dict[int, set[int]] = {}
        self.pins_that_lost: set[int] = set()
        self._is_grouped = graph.pin_labels is not None
        self._labels: list[NDArray[np.int32]] = [
            np.empty(0, np.int32) if labels is None else labels
            for labels in (graph.pin_labels, graph.board_labels)
        ]
        self._end = 0
        self.view: View = (
            np.zeros(graph.pin_count + _ROWS_AT_FIRST, np.uint64),
            np.zeros(graph.board_count + _ROWS_AT_FIRST, np.uint64),
            np.empty(_ENTRIES_AT_FIRST, np.int32),
        )

    @property
    def node_count(self) -> int:
        """A bound of pins and of boards."""
        return max(len(self.view[0]), len(self.view[1]))

    @property
    def board_count(self) -> int:
        """Boards of the graph and those that came later."""
        return self.graph.board_count + len(self._board_ids)

    def degrees(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return on how many boards some pins are now, int64[n]; 0 for rows it does not have."""
        pin_count = self._pin_count  # before the words: what was counted has its words
        degrees = live_kernels.degrees_of(rows, self.graph.pin_edges[0], self.view[0])
        degrees[rows >= pin_count] = 0
        return np.asarray(degrees)

    def boards_of(self, pin: int) -> NDArray[np.int32]:
        """Return the boards of a pin now, int32[n]; none for a row it does not have."""
        if pin >= len(self.view[0]):
            return np.empty(0, np.int32)
        words, _, lists = self.view
        return np.asarray(live_kernels.neighbours_of(pin, self.graph.pin_edges, words, lists))

    def pins_of(self, board: int) -> NDArray[np.int32]:
        """Return the pins of a board now, int32[n]."""
        _, words, lists = self.view
        return np.asarray(live_kernels.neighbours_of(board, self.graph.board_edges, words, lists))

    def pin_count_of(self, board: int) -> int:
        """Return how many pins a board has now."""
        rows = np.array([board], np.int32)
        return int(live_kernels.degrees_of(rows, self.graph.board_edges[0], self.view[1])[0])

    def new_pins_of(self, board: int) -> NDArray[np.int32]:
        """Return the pins that came to a board after the graph was built, int32[n]."""
        return np.array(sorted(self._new_pins.get(board, ())), np.int32)

    def is_changed(self, boards: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Say which boards have got or lost pins, bool[n]."""
        return np.asarray(self.view[1][boards] != 0)

    def is_new(self, pin: int, board: int) -> bool:
        """Say whether a pin came to a board after the graph was built and is there now."""
        return self._is_there.get((pin, board), False)

    def label_of(self, row: int) -> int:
        """Return the label of a pin (`graph`)."""
        labels = self._labels[0]
        return int(labels[row]) if row < len(labels) else self.graph.label_of(row)

    def board_id(self, row: int) -> str:
        """Return the id of a board."""
        if row >= self.graph.board_count:
            return self._board_ids[row - self.graph.board_count]
        assert self.graph.board_ids is not None
        return self.graph.board_ids.ids(np.array([row]))[0]

    def label_pins(self, pins: dict[int, tuple[str, tuple[str, ...]]]) -> None:
        """Take in language and topics of new pins; boards that hold them are grouped anew."""
        if not self._is_grouped or not pins:
            return
        self._grow(max(pins) + 1, self.board_count, 0)
        boards: set[int] = set()
        for row, (language, topics) in pins.items():
            label = self.graph.label_for(language, topics)
            if row >= self.graph.pin_count and self._labels[0][row] != label:
                self._labels[0][row] = label
                boards.update(self.boards_of(row).tolist())
        if boards:
            self._write({}, {board: {} for board in sorted(boards)})

    def change(self, saved: dict[Pair, Saved]) -> None:
        """Put pins on boards and take pins off, where they are not so already."""
        board_rows = self._rows_of([board_id for board_id, _ in saved])
        pins: dict[int, dict[int, bool]] = {}
        boards: dict[int, dict[int, bool]] = {}
        for board, ((_, pin), why) in zip(board_rows, saved.items(), strict=True):
            sealed_count = self._sealed_count(pin, board)
            is_there = why.is_there(sealed_count)
            if self._is_there.get((pin, board), sealed_count > 0) == is_there:
                continue
            pins.setdefault(pin, {})[board] = is_there
            boards.setdefault(board, {})[pin] = is_there
        if not pins:
            return
        self._grow(max(pins) + 1, self.board_count, 0)
        self._label_boards(boards)
        self._write(pins, boards)
        self._note(boards)
        self._pin_count = max(self._pin_count, max(pins) + 1)
        self.has_changes = True

    def compile(self) -> None:
        """Compile what a first change needs, by one that is made up: of lists that nobody reads."""
        if self.graph.pin_count:
            self.change({("", 0): Saved(made={""})})
            self.boards_of(0)
            self._grow(0, 0, _ENTRIES_AT_FIRST)

    def _note(self, boards: dict[int, dict[int, bool]]) -> None:
        """Remember who came and who went; sets are replaced whole, as readers may look."""
        for board, changed in boards.items():
            came = {pin for pin, is_there in changed.items() if is_there}
            self._is_there |= {(pin, board): is_there for pin, is_there in changed.items()}
            self._new_pins[board] = self._new_pins.get(board, set()) - changed.keys() | came
        gone = {pin for changed in boards.values() for pin in changed if not changed[pin]}
        if gone:
            self.pins_that_lost = self.pins_that_lost | gone

    def _rows_of(self, board_ids: list[str]) -> list[int]:
        """Return the rows of boards; those that nobody knew get new ones."""
        known = self.graph.board_ids
        rows: list[int] = [-1] * len(board_ids) if known is None else known.rows(board_ids).tolist()
        for at, board_id in enumerate(board_ids):
            if rows[at] < 0:
                rows[at] = self._board_rows.get(board_id, self.board_count)
                if rows[at] == self.board_count:
                    self._board_rows[board_id] = rows[at]
                    self._board_ids.append(board_id)
        return rows

    def _sealed_count(self, pin: int, board: int) -> int:
        """Return how many saves the graph knows of a pin on a board."""
        graph = self.graph
        if pin >= graph.pin_count or board >= graph.board_count:
            return 0
        offsets, boards = graph.pin_edges
        if not (boards[offsets[pin] : offsets[pin + 1]] == board).any():
            return 0
        return graph.repeated_saves.get((pin, board), 1)

    def _label_boards(self, boards: dict[int, dict[int, bool]]) -> None:
        """A board that came later speaks of what its first pin speaks of."""
        if not self._is_grouped:
            return
        for board, changed in boards.items():
            if board >= self.graph.board_count and self.view[1][board] == 0:
                self._labels[1][board] = self._labels[0][next(iter(changed))]

    def _write(self, pins: dict[int, dict[int, bool]], boards: dict[int, dict[int, bool]]) -> None:
        """Write the lists of changed nodes, then make them visible in a safe order."""
        graph = self.graph
        sides = (
            (0, pins, graph.pin_edges, graph.pin_count),
            (1, boards, graph.board_edges, graph.board_count),
        )
        needed = 0
        for side, changed, edges, _ in sides:
            nodes = np.fromiter(changed, np.int32, len(changed))
            degrees = live_kernels.degrees_of(nodes, edges[0], self._words(side))
            needed += 3 * (int(degrees.sum()) + sum(map(len, changed.values()))) + 2 * len(nodes)
        self._grow(len(self.view[0]), len(self.view[1]), needed)
        new: list[tuple[int, NDArray[np.int32], NDArray[np.uint64]]] = []
        old: list[tuple[int, NDArray[np.int32], NDArray[np.uint64]]] = []
        for side, changed, edges, sealed_count in sides:
            nodes = np.fromiter(changed, np.int32, len(changed))
            words, self._end = live_kernels.write_lists(
                nodes,
                _compressed(changed),
                edges,
                self._labels[1 - side],
                self._words(side),
                self.view[2],
                self._end,
            )
            assert self._end >= 0, "the room was reckoned before"
            is_new = (nodes >= sealed_count) & (self._words(side)[nodes] == 0)
            new.append((side, nodes[is_new], words[is_new]))
            old.append((side, nodes[~is_new], words[~is_new]))
        for side, nodes, words in (*reversed(new), *old):
            self._words(side)[nodes] = words

    def _words(self, side: int) -> NDArray[np.uint64]:
        return self.view[1] if side else self.view[0]

    def _grow(self, pin_count: int, board_count: int, entry_count: int) -> None:
        """Make room in a new view, if there is too little; who reads the old one is not disturbed.

        Raises:
            Exhausted: There may not be so much.
        """
        counts = [len(words) for words in self.view[:2]]
        wanted = [
            count if needed <= count else needed + max(_ROWS_AT_FIRST, needed // 8)
            for count, needed in zip(counts, (pin_count, board_count), strict=True)
        ]
        for side, count in enumerate(wanted):
            if self._is_grouped and len(self._labels[side]) < count:
                unknown = -(len(self.graph.topics) + 1)
                labels = np.full(count, unknown, np.int32)
                labels[: len(self._labels[side])] = self._labels[side]
                self._labels[side] = labels
        if wanted == counts and self._end + entry_count <= len(self.view[2]):
            return
        pins, boards = (
            np.concatenate((words, np.zeros(count - len(words), np.uint64)))
            for words, count in zip(self.view[:2], wanted, strict=True)
        )
        lists = self.view[2]
        if self._end + entry_count > len(lists):
            live_count = sum(live_kernels.list_lengths(words, lists) for words in (pins, boards))
            room = 2 * (live_count + entry_count) + _ENTRIES_AT_FIRST
            if room > self._entry_count_max:
                raise Exhausted(
                    f"live lists would take {room:,} entries, at most {self._entry_count_max:,}",
                    hint="build a new graph: corkboard build graph",
                )
            lists, end = np.empty(room, np.int32), 0
            for words in (pins, boards):
                end = live_kernels.move_lists(words, self.view[2], lists, end)
            self._end = end
        self.view = (pins, boards, lists)


def _compressed(
    changed: dict[int, dict[int, bool]],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
    """Put the changes of each node one after another."""
    offsets = np.zeros(len(changed) + 1, np.int64)
    np.cumsum([len(one) for one in changed.values()], out=offsets[1:])
    neighbours: list[Any] = [neighbour for one in changed.values() for neighbour in one]
    is_there: list[Any] = [there for one in changed.values() for there in one.values()]
    return offsets, np.array(neighbours, np.int32), np.array(is_there, np.bool_)
