"""Which pins are popular, by adding up actions one at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

DAY_US = 86_400_000_000


def popularity(
    actions: Sequence[tuple[str, float, int]],
    *,
    anchor_us: int,
    half_life_days: float,
    window_days: float,
) -> dict[str, float]:
    """Sum strength * 0.5 ** (age / half life) of each pin's actions in the window.

    Each action is (pin, strength, time in microseconds).
    """
    sums: dict[str, float] = defaultdict(float)
    for pin_id, strength, time_us in actions:
        age_days = (anchor_us - time_us) / DAY_US
        sums[pin_id] += strength * 0.5 ** (age_days / half_life_days) * (age_days <= window_days)
    return dict(sums)


def order_with_live(
    base: Sequence[tuple[int, int]],
    live: Sequence[tuple[str, int, int]],
    taken_back: Sequence[str],
    *,
    as_of_us: int,
    half_life_days: float,
) -> list[int]:
    """
    Order rows by the faded sum of all saves, those of a generation and those since.

    Args:
        base: Saves before as-of, (row, time).
        live: Saves since, (save id, row, time); of an id that comes again the last one counts.
        taken_back: Ids of live saves that were taken back.
        as_of_us: When the generation was built.
        half_life_days: A save that is so much older counts half.
    """
    standing = {name: (row, time_us) for name, row, time_us in live}
    for name in taken_back:
        standing.pop(name, None)
    sums: dict[int, float] = defaultdict(float)
    for row, time_us in [*base, *standing.values()]:
        sums[row] += 0.5 ** ((as_of_us - time_us) / DAY_US / half_life_days)
    return sorted(sums, key=lambda row: (-round(sums[row], 9), row))
