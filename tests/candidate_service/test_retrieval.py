"""Sources are asked side by side; the late, the broken and the unbuilt are named."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Event, Thread, get_ident

import numpy as np
import pytest

from candidate_service.candidate import CandidateList, CandidateQuery, Segment, Stop
from candidate_service.retrieval import EnabledSource, Outcome, Retrieval, Status, Tally
from candidate_service.selection import Cap, Screen
from service_runtime.errors import Corrupted, NotReady

PIN_COUNT = 100
NO_ROWS = np.empty(0, np.int32)


@dataclass
class FakeSource:
    """Answers rows 10, 11, … as many as asked, or raises, or waits to be released."""

    name: str = "fake"
    fault: Exception | None = None
    gate: Event | None = None
    asked: list[int] = field(default_factory=list)
    artifacts: tuple[str, ...] = ("thing",)

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:  # noqa: ARG002  a fake
        """Do as told."""
        self.asked.append(limit)
        if self.gate is not None:
            self.gate.wait(30)
        if self.fault is not None:
            raise self.fault
        rows = np.arange(10, 10 + limit, dtype=np.int32)
        scores = np.linspace(1, 0.5, limit, dtype=np.float32)
        return CandidateList(self.name, rows, scores, np.zeros(limit, np.int32))


def enable(source: FakeSource, *, leaves_out_excluded: bool = False) -> EnabledSource:
    """Enable a source that answers from generation g1."""
    return EnabledSource(source, 5, leaves_out_excluded, lambda: {"thing": "g1"})


@contextmanager
def asking(*sources: EnabledSource, stuck_count_max: int = 2) -> Iterator[Retrieval]:
    """Give a retrieval over the sources."""
    retrieval = Retrieval(
        sources,
        thread_count=4,
        stuck_count_max=stuck_count_max,
        grace_s=0.01,
        clock=time.monotonic,
    )
    yield retrieval
    retrieval.close()


def make_query(*, seconds: float = 20.0, excluded: tuple[int, ...] = ()) -> CandidateQuery:
    """Return a query that stops in so many seconds."""
    return CandidateQuery(
        query_rows=np.array([3], np.int32),
        weights=np.ones(1, np.float32),
        seed=0,
        segment=Segment(),
        stop=Stop.after(seconds, time.monotonic),
        excluded_rows=np.asarray(excluded, np.int32),
    )


def ask(
    retrieval: Retrieval, query: CandidateQuery | None = None, **limits: int
) -> dict[str, Outcome]:
    """Ask all sources unless some are named, and return the outcomes by source."""
    query = query or make_query()
    wanted: Mapping[str, int] = limits or dict.fromkeys(retrieval.sources, 0)
    screen = Screen(query.excluded_rows, PIN_COUNT, query.allowed)
    outcomes = retrieval.ask(query, wanted, screen)
    return {outcome.candidates.source: outcome for outcome in outcomes}


def test_every_source_answers_with_its_own_quota() -> None:
    """A quota of 0 is the source's own; the order is fixed; the generation is told."""
    with asking(enable(FakeSource("b")), enable(FakeSource("a"))) as retrieval:
        outcomes = ask(retrieval, b=0, a=7)

    assert list(outcomes) == ["b", "a"]
    assert [len(outcome.candidates) for outcome in outcomes.values()] == [5, 7]
    assert all(outcome.status == Status.OK for outcome in outcomes.values())
    assert outcomes["a"].generation == "thing=g1"


def test_only_the_named_sources_are_asked() -> None:
    """A source that the request does not name is not disturbed."""
    idle = FakeSource("idle")
    with asking(enable(FakeSource("busy")), enable(idle)) as retrieval:
        outcomes = ask(retrieval, busy=1)

    assert list(outcomes) == ["busy"]
    assert idle.asked == []


