"""Ask the candidate sources side by side under one deadline; the late and the broken are named.

Each question runs on a small pool of threads. A source that has not answered in time is left out of
the answer; its thread comes back when the source sees the stop that it was given, which is its
share of the request's time, and comes at once when the caller hangs up. A source whose threads do
not come back is not asked any more until they do, so that it cannot use up the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeoutError
from contextvars import copy_context
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import Lock

from candidate_service.candidate import CandidateList, CandidateQuery, CandidateSource, Stop
from candidate_service.selection import Screen, screened
from candidate_service.source_threads import SourceThreads
from service_runtime.errors import CorkboardError, NotReady
from service_runtime.telemetry import logger
from service_runtime.tracing import span

log = logger("retrieval")


class Status(StrEnum):
    """How one source fared."""

    OK = "ok"
    LATE = "late"
    FAILED = "failed"
    NOT_READY = "not_ready"


@dataclass(frozen=True, slots=True)
class EnabledSource:
    """A source that may be asked.

    Attributes:
        source: It.
        candidate_count: How many candidates it is asked for when the request does not say.
        leaves_out_excluded: Whether it drops the query's excluded rows itself; others are asked for
            more, so that enough is left when those are dropped.
        generations: The generation of each of its artifacts; raises NotReady when one is missing.
        is_quick: Whether it only reads a prepared list, which takes less time than handing the
            question to another thread; it is then asked in the caller's.
        deadline_share: Share of the request's time after which it is late, in (0, 1].
    """

    source: CandidateSource
    candidate_count: int
    leaves_out_excluded: bool
    generations: Callable[[], Mapping[str, str]]
    is_quick: bool = False
    deadline_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking one source.

    Attributes:
        status: How it fared; the list is empty unless OK.
        reason: Why it was left out; empty with OK.
        candidates: Its list, without excluded rows, cut to the quota.
        duration_us: From the start of asking to the answer, or to when it was given up.
        generation: What it answered from, `artifact=id` joined by commas.
    """

    status: Status
    reason: str
    candidates: CandidateList
    duration_us: int
    generation: str


@dataclass(slots=True)
class Tally:
    """How often a source ended in which way since the start."""

    answer_count: int = 0
    late_count: int = 0
    failure_count: int = 0

    def add(self, status: Status) -> None:
        """Count one end; not being ready is none."""
        self.answer_count += status == Status.OK
        self.late_count += status == Status.LATE
        self.failure_count += status == Status.FAILED


@dataclass(slots=True)
class _Asked:
    """A question on its way."""

    enabled: EnabledSource
    limit: int
    generation: str
    stop: Stop
    future: Future[tuple[CandidateList, float]]


