"""Scores as probabilities: fitted on newer lists than those that trained, and shown in a table."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

STEP_MAX: Final = 100
"""Newton steps; a dozen are enough unless the data can be separated."""
RIDGE: Final = 1e-6
"""Keeps slopes finite where the data can be separated."""
BIAS_STEP: Final = 1e-9
"""How exactly the bias is found, in nats."""
RARE_SHARE: Final = 0.1
"""Positives rarer than this are weighted up. Source: the practice of Related Pins."""
WANTED_SHARE: Final = 0.2
"""Share of the weight that rare positives are given: there, as is was found to be good."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """
    Turns a model's sums into logits: slope * sum + bias.

    Attributes:
        slope: > 0: the order stays.
        bias: Any.
    """

    slope: float = 1.0
    bias: float = 0.0

    def logits(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[n]."""
        return self.slope * sums + self.bias


def positive_weight(labels: NDArray[np.int8], *, fixed: float = 0.0) -> float:
    """
    How much a positive weighs beside a negative.

    Args:
        labels: int8[n].
        fixed: Above 0: the operator's own; else 1 unless positives are rarer than RARE_SHARE.
    """
    if fixed > 0:
        return fixed
    share = float(labels.mean()) if labels.size else 0.0
    if share >= RARE_SHARE or share == 0.0:
        return 1.0
    return WANTED_SHARE * (1.0 - share) / (share * (1.0 - WANTED_SHARE))


def fit_bias(sums: NDArray[np.float64], labels: NDArray[np.int8]) -> Calibration:
    """
    The bias that makes the mean probability equal to the rate of positives.

    It takes back that rare positives weigh more in training; the order stays as it is.
    """
    wanted = float(labels.mean())
    low, high = -40.0, 40.0
    while high - low > BIAS_STEP:
        middle = (low + high) / 2.0
        mean = float((1.0 / (1.0 + np.exp(-sums - middle))).mean())
        low, high = (middle, high) if mean < wanted else (low, middle)
    return Calibration(1.0, (low + high) / 2.0)


def fit_slope_and_bias(sums: NDArray[np.float64], labels: NDArray[np.int8]) -> Calibration:
    """
    Slope and bias of greatest likelihood, for models whose sums are no logits.

    Where the sums say nothing or the opposite, slope is tiny but above 0: the order stays.

    Source: Platt 1999.
    """
    centre, scale = float(sums.mean()), float(sums.std()) or 1.0
    slope, _ = maximise((sums - centre) / scale, labels, np.zeros(sums.size))
    slope = max(slope / scale, 1e-6)
    return Calibration(slope, fit_bias(slope * sums, labels).bias)


def fit_gain(
    logits: NDArray[np.float64], labels: NDArray[np.int8], memboost: NDArray[np.float32]
) -> float:
    """
    By how much a remembered boost should move a logit: the gain of greatest likelihood, >= 0.

    Fitted anew with every model, as how much the model itself knows of it differs. 0 where nothing
    is remembered.

    Source: Liu et al. 2017, section 4.1.
    """
    is_known = memboost != 0
    if not is_known.any() or not labels[is_known].any():
        return 0.0
    gain, _ = maximise(memboost[is_known].astype(float), labels[is_known], logits[is_known])
    return max(gain, 0.0)


def maximise(
    values: NDArray[np.float64], labels: NDArray[np.int8], offsets: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and bias of a logistic regression of labels on values beside given logits."""
    slope, bias = 0.0, 0.0
    for _ in range(STEP_MAX):
        chances = 1.0 / (1.0 + np.exp(-np.clip(offsets + slope * values + bias, -40, 40)))
        rest, curve = labels - chances, chances * (1.0 - chances)
        gradient = np.array([values @ rest - RIDGE * slope, rest.sum()])
        mixed = float(values @ curve)
        hessian = np.array([[(values**2) @ curve + RIDGE, mixed], [mixed, curve.sum() + RIDGE]])
        step = np.linalg.solve(hessian, gradient)
        step /= max(1.0, float(np.abs(step).max()) / 5.0)
        slope, bias = slope + float(step[0]), bias + float(step[1])
        if float(np.abs(step).max()) < 1e-10:
            break
    return slope, bias


class Reliability(NamedTuple):
    """
    One bar of a reliability plot.

    Attributes:
        predicted: Mean probability in the bar.
        observed: Share of positives there.
        example_count: Examples there.
    """

    predicted: float
    observed: float
    example_count: int


def reliability(
    scores: NDArray[np.float32], labels: NDArray[np.int8], *, bar_count: int = 10
) -> list[Reliability]:
    """Bars of about equally many examples, by ascending probability."""
    if not labels.size:
        return []
    order = np.argsort(scores, kind="stable")
    bars = np.array_split(order, min(bar_count, labels.size))
    return [
        Reliability(float(scores[bar].mean()), float(labels[bar].mean()), int(bar.size))
        for bar in bars
    ]


def calibration_error(scores: NDArray[np.float32], labels: NDArray[np.int8]) -> float:
    """Mean distance of predicted and observed over the bars; NaN without examples."""
    bars = reliability(scores, labels)
    total = sum(bar.example_count for bar in bars)
    if not total:
        return float("nan")
    return sum(abs(bar.predicted - bar.observed) * bar.example_count for bar in bars) / total
