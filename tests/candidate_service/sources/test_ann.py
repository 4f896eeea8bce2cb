"""Neighbours of the query pins, a fair share for each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candidate_service.candidate import CandidateQuery, Segment, Stop
from candidate_service.sources.ann import AnnSource, NeighbourCache
from candidate_service.vector_index import VectorIndex
from tests.contracts.candidate_source import CandidateSourceContract, make_query
from tests.naive.ann import neighbours


def make_blobs() -> VectorIndex:
    """Three tight blobs of 40 pins each (rows 0, 40 and 80 on), and one pin without a vector."""
    rng = np.random.default_rng(3)
    vectors = np.repeat(np.eye(3, 8), 40, axis=0) + 0.05 * rng.standard_normal((120, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return VectorIndex(np.vstack([vectors, np.zeros(8)]).astype(np.float32), path=None)


def make_ann(index: VectorIndex | None = None, *, remembered: int = 100) -> AnnSource:
    """Return the source over the blobs."""
    cache = NeighbourCache(index or make_blobs(), remembered)
    return AnnSource(lambda: cache)


class TestAnn(CandidateSourceContract):
    pin_count = 121
    query_rows = (0, 41, 82)

    def make_source(self) -> AnnSource:
        """Return the source over the small world."""
        return make_ann()

    def make_empty_source(self) -> AnnSource:
        """Return the source over a world in which nothing was saved."""
        return make_ann(VectorIndex(np.zeros((5, 8), np.float32), path=None))

    def test_each_query_pin_gets_its_share(self) -> None:
        """floor(limit / e) neighbours of each of e query pins, from its own blob."""
        found = make_ann().retrieve(make_query([0, 41, 82]), 50)

        assert np.bincount(found.query_indexes).tolist() == [16, 16, 16]
        assert (found.rows // 40 == found.query_indexes).all()

    def test_score_is_the_cosine_to_the_query_pin_behind(self) -> None:
        """What is shown as the reason is what was measured."""
        index = make_blobs()
        query = make_query([0, 41])
        found = make_ann(index).retrieve(query, 20)

        behind = index.vectors[query.query_rows[found.query_indexes]]
        np.testing.assert_allclose(
            found.scores, (index.vectors[found.rows] * behind).sum(axis=1), atol=1e-6
        )

    def test_pin_near_two_query_pins_names_the_nearer(self) -> None:
        """A shared neighbour is kept once, under the query pin it is closest to."""
        index = make_blobs()
        found = make_ann(index).retrieve(make_query([0, 1]), 240)

        cosines = index.vectors[found.rows] @ index.vectors[[0, 1]].T
        assert (cosines.argmax(axis=1) == found.query_indexes).all()

    def test_query_pin_without_vector_leaves_its_share_to_the_others(self) -> None:
        """A medoid that has no vector costs nothing."""
        found = make_ann().retrieve(make_query([0, 120]), 20)

        assert len(found) == 20
        assert (found.query_indexes == 0).all()

    def test_excluded_rows_are_replaced_by_further_neighbours(self) -> None:
        """Pins already acted on are nearest of all: the share is filled from behind them."""
        source = make_ann()
        nearest = source.retrieve(make_query([0]), 10).rows
        query = CandidateQuery(
            query_rows=np.array([0], np.int32),
            weights=np.ones(1, np.float32),
            seed=0,
            segment=Segment(),
            stop=Stop.never(),
            excluded_rows=np.sort(nearest),
        )

        found = source.retrieve(query, 10)

        assert len(found) == 10
        assert not np.isin(found.rows, nearest).any()

    def test_short_shares_are_asked_for_again(self) -> None:
        """When the spare neighbours do not make up for the unwanted ones, more are fetched."""
        rng = np.random.default_rng(1)
        vectors = rng.standard_normal((900, 8))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        index = VectorIndex(vectors.astype(np.float32), path=None)
        source = make_ann(index)
        nearest = source.retrieve(make_query([0]), 150).rows
        query = CandidateQuery(
            query_rows=np.array([0], np.int32),
            weights=np.ones(1, np.float32),
            seed=0,
            segment=Segment(),
            stop=Stop.never(),
            excluded_rows=np.sort(nearest),
        )

        found = source.retrieve(query, 200)

        assert len(found) == 200
        assert not np.isin(found.rows, nearest).any()

    def test_neighbours_are_remembered_per_pin(self) -> None:
        """A second person with the same medoid is answered from memory, with the same answer."""
        cache = NeighbourCache(make_blobs(), 100)
        source = AnnSource(lambda: cache)
        first = source.retrieve(make_query([0, 41]), 30)
        second = source.retrieve(make_query([41, 0]), 30)

        assert (cache.hit_count, cache.miss_count) == (2, 2)
        assert set(first.rows.tolist()) == set(second.rows.tolist())

    def test_memory_is_bounded(self) -> None:
        """The answer that was used longest ago is forgotten; none is kept when told so."""
        for kept in (0, 3):
            cache = NeighbourCache(make_blobs(), kept)
            source = AnnSource(lambda cache=cache: cache)  # type: ignore[misc]
            for row in range(10):
                source.retrieve(make_query([row]), 5)

            assert len(cache._answers) == kept


@given(
    seed=st.integers(0, 1000),
    pin_count=st.integers(1, 40),
    query_count=st.integers(0, 4),
    limit=st.integers(1, 60),
    excluded_count=st.integers(0, 10),
)
def test_equals_sorting_all_pins(
    seed: int, pin_count: int, query_count: int, limit: int, excluded_count: int
) -> None:
    """For any world without equal distances the list is what sorting everything gives."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((pin_count, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[rng.random(pin_count) < 0.2] = 0.0
    single = vectors.astype(np.float32)
    rows = rng.permutation(pin_count)
    query_rows, excluded = rows[:query_count], rows[query_count:][:excluded_count]
    query = CandidateQuery(
        query_rows=query_rows.astype(np.int32),
        weights=np.ones(len(query_rows), np.float32),
        seed=0,
        segment=Segment(),
        stop=Stop.never(),
        excluded_rows=np.sort(excluded).astype(np.int32),
    )

    found = make_ann(VectorIndex(single, path=None)).retrieve(query, limit)

    expected = neighbours(
        single.tolist(), query_rows.tolist(), limit=limit, excluded=excluded.tolist()
    )
    assert set(found.rows.tolist()) == set(expected)
    for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True):
        assert score == pytest.approx(expected[row], abs=1e-5)  # float32 sums
