"""The pin-board graph as compressed rows: pruned and written by a job, mapped by the service.

Both directions are kept: the boards of each pin and the pins of each board. Neighbours of one
language stand side by side, so that a biased walk draws from a sub-range; where the catalogue knows
fewer than two languages nothing is stored for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from candidate_service import pair_kernels
from service_runtime.errors import Corrupted
from service_runtime.generations import Generation

ARTIFACT: Final = "graph"
FORMAT_VERSION: Final = 1
BOARD_IDS_FOLDER: Final = "board_ids"

_SIDES: Final = ("pin", "board")
_HINT: Final = "build it again: python -m candidate_service.jobs.build_graph"

Edges = tuple[NDArray[Any], NDArray[np.int32]]
Groups = tuple[NDArray[Any], NDArray[np.int16], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class PruneSettings:
    """Which edges are worth keeping.

    Attributes:
        board_pin_count_min: Boards with fewer pins are left out: a walk over them goes nowhere.
            Range 1.., default 2.
        board_pin_count_max: Of a larger board a sample of so many pins is kept: whoever collects
            everything says little. Range 2.., default 10,000 (guess).
        degree_exponent: A pin on d boards keeps d**delta of them, the smallest boards, which are
            the most to the point. Range (0, 1], default 1 = all. Measured on a million edges: 0.91
            keeps 65 % of them at equal quality, 0.86 half of them and loses 2 to 4 %. Pixie prunes
            with 0.91, OmniSage with 0.86.
        degree_kept_min: A pin keeps at least so many boards, default 10 (OmniSage).
        degree_kept_max: And at most so many, default 10,000 (OmniSage).
    """

    board_pin_count_min: int = 2
    board_pin_count_max: int = 10_000
    degree_exponent: float = 1.0
    degree_kept_min: int = 10
    degree_kept_max: int = 10_000


class PinBoardGraph:
    """One opened generation; read-only, safe from any number of threads.

    Attributes:
        pin_edges: Offsets [pins + 1] and boards int32[e] of the pins.
        board_edges: Offsets [boards + 1] and pins int32[e] of the boards.
        pin_groups: Runs of one language in each pin's boards (`pair_kernels.find_groups`); None
            where the graph knows no languages.
        board_groups: The same of each board's pins.
        languages: Number of each language tag.
        degree_max: Boards of the pin that is on most.
    """

    def __init__(
        self,
        edges: tuple[Edges, Edges],
        groups: tuple[Groups, Groups] | None,
        languages: dict[str, int],
    ) -> None:
        """Take arrays that belong together; use `open` or `build_graph`."""
        self.pin_edges, self.board_edges = edges
        self.pin_groups: Groups | None = groups[0] if groups else None
        self.board_groups: Groups | None = groups[1] if groups else None
        for arrays in (*edges, *(groups or ())):
            for array in arrays:
                array.setflags(write=False)  # also so that kernels are compiled for one kind only
        self.languages = languages
        self.degree_max = int(np.diff(self.pin_edges[0]).max(initial=0))

    @classmethod
    def open(cls, generation: Generation, *, in_memory: bool = False) -> Self:
        """Map a generation.

        Args:
            generation: Of the artifact `graph`.
            in_memory: Read it into memory instead: walks on a graph beyond the caches are half as
                fast again there, as memory of our own has large pages and mapped files have not.

        Raises:
            Corrupted: Its arrays do not fit each other.
        """
        languages = {str(tag): i for i, tag in enumerate(generation.manifest.details["languages"])}
        names = [f"{side}_{part}" for side in _SIDES for part in ("offsets", "neighbours")]
        if languages:
            parts = ("group_offsets", "group_languages", "group_begins")
            names += [f"{side}_{part}" for side in _SIDES for part in parts]
        arrays = [_read(generation.file(f"{name}.npy"), in_memory=in_memory) for name in names]
        groups = (tuple(arrays[4:7]), tuple(arrays[7:10])) if languages else None
        graph = cls(((arrays[0], arrays[1]), (arrays[2], arrays[3])), groups, languages)  # type: ignore[arg-type]
        graph._check(generation)
        return graph

    @property
    def pin_count(self) -> int:
        """Rows of the catalogue that it was built from; later pins are not in it."""
        return len(self.pin_edges[0]) - 1

    @property
    def board_count(self) -> int:
        """Number of boards, those without a kept pin included."""
        return len(self.board_edges[0]) - 1

    @property
    def edge_count(self) -> int:
        """Number of saves of a pin on a board that were kept."""
        return len(self.pin_edges[1])

    def degrees(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return on how many boards some pins are, int64[n]; 0 for rows it does not have."""
        known = (rows >= 0) & (rows < self.pin_count)
        at = np.where(known, rows, 0).astype(np.int64)
        if not self.pin_count:
            return np.zeros(len(rows), np.int64)
        offsets = self.pin_edges[0]
        degrees: NDArray[np.int64] = np.where(
            known, offsets[at + 1].astype(np.int64) - offsets[at], 0
        )
        return degrees

    def write(self, folder: Path) -> None:
        """Write the arrays as files of a generation's folder."""
        for side, edges, groups in (
            ("pin", self.pin_edges, self.pin_groups),
            ("board", self.board_edges, self.board_groups),
        ):
            parts: dict[str, NDArray[Any]] = {"offsets": edges[0], "neighbours": edges[1]}
            if groups is not None:
                keys = ("group_offsets", "group_languages", "group_begins")
                parts |= dict(zip(keys, groups, strict=True))
            for part, array in parts.items():
                np.save(folder / f"{side}_{part}.npy", array, allow_pickle=False)

    def _check(self, generation: Generation) -> None:
        counts = {
            "pin_count": self.pin_count,
            "board_count": self.board_count,
            "edge_count": self.edge_count,
        }
        wanted = {name: generation.manifest.counts.get(name) for name in counts}
        ends = [int(edges[0][-1]) for edges in (self.pin_edges, self.board_edges)]
        lengths = [len(edges[1]) for edges in (self.pin_edges, self.board_edges)]
        if counts != wanted or ends != lengths:
            raise Corrupted(
                f"graph {generation.id} has {counts}, offsets up to {ends}; it says {wanted}",
                hint=_HINT,
            )


