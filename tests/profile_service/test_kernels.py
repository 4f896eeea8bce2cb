"""Ward as SciPy has it: the same partition on any input where the cut is unambiguous."""

import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from profile_service.kernels import ward_labels
from tests.naive.ward import ward_height, ward_partition

Floats = NDArray[np.float32]


def labels_of(vectors: Floats, alpha: float) -> NDArray[np.int32]:
    """Our labels."""
    labels, count = ward_labels(vectors, vectors @ vectors.T, alpha)
    assert count == len(set(labels.tolist()))
    return labels


def scipy_labels(vectors: Floats, alpha: float) -> NDArray[np.int32]:
    """SciPy's labels, numbered by first point."""
    if len(vectors) == 1:
        return np.zeros(1, np.int32)
    tree = linkage(pdist(vectors.astype(np.float64)), "ward")
    found = fcluster(tree, np.sqrt(alpha), "distance")
    names: dict[int, int] = {}
    return np.array([names.setdefault(label, len(names)) for label in found.tolist()], np.int32)


def unit(vectors: NDArray[np.float64]) -> Floats:
    """Rows of unit length."""
    return np.ascontiguousarray(
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32
    )


def blobs(rng: np.random.Generator, n: int, d: int, noise: float = 0.6) -> Floats:
    """Points around a few directions."""
    centres = unit(rng.standard_normal((max(2, int(n**0.4)), d)))
    spread = rng.standard_normal((n, d)) * (noise / np.sqrt(d))
    return unit(centres[rng.integers(0, len(centres), n)] + spread)


def partitions(labels: NDArray[np.int32]) -> list[list[int]]:
    """Labels as sorted lists of points."""
    found = [np.flatnonzero(labels == label).tolist() for label in set(labels.tolist())]
    return sorted(found)


@pytest.mark.parametrize("noise", [0.3, 0.6, 1.0, 2.0])
@pytest.mark.parametrize(("n", "d"), [(2, 8), (3, 2), (40, 64), (200, 16), (1000, 64), (600, 256)])
def test_ward_equals_scipy(rng: np.random.Generator, n: int, d: int, noise: float) -> None:
    """The partition is SciPy's at every cut, whatever the shape of the data."""
    vectors = blobs(rng, n, d, noise)

    for alpha in (1e-6, 0.1, 0.5, 0.8, 1.0, 1.3, 1.9, 2.5, 6.0, 50.0):
        assert np.array_equal(scipy_labels(vectors, alpha), labels_of(vectors, alpha)), alpha


def test_ward_equals_scipy_on_five_thousand_actions(rng: np.random.Generator) -> None:
    """A very long history is clustered like a short one."""
    vectors = blobs(rng, 5000, 32)

    assert np.array_equal(scipy_labels(vectors, 1.0), labels_of(vectors, 1.0))


def test_ward_equals_scipy_at_every_height(rng: np.random.Generator) -> None:
    """A cut a hair below or above any merge is decided right, though float32 cannot see it."""
    vectors = blobs(rng, 60, 24)
    heights = linkage(pdist(vectors.astype(np.float64)), "ward")[:, 2] ** 2

    for height in heights:
        for alpha in (height * (1 - 1e-9), height * (1 + 1e-9)):
            assert np.array_equal(scipy_labels(vectors, alpha), labels_of(vectors, alpha)), alpha


def test_ward_decides_near_ties_like_float64(rng: np.random.Generator) -> None:
    """Of two neighbours that float32 cannot tell apart the nearer one is taken."""
    for trial in range(200):
        base = unit(rng.standard_normal((3, 16))).astype(np.float64)
        left, right = base[0] + 0.4 * base[1], base[0] - 0.4 * base[1]
        nearly = right + rng.normal(0, 2e-7, 16)
        vectors = np.array([base[0], left, nearly, base[2]], np.float32)
        heights = linkage(pdist(vectors.astype(np.float64)), "ward")[:, 2] ** 2
        if heights[1] / heights[0] - 1 < 1e-12:
            continue  # an exact tie: any order is right

        alpha = float(heights[0]) * (1 + 1e-9)

        assert np.array_equal(scipy_labels(vectors, alpha), labels_of(vectors, alpha)), trial


def test_one_point_is_one_cluster() -> None:
    """The smallest history has one interest."""
    assert labels_of(np.array([[1.0, 0.0]], np.float32), 1.0).tolist() == [0]


def test_ward_keeps_identical_points_together(rng: np.random.Generator) -> None:
    """Equal vectors are one cluster at any alpha, 0 included, however many they are."""
    distinct = blobs(rng, 30, 16)
    choice = rng.integers(0, 30, 700)
    vectors = distinct[choice]

    for alpha in (0.0, 0.3, 1.0, 2.0):
        labels = labels_of(vectors, alpha)
        assert all(len(set(labels[choice == c].tolist())) <= 1 for c in range(30))
        if alpha > 0:
            assert np.array_equal(scipy_labels(vectors, alpha), labels)


def test_five_thousand_equal_points_are_one_cluster() -> None:
    """The worst case of ties takes no more time than any other."""
    vectors = np.repeat(unit(np.ones((1, 64))), 5000, axis=0)

    assert set(labels_of(vectors, 1.0).tolist()) == {0}


def test_strangers_stay_apart_below_two() -> None:
    """Pins that share nothing (cosine 0, height 2) merge at alpha 2 and not before."""
    vectors = np.eye(5, dtype=np.float32)

    assert len(set(labels_of(vectors, 1.999).tolist())) == 5
    assert len(set(labels_of(vectors[:2], 2.0).tolist())) == 1


