"""Random walks from several query pins: budgets, early stop, tallies (Pixie, algorithms 1 to 3)."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import kernels, list_kernels
from candidate_service.candidate import CandidateQuery, Segment, Stop
from candidate_service.graph import Groups, PinBoardGraph
from candidate_service.live_graph import agreed_count, live_edges
from candidate_service.live_lists import EMPTY_VIEW, View
from candidate_service.selection import is_allowed
from candidate_service.walk_budgets import effective_count, restart_chance, step_budgets

Bias = tuple[Groups, Groups, NDArray[np.int64]]

QUERY_PIN_COUNT_MAX: Final = 256
"""Of more query pins than this the heaviest are walked from."""

CHUNK_ROUNDS: Final = 1024
"""Rounds of all walkers between two looks at the stop: 65,536 steps, 1 to 4 ms."""

_CERTAIN: Final = 2**32
_NEVER: Final = 2**40


@dataclass(frozen=True, slots=True)
class PixieSettings:
    """How far and how to walk.

    Attributes:
        step_count: Steps of all query pins' walks together (N), at most 2,000,000.
        restart: Chance of going back to the query pin after a step (alpha), in (0, 1]; that is for
            one query pin, the more there are the shorter the walks (`restart_chance`).
        early_stop_pin_count: A query pin's walk ends when so many pins (n_p) …
        early_stop_visit_count: … were seen so often (n_v); 0 = never.
        bias: Chance that a hop keeps to neighbours of the viewer's language, in [0, 1].
        topic_bias: Chance that a hop that keeps to a language (any hop, where the graph does not
            know the viewer's) also keeps to the query pin's topic in it, in [0, 1].
        budgets_by_degree: Whether a query pin gets steps by its boards (Eq. 1), or by weight alone.
        popularity_exponent: A pin's visits are divided by a power of the number of its boards
            before the best are chosen: this exponent, in [0, 1], for many query pins, none for one.
        boost: Whether pins that several query pins lead to gain (Eq. 3).
        walker_count: Walkers that move in step (K); part of what a seed means.
    """

    step_count: int = 100_000
    restart: float = 0.5
    early_stop_pin_count: int = 1000
    early_stop_visit_count: int = 4
    bias: float = 0.9
    topic_bias: float = 0.0
    budgets_by_degree: bool = True
    popularity_exponent: float = 0.4
    boost: bool = False
    walker_count: int = kernels.WALKER_COUNT


@dataclass(frozen=True, slots=True)
class Visits:
    """Pins that walks arrived at, or boards that they passed, in the order of the first time.

    Attributes:
        rows: int32[n], distinct; query pins may be among them.
        scores: Visits, or boosted visits (Eq. 3), float64[n], > 0.
        query_indexes: The query pin that contributed most visits, int32[n].
        step_count: Steps taken by all walks.
        query_pin_count: From how many query pins, as equally weighted ones, >= 1.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float64]
    query_indexes: NDArray[np.int32]
    step_count: int
    query_pin_count: float = 1.0


class WalkScratch:
    """What one walking thread writes to; sized by the step budget, not by the graph."""

    def __init__(self, node_count: int, settings: PixieSettings) -> None:
        """Allocate about 50 bytes a step, less on a graph with fewer pins and boards than steps."""
        lane_count = settings.walker_count
        total = settings.step_count + (QUERY_PIN_COUNT_MAX + 1) * lane_count
        distinct = min(total, node_count + lane_count)
        self.node_count_max = sys.maxsize if distinct == total else node_count
        self.table = np.zeros(1 << (2 * distinct - 1).bit_length(), np.uint64)
        self.touched = np.empty(distinct, np.uint64)
        self.lanes = (
            np.empty(lane_count, np.uint64),
            np.empty(lane_count, np.uint32),
            np.empty(lane_count, np.uint32),
            np.empty(lane_count, np.uint32),
        )
        self.tally = np.zeros(2, np.int64)
        self.united = (
            np.empty(distinct, np.int32),
            np.empty(distinct, np.float64),
            np.empty(distinct, np.uint32),
            np.empty(distinct, np.int32),
        )
        self._epoch = 0

    def next_epoch(self) -> int:
        """Return an epoch that no entry of the table has; clears the table when they run out.

        An epoch used twice without clearing would fill the table with entries that look alive.
        """
        if self._epoch == kernels.EPOCH_MAX:
            self.table.fill(0)
            self._epoch = 0
        self._epoch += 1
        return self._epoch


