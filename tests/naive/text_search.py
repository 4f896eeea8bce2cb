"""BM25 as it stands in the book: one pin, one term at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

K1, B = 1.2, 0.75


def scores(
    documents: Sequence[Mapping[str, Sequence[str]]],
    query: Sequence[tuple[str, str, float]],
) -> list[float]:
    """Return the score of each document.

    Args:
        documents: Terms by field; documents without any term are none.
        query: Field, term, boost.
    """
    present = [document for document in documents if any(document.values())]
    found = []
    for document in documents:
        total = 0.0
        for field, term, boost in query:
            terms = document.get(field, ())
            holders = sum(term in other.get(field, ()) for other in present)
            mean = sum(len(other.get(field, ())) for other in present) / len(present)
            count = list(terms).count(term)
            if count:
                rarity = math.log(1 + (len(present) - holders + 0.5) / (holders + 0.5))
                length = K1 * (1 - B + B * len(terms) / mean)
                total += boost * rarity * count * (K1 + 1) / (count + length)
        found.append(total)
    return found


def rarest(held: Sequence[int], most: int) -> list[int]:
    """Return the places of the terms that are looked for, ascending.

    Args:
        held: By how many documents each term is held.
        most: Documents that they may have together; the rarest that any has is taken anyway.
    """
    taken: list[int] = []
    total = 0
    for at in sorted(range(len(held)), key=lambda place: held[place]):
        total += held[at]
        if total <= most or not any(held[place] for place in taken):
            taken.append(at)
    return sorted(taken)
