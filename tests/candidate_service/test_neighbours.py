"""A search under a filter finds what sorting the wanted pins finds, whichever way it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from candidate_service.candidate import SharedMask
from candidate_service.index_settings import IndexSettings
from candidate_service.neighbours import PLAN_COUNT_MAX, FilterPlan, NeighbourCache, over_fetched
from candidate_service.vector_index import VectorIndex, build_index

PIN_COUNT = 3000
COUNT = 20


def make_vectors(count: int = PIN_COUNT) -> NDArray[np.float32]:
    """Return unit rows around 30 centres, in the order of their centres."""
    rng = np.random.default_rng(2)
    centres = np.repeat(rng.standard_normal((30, 16)), count // 30, axis=0)
    vectors = centres + 0.5 * rng.standard_normal((count, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> VectorIndex:
    """An index that walks a graph."""
    return make_graph(make_vectors(), tmp_path_factory.mktemp("index") / "g")


def make_graph(
    vectors: NDArray[np.float32], path: Path, findable: NDArray[np.bool_] | None = None
) -> VectorIndex:
    """Build and open."""
    settings = IndexSettings(exact_count_max=0, recall_depth=COUNT, recall_target=0.99)
    report = build_index(
        vectors,
        path,
        settings,
        rng=np.random.default_rng(1),
        advance=lambda _: None,
        findable=findable,
    )
    return VectorIndex(
        vectors, path=path, expansion_search=report.expansion_search, findable=findable
    )


def random_masks() -> Iterator[tuple[float, NDArray[np.bool_]]]:
    """Filters that leave a half to nothing, and one that leaves one corner of the space."""
    rng = np.random.default_rng(3)
    for ratio in (0.5, 0.1, 0.01, 0.0):
        yield ratio, rng.random(PIN_COUNT) < ratio
    corner = np.zeros(PIN_COUNT, np.bool_)
    corner[-PIN_COUNT // 3 :] = True
    yield 1 / 3, corner


@pytest.mark.parametrize(("ratio", "mask"), list(random_masks()), ids=lambda one: str(one)[:5])
def test_filtered_search_keeps_its_recall(
    graph: VectorIndex, ratio: float, mask: NDArray[np.bool_]
) -> None:
    """At any share of wanted pins, spread or in a corner: at least 97 % of the truth."""
    cache = NeighbourCache(graph, 0)
    queries = graph.vectors[:: PIN_COUNT // 40]

    found = cache.search(queries, COUNT, SharedMask(ratio, mask))
    fetched = over_fetched(graph, queries, COUNT, FilterPlan(graph, mask))

    for answers in (found, fetched):
        hits = wanted_count = 0
        for query, (rows, cosines) in zip(queries, answers, strict=True):
            truth = np.sort(graph.vectors[mask] @ query)[::-1][:COUNT]
            assert mask[rows].all()
            assert len(rows) == len(truth) == len(set(rows.tolist()))
            assert (np.diff(cosines) <= 0).all()
            hits += int((cosines >= truth[-1] - 1e-6).sum()) if len(truth) else 0
            wanted_count += len(truth)
        assert hits >= 0.97 * wanted_count


def test_exact_index_is_filtered_exactly() -> None:
    """A scan looks at the wanted pins only."""
    index = VectorIndex(make_vectors(300), path=None)
    mask = np.arange(300) % 7 == 0

    ((rows, cosines),) = NeighbourCache(index, 0).search(
        index.vectors[:1], 10, SharedMask("sevenths", mask)
    )

    expected = index.vectors[mask] @ index.vectors[0]
    assert (rows % 7 == 0).all()
    np.testing.assert_allclose(cosines, np.sort(expected)[::-1][:10], atol=1e-6)


def test_mask_of_another_length() -> None:
    """Rows that only one of mask and index knows are no trouble, and are not found."""
    index = VectorIndex(make_vectors(90), path=None)

    longer = FilterPlan(index, np.ones(95, np.bool_))
    shorter = FilterPlan(index, np.ones(50, np.bool_))

    assert (longer.count, shorter.count) == (90, 50)
    assert shorter.rows.tolist() == list(range(50))


def test_answers_are_remembered_by_filter() -> None:
    """The same pin under another filter is another question."""
    index = VectorIndex(make_vectors(90), path=None)
    cache = NeighbourCache(index, 100)
    row = np.array([5], np.int32)
    even = SharedMask("even", np.arange(90) % 2 == 0)
    for shared in (None, even, None, even, SharedMask("odd", ~even.mask)):
        ((rows, _),) = cache.nearest(row, 10, shared)
        assert shared is None or shared.mask[rows].all()

    assert (cache.hit_count, cache.miss_count) == (2, 3)
    assert cache.hit_ratio == 0.4


def test_plans_are_bounded() -> None:
    """As many filters as there are users do not fill the memory."""
    index = VectorIndex(make_vectors(60), path=None)
    cache = NeighbourCache(index, 10)
    for number in range(PLAN_COUNT_MAX + 20):
        cache.nearest(np.array([1], np.int32), 5, SharedMask(number, np.ones(60, np.bool_)))

    assert len(cache._plans) == PLAN_COUNT_MAX
    assert len(cache._answers) == 10


def test_skewed_traffic_is_answered_from_memory() -> None:
    """Popular medoids are shared: with Zipf traffic a cache of 10 % answers most questions."""
    rng = np.random.default_rng(4)
    index = VectorIndex(make_vectors(), path=None)
    cache = NeighbourCache(index, PIN_COUNT // 10)
    weights = 1.0 / np.arange(1, PIN_COUNT + 1)
    for row in rng.choice(PIN_COUNT, 3000, p=weights / weights.sum()).astype(np.int32):
        cache.nearest(row.reshape(1), 10)

    assert cache.hit_ratio > 0.6
    assert len(cache._answers) == PIN_COUNT // 10


@pytest.mark.parametrize("is_graph", [True, False])
def test_pins_that_were_left_out_are_not_found(is_graph: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A near-duplicate is in no answer, filtered or not, and can be searched from all the same."""
    vectors = make_vectors(600)
    findable = np.arange(600) % 3 != 0
    index = (
        make_graph(vectors, tmp_path / "g", findable)
        if is_graph
        else VectorIndex(vectors, path=None, findable=findable)
    )
    cache = NeighbourCache(index, 0)

    ((plain, _),) = cache.nearest(np.array([3], np.int32), 50)
    ((filtered, _),) = cache.nearest(
        np.array([3], np.int32), 50, SharedMask("all", np.ones(600, np.bool_))
    )

    assert index.found_count == 400
    assert index.has_vector(np.array([3], np.int32)).all()
    assert len(plain) == len(filtered) == 50
    assert (plain % 3 != 0).all()
    assert (filtered % 3 != 0).all()
