"""Evaluation figures and baselines by their definitions, with loops over users, pins and pairs."""

import math
from collections.abc import Sequence


def recall(found: Sequence[int], wanted: Sequence[int], depth: int) -> float:
    """Share of the wanted that are among the first *depth*."""
    return sum(pin in list(found)[:depth] for pin in wanted) / len(wanted)


def discounted_gain(found: Sequence[int], wanted: Sequence[int], depth: int) -> float:
    """Gain 1 for each wanted pin, divided by log2(place + 1), beside that of the best list."""
    gained = sum(
        1 / math.log2(place + 1)
        for place, pin in enumerate(list(found)[:depth], start=1)
        if pin in wanted
    )
    best = sum(1 / math.log2(place + 1) for place in range(1, min(depth, len(wanted)) + 1))
    return gained / best


def coverage(lists: Sequence[Sequence[int]], pin_count: int, depth: int) -> float:
    """Share of the catalogue that is in the head of any list."""
    return len({pin for found in lists for pin in list(found)[:depth]}) / pin_count


def found_alone(hits: Sequence[Sequence[bool]]) -> list[float]:
    """For each source, of the pairs that any found, the share that it alone found."""
    pair_count = len(hits[0])
    any_found = [pair for pair in range(pair_count) if any(row[pair] for row in hits)]
    return [
        sum(row[pair] and sum(other[pair] for other in hits) == 1 for pair in any_found)
        / max(len(any_found), 1)
        for row in hits
    ]


def interleave(lists: Sequence[Sequence[int]], depth: int) -> list[int]:
    """Each list in turn gives its best pin of that round that is not there yet."""
    merged: list[int] = []
    for place in range(max(map(len, lists), default=0)):
        for found in lists:
            if place < len(found) and found[place] not in merged:
                merged.append(found[place])
    return merged[:depth]


def fused_scores(lists: Sequence[Sequence[int]], weights: Sequence[float]) -> dict[int, float]:
    """For each pin of any list the sum of weight / (60 + rank), rank from 1."""
    scores: dict[int, float] = {}
    for found, weight in zip(lists, weights, strict=True):
        for rank, pin in enumerate(found, 1):
            scores[pin] = scores.get(pin, 0.0) + weight / (60 + rank)
    return scores


def item_knn(boards: Sequence[set[int]], pin_count: int) -> list[list[float]]:
    """Cosine of the sets of users of two pins, 0 for a pin and itself."""
    users = [{at for at, pins in enumerate(boards) if pin in pins} for pin in range(pin_count)]
    return [
        [
            len(users[a] & users[b]) / math.sqrt(max(len(users[a]), 1) * max(len(users[b]), 1))
            if a != b
            else 0.0
            for b in range(pin_count)
        ]
        for a in range(pin_count)
    ]


def rp3beta(boards: Sequence[set[int]], pin_count: int, beta: float) -> list[list[float]]:
    """Chance of a walk pin, user, pin, over the degree of its end to the power of beta."""
    degree = [max(sum(pin in pins for pins in boards), 1) for pin in range(pin_count)]
    found = [[0.0] * pin_count for _ in range(pin_count)]
    for pins in boards:
        for a in pins:
            for b in pins - {a}:
                found[a][b] += 1 / degree[a] / len(pins) / degree[b] ** beta
    return found
