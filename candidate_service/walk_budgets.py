"""How the steps of a request are shared among its query pins, and how far each walk goes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def step_budgets(
    degrees: NDArray[np.int64],
    weights: NDArray[np.float32],
    *,
    degree_max: int,
    step_count: int,
) -> NDArray[np.float64]:
    """Share the steps among the query pins.

    Args:
        degrees: Boards of each query pin, each in [1, degree_max].
        weights: > 0.
        degree_max: Boards of the pin that is on most of all.
        step_count: To share (N).

    Returns:
        float64[q] that sums to N.

    Source: Eksombatchai et al. 2018, Eq. 1 and 2, with two corrections: C = 1 + ln(degree_max), as
    the printed C gives rare pins next to nothing and ln(degree_max) gives the largest hub nothing;
    and division by the weighted sum, so that N is the budget whatever the weights are.
    """
    scale = degrees * (1.0 + math.log(max(1, degree_max)) - np.log(degrees))  # Eq. 1
    shares: NDArray[np.float64] = weights.astype(np.float64) * scale
    shares *= step_count / shares.sum()  # Eq. 2
    return shares


def effective_count(weights: NDArray[np.float32]) -> float:
    """Return how many equally weighted query pins say as much as these (Kish), >= 1."""
    shares = weights / weights.sum(dtype=np.float64)
    return float(1.0 / (shares @ shares))


def restart_chance(restart: float, query_pin_count: float) -> float:
    """Return the chance of going back after a step: 1 - (1 - restart) / sqrt(query pins).

    Where many pins say what is wanted, what is near each of them says most; from one pin, and a
    rare one above all, something is only found some steps away. Ours; README.md has figures.
    """
    return 1.0 - (1.0 - restart) / math.sqrt(query_pin_count)
