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
    """Give each query pin with a vector its share of the limit; return rows with best cosine."""
    starts = [row for row in query_rows if any(vectors[row])]
    found: dict[int, float] = {}
    for start in starts:
        others = [
            (-cosine(vectors[start], vector), row)
            for row, vector in enumerate(vectors)
            if any(vector) and row not in query_rows and row not in excluded
        ]
        for negative, row in sorted(others)[: max(1, limit // len(starts))]:
            found[row] = max(found.get(row, -2.0), -negative)
    best = sorted(found.items(), key=lambda pair: -pair[1])[:limit]
    return dict(best)
