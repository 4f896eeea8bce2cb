"""Saves that came or went since the graph was built, kept for every graph that serves.

Graphs and segments of changes come and go independently: a new graph finds the segment that is
followed, a new segment the graph that serves, and the lists of the one over the other are made
before anybody asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, WeakSet

from candidate_service.graph import PinBoardGraph
from candidate_service.live.segment import LiveChanges, LivePart, LiveSegment
from candidate_service.live_lists import LiveEdges, Pair, Saved

if TYPE_CHECKING:
    from candidate_service.catalogue import Catalogue

LIST_ENTRY_COUNT_MAX: Final = 256_000_000
"""Entries of all live lists, 4 bytes each: a gigabyte; about the neighbours of what changed."""

_SERVED: Final[WeakSet[PinBoardGraph]] = WeakSet()
_FOLLOWED: Final[WeakSet[LiveGraph]] = WeakSet()


class LiveGraph(LivePart):
    """Saves since the catalogue's generation, and the live lists over the graph that serves."""

    def __init__(
        self, catalogue: Catalogue | None = None, *, entry_count_max: int = LIST_ENTRY_COUNT_MAX
    ) -> None:
        """Begin without changes.

        Args:
            catalogue: Whose rows the changes speak of; None = of any.
            entry_count_max: Entries of all live lists, 4 bytes each.
        """
        self._entry_count_max = entry_count_max
        self._id_space = "" if catalogue is None else catalogue.id_space
        self._pin_count = None if catalogue is None else len(catalogue)
        self._saved: dict[Pair, Saved] = {}
        self._made_on: dict[str, Pair] = {}
        self._titles: dict[str, str] = {}
        self._pins: dict[int, tuple[str, tuple[str, ...]]] = {}
        self._over: WeakKeyDictionary[PinBoardGraph, LiveEdges] = WeakKeyDictionary()
        self._lock = Lock()
        if catalogue is not None:
            _FOLLOWED.add(self)
            for graph in list(_SERVED):
                self.prepare(graph)

    @property
    def titles(self) -> dict[str, str]:
        """New titles by board id; not to be written to."""
        return self._titles

    def apply(self, changes: LiveChanges) -> None:
        """Take pins and saves in; walks see them when this returns.

        Raises:
            Exhausted: The live lists would take more memory than they may.
        """
        with self._lock:
            new_pins = [pin.row for pin in changes.pins if pin.is_new]
            self._pins |= {
                pin.row: (pin.language, pin.topics) for pin in changes.pins if pin.is_new
            }
            touched: dict[Pair, None] = {}
            for save in changes.saves:
                pair = (save.board_id, save.pin_row)
                saved = self._saved.setdefault(pair, Saved())
                if save.is_removed:
                    saved.made.discard(save.save_id)
                    saved.undone.add(save.save_id)
                else:
                    saved.made.add(save.save_id)
                    saved.undone.discard(save.save_id)
                if save.board_title:
                    self._titles[save.board_id] = save.board_title
                touched[pair] = None
            for edges in list(self._over.values()):
                with suppress(ReferenceError):  # its graph has just gone
                    self._bring(edges, touched, new_pins)

    def edges(self, graph: PinBoardGraph) -> LiveEdges | None:
        """Return the live lists over a graph; None where nothing has changed.

        A graph that is younger than the catalogue numbers pins otherwise than the changes do, and
        is walked without them until the catalogue follows.

        Cost: nothing; the first time with a graph that was not prepared 8 us a changed pair.
        """
        if not self._saved or not self._fits(graph):
            return None
        edges = self._over.get(graph) or self._made(graph)
        return edges if edges.has_changes else None

    def prepare(self, graph: PinBoardGraph) -> None:
        """Make the lists over a graph of the same rows now, before anybody asks."""
        if graph.id_space == self._id_space and self._fits(graph):
            self._made(graph)

    def _fits(self, graph: PinBoardGraph) -> bool:
        return self._pin_count is None or graph.pin_count <= self._pin_count

    def _made(self, graph: PinBoardGraph) -> LiveEdges:
        with self._lock:
            edges = self._over.get(graph)
            if edges is None:
                edges = LiveEdges(graph, self._entry_count_max)
                self._bring(edges, self._saved, list(self._pins))
                self._over[graph] = edges
        return edges

    def _bring(self, edges: LiveEdges, pairs: Iterable[Pair], new_pins: Sequence[int]) -> None:
        edges.label_pins({row: self._pins[row] for row in new_pins})
        edges.change({pair: self._saved[pair] for pair in pairs})


def serve_graph(graph: PinBoardGraph) -> None:
    """Make the live lists of every segment over a graph that is about to serve."""
    _SERVED.add(graph)
    for part in list(_FOLLOWED):
        part.prepare(graph)


def live_edges(live: LiveSegment, graph: PinBoardGraph) -> LiveEdges | None:
    """Return the live lists of a segment over a graph; None where nothing has changed."""
    return live.part(LiveGraph).edges(graph) if live.change_count else None


def agreed_count(live: LiveSegment, artifact_count: int) -> int:
    """Return how many rows of an artifact mean the pins that a segment means.

    All of them, but for an artifact that is younger than the segment's catalogue: its last rows
    are, in the segment, live pins in another order.
    """
    base_count = live.base_count
    return base_count if 0 < base_count < artifact_count else artifact_count
