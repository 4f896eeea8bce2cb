"""What every candidate source must do, whatever it is made of.

A source's test file subclasses `CandidateSourceContract`, supplies the two worlds, and adds what is
peculiar to that source. The class is not collected by itself: its name does not start with Test.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import TYPE_CHECKING

import numpy as np
import pytest

from candidate_service.candidate import CandidateList, CandidateQuery, Segment, Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from candidate_service.candidate import CandidateSource

THREAD_COUNT = 8


def make_query(
    rows: Sequence[int],
    *,
    weights: Sequence[float] | None = None,
    seed: int = 7,
    stop: Stop | None = None,
    segment: Segment | None = None,
) -> CandidateQuery:
    """Return a valid query from *rows*, every weight 1 when not said otherwise."""
    return CandidateQuery(
        query_rows=np.asarray(rows, np.int32).reshape(-1),
        weights=np.asarray([1.0] * len(rows) if weights is None else weights, np.float32),
        seed=seed,
        segment=segment or Segment(),
        stop=stop or Stop.never(),
    )


def assert_same(expected: CandidateList, actual: CandidateList) -> None:
    """Assert that two lists are equal in every bit."""
    np.testing.assert_array_equal(expected.rows, actual.rows)
    np.testing.assert_array_equal(expected.scores, actual.scores)
    np.testing.assert_array_equal(expected.query_indexes, actual.query_indexes)


class CandidateSourceContract:
    """The promises of `CandidateSource`, each a test."""

    pin_count: int
    """Rows of the world of `make_source` are in [0, pin_count)."""

    query_rows: tuple[int, ...]
    """At least two query rows for which the source has at least four candidates."""

    answers_without_query_pins = False
    """Whether an empty query still gets candidates (prepared lists)."""

    stop_grace_s = 2.0
    """Within which time a stopped source must answer; generous, as machines are shared."""

    def make_source(self) -> CandidateSource:
        """Return the source over a small world in which `query_rows` have candidates."""
        raise NotImplementedError

    def make_empty_source(self) -> CandidateSource:
        """Return the source over a world of pins in which nobody ever saved anything."""
        raise NotImplementedError

    def test_finds_candidates_in_a_world_that_has_some(self) -> None:
        """The world of the test is not empty, so the other promises are not kept by silence."""
        found = self.make_source().retrieve(make_query(self.query_rows), 50)

        assert len(found) >= 4

    def test_has_a_name_and_artifacts(self) -> None:
        """A list names its source, and a source names the generations it reads."""
        source = self.make_source()

        assert source.name == source.retrieve(make_query(self.query_rows), 5).source
        assert all(isinstance(artifact, str) and artifact for artifact in source.artifacts)

    @pytest.mark.parametrize("limit", [0, 1, 2, 3, 1000])
    def test_respects_the_limit(self, limit: int) -> None:
        """Never more than the limit, also when it is none or more than there are pins."""
        assert len(self.make_source().retrieve(make_query(self.query_rows), limit)) <= limit

    def test_short_list_is_repeatable(self) -> None:
        """The cut to a short list does not depend on chance."""
        source = self.make_source()
        short = source.retrieve(make_query(self.query_rows[:1]), 2)
        again = source.retrieve(make_query(self.query_rows[:1]), 2)

        assert len(short) == 2
        assert_same(short, again)

    def test_no_pin_twice(self) -> None:
        """A pin that is near to two query pins is proposed once."""
        found = self.make_source().retrieve(make_query(self.query_rows), 1000)

        assert len(found) == len(np.unique(found.rows))

    def test_never_the_query_pin(self) -> None:
        """What the asker came from is not proposed back."""
        found = self.make_source().retrieve(make_query(self.query_rows), 1000)

        assert not np.isin(found.rows, self.query_rows).any()

    def test_rows_are_in_the_catalogue(self) -> None:
        """No padding, no row that does not exist."""
        found = self.make_source().retrieve(make_query(self.query_rows), 1000)

        assert ((found.rows >= 0) & (found.rows < self.pin_count)).all()

    def test_best_first(self) -> None:
        """Scores are finite and never rise along the list."""
        found = self.make_source().retrieve(make_query(self.query_rows), 1000)

        assert np.isfinite(found.scores).all()
        assert (np.diff(found.scores) <= 0).all()

    def test_names_the_query_pin_behind_each(self) -> None:
        """Each candidate points at one of the query pins, or at none for prepared lists."""
        found = self.make_source().retrieve(make_query(self.query_rows), 1000)

        if self.answers_without_query_pins:
            assert (found.query_indexes == -1).all()
        else:
            assert ((found.query_indexes >= 0) & (found.query_indexes < len(self.query_rows))).all()

    def test_empty_query(self) -> None:
        """Nothing to start from gives nothing, but for prepared lists."""
        found = self.make_source().retrieve(make_query([]), 10)

        assert (len(found) > 0) == self.answers_without_query_pins

    def test_empty_world(self) -> None:
        """A world without saves gives an empty list, not an error."""
        found = self.make_empty_source().retrieve(make_query([0]), 10)

        assert isinstance(found, CandidateList)
        assert self.answers_without_query_pins or len(found) == 0

    def test_row_beyond_the_artifact(self) -> None:
        """A pin that is younger than the artifact has no candidates and breaks nothing."""
        found = self.make_source().retrieve(make_query([self.pin_count + 5]), 10)

        assert self.answers_without_query_pins or len(found) == 0

    def test_same_seed_same_answer(self) -> None:
        """An answer can be replayed."""
        source = self.make_source()
        query = make_query(self.query_rows, seed=2**64 - 1)

        assert_same(source.retrieve(query, 20), source.retrieve(query, 20))
        assert_same(source.retrieve(query, 20), self.make_source().retrieve(query, 20))

    def test_arrays_are_read_only(self) -> None:
        """Nobody downstream can spoil what may be shared."""
        found = self.make_source().retrieve(make_query(self.query_rows), 20)

        for array in (found.rows, found.scores, found.query_indexes):
            assert not array.flags.writeable

    def test_safe_from_eight_threads(self) -> None:
        """Eight threads at once get what one thread gets."""
        source = self.make_source()
        queries = [make_query(self.query_rows, seed=seed) for seed in range(THREAD_COUNT * 6)]
        expected = [source.retrieve(query, 20) for query in queries]

        with ThreadPoolExecutor(THREAD_COUNT) as pool:
            actual = list(pool.map(lambda query: source.retrieve(query, 20), queries))

        for one, other in zip(expected, actual, strict=True):
            assert_same(one, other)

    def test_gives_its_thread_back_when_the_stop_expires(self) -> None:
        """A source whose asker has gone returns soon, with what it has or with nothing."""
        source = self.make_source()
        answered = Event()
        answers: list[CandidateList] = []

        def ask() -> None:
            query = make_query(self.query_rows, stop=_stop_after_readings(2))
            answers.append(source.retrieve(query, 20))
            answered.set()

        Thread(target=ask, daemon=True).start()

        assert answered.wait(self.stop_grace_s)
        assert len(answers[0]) <= 20

    def test_expired_before_the_start(self) -> None:
        """A query that is already too late is no error."""
        gone = Stop(deadline=0.0, clock=_clock_at(1.0))

        found = self.make_source().retrieve(make_query(self.query_rows, stop=gone), 20)

        assert len(found) <= 20


def _clock_at(reading: float) -> Callable[[], float]:
    return lambda: reading


def _stop_after_readings(count: int) -> Stop:
    """Return a stop that expires when it is looked at for the *count*-th time."""
    readings = iter(range(1_000_000_000))
    return Stop(deadline=float(count), clock=lambda: float(next(readings)))
