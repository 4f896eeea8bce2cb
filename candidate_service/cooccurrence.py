"""Pins that are on the same boards: how they are counted, scored, stored and read.

    score(p, q) = sum over shared boards b of 1 / n(b)  /  sqrt(d(p) * d(q))

where board b has n(b) pins and pin p is on d(p) boards: the cosine of two pins' boards, but sharing
a small board says more than sharing one that collects everything. What is published has been
weighed by agreement in words and topics (`pin_agreement`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from candidate_service import pair_kernels
from candidate_service.graph import PinBoardGraph, read_array
from service_runtime.errors import Corrupted
from service_runtime.generations import Generation

ARTIFACT: Final = "board_cooccurrence"
FORMAT_VERSION: Final = 1

_BLOCK_PINS: Final = 4096
_FILES: Final = {"offsets": np.int64, "rows": np.int32, "scores": np.float32}
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
        offsets: Pin p's neighbours begin at offsets[p], int64[pins + 1].
        rows: Neighbours, int32[m], never the pin itself.
        scores: In (0, 1], float32[m], falling within a list.
        neutral: What a score was multiplied with where nothing agreed, in (0, 1].
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        rows: NDArray[np.int32],
        scores: NDArray[np.float32],
        *,
        neutral: float = 1.0,
    ) -> None:
        """Take arrays that belong together; use `open`."""
        self.offsets, self.rows, self.scores = offsets, rows, scores
        self.neutral = neutral

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

    def write(self, folder: Path) -> None:
        """Write the arrays as files of a generation's folder."""
        for name, dtype in _FILES.items():
            np.save(folder / f"{name}.npy", getattr(self, name).astype(dtype), allow_pickle=False)


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


def count_exactly(
    graph: PinBoardGraph,
    neighbour_count: int,
    *,
    threads: int,
    advance: Callable[[int], object],
) -> NeighbourLists:
    """Find every pin's best neighbours from all pairs.

    Args:
        graph: To count on.
        neighbour_count: How many to keep for each pin.
        threads: At most so many at once; the result does not depend on it.
        advance: Told how many pins were finished.
    """
    weights = board_weights(graph)
    scales = _pin_scales(graph)
    begins = range(0, graph.pin_count, _BLOCK_PINS)

    def count_block(begin: int) -> tuple[NDArray[Any], ...]:
        pins = (begin, min(begin + _BLOCK_PINS, graph.pin_count))
        totals = np.zeros(graph.pin_count)
        found: tuple[NDArray[Any], ...] = pair_kernels.count_pairs(
            graph.pin_edges, graph.board_edges, weights, scales, pins, neighbour_count, totals
        )
        advance(pins[1] - pins[0])
        return found

    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="count-pairs") as pool:
        blocks = list(pool.map(count_block, begins))
    counts, rows, scores = (
        np.concatenate([block[i] for block in blocks] or [np.empty(0)]) for i in range(3)
    )
    return NeighbourLists(
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        rows.astype(np.int32),
        scores.astype(np.float32),
    )


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
