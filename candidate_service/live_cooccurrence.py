"""Neighbours by saves that came or went after the lists were counted.

What a new save ties together counts as in `cooccurrence`, on the boards as they are now; agreement
in words and topics is not looked at, as if none were known. A neighbour from the lists with which
the query pin shares no board any more is dropped; one with which it shares fewer keeps its score
until the next generation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_service.live_lists import LiveEdges

CHANGED_BOARD_COUNT_MAX = 256
"""Of a pin on more changed boards the smallest ones count."""


def new_neighbours(
    pin: int, edges: LiveEdges, *, neutral: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the pins that new saves tie to a pin, each once, and the score that they add.

    Args:
        pin: Row of the query pin.
        edges: The graph as it is now.
        neutral: Factor of scores of pins that agree in nothing, in (0, 1].

    Returns:
        int32[n] ascending and float32[n], > 0.
    """
    boards = edges.boards_of(pin)
    boards = boards[edges.is_changed(boards)]
    if not len(boards):
        return np.empty(0, np.int32), np.empty(0, np.float32)
    sizes = {board: edges.pin_count_of(board) for board in boards.tolist()}
    rows, shares = [], []
    for board in sorted(sizes, key=lambda board: sizes[board])[:CHANGED_BOARD_COUNT_MAX]:
        tied = edges.pins_of(board) if edges.is_new(pin, board) else edges.new_pins_of(board)
        rows.append(tied[tied != pin])
        shares.append(np.full(len(rows[-1]), 1.0 / sizes[board]))
    found, at = np.unique(np.concatenate(rows), return_inverse=True)
    totals = np.bincount(at, np.concatenate(shares), minlength=len(found))
    degrees = edges.degrees(np.append(found, pin).astype(np.int32))
    scores = neutral * totals / np.sqrt(np.maximum(degrees[:-1], 1) * max(1, int(degrees[-1])))
    return found.astype(np.int32), scores.astype(np.float32)


def still_neighbours(pin: int, rows: NDArray[np.int32], edges: LiveEdges) -> NDArray[np.bool_]:
    """Say which neighbours from the lists still share a board with a pin, bool[n].

    Cost: nothing but for pins that lost a save, and for those whose neighbours did.
    """
    shares = np.ones(len(rows), np.bool_)
    if not edges.pins_that_lost:
        return shares
    boards = None
    has_lost = pin in edges.pins_that_lost
    for at, row in enumerate(rows.tolist()):
        if has_lost or row in edges.pins_that_lost:
            boards = edges.boards_of(pin) if boards is None else boards
            shares[at] = np.isin(edges.boards_of(row), boards).any()
    return shares
