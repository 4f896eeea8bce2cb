"""What a board is about, and how close a pin is to it, in dictionaries."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def board_topics(
    edges: Iterable[tuple[int, int]], topics: Sequence[Sequence[int]]
) -> dict[int, Counter[int]]:
    """Sum of the topics of each board's pins; a pin spreads 1 evenly over its own."""
    found: dict[int, Counter[int]] = {}
    for pin, board in edges:
        about = found.setdefault(board, Counter())
        for topic in topics[pin]:
            about[topic] += 1 / len(topics[pin])  # type: ignore[assignment]  fractions of pins
    return found


def entropy(about: Counter[int]) -> float:
    """In bits, 0 without topics."""
    total = sum(about.values())
    return -sum(n / total * math.log2(n / total) for n in about.values())


def closeness(mine: Sequence[int], about: Counter[int]) -> float:
    """Cosine between a pin's topics and its board's, 0 where one has none."""
    if not mine or not about:
        return 0.0
    product = sum(about[topic] for topic in mine)
    return product / math.sqrt(len(mine)) / math.hypot(*about.values())
