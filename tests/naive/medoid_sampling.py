"""The chance of being drawn without replacement, by walking every order of draws."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def inclusion_probability(importances: Sequence[float], count: int, index: int) -> float:
    """Sum the chances of all ordered draws of *count* that hold *index*."""
    chance = 0.0
    for order in permutations(range(len(importances)), count):
        if index not in order:
            continue
        left = dict(enumerate(importances))
        step = 1.0
        for drawn in order:
            step *= left[drawn] / sum(left.values())
            del left[drawn]
        chance += step
    return chance
