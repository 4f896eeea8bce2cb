"""Neighbours by co-occurrence on boards, pair by pair in dictionaries."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import permutations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def neighbours(saves: Iterable[tuple[int, int]]) -> dict[int, dict[int, float]]:
    """Each pin's neighbours and their scores, from distinct (pin, board)."""
    pins_of: dict[int, set[int]] = defaultdict(set)
    degree: dict[int, int] = defaultdict(int)
    for pin, board in saves:
        pins_of[board].add(pin)
        degree[pin] += 1
    found: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for pins in pins_of.values():
        for left, right in permutations(pins, 2):
            found[left][right] += 1 / len(pins) / math.sqrt(degree[left] * degree[right])
    return found


def candidates(
    lists: dict[int, dict[int, float]], queries: dict[int, float]
) -> dict[int, tuple[float, int]]:
    """Sum of weight times score over query pins, and the query pin that adds most."""
    total = sum(queries.values())
    shares: dict[int, dict[int, float]] = defaultdict(dict)
    for query, weight in queries.items():
        for pin, score in lists.get(query, {}).items():
            if pin not in queries:
                shares[pin][query] = weight / total * score
    return {
        pin: (sum(parts.values()), max(parts, key=lambda query: parts[query]))
        for pin, parts in shares.items()
    }


def agreement(mine: dict[str, float] | set[str], theirs: dict[str, float] | set[str]) -> float:
    """Cosine of two bags of words with weights (a set: weight 1 each), 0 where one is empty."""
    one, other = (
        bag if isinstance(bag, dict) else dict.fromkeys(bag, 1.0) for bag in (mine, theirs)
    )
    if not one or not other:
        return 0.0
    product = sum(weight * other.get(word, 0.0) for word, weight in one.items())
    return product / math.hypot(*one.values()) / math.hypot(*other.values())


def rare_words(texts: list[str]) -> list[dict[str, float]]:
    """Each text's distinct words, weighted by rarity; words of one text alone left out."""
    bags = [set(text.lower().split()) for text in texts]
    counts = Counter(word for bag in bags for word in bag)
    return [
        {word: math.log1p(len(texts) / counts[word]) for word in bag if counts[word] > 1}
        for bag in bags
    ]
