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