class Walker:
    """Walks on one graph and what has changed since; safe from any number of threads."""

    def __init__(self, graph: PinBoardGraph, settings: PixieSettings) -> None:
        """Remember both; scratch is made when a thread first walks and used again by the next.

        Raises:
            ValueError: The step budget does not fit the counters.
        """
        total = settings.step_count + (QUERY_PIN_COUNT_MAX + 1) * settings.walker_count
        if not 1 <= settings.step_count <= total <= kernels.COUNT_MAX:
            raise ValueError(f"step_count must be in 1..2,000,000, not {settings.step_count}")
        self.graph = graph
        self.settings = settings
        self._no_groups = _no_groups(graph)
        degrees = np.maximum(np.diff(graph.pin_edges[0]), 1).astype(np.float32)
        self._log_degrees = np.log(degrees) if settings.popularity_exponent else None
        self._idle: deque[WalkScratch] = deque()

    def visits(self, query: CandidateQuery, *, counts_boards: bool = False) -> Visits:
        """Walk from each query pin that is on a board, and count.

        When the stop comes first, what was counted until then is returned. The order of the query
        pins makes no difference to the counts: each has a stream of chance of its own.

        Args:
            query: What to start from.
            counts_boards: Count the boards passed instead of the pins arrived at, on walks of the
                same course (an early stop looks at what is counted).
        """
        live = live_edges(query.live, self.graph)
        degrees = (live or self.graph).degrees(query.query_rows)
        if (agreed := agreed_count(query.live, self.graph.pin_count)) < self.graph.pin_count:
            degrees = np.where(query.query_rows < agreed, degrees, 0)
        usable = np.flatnonzero(degrees > 0)
        if len(usable) > QUERY_PIN_COUNT_MAX:
            heaviest = np.argsort(-query.weights[usable], kind="stable")
            usable = np.sort(usable[heaviest[:QUERY_PIN_COUNT_MAX]])
        if not len(usable):
            nothing = np.empty(0, np.int32)
            return Visits(nothing, np.empty(0, np.float64), nothing, 0)
        by_degree = self.settings.budgets_by_degree
        budgets = step_budgets(
            degrees[usable] if by_degree else np.ones(len(usable), np.int64),
            query.weights[usable],
            degree_max=max(self.graph.degree_max, int(degrees.max())),
            step_count=self.settings.step_count,
        )
        rounds = np.maximum(1, np.rint(budgets / self.settings.walker_count)).astype(np.int64)
        view = live.view if live else None
        pin_count = effective_count(query.weights[usable])
        restart = np.uint64(restart_chance(self.settings.restart, pin_count) * _CERTAIN)
        scratch = self._take_scratch(live.node_count if live else self.graph.node_count)
        epoch, count, step_count = scratch.next_epoch(), 0, 0
        try:
            for query_index, round_count in zip(usable.tolist(), rounds.tolist(), strict=True):
                row = int(query.query_rows[query_index])
                course = _Course(
                    row,
                    self._bias(
                        (live or self.graph).label_of(row),
                        query,
                        is_needed=live is not None or counts_boards,
                    ),
                    view,
                    restart,
                    epoch,
                    1 if counts_boards else None,
                )
                done = self._walk(query, course, round_count, scratch)
                step_count += done * self.settings.walker_count
                count = list_kernels.unite_visits(
                    scratch.table,
                    scratch.touched,
                    scratch.tally[0],
                    int(self.settings.boost),
                    query_index,
                    count,
                    scratch.united,
                )
            rows, scores, _, query_indexes = scratch.united
            found = scores[:count] ** 2 if self.settings.boost else scores[:count].copy()
            return Visits(
                rows[:count].copy(), found, query_indexes[:count].copy(), step_count, pin_count
            )
        finally:
            self._idle.append(scratch)

    def discounted(self, visits: Visits) -> NDArray[np.float64]:
        """Return each pin's share of all steps, divided by a power of its boards; float64[n].

        With one query pin little is known but that popular pins are popular, so nothing is divided;
        with q the exponent is (1 - 1/q) of the whole. A pin that is younger than the graph counts
        as one on a single board.

        Source: Christoffel et al. 2015 (RP3beta); that it grows with q is ours (README.md).
        """
        shares = visits.scores / max(1, visits.step_count)
        exponent = self.settings.popularity_exponent * (1.0 - 1.0 / visits.query_pin_count)
        if self._log_degrees is not None and len(self._log_degrees) and exponent > 1e-6:
            at = np.minimum(visits.rows, len(self._log_degrees) - 1)
            discounts = np.exp(np.float32(-exponent) * self._log_degrees[at])
            shares *= np.where(visits.rows < len(self._log_degrees), discounts, 1.0)
        return np.asarray(shares)

    def proposable(
        self, query: CandidateQuery, rows: NDArray[np.int32]
    ) -> NDArray[np.int64] | None:
        """Return the positions of the rows that may be proposed; None for all.

        A graph younger than the catalogue has rows that are other, live pins there: they are left
        out, as are those that the query does not allow.
        """
        agreed = agreed_count(query.live, self.graph.pin_count)
        if agreed == self.graph.pin_count and query.allowed is None:
            return None
        is_wanted = is_allowed(rows, query.allowed)
        if agreed < self.graph.pin_count:
            is_wanted &= rows < agreed
        return np.flatnonzero(is_wanted)

    def compile(self) -> None:
        """Compile the walk with and without a bias and live changes, so that no caller waits.

        Cost: a quarter of a second if it was done on this machine before, else some ten seconds.
        """
        scratch = WalkScratch(1, self.settings)
        query = CandidateQuery(
            np.empty(0, np.int32), np.empty(0, np.float32), 0, Segment(), Stop.never()
        )
        groups = (self._no_groups, self._no_groups, np.zeros(6, np.int64))
        for bias, view, counted in (
            (None, None, None),
            (groups, None, None),
            (groups, EMPTY_VIEW, None),
            (groups, None, 1),
            (groups, EMPTY_VIEW, 1),
        ):
            self._step(query, _Course(0, bias, view, np.uint64(0), 1, counted), (1, 1), scratch)

    def _take_scratch(self, node_count: int) -> WalkScratch:
        try:
            scratch = self._idle.pop()
        except IndexError:
            return WalkScratch(node_count, self.settings)
        is_enough = scratch.node_count_max >= node_count
        return scratch if is_enough else WalkScratch(node_count, self.settings)

    def _bias(self, label: int, query: CandidateQuery, *, is_needed: bool) -> Bias | None:
        """Return what a walk from a pin of that label prefers; None for nothing.

        Where it is needed there is always one, if only without a chance: fewer kernels.
        """
        graph, chances = self.graph, np.zeros(6, np.int64)
        if graph.pin_groups is not None and graph.board_groups is not None:
            chances[2:] = graph.label_ranges(query.segment.language, label)
            knows_language = chances[5] > chances[4]
            share = 1.0 if query.is_local_only else self.settings.bias
            if chances[3] > chances[2]:
                keeping = share if knows_language else 1.0
                chances[0] = int(keeping * self.settings.topic_bias * _CERTAIN)
            if knows_language:
                chances[1] = int(share * _CERTAIN)
            if chances[:2].any():
                return graph.pin_groups, graph.board_groups, chances
        return (self._no_groups, self._no_groups, chances) if is_needed else None

    def _walk(
        self, query: CandidateQuery, course: _Course, round_count: int, scratch: WalkScratch
    ) -> int:
        """Walk from one query pin in chunks; return the rounds done."""
        scratch.tally[:] = 0
        done = 0
        while done < round_count and not query.stop.expired():
            wanted = min(done + CHUNK_ROUNDS, round_count)
            reached = self._step(query, course, (done, wanted), scratch)
            assert reached >= 0, "a fresh epoch leaves room in the table"
            done = reached
            if done < wanted:
                break
        return done

    def _step(
        self,
        query: CandidateQuery,
        course: _Course,
        rounds: tuple[int, int],
        scratch: WalkScratch,
    ) -> int:
        often = self.settings.early_stop_visit_count
        return int(
            kernels.walk(
                self.graph.pin_edges,
                self.graph.board_edges,
                course.bias,
                course.view,
                course.counts_boards,
                course.restart,
                course.row,
                np.uint64(query.seed),
                rounds,
                (often, self.settings.early_stop_pin_count if often else _NEVER),
                course.epoch,
                scratch.table,
                scratch.touched,
                scratch.lanes,
                scratch.tally,
            )
        )


@dataclass(frozen=True, slots=True)
class _Course:
    """From where and over what one query pin's walk goes."""

    row: int
    bias: Bias | None
    view: View | None
    restart: np.uint64
    epoch: int
    counts_boards: int | None


def _no_groups(graph: PinBoardGraph) -> Groups:
    """Return groups of the same types as the graph's, for kernels that do not look into them."""
    dtype = graph.pin_edges[0].dtype
    groups = (np.zeros(1, dtype), np.zeros(1, np.int32), np.zeros(1, dtype))
    for array in groups:
        array.setflags(write=False)
    return groups


def first_best(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the positions of the highest scores, best first, among equals the first; int64[k].

    Cost: O(n + k log k): a walk's tally has a hundred times more pins than are asked for.
    """
    if count <= 0 or not len(scores):
        return np.empty(0, np.int64)
    spread = list_kernels.SHORTLIST_RANGE / max(float(scores.max()), 1e-300)
    near = list_kernels.shortlist(scores, count, spread)
    chosen = near[np.argsort(-scores[near], kind="stable")[:count]]
    return np.asarray(chosen)