def build_graph(
    pins: NDArray[np.int32],
    boards: NDArray[np.int32],
    *,
    pin_count: int,
    board_count: int,
    pin_languages: NDArray[np.int16] | None = None,
    languages: tuple[str, ...] = (),
) -> PinBoardGraph:
    """Compress distinct edges into both directions.

    Args:
        pins: Pin row of each edge, int32[e]; no edge twice; any order (the result is the same).
        boards: Board row of each edge, int32[e].
        pin_count: Rows of the catalogue.
        board_count: Number of boards.
        pin_languages: Number of each pin's language, int16[pin_count], -1 = unknown.
        languages: Their tags; with fewer than two the graph knows no languages.
    """
    label_pins = np.full(pin_count, -1, np.int16)
    if pin_languages is not None and len(languages) > 1:
        label_pins = pin_languages
    loose = pair_kernels.compress_edges(pins, boards, pin_count)
    by_label = np.argsort(label_pins, kind="stable")
    board_edges = pair_kernels.transpose(*loose, by_label, board_count)
    *board_groups, label_boards = pair_kernels.find_groups(*board_edges, label_pins)
    by_label = np.argsort(label_boards, kind="stable")
    pin_edges = pair_kernels.transpose(*board_edges, by_label, pin_count)
    *pin_groups, _ = pair_kernels.find_groups(*pin_edges, label_boards)
    edges = (_narrow(pin_edges), _narrow(board_edges))
    if len(languages) < 2:
        return PinBoardGraph(edges, None, {})
    groups = (_narrow(tuple(pin_groups)), _narrow(tuple(board_groups)))
    return PinBoardGraph(edges, groups, {tag: i for i, tag in enumerate(languages)})


def prune_edges(
    pins: NDArray[np.int32],
    boards: NDArray[np.int32],
    settings: PruneSettings,
    *,
    seed: int,
) -> NDArray[np.bool_]:
    """Choose the edges to keep; the choice depends on the edges and the seed, not on their order.

    Args:
        pins: Pin row of each edge, int32[e].
        boards: Board row of each edge, int32[e].
        settings: Which are worth keeping.
        seed: Of the samples of large boards.

    Returns:
        bool[e].

    Source: Eksombatchai et al. 2018, section 3.2 (degree**delta); which boards a pin keeps goes by
    size instead of topic, as there need not be topics (OmniSage, KDD 2025, prunes without them).
    """
    kept = np.ones(len(pins), np.bool_)
    chance = pair_kernels.hash_pairs(pins, boards, seed)
    _keep_first(
        kept, boards, chance, lambda sizes: np.full(len(sizes), settings.board_pin_count_max)
    )
    sizes = np.bincount(boards[kept], minlength=1)
    rank = sizes[boards].astype(np.uint64) << np.uint64(32) | chance >> np.uint64(32)
    _keep_first(kept, pins, rank, lambda degrees: _kept_degrees(degrees, settings))
    sizes = np.bincount(boards[kept], minlength=int(boards.max(initial=-1)) + 1)
    kept &= sizes[boards] >= settings.board_pin_count_min
    return kept


def _kept_degrees(degrees: NDArray[np.int64], settings: PruneSettings) -> NDArray[np.int64]:
    wanted: NDArray[np.int64] = np.ceil(degrees**settings.degree_exponent).astype(np.int64)
    return wanted.clip(settings.degree_kept_min, settings.degree_kept_max)


def _keep_first(
    kept: NDArray[np.bool_], nodes: NDArray[np.int32], ranks: NDArray[np.uint64], quota: Any
) -> None:
    """Of each node's kept edges keep those of the lowest rank, as many as quota(degrees) says."""
    degrees = np.bincount(nodes[kept], minlength=int(nodes.max(initial=-1)) + 1)
    quotas = quota(degrees)
    crowded = np.flatnonzero(kept & (degrees > quotas)[nodes])
    order = crowded[np.lexsort((ranks[crowded], nodes[crowded]))]
    sorted_nodes = nodes[order]
    begins = np.searchsorted(sorted_nodes, sorted_nodes)
    kept[order[np.arange(len(order)) - begins >= quotas[sorted_nodes]]] = False


def _narrow(arrays: tuple[Any, ...]) -> Any:
    """Store positions as int32 where they fit: walks read twice as many a cache line."""
    return tuple(
        array.astype(np.int32) if array.dtype == np.int64 and array.max() < 2**31 else array
        for array in arrays
    )


def read_array(path: Path) -> NDArray[Any]:
    """Map an array file, or load it if it is empty (nothing to map).

    Raises:
        ValueError: It is no array file, or a torn one.
    """
    try:
        # A plain array over the mapping: kernels take subclasses of arrays more slowly.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        if array.size:
            raise
        return array


def _read(path: Path, *, in_memory: bool) -> NDArray[Any]:
    try:
        array = read_array(path)
    except (ValueError, EOFError) as fault:
        raise Corrupted(f"{path} cannot be read: {fault}", hint=_HINT) from fault
    return array.copy() if in_memory else array
