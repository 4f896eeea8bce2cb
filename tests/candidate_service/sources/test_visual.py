"""Pins by their pictures: borrowed lists of near-duplicates, else look-alikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from candidate_service.candidate import QueryMerge
from candidate_service.cooccurrence import NeighbourLists
from candidate_service.duplicates import Duplicates
from candidate_service.hamming import HammingIndex
from candidate_service.live.segment import LiveChanges, LivePin, LiveSegment
from candidate_service.sources.visual import LivePictures, Pictures, VisualSource
from candidate_service.vector_index import VectorIndex
from service_runtime.errors import NotReady
from tests.contracts.candidate_source import CandidateSourceContract, make_query

PIN_COUNT = 12
HASH = 0x0123456789ABCDEF
HASHES = {0: HASH, 1: HASH ^ 0b11, 2: HASH ^ (0xFF << 20), 3: ~HASH & (2**64 - 1)}
"""Pins 0 and 1 show the same picture, 2 and 3 others; further pins have no hash."""
RELATED = {1: [(4, 0.9), (5, 0.5), (0, 0.4), (6, 0.3)], 2: [(7, 0.8)]}
VECTORS = {3: (1, 0), 8: (0.8, 0.6), 9: (0.6, 0.8), 10: (0, 1), 11: (-1, 0), 0: (0.9, 0.1)}


@cache
def pictures() -> Pictures:
    """Return the groups of the hashes above."""
    groups = np.zeros(PIN_COUNT, np.int32)
    groups[[0, 1]] = 1
    representatives = np.ones(PIN_COUNT, np.bool_)
    representatives[1] = False
    rows = np.array(sorted(HASHES), np.int32)
    hashes = np.array([HASHES[row] for row in rows.tolist()], np.uint64)
    return Pictures(Duplicates(groups, representatives), HammingIndex(rows, hashes))


@cache
def related() -> NeighbourLists:
    """Return what goes with what by boards."""
    lists = [RELATED.get(row, []) for row in range(PIN_COUNT)]
    return NeighbourLists(
        np.cumsum([0, *map(len, lists)]),
        np.array([row for one in lists for row, _ in one], np.int32),
        np.array([score for one in lists for _, score in one], np.float32),
    )


@cache
def vectors() -> VectorIndex:
    """Return the pictures' vectors."""
    rows = np.zeros((PIN_COUNT, 2), np.float32)
    for row, vector in VECTORS.items():
        rows[row] = np.array(vector) / np.linalg.norm(vector)
    return VectorIndex(rows, path=None)


def nothing() -> NeighbourLists:
    """Say that it was never built."""
    raise NotReady("never built")


def no_vectors() -> VectorIndex:
    """Say that nobody brought any."""
    raise NotReady("none were imported")


def make_visual() -> VisualSource:
    """Return the source over the world above."""
    return VisualSource(pictures, related, vectors, distance_max=4)


class SmallSegment(LiveSegment):
    """A segment over the pins above."""

    def __init__(self) -> None:
        super().__init__(None, [LivePictures()])
        self.base_count = PIN_COUNT  # type: ignore[misc]  # of no catalogue


def live_over(pins: Sequence[LivePin]) -> LiveSegment:
    """Return a segment with these changes."""
    segment = SmallSegment()
    segment.apply(LiveChanges(pins=pins))
    return segment


