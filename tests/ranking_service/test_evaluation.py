"""The figures by which models are compared, against their definitions."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service import evaluation
from tests.naive import ranking_quality as naive


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 60), levels=st.integers(1, 20))
@settings(max_examples=80, deadline=None)
def test_figures_equal_their_definitions(seed: int, count: Any, levels: Any) -> None:
    """AUC, average precision and NDCG are right, ties included."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count).astype(np.int8)
    labels[:2] = (0, 1)
    scores = (rng.integers(0, levels, count) / levels).astype(np.float32)
    lists = rng.integers(0, 4, count)
    lists[1] = lists[0]

    expected_ndcg = [
        naive.ndcg(labels[lists == name].tolist(), scores[lists == name].tolist(), evaluation.CUT)
        for name in np.unique(lists)
        if labels[lists == name].any()
    ]
    actual = evaluation.measure(labels, scores, lists)

    # sums of at most 60 terms in float64
    assert actual.auc == pytest.approx(naive.auc(labels, scores), abs=1e-12)
    assert actual.pr_auc == pytest.approx(naive.average_precision(labels, scores), abs=1e-12)
    assert actual.ndcg_at_10 == pytest.approx(np.mean(expected_ndcg), abs=1e-12)


def test_a_perfect_order_has_perfect_figures() -> None:
    """All positives first, and sure of it."""
    labels = np.array([1, 1, 0, 0, 0], np.int8)
    scores = np.array([1, 1, 0, 0, 0], np.float32)

    actual = evaluation.measure(labels, scores, np.zeros(5, np.int64))

    assert actual[:3] == (1.0, 1.0, 1.0)
    assert actual.log_loss == pytest.approx(1e-7, rel=1e-3)


def test_figures_without_positives_are_not_numbers() -> None:
    """Nothing is claimed where nothing can be measured."""
    actual = evaluation.measure(np.zeros(3, np.int8), np.ones(3, np.float32), np.zeros(3, np.int64))

    assert [math.isnan(figure) for figure in actual[:3]] == [True, True, True]
