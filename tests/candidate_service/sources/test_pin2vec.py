"""Pin2Vec as a source: near pins and the next save, without what must not be proposed."""

from __future__ import annotations

import dataclasses

import numpy as np

from candidate_service.candidate import CandidateQuery, CandidateSource
from candidate_service.pin2vec import Pin2Vec, Pin2VecSettings, Sequences, fit
from candidate_service.pin2vec_lists import near_pins, next_pins
from candidate_service.sources.pin2vec import Pin2VecSource
from tests.candidate_service.test_pin2vec import sequences_of, topic_sessions
from tests.contracts.candidate_source import CandidateSourceContract, make_query

FIRST_ROW = 2
"""Pin index 0 stands at this catalogue row, index 1 at the next but one, and so on."""


def make_opened(sequences: Sequences, pin_count: int, **settings: object) -> Pin2Vec:
    """Train on a small world; every second catalogue row has a vector."""
    rules = Pin2VecSettings(dimension=16, epoch_count=20, rate_first=0.1, rate_last=0.01)
    trained = fit(
        sequences,
        pin_count,
        dataclasses.replace(rules, **settings),  # type: ignore[arg-type]
        seed=3,
        advance=lambda _: None,
    )
    near, following = (
        prepare(trained, 20, advance=lambda _: None) for prepare in (near_pins, next_pins)
    )
    rows = FIRST_ROW + 2 * np.arange(pin_count, dtype=np.int32)
    return Pin2Vec(rows, trained, near, following, fade=0.5)


TOPICS = make_opened(sequences_of(topic_sessions()), 48)
"""Eight topics of six pins."""


def topic_of(rows: np.ndarray) -> list[int]:
    """The topic of catalogue rows."""
    return ((rows - FIRST_ROW) // 2 // 6).tolist()  # type: ignore[no-any-return]


def with_session(query: CandidateQuery, rows: list[int]) -> CandidateQuery:
    """The query of somebody who just saved these, newest first."""
    return dataclasses.replace(query, session_rows=np.array(rows, np.int32))


class TestPin2VecSource(CandidateSourceContract):
    pin_count = 100
    query_rows = (2, 4, 20)

    def make_source(self) -> CandidateSource:
        """The source over eight topics."""
        return Pin2VecSource(lambda: TOPICS)

    def make_empty_source(self) -> CandidateSource:
        """The source over a world without sequences."""
        nothing = make_opened(
            Sequences(np.empty(0, np.int32), np.empty(0), np.zeros(1, np.int64)), 0
        )
        return Pin2VecSource(lambda: nothing)

    def test_near_pins_are_of_the_topic(self) -> None:
        """The five others of the query pin's topic come first."""
        found = self.make_source().retrieve(make_query([2]), 5)

        assert topic_of(found.rows) == [0] * 5
        assert found.query_indexes.tolist() == [0] * 5

    def test_heavier_query_pin_leads(self) -> None:
        """Of two query pins the one with ten times the weight has the first places."""
        found = self.make_source().retrieve(make_query([2, 50], weights=[1, 10]), 5)

        assert topic_of(found.rows) == [4] * 5
        assert found.query_indexes.tolist() == [1] * 5

    def test_session_alone_is_continued(self) -> None:
        """Without query pins the next save is foreseen from the session; no query pin is behind."""
        found = self.make_source().retrieve(with_session(make_query([]), [14, 16]), 4)

        assert topic_of(found.rows) == [1] * 4
        assert not np.isin(found.rows, [14, 16]).any()
        assert found.query_indexes.tolist() == [-1] * 4

    def test_session_and_query_pins_share_the_list(self) -> None:
        """A query pin of one topic and a session of another: both are there from the start."""
        query = with_session(make_query([2]), [50])

        found = self.make_source().retrieve(query, 6)

        assert set(topic_of(found.rows)) == {0, 4}

    def test_session_pin_that_is_a_query_pin_is_behind_its_followers(self) -> None:
        """Recent pins are often both."""
        found = self.make_source().retrieve(with_session(make_query([2, 50]), [50]), 20)

        behind = found.query_indexes[[topic == 4 for topic in topic_of(found.rows)]]
        assert len(behind) > 0
        assert set(behind.tolist()) == {1}

    def test_not_allowed_and_excluded_rows_do_not_shorten_the_list(self) -> None:
        """A filter that leaves half of the pins leaves the list full."""
        allowed = np.ones(98, np.bool_)
        allowed[4:10] = False
        query = dataclasses.replace(
            make_query([2]), allowed=allowed, excluded_rows=np.array([12], np.int32)
        )

        found = self.make_source().retrieve(query, 10)

        assert len(found) == 10
        assert not np.isin(found.rows, [4, 6, 8, 12]).any()

    def test_row_beyond_the_filter_is_not_proposed(self) -> None:
        """An artifact may be younger than the request's view of the catalogue."""
        query = dataclasses.replace(make_query([2]), allowed=np.ones(9, np.bool_))

        found = self.make_source().retrieve(query, 10)

        assert (found.rows < 9).all()

    def test_unknown_session_pins_change_nothing(self) -> None:
        """A pin without a vector says nothing."""
        query = make_query([2])

        plain = self.make_source().retrieve(query, 5)
        found = self.make_source().retrieve(with_session(query, [3, 99]), 5)

        assert plain.rows.tolist() == found.rows.tolist()
