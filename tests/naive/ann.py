"""Nearest pins of several query pins, by sorting all pins for each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Multiply unit vectors."""
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def neighbours(
    vectors: Sequence[Sequence[float]],
    query_rows: Sequence[int],
    *,
    limit: int,
    excluded: Sequence[int] = (),
) -> dict[int, float]:
    """Let query pins with a vector take turns until the shares are used; give the best cosines."""
    starts = [row for row in query_rows if any(vectors[row])]
    share = max(1, limit // len(starts)) if starts else 0
    best: dict[int, float] = {}
    turns: list[tuple[int, int, int]] = []
    for number, start in enumerate(starts):
        others = [
            (-cosine(vectors[start], vector), row)
            for row, vector in enumerate(vectors)
            if any(vector) and row not in query_rows and row not in excluded
        ]
        for rank, (negative, row) in enumerate(sorted(others)):
            best[row] = max(best.get(row, -2.0), -negative)
            turns.append((rank, number, row))
    chosen: list[int] = []
    for _, _, row in sorted(turns):
        if row not in chosen and len(chosen) < min(limit, share * len(starts)):
            chosen.append(row)
    return {row: best[row] for row in chosen}