def test_float32_cancellation_does_not_leak(rng: np.random.Generator) -> None:
    """Points nearer to one another than float32's rounding of a dot product still part rightly."""
    centre = unit(rng.standard_normal((1, 48)))
    vectors = np.ascontiguousarray((centre + rng.normal(0, 3e-5, (80, 48))).astype(np.float32))
    heights = np.sort(linkage(pdist(vectors.astype(np.float64)), "ward")[:, 2] ** 2)

    for alpha in (heights[20] * 1.0001, heights[60] * 1.0001, heights[-1] * 0.9999):
        assert np.array_equal(scipy_labels(vectors, alpha), labels_of(vectors, alpha))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    d=st.sampled_from([8, 64, 256, 1024]),
    noise=st.sampled_from([1e-6, 1e-5, 1e-3, 0.1]),
    scale=st.sampled_from([1.0, 100.0, 1e-3]),
)
def test_tight_groups_far_apart_equal_scipy(seed: int, d: int, noise: float, scale: float) -> None:
    """
    Groups tighter than float32 can measure, with copies, at any scale: the partition is SciPy's.

    Cuts lie between the heights within groups and those across, and at random heights within.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((5, d))
    vectors = unit(centres[rng.integers(0, 5, 90)] + noise * rng.standard_normal((90, d))) * scale
    vectors = np.ascontiguousarray(np.concatenate([vectors, vectors[:20]]), dtype=np.float32)
    heights = np.sort(linkage(pdist(vectors.astype(np.float64)), "ward")[:, 2] ** 2)
    inner = heights[(heights > 1e-11 * scale**2) & (heights < 0.3 * scale**2)]

    alphas = [0.35 * scale**2, *rng.choice(inner, min(3, len(inner)), replace=False)]
    for alpha in alphas:
        gap = np.abs(heights / (alpha * 1.0001) - 1).min()
        if gap > 1e-9:
            cut = float(alpha) * 1.0001
            assert np.array_equal(scipy_labels(vectors, cut), labels_of(vectors, cut)), cut


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_ward_agrees_with_the_naive_twin_where_the_cut_is_unambiguous(data: st.DataObject) -> None:
    """
    On a small grid, full of ties and duplicates, the partition is SciPy's.

    Where distances tie exactly, SciPy's own partition depends on the order of points; the claim is
    made where SciPy and the naive twin agree with themselves on every tried order.
    """
    n = data.draw(st.integers(1, 9))
    d = data.draw(st.integers(1, 3))
    cells = st.lists(st.integers(-2, 2), min_size=d, max_size=d)
    vectors = np.array(data.draw(st.lists(cells, min_size=n, max_size=n)), np.float32) / 2
    alpha = data.draw(st.sampled_from([0.1, 0.26, 0.51, 1.1, 1.7, 3.3]))
    seen = set()
    for seed in range(12):
        order = np.random.default_rng(seed).permutation(n)
        shuffled = scipy_labels(vectors[order], alpha)
        back = np.empty(n, np.int32)
        back[order] = shuffled
        seen.add(str(partitions(back)))
    seen.add(str(ward_partition(vectors, alpha)))

    labels = labels_of(vectors, alpha)

    if len(seen) == 1:
        assert seen == {str(partitions(labels))}
    groups = [vectors[labels == label].astype(np.float64) for label in set(labels.tolist())]
    for i, group in enumerate(groups):
        for other in groups[:i]:
            assert ward_height(group, other) > alpha * (1 - 1e-9), "two clusters should be one"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 120),
    d=st.integers(2, 40),
    alpha=st.floats(0.01, 8.0),
    copies=st.integers(0, 30),
)
def test_ward_equals_scipy_on_any_input(
    seed: int, n: int, d: int, alpha: float, copies: int
) -> None:
    """Random points with some of them repeated: the partition is SciPy's."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng.standard_normal((n, d)))
    vectors = np.ascontiguousarray(np.concatenate([vectors, vectors[rng.integers(0, n, copies)]]))

    assert np.array_equal(scipy_labels(vectors, alpha), labels_of(vectors, alpha))


def test_raising_alpha_never_splits(rng: np.random.Generator) -> None:
    """Cuts are nested: what is together stays together as alpha grows."""
    vectors = blobs(rng, 150, 24, 1.0)
    cuts = [labels_of(vectors, alpha) for alpha in (0.2, 0.5, 0.8, 1.2, 1.8, 3.0)]

    for fine, coarse in pairwise(cuts):
        for label in set(fine.tolist()):
            assert len(set(coarse[fine == label].tolist())) == 1


def test_rotating_the_space_changes_no_cluster(rng: np.random.Generator) -> None:
    """Only distances matter."""
    vectors = blobs(rng, 120, 12)
    rotation = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    turned = np.ascontiguousarray((vectors @ rotation).astype(np.float32))

    assert np.array_equal(labels_of(vectors, 0.9), labels_of(turned, 0.9))


def test_ward_lets_other_threads_run(rng: np.random.Generator) -> None:
    """The GIL is free while a long history is clustered; SciPy's linkage holds it (a trap)."""
    vectors = blobs(rng, 2500, 64, 2.0)
    labels_of(vectors[:50], 1.0)  # compiled
    gram = vectors @ vectors.T
    done = threading.Event()

    def cluster() -> None:
        ward_labels(vectors, gram, 50.0)
        done.set()

    thread = threading.Thread(target=cluster)
    thread.start()
    steps = 0
    while not done.is_set():
        steps += 1
    thread.join()

    # Holding the GIL, the kernel would let this loop run a few steps at its start and end.
    assert steps > 1000
