"""Scores as probabilities, and the weights that are taken back."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from ranking_service.models.calibration import (
    calibration_error,
    fit_bias,
    fit_gain,
    fit_slope_and_bias,
    positive_weight,
    reliability,
)


def drawn(seed: int, *, slope: Any = 1.0, bias: Any = -2.0, count: Any = 40_000) -> Any:
    """Sums, and labels whose logit is slope * sum + bias."""
    rng = np.random.default_rng(seed)
    sums = rng.normal(0, 1.5, count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-(slope * sums + bias)))).astype(np.int8)
    return sums, labels


def test_slope_and_bias_are_found() -> None:
    """40,000 labels: standard errors are 0.02 for both."""
    sums, labels = drawn(1, slope=0.4, bias=-1.5)

    found = fit_slope_and_bias(sums, labels)

    assert found.slope == pytest.approx(0.4, abs=0.08)
    assert found.bias == pytest.approx(-1.5, abs=0.08)


def test_calibration_never_turns_an_order_round() -> None:
    """Sums that say the opposite keep their order: the slope stays above 0."""
    sums, labels = drawn(2, slope=-1.0)

    assert fit_slope_and_bias(sums, labels).slope > 0


def test_the_bias_takes_weights_back() -> None:
    """Sums shifted by any constant give the rate of positives again."""
    sums, labels = drawn(3)

    for shift in (-3.0, 0.0, 5.0):
        logits = fit_bias(sums + shift, labels).logits(sums + shift)
        assert (1 / (1 + np.exp(-logits))).mean() == pytest.approx(labels.mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("share", "fixed", "expected"),
    [(0.2, 0, 1.0), (0.1, 0, 1.0), (0.05, 0, 4.75), (0.01, 0, 24.75), (0.01, 3.0, 3.0), (0, 0, 1)],
)
def test_positives_are_weighted_up_where_they_are_rare(
    share: Any, fixed: Any, expected: Any
) -> None:
    """Below a tenth up to a fifth of the weight; at a fifth as they are; the operator wins."""
    labels = np.zeros(1000, np.int8)
    labels[: round(1000 * share)] = 1

    weight = positive_weight(labels, fixed=fixed)

    assert weight == pytest.approx(expected)
    if expected > 1 and not fixed:
        assert weight * share / (weight * share + 1 - share) == pytest.approx(0.2)


def test_the_gain_of_memboost_is_fitted() -> None:
    """A planted gain is found beside given logits; where nothing is remembered it is 0."""
    rng = np.random.default_rng(5)
    logits = rng.normal(-1.5, 1.0, 60_000)
    memboost = np.where(rng.random(60_000) < 0.5, rng.normal(0, 1, 60_000), 0.0)
    chances = 1 / (1 + np.exp(-(logits + 0.8 * memboost)))
    labels = (rng.random(60_000) < chances).astype(np.int8)

    # 30,000 labels with a boost: the standard error is 0.017
    assert fit_gain(logits, labels, memboost.astype(np.float32)) == pytest.approx(0.8, abs=0.07)
    assert fit_gain(logits, labels, np.zeros(60_000, np.float32)) == 0
    assert fit_gain(logits, labels, -memboost.astype(np.float32)) == 0


def test_reliability_shows_what_is_off() -> None:
    """Ten bars of a tenth each; the true chances lie on the diagonal, halved ones do not."""
    sums, labels = drawn(6)
    chances = (1 / (1 + np.exp(-(sums - 2.0)))).astype(np.float32)

    bars = reliability(chances, labels)

    assert [bar.example_count for bar in bars] == [4000] * 10
    assert all(a.predicted <= b.predicted for a, b in pairwise(bars))
    # a bar of 4,000 scatters by at most 0.008
    assert calibration_error(chances, labels) < 0.01 < calibration_error(chances / 2, labels)
    assert reliability(np.empty(0, np.float32), np.empty(0, np.int8)) == []
