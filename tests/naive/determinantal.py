"""A determinantal point process, greedily, by the determinants themselves."""

from typing import Any

import numpy as np


def likeness(vectors: Any, own_share: float) -> Any:
    """How alike any two places are, 1 with oneself; 0 without a vector."""
    vectors = np.asarray(vectors, float)
    has = np.abs(vectors).sum(axis=1) > 0
    alike = (1 - own_share) * (1 + vectors @ vectors.T) / 2
    alike[~has] = 0
    alike[:, ~has] = 0
    np.fill_diagonal(alike, 1)
    return alike


def gains(relevances: Any, alike: Any, chosen: Any, diversity: float, own_share: float) -> Any:
    """What each place not chosen yet would add."""
    _, before = np.linalg.slogdet(alike[np.ix_(chosen, chosen)]) if chosen else (1, 0.0)
    found = {}
    for place in range(len(relevances)):
        if place not in chosen:
            _, after = np.linalg.slogdet(alike[np.ix_([*chosen, place], [*chosen, place])])
            left = (after - before) / np.log(1 / own_share)
            found[place] = (1 - diversity) * relevances[place] + diversity * left
    return found


def naive_determinantal(
    relevances: Any, vectors: Any, diversity: float, count: int, own_share: float
) -> Any:
    """The order, best first; the rest as it was."""
    alike = likeness(vectors, own_share)
    chosen: list[int] = []
    while len(chosen) < min(count, len(relevances)):
        found = gains(relevances, alike, chosen, diversity, own_share)
        best = max(found.values())
        chosen.append(next(place for place, gain in found.items() if gain == best))
    return [*chosen, *(place for place in range(len(relevances)) if place not in chosen)]
