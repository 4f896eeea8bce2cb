"""Kernels of training against slow twins."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service.models import kernels
from tests.naive.ranknet import slopes


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_ranknet_gradients_are_the_slopes_of_the_loss(seed: int) -> None:
    """The kernel's first derivatives are those of the loss by differences; second ones positive."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, 4)
    lists = np.repeat(np.arange(4), lengths)
    scores = rng.normal(0, 2, lists.size)
    labels = (rng.random(lists.size) < 0.4).astype(float)
    starts = np.r_[0, np.cumsum(lengths)].astype(np.int64)
    gradients, hessians = np.empty(lists.size), np.empty(lists.size)

    kernels.ranknet_gradients(scores, labels, starts, gradients, hessians)

    # central differences at step 1e-5 are right to about 1e-10 relative to the loss
    np.testing.assert_allclose(gradients, slopes(scores, labels, lists), atol=1e-6)
    assert (hessians > 0).all()
    assert gradients.sum() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_buckets_are_those_of_numpy(seed: int) -> None:
    """A value on an edge is below it; the sums are those of table look-ups."""
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 9, (40, 5)).astype(np.float32)
    columns = np.array([0, 2, 4])
    edges = np.sort(rng.choice(9, (3, 7)), axis=1).astype(np.float32)
    weights, cross_weights = rng.normal(size=(3, 8)), rng.normal(size=(2, 64))
    crosses = np.array([[0, 1], [1, 2]])

    codes = kernels.bucket_codes(features, columns, edges, 8)
    sums = kernels.bucket_sums(codes, weights, crosses, cross_weights, 8, 0.5)

    def look_up(row: Any) -> float:
        total = 0.5 + sum(weights[c, row[c]] for c in range(3))
        total += cross_weights[0, row[0] * 8 + row[1]]
        return float(total + cross_weights[1, row[1] * 8 + row[2]])

    for place, column in enumerate(columns):
        expected = np.searchsorted(edges[place], features[:, column], side="left")
        assert codes[:, place].tolist() == expected.tolist()
    np.testing.assert_allclose(sums, [look_up(row) for row in codes], rtol=1e-12)
