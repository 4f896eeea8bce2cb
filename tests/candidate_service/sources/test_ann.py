"""Neighbours of the query pins, a fair share for each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from candidate_service.candidate import CandidateQuery, QueryMerge, Segment, SharedMask, Stop
from candidate_service.catalogue import PINS_SCHEMA, Catalogue
from candidate_service.live.segment import LiveChanges, LivePin, LiveSave, LiveSegment
from candidate_service.live_vectors import LiveVectors
from candidate_service.neighbours import NeighbourCache
from candidate_service.recall_meter import RecallMeter
from candidate_service.sources.ann import AnnSource
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


def basis(axis: int) -> NDArray[np.float32]:
    """Return the direction of a blob."""
    return np.eye(8, dtype=np.float32)[axis]


def make_live(*pins: LivePin, base_count: int = 121) -> LiveSegment:
    """Return a segment over a catalogue of so many pins, with some changes."""
    ids = [f"p{row}" for row in range(base_count)]
    catalogue = Catalogue(ids, pa.Table.from_pylist([{}] * base_count, PINS_SCHEMA), "space")  # type: ignore[arg-type]
    live = LiveSegment(catalogue, [LiveVectors()])
    live.apply(LiveChanges(pins=pins))
    return live


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

    def test_shares_go_by_weight(self) -> None:
        """In turns a medoid of three times the weight has three times the neighbours."""
        found = make_ann().retrieve(make_query([0, 41], weights=[3.0, 1.0]), 40)

        assert np.bincount(found.query_indexes).tolist() == [30, 10]

    def test_best_score_lets_all_query_pins_compete(self) -> None:
        """By score the closest pins of all query pins win, however many of one they are."""
        index = make_blobs()
        query = replace(make_query([0, 41, 82]), merge=QueryMerge.BEST_SCORE)

        found = make_ann(index).retrieve(query, 30)

        cosines = (index.vectors @ index.vectors[[0, 41, 82]].T).max(axis=1)
        cosines[[0, 41, 82]] = -1
        np.testing.assert_allclose(found.scores, np.sort(cosines)[::-1][:30], atol=1e-6)

    def test_hidden_pins_are_replaced_by_further_neighbours(self) -> None:
        """The share is filled from behind pins that may not be proposed."""
        source = make_ann()
        nearest = source.retrieve(make_query([0]), 10).rows
        allowed = np.ones(121, np.bool_)
        allowed[nearest] = False

        found = source.retrieve(replace(make_query([0]), allowed=allowed), 10)

        assert len(found) == 10
        assert allowed[found.rows].all()

    def test_filter_keeps_the_list_full(self) -> None:
        """With one pin in ten wanted the list holds the nearest of these, also from memory."""
        mask = np.arange(121) % 10 == 3
        query = replace(make_query([0]), allowed=mask, shared=SharedMask("tenth", mask))
        index = make_blobs()
        source = make_ann(index)

        first, again = source.retrieve(query, 8), source.retrieve(query, 8)

        cosines = np.where(mask, index.vectors @ index.vectors[0], -2)
        assert set(first.rows.tolist()) == set(np.argsort(-cosines)[:8].tolist())
        assert first.rows.tolist() == again.rows.tolist()
        assert source.figures().cache_hit_ratio == 0.5

    def test_row_that_the_mask_does_not_know_is_not_proposed(self) -> None:
        """A pin that came after the mask was made is younger than the query."""
        found = make_ann().retrieve(replace(make_query([0]), allowed=np.ones(30, np.bool_)), 100)

        assert found.rows.max() < 30

    def test_live_pins_are_found_and_searched_from(self) -> None:
        """A pin upserted a moment ago is a neighbour, and has neighbours."""
        live = make_live(LivePin(121, "p121", is_new=True, vector=basis(0)))
        source = make_ann()

        near = source.retrieve(replace(make_query([0]), live=live), 10)
        beside = source.retrieve(replace(make_query([121]), live=live), 10)

        assert 121 in near.rows.tolist()
        assert len(near) == 10
        assert set((beside.rows // 40).tolist()) == {0}

    def test_live_pins_obey_the_filter(self) -> None:
        """What is not allowed is not proposed, however near."""
        pins = [LivePin(row, f"p{row}", is_new=True, vector=basis(0)) for row in (121, 122)]
        allowed = np.ones(123, np.bool_)
        allowed[121] = False
        query = replace(make_query([0]), live=make_live(*pins), allowed=allowed)

        found = make_ann().retrieve(query, 10)

        assert 122 in found.rows.tolist()
        assert 121 not in found.rows.tolist()

    def test_pin_that_moved_is_found_by_its_new_vector_only(self) -> None:
        """Row 1 was beside row 0; now it is beside row 41, for both directions of search."""
        live = make_live(LivePin(1, "p1", is_new=False, vector=basis(1)))
        source = make_ann()

        old = source.retrieve(replace(make_query([0]), live=live), 39)
        new = source.retrieve(replace(make_query([41]), live=live), 39)
        moved = source.retrieve(replace(make_query([1]), live=live), 39)

        assert 1 not in old.rows.tolist()
        assert 1 in new.rows.tolist()
        assert set((moved.rows // 40).tolist()) == {1}

    def test_new_pin_is_folded_into_learned_vectors(self) -> None:
        """Where vectors are learned a pin saved on a board is found beside the board's pins."""
        vectors = make_blobs().vectors
        cache = NeighbourCache(VectorIndex(vectors, path=None, is_learned=True), 100)
        source = AnnSource(lambda: cache, pins_of_board=lambda _: np.array([80, 81], np.int32))
        live = make_live(LivePin(121, "p121", is_new=True))
        live.apply(LiveChanges(saves=[LiveSave("s", "board", 121)]))

        found = source.retrieve(replace(make_query([82]), live=live), 30)

        assert 121 in found.rows.tolist()

    def test_index_younger_than_the_catalogue(self) -> None:
        """Rows that the served catalogue does not have yet are other pins there: not proposed."""
        live = make_live(LivePin(100, "young", is_new=True), base_count=100)

        found = make_ann().retrieve(replace(make_query([82]), live=live), 50)

        assert found.rows.max() < 100

    def test_figures_tell_the_sampled_recall(self) -> None:
        """A scan finds all there is, under a filter too; what finds half of it is found out."""
        index, truths = make_blobs(), []
        meter = RecallMeter(1, on_sample=truths.append)
        source = AnnSource(lambda: NeighbourCache(index, 0), meter=meter)
        mask = np.arange(121) % 3 == 0
        query = replace(make_query([0]), allowed=mask, shared=SharedMask("third", mask))
        while not truths:
            source.retrieve(query, 12)
        assert source.figures().sampled_recall == 1.0
        assert source.figures().pin_count == 120

        blind = VectorIndex(index.vectors, path=None, findable=np.arange(121) % 2 == 0)
        blind._findable[:120] = True  # the scan finds half of what it should
        truths.clear()
        source = AnnSource(lambda: NeighbourCache(blind, 0), meter=meter)
        while 0 not in [round(truth, 1) for truth in truths] and len(truths) < 3:
            source.retrieve(make_query([0]), 12)
        assert min(truths) < 0.9

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
