"""The model before any training."""

from typing import Any

import numpy as np

from ranking_service.features import FEATURE_NAMES
from ranking_service.hand_tuned import BIAS, HOME_WEIGHTS, RELATED_WEIGHTS, make_hand_tuned


def rows(**features: Any) -> Any:
    """Two equal rows, one for each surface."""
    values = np.zeros((2, len(FEATURE_NAMES)), np.float32)
    for name, value in features.items():
        values[:, FEATURE_NAMES.index(name)] = value
    values[1, FEATURE_NAMES.index("is_related")] = 1
    return values


def test_each_surface_has_its_own_weights() -> None:
    """The same pin is worth something else beside a query pin."""
    scores = make_hand_tuned().score(rows(query_cosine=1.0, log_popularity=2.0))

    sums = [
        BIAS + weights["query_cosine"] + 2 * weights["log_popularity"]
        for weights in (HOME_WEIGHTS, RELATED_WEIGHTS)
    ]
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-np.array(sums))), rtol=1e-5)


def test_nearness_counts_for_a_pin_everywhere() -> None:
    """More of what speaks for a pin never lowers its score."""
    model = make_hand_tuned()
    before = model.score(rows())

    for name in set(HOME_WEIGHTS) & set(RELATED_WEIGHTS) - {"log_decayed_hide"}:
        assert (model.score(rows(**{name: 1.0})) > before).all(), name
