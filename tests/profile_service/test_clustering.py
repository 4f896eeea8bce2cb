"""Actions to clusters: one point a pin, any order, nothing lost."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from profile_service.clustering import PinClusters, cluster_actions
from tests.naive import ward
from tests.profile_service.test_kernels import blobs

NOW = 1.7e9


def cluster(
    pins: NDArray[np.int64],
    table: NDArray[np.float32],
    times: NDArray[np.float64],
    strengths: NDArray[np.float32] | None = None,
    *,
    now: float = NOW,
) -> PinClusters:
    """Clusters with the usual constants."""
    strengths = np.ones(len(pins), np.float32) if strengths is None else strengths
    return cluster_actions(
        pins, table[pins], times, strengths, now=now, alpha=1.0, decay_per_day=0.01
    )


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60))
def test_clusters_agree_with_the_naive_twin(seed: int, n: int) -> None:
    """Partition, medoid, importance, count and newest time are those of the obvious program."""
    rng = np.random.default_rng(seed)
    table = blobs(rng, 40, 12)
    pins = rng.integers(0, 40, n)
    times = NOW - rng.uniform(0, 90, n) * 86_400
    strengths = rng.uniform(0.3, 1, n).astype(np.float32)
    points = np.unique(pins)

    found = cluster(pins, table, times, strengths)

    parts = ward.ward_partition(table[points], 1.0)
    assert len(parts) == len(found)
    for part in parts:
        members = points[part].tolist()
        mine = np.isin(pins, members)
        (label,) = set(found.labels[mine].tolist())
        expected = ward.importance(times[mine].tolist(), strengths[mine].tolist(), NOW, 0.01)
        assert np.isclose(expected, found.importances[label], rtol=1e-9)
        assert found.medoids[label] in members
        best = ward.medoid(table, members)
        # 1e-4: members as near as float32 can tell are ties.
        assert ward.spread(table, int(found.medoids[label]), members) <= (
            ward.spread(table, best, members) + 1e-4
        )
        assert found.action_counts[label] == mine.sum()
        assert found.newest_times[label] == times[mine].max()


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 80))
def test_order_of_actions_does_not_matter(seed: int, n: int) -> None:
    """Shuffled actions give the same clusters, medoids and, up to summation, importances."""
    rng = np.random.default_rng(seed)
    table = blobs(rng, 50, 12)
    pins, times = rng.integers(0, 50, n), NOW - rng.uniform(0, 90, n) * 86_400
    order = rng.permutation(n)

    one, other = cluster(pins, table, times), cluster(pins[order], table, times[order])

    assert one.medoids.tolist() == other.medoids.tolist()
    assert one.action_counts.tolist() == other.action_counts.tolist()
    assert np.array_equal(one.labels[order], other.labels)
    # 1e-12: float64 sums of at most 80 terms in another order.
    assert np.allclose(one.importances, other.importances, rtol=1e-12)


def test_doubling_every_action_doubles_importance_and_nothing_else(
    rng: np.random.Generator,
) -> None:
    """A pin acted on twice is one point: its interest grows, the partition does not move."""
    table = blobs(rng, 60, 16)
    pins, times = np.arange(60), NOW - rng.uniform(0, 90, 60) * 86_400

    once = cluster(pins, table, times)
    twice = cluster(np.tile(pins, 2), table, np.tile(times, 2))

    assert once.medoids.tolist() == twice.medoids.tolist()
    assert np.allclose(2 * once.importances, twice.importances)
    assert (2 * once.action_counts).tolist() == twice.action_counts.tolist()


def test_no_actions_give_no_clusters() -> None:
    """The empty history is an empty profile."""
    nothing = np.empty(0, np.int64)

    assert len(cluster(nothing, np.eye(3, dtype=np.float32), np.empty(0))) == 0


def test_pins_without_a_vector_stand_alone() -> None:
    """A zero row is not near the origin of anything: such pins are clusters of one."""
    table = np.zeros((4, 3), np.float32)
    table[0] = table[1] = (1, 0, 0)

    found = cluster(np.array([0, 1, 2, 3, 3]), table, np.full(5, NOW))

    assert sorted(found.action_counts.tolist()) == [1, 2, 2]
    assert found.labels[0] == found.labels[1]
    assert len(set(found.labels.tolist())) == 3


def test_the_number_of_clusters_has_no_cap() -> None:
    """A thousand unrelated pins are a thousand interests."""
    table = np.eye(1000, dtype=np.float32)

    assert len(cluster(np.arange(1000), table, np.full(1000, NOW))) == 1000


def test_most_important_comes_first() -> None:
    """Order is by importance, then by newest action, then by medoid."""
    table = np.eye(4, dtype=np.float32)
    pins = np.array([3, 2, 2, 1, 0])
    times = NOW - np.array([0, 5, 5, 1, 1]) * 86_400.0

    assert cluster(pins, table, times).medoids.tolist() == [2, 3, 0, 1]