def test_late_source_is_left_out_and_named() -> None:
    """The others' answers do not wait for the slowest."""
    gate = Event()
    with asking(enable(FakeSource("slow", gate=gate)), enable(FakeSource("fast"))) as retrieval:
        outcomes = ask(retrieval, make_query(seconds=0.05))
        gate.set()

    assert outcomes["slow"].status == Status.LATE
    assert "deadline" in outcomes["slow"].reason
    assert len(outcomes["slow"].candidates) == 0
    assert outcomes["fast"].status == Status.OK


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (NotReady("thing is not built"), Status.NOT_READY, "thing is not built"),
        (Corrupted("thing is damaged"), Status.FAILED, "thing is damaged"),
        (ZeroDivisionError("secret detail"), Status.FAILED, "ZeroDivisionError"),
        (TimeoutError("of its own"), Status.FAILED, "TimeoutError"),
    ],
)
def test_broken_source_is_left_out_and_named(fault: Exception, status: Status, reason: str) -> None:
    """Whatever a source raises, the others answer, and no inner detail leaks."""
    with asking(
        enable(FakeSource("broken", fault=fault)), enable(FakeSource("whole"))
    ) as retrieval:
        outcomes = ask(retrieval)

    assert outcomes["broken"].status == status
    assert outcomes["broken"].reason == reason
    assert outcomes["whole"].status == Status.OK


def test_source_without_generation_is_not_asked() -> None:
    """A missing artifact is told by its reason."""

    def missing() -> dict[str, str]:
        raise NotReady("there is no thing yet")

    source = FakeSource()
    with asking(EnabledSource(source, 5, False, missing)) as retrieval:
        outcomes = ask(retrieval)

    assert outcomes["fake"].status == Status.NOT_READY
    assert outcomes["fake"].reason == "there is no thing yet"
    assert source.asked == []


def test_source_that_never_comes_back_is_not_asked_again_until_it_does() -> None:
    """A hanging source cannot take the threads of the others; once back it is asked again."""
    gate = Event()
    hanging = FakeSource("hanging", gate=gate)
    with asking(enable(hanging), enable(FakeSource("fine")), stuck_count_max=2) as retrieval:
        for _ in range(6):
            outcomes = ask(retrieval, make_query(seconds=0.02))
            assert outcomes["hanging"].status == Status.LATE
            assert outcomes["fine"].status == Status.OK
        assert len(hanging.asked) == 2
        assert "not come back" in outcomes["hanging"].reason

        gate.set()
        while ask(retrieval)["hanging"].status != Status.OK:
            pass  # its threads are on their way back; the test's time limit ends this


def test_excluded_rows_are_dropped_and_made_up_for() -> None:
    """A source that does not know exclusions is asked for more, so its quota is still filled."""
    plain, knowing = FakeSource("plain"), FakeSource("knowing")
    with asking(enable(plain), enable(knowing, leaves_out_excluded=True)) as retrieval:
        outcomes = ask(retrieval, make_query(excluded=(10, 12, 99)))

    assert outcomes["plain"].candidates.rows.tolist() == [11, 13, 14, 15, 16]
    assert (plain.asked, knowing.asked) == ([8], [5])
    assert outcomes["knowing"].candidates.rows.tolist() == [11, 13, 14]


def test_rows_the_catalogue_does_not_have_yet_are_dropped() -> None:
    """An artifact may be newer than the catalogue that the answer is told in."""
    with asking(enable(FakeSource())) as retrieval:
        (outcome,) = retrieval.ask(make_query(), {"fake": 5}, Screen(NO_ROWS, 13))

    assert outcome.candidates.rows.tolist() == [10, 11, 12]


def test_quick_sources_are_asked_in_the_callers_thread() -> None:
    """A prepared list is read on the spot, while the others work; its faults are named too."""
    threads: list[int] = []

    class Quick(FakeSource):
        def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
            threads.append(get_ident())
            return super().retrieve(query, limit)

    quick = EnabledSource(Quick("quick"), 5, True, dict, is_quick=True)
    broken = EnabledSource(Quick("broken", KeyError("x")), 5, True, dict, is_quick=True)
    with asking(quick, enable(FakeSource("slow")), broken) as retrieval:
        outcomes = ask(retrieval)

    assert threads == [get_ident()] * 2
    assert list(outcomes) == ["quick", "slow", "broken"]
    assert outcomes["quick"].status == outcomes["slow"].status == Status.OK
    assert outcomes["broken"].reason == "KeyError"


def test_outcomes_are_reported() -> None:
    """Each outcome reaches the metrics once."""
    seen: list[Outcome] = []
    retrieval = Retrieval(
        [enable(FakeSource())],
        thread_count=1,
        stuck_count_max=1,
        grace_s=0,
        clock=time.monotonic,
        on_outcome=seen.append,
    )

    outcomes = retrieval.ask(make_query(), {"fake": 0}, Screen(NO_ROWS, PIN_COUNT))
    retrieval.close()

    assert seen == outcomes


