"""Medoid and importance against their naive twins."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from profile_service.cluster_kernels import importances, medoids
from tests.naive import ward


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), c=st.integers(1, 5))
def test_medoid_is_the_member_nearest_to_all_others(seed: int, n: int, c: int) -> None:
    """The shortcut through the centroid finds the pairwise minimum."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 6)).astype(np.float32)
    labels = np.unique(rng.integers(0, c, n), return_inverse=True)[1].astype(np.int32)

    found = medoids(vectors, labels, int(labels.max()) + 1)

    for label, row in enumerate(found.tolist()):
        members = np.flatnonzero(labels == label).tolist()
        best = ward.medoid(vectors, members)
        # 1e-4: ties, as between the two of any pair, go to the first member.
        assert ward.spread(vectors, row, members) <= ward.spread(vectors, best, members) + 1e-4


def test_first_of_equal_members_is_the_medoid() -> None:
    """Among equals the choice is fixed, so profiles are reproducible."""
    vectors = np.array([[0, 1], [1, 0], [1, 0], [0, 1]], np.float32)

    assert medoids(vectors, np.zeros(4, np.int32), 1).tolist() == [0]


@settings(deadline=None)
@given(
    ages=st.lists(st.floats(-2, 400), min_size=1, max_size=20),
    decay=st.floats(0, 1),
)
def test_importance_is_the_decayed_sum(ages: list[float], decay: float) -> None:
    """Each action counts strength x exp(-decay x days); one from the future counts as now."""
    now = 1.7e9
    times = now - np.array(ages) * 86_400
    strengths = np.linspace(0.3, 1.0, len(ages)).astype(np.float32)
    labels = (np.arange(len(ages)) % 2).astype(np.int32)

    found = importances(times, strengths, labels, 2, now, decay)

    for label in (0, 1):
        mine = labels == label
        expected = ward.importance(times[mine].tolist(), strengths[mine].tolist(), now, decay)
        # Sums of at most 20 float64 terms: 1e-12 is far above their rounding.
        assert np.isclose(found[label], expected, rtol=1e-12, atol=1e-12)


def test_importance_never_grows_with_time() -> None:
    """Without new actions an interest only fades."""
    times = np.array([0.0, 86_400.0])
    ones, labels = np.ones(2, np.float32), np.zeros(2, np.int32)

    values = [importances(times, ones, labels, 1, day * 86_400.0, 0.01)[0] for day in range(1, 60)]

    assert values == sorted(values, reverse=True)
