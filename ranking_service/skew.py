"""
Whether the features that were logged are those that would be computed again.

Training reads what serving logged, so the two cannot drift by definition; they still could by a
value that depends on its neighbours in the pool, on when it was computed, or on how it was written.
A share of the answers is therefore computed a second time, for the shown pins alone and from
scratch, and compared with what a reader of the log will get.
"""

from collections.abc import Callable
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ranking_service.feature_table import FEATURE_NAMES
from service_runtime.telemetry import Metrics, logger

TOLERANCE: Final = 1e-6
"""How far two values may be apart, relative to 1 or to themselves: rounding of sums in another
order would show as 1e-7."""
WINDOW_MIN: Final = 10_000
"""Values that must have been compared before their share is judged. Guess."""
FADING: Final = 0.5
"""What is kept of the counts when a window is full, so that the share follows what is now."""
WINDOW_MAX: Final = 1_000_000
"""Values after which the counts fade. Guess."""

_log = logger("ranking_service.features")


class SkewCheck:
    """
    Compares a share of the logged feature rows with rows computed anew; safe from all threads.

    Args:
        share: Of the answers that are compared, in [0, 1]; which ones follows from their names.
        alarm: Share of differing values from which on it is an alarm.
        metrics: Gets `feature_skew_checks_total`, `feature_skew_values_total`,
            `feature_skew_share`.
    """

    def __init__(self, *, share: float, alarm: float, metrics: Metrics) -> None:
        self._share = share
        self._alarm = alarm
        self._compared = 0.0
        self._differing = 0.0
        self._is_alarmed = False
        self._checks = metrics.counter("feature_skew_checks", "Answers whose features were redone.")
        self._values = metrics.counter("feature_skew_values", "Feature values that differed.")
        self._gauge = metrics.gauge("feature_skew_share", "Share of the values that differed.")

    def is_chosen(self, list_id: str) -> bool:
        """Whether an answer is among those that are compared."""
        return crc32(list_id.encode()) < self._share * 2**32

    def check(
        self,
        list_id: str,
        logged: NDArray[np.float32],
        recompute: Callable[[], NDArray[np.float32]],
    ) -> bool:
        """
        Compare one answer, if it is chosen.

        Args:
            list_id: Names the answer.
            logged: Its rows as the log will give them back, float32[k, f].
            recompute: Makes them anew, float32[k, f].

        Returns:
            Whether all values agree, or the answer was not chosen.
        """
        if not self.is_chosen(list_id):
            return True
        wrong = differing(logged, recompute())
        count = int(wrong.sum())
        self._checks.inc()
        self._values.inc(count)
        self._compared += logged.size
        self._differing += count
        if self._compared > WINDOW_MAX:
            self._compared *= FADING
            self._differing *= FADING
        share = self._differing / max(self._compared, 1.0)
        self._gauge.set(share)
        is_alarming = share > self._alarm and self._compared >= WINDOW_MIN
        if is_alarming and not self._is_alarmed:
            worst = np.argsort(-wrong.sum(axis=0), kind="stable")[:5]
            names = [FEATURE_NAMES[column] for column in worst.tolist() if wrong[:, column].any()]
            _log.error("features.skewed", share=share, features=names, list_id=list_id)
        self._is_alarmed = is_alarming
        return count == 0

    @property
    def is_alarmed(self) -> bool:
        """Whether the share is above the alarm."""
        return self._is_alarmed


def differing(logged: NDArray[np.float32], again: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which values are not the same but for rounding, bool[k, f]; all where the shapes differ."""
    if logged.shape != again.shape:
        return np.ones(logged.shape, np.bool_)
    near = np.isclose(logged, again, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    return np.asarray(~near)
