"""Young pins, in two orders: those that do better than expected at their age, and the best made.

What a pin is expected to have at age a is what pins made lately had at that age. With engagement e
and expectation c(a) a pin is hot by log((e + k) / (c(a) + k)): a pin made this second stands at 0,
as expected, above those that were shown long enough to disappoint.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service_runtime.errors import Corrupted
from service_runtime.generations import Draft, Generation

ARTIFACT: Final = "fresh"
FORMAT_VERSION: Final = 1
HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US

_DTYPES: Final = {
    "rows": np.dtype(np.int32),
    "creation_times_us": np.dtype(np.int64),
    "engagements": np.dtype(np.float32),
    "qualities": np.dtype(np.float32),
    "expected": np.dtype(np.float64),
}
_HINT: Final = "build it again: python -m candidate_service.jobs.build_fresh"


def expected_engagement(
    event_ages_us: NDArray[np.int64],
    strengths: NDArray[np.float64],
    pin_ages_us: NDArray[np.int64],
    *,
    age_max_us: int,
) -> NDArray[np.float64]:
    """Return how much praise pins have had on average at each age, hour by hour.

    Pins that are younger than an hour of life do not count in it, so that young pins do not make
    the old ones look better (cumulative rate over those at risk, as Nelson and Aalen have it).

    Args:
        event_ages_us: Age of the pin when it was praised, int64[e], >= 0.
        strengths: How much, float64[e].
        pin_ages_us: Age of every pin now, int64[p], >= 0.
        age_max_us: Up to which age.

    Returns:
        float64[hours + 1], from 0 on, never falling.
    """
    hour_count = -(-age_max_us // HOUR_US)
    hours = event_ages_us // HOUR_US
    kept = hours < hour_count
    praise = np.bincount(hours[kept], weights=strengths[kept], minlength=hour_count)
    lived = np.minimum(pin_ages_us / HOUR_US, hour_count)
    whole = lived.astype(np.int64)
    ends = np.bincount(whole, minlength=hour_count + 1)
    at_risk = len(lived) - np.cumsum(ends)[:hour_count].astype(np.float64)
    at_risk += np.bincount(whole, weights=lived - whole, minlength=hour_count + 1)[:hour_count]
    rates = np.divide(praise, at_risk, out=np.zeros(hour_count), where=at_risk > 0)
    return np.concatenate(([0.0], np.cumsum(rates)))


def hotness(
    engagements: NDArray[np.floating[Any]],
    ages_us: NDArray[np.int64],
    expected: NDArray[np.float64],
    prior: float,
) -> NDArray[np.float32]:
    """Return log((e + k) / (c(age) + k)), float32[n]: above 0 = better than expected.

    Args:
        engagements: Praise so far, float32[n], >= 0.
        ages_us: int64[n]; below 0 counts as 0.
        expected: From `expected_engagement`; beyond its end as at its end.
        prior: k, > 0.
    """
    hours = ages_us / HOUR_US
    hoped = np.interp(hours, np.arange(len(expected)), expected)
    ratios: NDArray[np.float64] = np.log((engagements + prior) / (hoped + prior))
    return ratios.astype(np.float32)


def quality_keys(
    qualities: NDArray[np.float32],
    creation_times_us: NDArray[np.int64],
    *,
    unknown: float,
    half_life_days: float,
) -> NDArray[np.float64]:
    """Return what the quality pool is ordered by: log2(quality) - age / half-life.

    Up to a constant; as all pins age alike, the order of two pins never changes.

    Args:
        qualities: In [0, 1], NaN = unknown, float32[n].
        creation_times_us: int64[n].
        unknown: What counts for an unknown quality.
        half_life_days: Of the quality.
    """
    known = np.where(np.isnan(qualities), unknown, qualities)
    keys: NDArray[np.float64] = np.log2(np.maximum(known, 1e-6)) + creation_times_us / (
        half_life_days * DAY_US
    )
    return keys


class FreshPins:
    """The young pins of one generation; read-only.

    Attributes:
        rows: int32[n], distinct.
        creation_times_us: int64[n], microseconds since the Unix epoch.
        engagements: Praise they had before `as_of_us`, float32[n].
        qualities: float32[n], NaN = unknown.
        expected: See `expected_engagement`.
        as_of_us: Facts before are in here.
        stands_still_us: The moment at which the data ended, where it ended too long before the
            build for any pin to be young since; ages then count from it. None = ages count from
            now.
    """

    def __init__(
        self,
        rows: NDArray[np.int32],
        creation_times_us: NDArray[np.int64],
        engagements: NDArray[np.float32],
        qualities: NDArray[np.float32],
        expected: NDArray[np.float64],
        *,
        as_of_us: int,
        stands_still_us: int | None,
    ) -> None:
        """Take arrays that belong together; use `open_fresh`."""
        self.rows, self.creation_times_us = rows, creation_times_us
        self.engagements, self.qualities = engagements, qualities
        self.expected = expected
        self.as_of_us, self.stands_still_us = as_of_us, stands_still_us


def write_fresh(draft: Draft, pins: FreshPins) -> None:
    """Write the arrays of a generation in the making."""
    for name, dtype in _DTYPES.items():
        np.save(draft.path(f"{name}.npy"), getattr(pins, name).astype(dtype), allow_pickle=False)


def open_fresh(generation: Generation) -> FreshPins:
    """Load a generation; a megabyte or less.

    Raises:
        Corrupted: Its arrays do not fit each other.
    """
    arrays = {}
    for name, dtype in _DTYPES.items():
        path = generation.file(f"{name}.npy")
        try:
            arrays[name] = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as fault:
            raise Corrupted(f"{path} cannot be read: {fault}", hint=_HINT) from fault
        if arrays[name].dtype != dtype or arrays[name].ndim != 1:
            raise Corrupted(f"{path} holds {arrays[name].dtype}, not {dtype}", hint=_HINT)
    lengths = {len(array) for name, array in arrays.items() if name != "expected"}
    details = generation.manifest.details
    if lengths != {details.get("fresh_pin_count")} or not len(arrays["expected"]):
        raise Corrupted(f"fresh {generation.id}: its arrays have lengths {lengths}", hint=_HINT)
    stands_still = details.get("stands_still_us")
    return FreshPins(
        **arrays,
        as_of_us=generation.manifest.as_of_us,
        stands_still_us=None if stands_still is None else int(stands_still),
    )
