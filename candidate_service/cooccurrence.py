"""Pins that are on the same boards: how they are counted, scored, stored and read.

    score(p, q) = sum over shared boards b of 1 / n(b)  /  sqrt(d(p) * d(q))

where board b has n(b) pins and pin p is on d(p) boards: the cosine of two pins' boards, but sharing
a small board says more than sharing one that collects everything. What is published has been
weighed by agreement in words and topics (`pin_agreement`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from candidate_service import pair_kernels
from candidate_service.graph import PinBoardGraph, read_array
from service_runtime.array_writer import ArrayWriter
from service_runtime.errors import Corrupted
from service_runtime.generations import Generation

ARTIFACT: Final = "board_cooccurrence"
FORMAT_VERSION: Final = 1

BLOCK_PINS: Final = 4096
"""Pins whose lists are made at a time: what a job holds of them, whatever the catalogue's size."""
_FILES: Final[dict[str, type[np.generic]]] = {
    "offsets": np.int64,
    "rows": np.int32,
    "scores": np.float32,
}
_HINT: Final = "build it again: python -m candidate_service.jobs.build_board_cooccurrence"


@dataclass(frozen=True, slots=True)
class CooccurrenceSettings:
    """How neighbours are found and how many are kept.

    Attributes:
        neighbour_count: Kept for each pin, the best by score, 8 bytes each.
        exact_pair_count_max: With at most so many pairs (sum over boards of n * n) all are
            counted in this process; with more the map and reduce over a sample runs.
        pair_count: Pairs that each pin is given by the sample, about.
    """

    neighbour_count: int = 1000
    exact_pair_count_max: int = 2_000_000_000
    pair_count: int = 2000


