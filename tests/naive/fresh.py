"""What to expect of a young pin, pin by pin and hour by hour."""

from __future__ import annotations

from collections.abc import Sequence

HOUR_US = 3_600_000_000


def expected_engagement(
    events: Sequence[tuple[int, float]], pin_ages_us: Sequence[int], *, hour_count: int
) -> list[float]:
    """Add up, hour by hour, praise per pin and hour lived; (age, strength) of each event."""
    curve = [0.0]
    for hour in range(hour_count):
        begin = hour * HOUR_US
        praise = sum(strength for age, strength in events if begin <= age < begin + HOUR_US)
        lived = sum(min(max(age - begin, 0), HOUR_US) / HOUR_US for age in pin_ages_us)
        curve.append(curve[-1] + (praise / lived if lived > 0 else 0.0))
    return curve