class TestVisual(CandidateSourceContract):
    pin_count = PIN_COUNT
    query_rows = (0, 3)

    def make_source(self) -> VisualSource:
        """Return the source over the small world."""
        return make_visual()

    def make_empty_source(self) -> VisualSource:
        """Return the source over pins without pictures."""
        none = HammingIndex(np.empty(0, np.int32), np.empty(0, np.uint64))
        alone = Duplicates(np.zeros(2, np.int32), np.ones(2, np.bool_))
        return VisualSource(lambda: Pictures(alone, none), nothing, no_vectors, distance_max=4)

    def test_borrows_what_goes_with_the_twin(self) -> None:
        """Pin 0 has no history; its copy has, and neither of the two is proposed."""
        found = make_visual().retrieve(make_query([0]), 10)

        assert found.rows.tolist() == [4, 5, 6]
        np.testing.assert_allclose(found.scores, [1.9, 1.5, 1.3], rtol=1e-6)

    def test_look_alikes_without_a_twin(self) -> None:
        """Nearest vectors first; what points away is not alike; no hash is needed."""
        found = make_visual().retrieve(make_query([3]), 10)

        assert found.rows.tolist() == [0, 8, 9]
        assert found.scores[0] == pytest.approx(0.9939, abs=1e-4)

    def test_look_alikes_where_the_twin_has_no_list(self) -> None:
        """Nothing to borrow is no reason for an empty answer, nor to propose the twin."""
        source = VisualSource(pictures, nothing, vectors, distance_max=4)

        assert source.retrieve(make_query([0]), 10).rows.tolist() == [3, 8, 9, 10]

    def test_filter_makes_room(self) -> None:
        """What may not be shown is not borrowed."""
        allowed = np.ones(PIN_COUNT, np.bool_)
        allowed[[4, 0]] = False

        assert make_visual().retrieve(
            replace(make_query([0]), allowed=allowed), 1
        ).rows.tolist() == [5]
        assert make_visual().retrieve(
            replace(make_query([3]), allowed=allowed), 1
        ).rows.tolist() == [8]

    def test_best_score_prefers_borrowed(self) -> None:
        """What people did with the same picture beats what looks alike."""
        query = replace(make_query([3, 0]), merge=QueryMerge.BEST_SCORE)

        assert make_visual().retrieve(query, 4).rows.tolist()[:3] == [4, 5, 6]

    def test_works_without_vectors_and_lists(self) -> None:
        """Each part that is not there takes only its own answers away."""
        source = VisualSource(pictures, nothing, no_vectors, distance_max=4)

        assert len(source.retrieve(make_query([0, 3]), 10)) == 0


class TestLive:
    def test_new_copy_borrows_at_once(self) -> None:
        """A pin upserted a second ago shows the picture of an old one."""
        live = live_over([LivePin(PIN_COUNT, "new", True, image_hash=HASH ^ 0b100)])
        found = make_visual().retrieve(replace(make_query([PIN_COUNT]), live=live), 10)

        assert found.rows.tolist() == [4, 5, 6]

    def test_changed_picture_borrows_no_more(self) -> None:
        """Pin 0 shows something else now."""
        live = live_over([LivePin(0, "p0", False, image_hash=HASH ^ (0xFFFF << 10))])
        found = make_visual().retrieve(replace(make_query([0]), live=live), 10)

        assert not set(found.rows.tolist()) & {4, 5, 6}

    def test_new_vector_is_found_and_finds(self) -> None:
        """A live picture's vector is a neighbour and has neighbours."""
        vector = np.array([1.0, 0.0], np.float32)
        live = live_over([LivePin(PIN_COUNT, "new", True, visual_vector=vector)])
        source = make_visual()

        found = source.retrieve(replace(make_query([3]), live=live), 10)
        asked = source.retrieve(replace(make_query([PIN_COUNT]), live=live), 10)
        assert found.rows.tolist()[0] == PIN_COUNT
        assert asked.rows.tolist() == [3, 0, 8, 9]

    def test_vector_of_another_dimension_is_no_neighbour(self) -> None:
        """A stray vector breaks nothing."""
        vector = np.array([1.0, 0.0, 0.0], np.float32)
        live = live_over([LivePin(PIN_COUNT, "new", True, visual_vector=vector)])

        assert len(make_visual().retrieve(replace(make_query([3]), live=live), 10)) == 3
        assert len(make_visual().retrieve(replace(make_query([PIN_COUNT]), live=live), 10)) == 0

    def test_removed_pin_is_no_neighbour(self) -> None:
        """A deleted pin's vector is gone."""
        live = live_over([LivePin(8, "p8", False, is_removed=True)])

        found = make_visual().retrieve(replace(make_query([3]), live=live), 10)
        assert 8 not in found.rows.tolist()