@dataclass
class PollingSource:
    """Works until its stop comes, and says when it gave its thread back."""

    name: str = "polling"
    artifacts: tuple[str, ...] = ("thing",)
    started: Event = field(default_factory=Event)
    returned: Event = field(default_factory=Event)

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:  # noqa: ARG002  a fake
        """Look at the stop every millisecond."""
        self.started.set()
        while not query.stop.expired():
            time.sleep(0.001)
        self.returned.set()
        return CandidateList.empty(self.name)


def test_caller_who_hangs_up_gets_the_threads_back() -> None:
    """A cancelled stop ends the walk at once, long before its deadline."""
    source = PollingSource()
    query = make_query(seconds=3600)
    with asking(EnabledSource(source, 5, True, lambda: {"thing": "g1"})) as retrieval:
        caller = Thread(target=ask, args=(retrieval, query), daemon=True)
        caller.start()
        assert source.started.wait(30)
        query.stop.cancel()
        assert source.returned.wait(30)
        caller.join(30)

    assert not caller.is_alive()
    assert retrieval.tally("polling").late_count == 1


def test_source_has_its_share_of_the_time() -> None:
    """One with a hundredth of an hour is late after it; the others have the whole hour."""
    slow, fine = PollingSource("slow"), FakeSource("fine")
    share = EnabledSource(slow, 5, True, lambda: {"thing": "g1"}, deadline_share=1e-5)
    with asking(share, enable(fine)) as retrieval:
        outcomes = ask(retrieval, make_query(seconds=3600))

    assert outcomes["slow"].status == Status.LATE
    assert outcomes["fine"].status == Status.OK


def test_pins_that_are_not_allowed_are_dropped() -> None:
    """Also where the source does not know the mask; rows beyond it are younger than the query."""
    allowed = np.ones(18, np.bool_)
    allowed[11] = False
    with asking(enable(FakeSource())) as retrieval:
        outcome = ask(retrieval, replace(make_query(), allowed=allowed), fake=20)["fake"]

    assert outcome.candidates.rows.tolist() == [10, 12, 13, 14, 15, 16, 17]


def test_caps_are_made_up_for() -> None:
    """With a cap twice as many are asked for, so that the quota is filled from further down."""
    source = FakeSource()
    cap = Cap(lambda rows: np.asarray(rows // 2, np.int64), 1)
    with asking(enable(source)) as retrieval:
        screen = Screen(NO_ROWS, PIN_COUNT, None, [cap])
        (outcome,) = retrieval.ask(make_query(), {"fake": 5}, screen)

    assert source.asked == [10]
    assert outcome.candidates.rows.tolist() == [10, 12, 14, 16, 18]


def test_wrong_answer_is_a_failure_of_its_source() -> None:
    """A negative row, or no list at all: named and left out; the others answer."""

    class Negative(FakeSource):
        def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:  # noqa: ARG002
            one = np.array([-1], np.int32)
            return CandidateList(self.name, one, one.astype(np.float32), one)

    class Nothing(FakeSource):
        def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:  # noqa: ARG002
            return None  # type: ignore[return-value]

    with asking(
        enable(Negative("negative")), enable(Nothing("nothing")), enable(FakeSource("fine"))
    ) as retrieval:
        outcomes = ask(retrieval)

    assert [outcome.status for outcome in outcomes.values()] == [
        Status.FAILED,
        Status.FAILED,
        Status.OK,
    ]


def test_tally_counts_each_end() -> None:
    """Answers, lateness and failures since the start, by source."""
    gate = Event()
    with asking(
        enable(FakeSource("fine")),
        enable(FakeSource("broken", fault=ZeroDivisionError())),
        enable(FakeSource("slow", gate=gate)),
    ) as retrieval:
        for _ in range(2):
            ask(retrieval, make_query(seconds=0.02))
        gate.set()

    counts = [retrieval.tally(name) for name in ("fine", "broken", "slow")]
    assert counts == [Tally(2, 0, 0), Tally(0, 0, 2), Tally(0, 2, 0)]
