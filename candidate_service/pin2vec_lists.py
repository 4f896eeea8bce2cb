"""The lists that pin2vec prepares: near pins by cosine, next pins by chance.

All pairs are compared, tile by tile. A neighbour graph was slower here, and not exact: lists of
hundreds of each of some hundred thousand pins want a wide search.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.best_kernels import keep_best
from candidate_service.pin2vec import Prepared, Trained
from service_runtime.ordered_map import ordered_map
from service_runtime.vector_table import unit_rows

SOURCE_TILE: Final = 256
TARGET_TILE: Final = 8192
"""Pins that are compared at a time: 8 MB of scores a thread."""


def near_pins(
    trained: Trained, list_count: int, *, advance: Callable[[int], object], threads: int = 1
) -> Prepared:
    """Find for each pin those whose inputs are nearest by cosine.

    Args:
        trained: n pins.
        list_count: How many to keep of each, >= 1.
        advance: Told how many pins were finished.
        threads: At most so many at once; the lists do not depend on it.
    """
    unit = unit_rows(trained.inputs)
    nothing = np.zeros(len(unit), np.float32)
    return _best_others(unit, unit, nothing, list_count, advance, threads)


def next_pins(
    trained: Trained, list_count: int, *, advance: Callable[[int], object], threads: int = 1
) -> Prepared:
    """Find for each pin those that are most likely saved after it.

    The arguments are those of `near_pins`.
    """
    return _best_others(
        trained.inputs, trained.outputs, trained.priors, list_count, advance, threads
    )


def _best_others(
    sources: NDArray[np.float32],
    targets: NDArray[np.float32],
    priors: NDArray[np.float32],
    list_count: int,
    advance: Callable[[int], object],
    threads: int,
) -> Prepared:
    """Keep for each source the targets of the highest inner product plus prior."""
    shape = (len(sources), list_count)
    indexes, scores = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)

    def rank(begin: int) -> int:
        part = slice(begin, begin + SOURCE_TILE)
        block = sources[part]
        kept = indexes[part], scores[part], np.zeros(len(block), np.int64)
        for first in range(0, len(targets), TARGET_TILE):
            tile = slice(first, first + TARGET_TILE)
            keep_best(block @ targets[tile].T + priors[tile], first, begin, kept)
        filled = np.arange(list_count) < kept[2][:, None]
        order = np.lexsort((indexes[part], -scores[part], ~filled), axis=1)
        indexes[part] = np.take_along_axis(indexes[part], order, axis=1)
        scores[part] = np.take_along_axis(scores[part], order, axis=1)
        return len(block)

    for done in ordered_map(rank, range(0, len(sources), SOURCE_TILE), threads=threads):
        advance(done)
    return Prepared(indexes, scores)
