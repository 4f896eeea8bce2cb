"""How much a query pin counts by what the user did to it, and how long ago.

    weight = given weight * strength of the action * 2 ** (-age / half-life)

Source: Eksombatchai et al. 2018, section 3.1 (weights by type of action, halved by age); strengths
are those of `action_types`, guesses of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.action_types import STRENGTHS
from service_runtime.errors import InvalidRequest

DAY_US: Final = 86_400_000_000


def query_weights(
    weights: NDArray[np.float64],
    action_types: Sequence[str],
    action_times_us: NDArray[np.int64],
    *,
    now_us: int,
    half_life_days: float,
    field: str = "query_pins",
) -> NDArray[np.float64]:
    """Weigh query pins.

    Args:
        weights: As given, float64[n], finite and > 0.
        action_types: What the user did to each; "" counts as a save.
        action_times_us: When, microseconds since the Unix epoch, int64[n]; 0 or the future count
            as now.
        now_us: Of the request.
        half_life_days: After which an action counts half, > 0.
        field: Of the request, to name in errors.

    Returns:
        float64[n], >= 0, finite; 0 for actions that are no praise (hide, report, unsave), and for
        those so old that nothing is left of them: leave these pins out.

    Raises:
        InvalidRequest: There is no such action type.
    """
    strengths = np.ones(len(weights))
    for at, action_type in enumerate(action_types):
        if not action_type:
            continue
        if action_type not in STRENGTHS:
            raise InvalidRequest(
                f"there is no action type {action_type!r}",
                hint=f"one of {', '.join(STRENGTHS)}, or none",
                field=f"{field}[{at}].action_type",
                reason="UNKNOWN_ACTION_TYPE",
            )
        strengths[at] = STRENGTHS[action_type]
    ages_us = np.where(action_times_us > 0, np.maximum(0, now_us - action_times_us), 0)
    decays: NDArray[np.float64] = np.exp2(-ages_us / (half_life_days * DAY_US))
    return weights * strengths * decays
