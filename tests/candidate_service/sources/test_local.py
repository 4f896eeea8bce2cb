"""Local pins: of the reader's segment and of no other, near to what was asked about."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from candidate_service.candidate import CandidateQuery, CandidateSource, Segment
from candidate_service.sources.local import LocalSource
from candidate_service.sources.popular import EVERYONE, PopularLists
from service_runtime.errors import NotReady
from service_runtime.vector_table import VectorTable
from tests.candidate_service.live_changes import PoolSegment, live_pin
from tests.contracts.candidate_source import CandidateSourceContract, make_query

PIN_COUNT = 40
JAPANESE = np.arange(1, PIN_COUNT, 2, dtype=np.int32)
"""Every second pin is Japanese, every fourth from Japan; the others are English."""
TOPIC_COUNT = 4


def make_vectors() -> NDArray[np.float32]:
    """Pins 4k to 4k + 3 are of topic k mod 4: each topic is an axis, with a little noise."""
    topics = np.arange(PIN_COUNT) // 4 % TOPIC_COUNT
    noise = np.random.default_rng(0).normal(0, 0.05, (PIN_COUNT, TOPIC_COUNT))
    vectors = np.eye(TOPIC_COUNT)[topics] + noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def listed(rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """A prepared list of these rows, best first."""
    return rows, np.linspace(1.0, 0.0, len(rows), dtype=np.float32)


LISTS = PopularLists(
    {
        EVERYONE: listed(np.arange(PIN_COUNT, dtype=np.int32)),
        "language:ja": listed(JAPANESE),
        "country:JP": listed(JAPANESE[::2]),
        "segment:teens": listed(np.array([6, 8], np.int32)),
    },
    segment_attribute="audience",
)
JAPAN = Segment("ja", "JP")


def not_ready() -> VectorTable:
    """Vectors that were never learned."""
    raise NotReady("there are no vectors")


def make_source(
    vectors: Callable[[], VectorTable] | None = None, *, relatedness: float = 0.8
) -> LocalSource:
    """The source over forty pins."""
    table = VectorTable(make_vectors())
    return LocalSource(lambda: LISTS, vectors or (lambda: table), relatedness=relatedness)


class _OfJapan:
    """A local source asked for a Japanese reader whatever the query says of the reader."""

    name = "local"
    artifacts = LocalSource.artifacts

    def __init__(self, source: LocalSource) -> None:
        self._source = source

    def retrieve(self, query: CandidateQuery, limit: int):  # noqa: ANN202  as the source's
        """Ask for a reader of Japanese in Japan."""
        return self._source.retrieve(dataclasses.replace(query, segment=JAPAN), limit)


class TestLocal(CandidateSourceContract):
    pin_count = PIN_COUNT
    query_rows = (0, 9)
    answers_without_query_pins = True

    def make_source(self) -> CandidateSource:
        """The source over forty pins, half of them Japanese, for a reader in Japan."""
        return _OfJapan(make_source())

    def make_empty_source(self) -> CandidateSource:
        """The source over a world without local pins."""
        nothing = PopularLists({EVERYONE: listed(np.empty(0, np.int32))})
        return _OfJapan(LocalSource(lambda: nothing, not_ready, relatedness=0.8))

    def test_names_the_query_pin_behind_each(self) -> None:
        """Where pins have vectors, the query pin that each is nearest to; else none."""
        found = self.make_source().retrieve(make_query(self.query_rows), 1000)

        assert ((found.query_indexes >= 0) & (found.query_indexes < 2)).all()
        unknown = _OfJapan(make_source(not_ready)).retrieve(make_query(self.query_rows), 1000)
        assert (unknown.query_indexes == -1).all()

    def test_japanese_reader_of_an_english_pin_gets_japanese_pins_about_it(self) -> None:
        """All Japanese; those from Japan first, and of these the pins of the query pin's topic."""
        found = make_source().retrieve(make_query([0], segment=JAPAN), 10)

        assert np.isin(found.rows, JAPANESE).all()
        from_japan = found.rows[: np.isin(found.rows, JAPANESE[::2]).sum()]
        assert np.isin(from_japan, JAPANESE[::2]).all()
        topics = from_japan // 4 % TOPIC_COUNT
        assert topics.tolist() == sorted(topics.tolist(), key=lambda topic: topic != 0)
        assert topics[0] == 0

    def test_popularity_decides_without_query_pins_or_vectors(self) -> None:
        """The order of the prepared list."""
        for source, rows in ((make_source(), []), (make_source(not_ready), [0])):
            found = source.retrieve(make_query(rows, segment=Segment("ja")), 5)

            assert found.rows.tolist() == JAPANESE[:5].tolist()

    def test_named_segments_come_from_the_settings(self) -> None:
        """A reader of the segment `teens` gets the pins whose audience they are."""
        found = make_source().retrieve(make_query([], segment=Segment(name="teens")), 5)

        assert found.rows.tolist() == [6, 8]

    def test_unknown_readers_get_nothing(self) -> None:
        """No language, no country: no pin is local. A language without a list: none either."""
        for segment in (Segment(), Segment("xx", "YY")):
            assert len(make_source().retrieve(make_query([0], segment=segment), 5)) == 0

    def test_live_pins_of_the_segment_join_the_pool(self) -> None:
        """With a vector of their own they are placed by it, at once."""
        live = PoolSegment(PIN_COUNT).add(
            live_pin(40, language="ja", country="JP", vector=make_vectors()[0]),
            live_pin(41, language="en", country="GB", vector=make_vectors()[0]),
        )
        query = dataclasses.replace(make_query([0], segment=JAPAN), live=live)

        found = make_source(relatedness=1.0).retrieve(query, 50)

        assert found.rows.tolist().index(40) == 0
        assert 41 not in found.rows

    def test_what_is_not_allowed_is_passed_over(self) -> None:
        """The list is filled from further down the pool."""
        allowed = np.ones(PIN_COUNT, np.bool_)
        allowed[JAPANESE[:15]] = False
        query = dataclasses.replace(make_query([0], segment=Segment("ja")), allowed=allowed)

        assert sorted(make_source().retrieve(query, 5).rows.tolist()) == JAPANESE[15:].tolist()
