"""The lists that pin2vec prepares: near pins by cosine, next pins by chance."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.index_settings import IndexSettings
from candidate_service.pin2vec import Prepared, Trained
from candidate_service.vector_index import VectorIndex, build_index
from service_runtime.vector_table import unit_rows

BLOCK_ROWS: Final = 256
"""With 50,000 pins the scratch of a block takes 200 MB."""
SPARE_RATIO: Final = 2
"""With a graph, so many times as many next pins are found by cosine and then scored exactly."""

Find = Callable[[NDArray[np.float32], int], list[tuple[NDArray[np.int32], NDArray[np.float32]]]]


def near_pins(
    trained: Trained,
    list_count: int,
    folder: Path,
    settings: IndexSettings,
    *,
    rng: np.random.Generator,
    advance: Callable[[int], object],
    threads: int = 1,
) -> Prepared:
    """Find for each pin those whose inputs are nearest by cosine.

    Args:
        trained: n pins.
        list_count: How many to keep of each.
        folder: Where a graph may be built; beyond `exact_count_max` pins it is searched instead of
            comparing all pairs.
        settings: How.
        rng: For the graph.
        advance: Told how many pins were finished.
        threads: At most so many at once; the lists do not depend on it.
    """
    unit = unit_rows(trained.inputs)
    lists = _empty(len(unit), list_count)
    if len(unit) <= settings.exact_count_max:
        rank = _all_pairs(lists, unit, unit)
    else:
        find = _graph(unit, folder / "near.usearch", settings, rng)

        def rank(begin: int) -> int:
            block = unit[begin : begin + BLOCK_ROWS]
            for at, (indexes, cosines) in enumerate(find(block, list_count + 1), begin):
                _keep(lists, at, indexes[indexes != at], cosines[indexes != at])
            return len(block)

    _in_blocks(rank, len(unit), threads, advance)
    return lists


def next_pins(
    trained: Trained,
    list_count: int,
    folder: Path,
    settings: IndexSettings,
    *,
    rng: np.random.Generator,
    advance: Callable[[int], object],
    threads: int = 1,
) -> Prepared:
    """Find for each pin those that are most likely saved after it.

    The arguments are those of `near_pins`. With a graph the pins whose outputs are nearest by
    cosine are found first and then scored exactly.
    """
    inputs, outputs, priors = trained.inputs, trained.outputs, trained.priors
    lists = _empty(len(inputs), list_count)
    if len(inputs) <= settings.exact_count_max:
        rank = _all_pairs(lists, inputs, outputs, priors)
    else:
        find = _graph(unit_rows(outputs), folder / "next.usearch", settings, rng)

        def rank(begin: int) -> int:
            block = unit_rows(inputs[begin : begin + BLOCK_ROWS])
            for at, (indexes, _) in enumerate(find(block, list_count * SPARE_RATIO), begin):
                wanted = indexes[indexes != at]
                logits = outputs[wanted] @ inputs[at] + priors[wanted]
                order = np.lexsort((wanted, -logits))
                _keep(lists, at, wanted[order], logits[order])
            return len(block)

    _in_blocks(rank, len(inputs), threads, advance)
    return lists


def _in_blocks(
    rank: Callable[[int], int], count: int, threads: int, advance: Callable[[int], object]
) -> None:
    """Rank block after block; each writes rows of its own."""
    with ThreadPoolExecutor(threads) as pool:
        for done in pool.map(rank, range(0, count, BLOCK_ROWS)):
            advance(done)


def _all_pairs(
    lists: Prepared,
    sources: NDArray[np.float32],
    targets: NDArray[np.float32],
    priors: NDArray[np.float32] | None = None,
) -> Callable[[int], int]:
    """Return what ranks the block that begins at a place by comparing it with everything."""
    kept_count = min(lists.indexes.shape[1], len(targets) - 1)

    def rank(begin: int) -> int:
        scores = sources[begin : begin + BLOCK_ROWS] @ targets.T
        if priors is not None:
            scores += priors
        size = len(scores)
        scores[np.arange(size), np.arange(begin, begin + size)] = -np.inf
        if kept_count > 0:
            best = np.argpartition(-scores, kept_count - 1, axis=1)[:, :kept_count]
            for at in range(size):
                order = np.lexsort((best[at], -scores[at, best[at]]))
                chosen = best[at, order].astype(np.int32)
                _keep(lists, begin + at, chosen, scores[at, chosen])
        return size

    return rank


def _empty(count: int, list_count: int) -> Prepared:
    shape = (count, list_count)
    return Prepared(np.full(shape, -1, np.int32), np.zeros(shape, np.float32))


def _keep(
    lists: Prepared, at: int, indexes: NDArray[np.int32], scores: NDArray[np.float32]
) -> None:
    count = min(len(indexes), lists.indexes.shape[1])
    lists.indexes[at, :count], lists.scores[at, :count] = indexes[:count], scores[:count]


def _graph(
    unit: NDArray[np.float32], path: Path, settings: IndexSettings, rng: np.random.Generator
) -> Find:
    report = build_index(unit, path, settings, rng=rng, advance=lambda _: None)
    index = VectorIndex(unit, path=path, expansion_search=report.expansion_search)
    return index.nearest
