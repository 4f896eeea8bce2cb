"""Near hashes by looking at every pair, bit by bit."""

from __future__ import annotations

from collections.abc import Sequence


def distance(one: int, other: int) -> int:
    """Return in how many bits two numbers differ."""
    return sum((one ^ other) >> bit & 1 for bit in range(64))


def near(hashes: Sequence[int], query: int, distance_max: int) -> list[tuple[int, int]]:
    """Return distance and place of each near hash, nearest first."""
    found = [(distance(value, query), place) for place, value in enumerate(hashes)]
    return sorted(pair for pair in found if pair[0] <= distance_max)


def leaders(hashes: Sequence[int], weights: Sequence[float], distance_max: int) -> list[int]:
    """Return the place of each one's leader: heaviest first, each takes the free ones near it."""
    found = [-1] * len(hashes)
    for place in sorted(range(len(hashes)), key=lambda at: (-weights[at], at)):
        if found[place] < 0:
            for other, value in enumerate(hashes):
                if found[other] < 0 and distance(value, hashes[place]) <= distance_max:
                    found[other] = place
    return found