class NeighbourLists:
    """Each pin's neighbours, best first; read-only, safe from any number of threads.

    Attributes:
        offsets: The neighbours of pin first_pin + i begin at offsets[i], int64[pins + 1].
        rows: Neighbours, int32[m], never the pin itself.
        scores: In (0, 1], float32[m], falling within a list.
        neutral: What a score was multiplied with where nothing agreed, in (0, 1].
        first_pin: The pin that has the first list: a block of all lists, where it is not 0.
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        rows: NDArray[np.int32],
        scores: NDArray[np.float32],
        *,
        neutral: float = 1.0,
        first_pin: int = 0,
    ) -> None:
        """Take arrays that belong together; use `open`."""
        self.offsets, self.rows, self.scores = offsets, rows, scores
        self.neutral, self.first_pin = neutral, first_pin

    @classmethod
    def open(cls, generation: Generation) -> Self:
        """Map a generation.

        Raises:
            Corrupted: Its arrays do not fit each other.
        """
        arrays = {}
        for name, dtype in _FILES.items():
            path = generation.file(f"{name}.npy")
            try:
                arrays[name] = read_array(path)
            except ValueError as fault:
                raise Corrupted(f"{path} cannot be read: {fault}", hint=_HINT) from fault
            if arrays[name].dtype != dtype:
                raise Corrupted(f"{path} holds {arrays[name].dtype}, not {dtype}", hint=_HINT)
        neutral = float(generation.manifest.details.get("neutral", 1.0))
        lists = cls(arrays["offsets"], arrays["rows"], arrays["scores"], neutral=neutral)
        pin_count = generation.manifest.details.get("pin_count")
        ends = {int(lists.offsets[-1]), len(lists.rows), len(lists.scores)}
        if len(ends) != 1 or len(lists) != pin_count:
            raise Corrupted(f"{generation.path}: {ends} neighbours of {len(lists)}", hint=_HINT)
        return lists

    def __len__(self) -> int:
        """Return the number of pins, those without neighbours included."""
        return len(self.offsets) - 1

    def of(self, pins: range) -> NeighbourLists:
        """Return the lists of some pins, as views."""
        first, last = int(self.offsets[pins.start]), int(self.offsets[pins.stop])
        return NeighbourLists(
            self.offsets[pins.start : pins.stop + 1] - first,
            self.rows[first:last],
            self.scores[first:last],
            neutral=self.neutral,
            first_pin=self.first_pin + pins.start,
        )


def blocks_of(pin_count: int) -> list[range]:
    """Return all pins in their order, some at a time."""
    starts = range(0, pin_count, BLOCK_PINS)
    return [range(start, min(start + BLOCK_PINS, pin_count)) for start in starts]


def write_lists(folder: Path, blocks: Iterable[NeighbourLists]) -> NDArray[np.int64]:
    """Write lists as files of a generation's folder, a block at a time.

    Args:
        folder: Of the generation.
        blocks: Lists of all pins in their order.

    Returns:
        How many neighbours each pin has, int64[pins].
    """
    lengths = [np.empty(0, np.int64)]
    with (
        ArrayWriter(folder / "rows.npy", _FILES["rows"]) as rows,
        ArrayWriter(folder / "scores.npy", _FILES["scores"]) as scores,
    ):
        for block in blocks:
            lengths.append(np.diff(block.offsets))
            rows.append(block.rows)
            scores.append(block.scores)
    counts = np.concatenate(lengths)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(_FILES["offsets"])
    np.save(folder / "offsets.npy", offsets, allow_pickle=False)
    return counts


def board_weights(graph: PinBoardGraph) -> NDArray[np.float32]:
    """Return 1 / n of each board, float32[boards]; 1 for a board without pins."""
    sizes = np.diff(graph.board_edges[0])
    return (1.0 / np.maximum(sizes, 1)).astype(np.float32)


def pin_degrees(graph: PinBoardGraph) -> NDArray[np.int32]:
    """Return on how many boards each pin is, int32[pins]."""
    return np.diff(graph.pin_edges[0]).astype(np.int32)


def pair_count_of(graph: PinBoardGraph) -> int:
    """Return how many pairs an exact count looks at: the sum over boards of n * n."""
    sizes = np.diff(graph.board_edges[0]).astype(np.float64)
    return int(sizes @ sizes)


def exact_counter(graph: PinBoardGraph, neighbour_count: int) -> Callable[[range], NeighbourLists]:
    """Return what finds some pins' best neighbours from all pairs; for any number of threads.

    Args:
        graph: To count on.
        neighbour_count: How many to keep for each pin.
    """
    weights, scales = board_weights(graph), _pin_scales(graph)

    def count(pins: range) -> NeighbourLists:
        counts, rows, scores = pair_kernels.count_pairs(
            graph.pin_edges,
            graph.board_edges,
            weights,
            scales,
            (pins.start, pins.stop),
            neighbour_count,
            np.zeros(graph.pin_count),
        )
        offsets = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        return NeighbourLists(offsets, rows, scores, first_pin=pins.start)

    return count


def overlap_with_exact(
    lists: NeighbourLists, graph: PinBoardGraph, *, depth: int, pin_count: int, seed: int
) -> float:
    """Compare lists by co-occurrence alone with an exact count, on some pins.

    Args:
        lists: Of a sample.
        graph: It was drawn from.
        depth: How many of the best neighbours are compared; all where a pin has fewer.
        pin_count: On how many pins, drawn among those that share a board with any.
        seed: Of the draw.

    Returns:
        The mean share of the exact list's pins that are in the other one, in [0, 1]; 1 where no pin
        shares a board. Neighbours that score as much as the last one in count as in it.
    """
    weights, scales = board_weights(graph), _pin_scales(graph)
    totals, shares = np.zeros(graph.pin_count), list[float]()
    for pin in np.random.default_rng(seed).permutation(graph.pin_count).tolist():
        if len(shares) == pin_count:
            break
        _, rows, scores = pair_kernels.count_pairs(
            graph.pin_edges, graph.board_edges, weights, scales, (pin, pin + 1), len(totals), totals
        )
        if not len(rows):
            continue
        wanted = min(depth, len(rows))
        right = rows[scores >= scores[wanted - 1]]
        begin = lists.offsets[pin]
        found = lists.rows[begin : min(lists.offsets[pin + 1], begin + wanted)]
        shares.append(len(np.intersect1d(found, right)) / wanted)
    return float(np.mean(shares)) if shares else 1.0


def _pin_scales(graph: PinBoardGraph) -> NDArray[np.float32]:
    return (1.0 / np.sqrt(np.maximum(pin_degrees(graph), 1))).astype(np.float32)