class Retrieval:
    """The enabled sources and the threads that ask them; safe from any number of threads."""

    def __init__(
        self,
        sources: Sequence[EnabledSource],
        *,
        thread_count: int,
        stuck_count_max: int,
        grace_s: float,
        clock: Callable[[], float],
        on_outcome: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        """Start the threads.

        Args:
            sources: In the order of answers.
            thread_count: Most questions at work at once, >= 1.
            stuck_count_max: A source with so many late answers outstanding is not asked.
            grace_s: How long after a query's stop an answer is still taken.
            clock: Monotonic seconds, to tell how long a source took.
            on_outcome: Told each outcome, for metrics.
        """
        self.sources = {enabled.source.name: enabled for enabled in sources}
        self._threads = SourceThreads(thread_count)
        self._stuck_count_max = stuck_count_max
        self._grace_s = grace_s
        self._clock = clock
        self._on_outcome = on_outcome
        self._stuck = dict.fromkeys(self.sources, 0)
        self._tallies = {name: Tally() for name in self.sources}
        self._lock = Lock()

    def close(self) -> None:
        """Take no more questions; threads end when their source answers."""
        self._threads.close()

    def tally(self, name: str) -> Tally:
        """Return a source's counts so far."""
        with self._lock:
            return replace(self._tallies[name])

    def ask(
        self, query: CandidateQuery, limits: Mapping[str, int], screen: Screen
    ) -> list[Outcome]:
        """Ask the named sources.

        Args:
            query: What to find candidates for; its stop is the deadline.
            limits: Quota by source name; 0 = the source's own. All names are known.
            screen: What each list must pass; a source with caps is asked for twice as many.

        Returns:
            One outcome for each name, in the fixed order of the sources.
        """
        wanted = [enabled for name, enabled in self.sources.items() if name in limits]
        asked = {
            enabled.source.name: self._begin(enabled, query, limits[enabled.source.name], screen)
            for enabled in sorted(wanted, key=lambda enabled: enabled.is_quick)
        }
        outcomes = [
            one if isinstance(one, Outcome) else self._finish(one, screen)
            for one in (asked[enabled.source.name] for enabled in wanted)
        ]
        with self._lock:
            for outcome in outcomes:
                self._tallies[outcome.candidates.source].add(outcome.status)
        for outcome in outcomes:
            self._on_outcome(outcome)
        return outcomes

    def _begin(
        self, enabled: EnabledSource, query: CandidateQuery, limit: int, screen: Screen
    ) -> _Asked | Outcome:
        """Hand the question to a thread; a quick source is asked on the spot."""
        name = enabled.source.name
        limit = limit or enabled.candidate_count
        try:
            generations = enabled.generations()
        except NotReady as fault:
            return _left_out(name, Status.NOT_READY, fault.message)
        if self._stuck[name] >= self._stuck_count_max:
            return _left_out(name, Status.LATE, "earlier calls have not come back yet")
        wanted = 2 * limit if screen.caps else limit
        if not enabled.leaves_out_excluded:
            wanted += min(len(query.excluded_rows), limit)
        stop = query.stop
        if enabled.deadline_share < 1:
            stop = stop.share(enabled.deadline_share)
            query = replace(query, stop=stop)
        generation = ",".join(f"{artifact}={at}" for artifact, at in generations.items())
        future: Future[tuple[CandidateList, float]]
        if enabled.is_quick:
            future = self._answered(enabled.source, query, wanted)
        else:
            of_call = copy_context().run  # its log lines and spans are the call's, there too
            future = self._threads.submit(of_call, self._retrieve, enabled.source, query, wanted)
        return _Asked(enabled, limit, generation, stop, future)

    def _answered(
        self, source: CandidateSource, query: CandidateQuery, limit: int
    ) -> Future[tuple[CandidateList, float]]:
        future: Future[tuple[CandidateList, float]] = Future()
        try:
            future.set_result(self._retrieve(source, query, limit))
        except Exception as fault:  # noqa: BLE001  as of any source, told by _finish
            future.set_exception(fault)
        return future

    def _retrieve(
        self, source: CandidateSource, query: CandidateQuery, limit: int
    ) -> tuple[CandidateList, float]:
        started = self._clock()
        with span(f"source {source.name}") as told:
            found = source.retrieve(query, limit)
            if len(found) and int(found.rows.min()) < 0:
                raise ValueError(f"row {found.rows.min()} is none")
            told(candidate_count=len(found))
        return found, self._clock() - started

    def _finish(self, asked: _Asked, screen: Screen) -> Outcome:
        name = asked.enabled.source.name
        wait_s = asked.stop.remaining_seconds() + self._grace_s
        started = self._clock()
        try:
            found, seconds = asked.future.result(min(wait_s, 3600.0))
        except WaitTimeoutError:
            if not asked.future.done():
                return self._give_up(asked, self._clock() - started)
            return self._failed(name, TimeoutError("the source ran into a time limit of its own"))
        except NotReady as fault:
            return _left_out(name, Status.NOT_READY, fault.message)
        except Exception as fault:  # noqa: BLE001  whatever breaks one source, the others answer
            return self._failed(name, fault)
        if not len(found) and asked.stop.expired():
            return _left_out(name, Status.LATE, "was stopped before it found anything", seconds)
        kept = screened(found, screen, asked.limit)
        return Outcome(Status.OK, "", kept, round(seconds * 1e6), asked.generation)

    def _give_up(self, asked: _Asked, waited_s: float) -> Outcome:
        """Leave a late source out; count its thread as stuck until it comes back."""
        name = asked.enabled.source.name
        if asked.future.cancel():
            return _left_out(name, Status.LATE, "no thread was free in time", waited_s)
        with self._lock:
            self._stuck[name] += 1
        asked.future.add_done_callback(lambda _: self._come_back(name))
        log.warning("source.timed_out", source=name, waited_seconds=round(waited_s, 6))
        return _left_out(name, Status.LATE, "did not answer before the deadline", waited_s)

    def _come_back(self, name: str) -> None:
        with self._lock:
            self._stuck[name] -= 1

    def _failed(self, name: str, fault: Exception) -> Outcome:
        log.error("source.failed", source=name, exc_info=fault)
        shown = fault.message if isinstance(fault, CorkboardError) else type(fault).__name__
        return _left_out(name, Status.FAILED, shown)


def _left_out(name: str, status: Status, reason: str, seconds: float = 0.0) -> Outcome:
    return Outcome(status, reason, CandidateList.empty(name), round(seconds * 1e6), "")
