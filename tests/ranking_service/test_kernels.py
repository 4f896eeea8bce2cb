"""The kernels of ranking against their naive twins and outside truth."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service import kernels


def naive_cosines(vectors: Any, rows: Any, targets: Any) -> Any:
    """One dot product at a time, in float64."""
    result = np.zeros((len(rows), len(targets)))
    for i, row in enumerate(rows):
        for j, target in enumerate(targets):
            result[i, j] = 0.0 if row < 0 else float(vectors[row].astype(float) @ target)
    return result


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 40),
    target_count=st.integers(0, 9),
    dimension=st.integers(1, 70),
)
@settings(max_examples=60, deadline=None)
def test_cosines_equal_the_naive_twin(
    seed: int, count: Any, target_count: Any, dimension: Any
) -> None:
    """Each entry is the dot product of a row's vector and a target; row -1 counts as zero."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((20, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = rng.integers(-1, 20, count).astype(np.int32)
    targets = vectors[rng.integers(0, 20, target_count)]

    actual = kernels.cosines(vectors, rows, targets)

    # float32 sums of at most 70 products below 1 in size
    np.testing.assert_allclose(actual, naive_cosines(vectors, rows, targets), atol=1e-5)


def test_cosines_of_a_row_do_not_depend_on_its_neighbours() -> None:
    """A pin has the same cosine to the bit in a pool of 500 and alone."""
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((800, 61)).astype(np.float32)
    rows = rng.integers(0, 800, 500).astype(np.int32)
    targets = np.ascontiguousarray(vectors[:13])

    together = kernels.cosines(vectors, rows, targets)
    alone = np.concatenate([kernels.cosines(vectors, rows[i : i + 1], targets) for i in range(500)])

    assert together.tobytes() == alone.tobytes()
