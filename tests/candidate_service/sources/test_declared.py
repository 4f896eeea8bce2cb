"""Declared interests: each pick has its share of near pins."""

from __future__ import annotations

import dataclasses

import numpy as np

from candidate_service.candidate import CandidateList, CandidateQuery, CandidateSource
from candidate_service.sources.declared import DeclaredSource
from candidate_service.vector_index import VectorIndex
from tests.contracts.candidate_source import CandidateSourceContract, make_query

PIN_COUNT = 60
TOPIC_SIZE = 10


def make_index() -> VectorIndex:
    """Six topics of ten pins, each an axis with a little noise; the last pin has no vector."""
    noise = np.random.default_rng(0).normal(0, 0.05, (PIN_COUNT, 6))
    vectors = np.eye(6)[np.arange(PIN_COUNT) // TOPIC_SIZE] + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[-1] = 0
    return VectorIndex(vectors.astype(np.float32), path=None)


INDEX = make_index()


def make_source(pin_count: int = 10) -> DeclaredSource:
    """The source over six topics."""
    return DeclaredSource(lambda: INDEX, pin_count=pin_count)


def declaring(rows: list[int], **changes: object) -> CandidateQuery:
    """The query of somebody who picked these and did nothing yet."""
    query = make_query([])
    return dataclasses.replace(
        query,
        declared_rows=np.array(rows, np.int32),
        **changes,  # type: ignore[arg-type]
    )


class _QueryPinsAreDeclared:
    """The source asked as if the query pins had been declared as well."""

    name = "declared"
    artifacts = DeclaredSource.artifacts

    def __init__(self, index: VectorIndex) -> None:
        self._source = DeclaredSource(lambda: index, pin_count=10)

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Declare the query pins."""
        declared = dataclasses.replace(query, declared_rows=query.query_rows)
        return self._source.retrieve(declared, limit)


class TestDeclared(CandidateSourceContract):
    pin_count = PIN_COUNT
    query_rows = (0, 25)

    def make_source(self) -> CandidateSource:
        """The source over six topics."""
        return _QueryPinsAreDeclared(INDEX)

    def make_empty_source(self) -> CandidateSource:
        """The source over pins without vectors."""
        return _QueryPinsAreDeclared(VectorIndex(np.zeros((5, 4), np.float32), path=None))

    def test_every_pick_has_its_share(self) -> None:
        """Three picks of three topics: the list goes through them in turns."""
        found = make_source().retrieve(declaring([5, 15, 45]), 12)

        assert sorted((found.rows // TOPIC_SIZE).tolist()) == [0] * 4 + [1] * 4 + [4] * 4
        assert set((found.rows[:3] // TOPIC_SIZE).tolist()) == {0, 1, 4}
        assert (found.query_indexes == -1).all()
        assert not np.isin(found.rows, [5, 15, 45]).any()

    def test_nothing_declared_gives_nothing(self) -> None:
        """Query pins alone are not this source's business."""
        assert len(make_source().retrieve(make_query([0]), 10)) == 0

    def test_picks_without_a_vector_leave_their_share_to_others(self) -> None:
        """As in every source."""
        found = make_source().retrieve(declaring([59, 5, 99]), 8)

        assert len(found) == 8
        assert (found.rows // TOPIC_SIZE == 0).all()

    def test_of_many_picks_some_are_drawn_by_the_seed(self) -> None:
        """Two of six each time; seeds differ, so that all come to their turn."""
        source, picks = make_source(pin_count=2), [0, 10, 20, 30, 40, 50]

        topics = [
            set((source.retrieve(declaring(picks, seed=seed), 8).rows // TOPIC_SIZE).tolist())
            for seed in range(30)
        ]

        assert {len(drawn) for drawn in topics} == {2}
        assert set.union(*topics) == set(range(6))

    def test_filters_do_not_shorten_the_list(self) -> None:
        """Half of the topic may be shown: half of it is."""
        query = declaring([1], allowed=np.arange(PIN_COUNT) % 2 == 0)

        found = make_source().retrieve(query, 5)

        assert sorted(found.rows.tolist()) == [0, 2, 4, 6, 8]
