"""Random walks from several query pins: budgets, early stop, tallies (Pixie, algorithms 1 to 3)."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import kernels
from candidate_service.candidate import CandidateQuery
from candidate_service.graph import PinBoardGraph

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
        restart: Chance of going back to the query pin after a step (alpha), in (0, 1].
        early_stop_pin_count: A query pin's walk ends when so many pins (n_p) …
        early_stop_visit_count: … were seen so often (n_v); 0 = never.
        bias: Chance that a hop keeps to neighbours of the viewer's language, in [0, 1].
        boost: Whether pins that several query pins lead to gain (Eq. 3).
        walker_count: Walkers that move in step (K); part of what a seed means.
    """

    step_count: int = 100_000
    restart: float = 0.5
    early_stop_pin_count: int = 1000
    early_stop_visit_count: int = 4
    bias: float = 0.9
    boost: bool = False
    walker_count: int = kernels.WALKER_COUNT


@dataclass(frozen=True, slots=True)
class Visits:
    """Pins that walks arrived at, in the order of first arrival.

    Attributes:
        rows: int32[n], distinct; query pins may be among them.
        scores: Visits, or boosted visits (Eq. 3), float64[n], > 0.
        query_indexes: The query pin that contributed most visits, int32[n].
        step_count: Steps taken by all walks.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float64]
    query_indexes: NDArray[np.int32]
    step_count: int


class WalkScratch:
    """What one walking thread writes to; sized by the step budget, not by the graph."""

    def __init__(self, pin_count: int, settings: PixieSettings) -> None:
        """Allocate about 50 bytes a step, less on a graph with fewer pins than steps."""
        lane_count = settings.walker_count
        total = settings.step_count + (QUERY_PIN_COUNT_MAX + 1) * lane_count
        distinct = min(total, pin_count + lane_count)
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


def step_budgets(
    degrees: NDArray[np.int64],
    weights: NDArray[np.float32],
    *,
    degree_max: int,
    step_count: int,
) -> NDArray[np.float64]:
    """Share the steps among the query pins.

    Args:
        degrees: Boards of each query pin, each in [1, degree_max].
        weights: > 0.
        degree_max: Boards of the pin that is on most of all.
        step_count: To share (N).

    Returns:
        float64[q] that sums to N.

    Source: Eksombatchai et al. 2018, Eq. 1 and 2, with two corrections: C = 1 + ln(degree_max), as
    the printed C gives rare pins next to nothing and ln(degree_max) gives the largest hub nothing;
    and division by the weighted sum, so that N is the budget whatever the weights are.
    """
    scale = degrees * (1.0 + math.log(max(1, degree_max)) - np.log(degrees))  # Eq. 1
    shares: NDArray[np.float64] = weights.astype(np.float64) * scale
    shares *= step_count / shares.sum()  # Eq. 2
    return shares


class Walker:
    """Walks on one graph; safe from any number of threads."""

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
        self._bias = np.uint64(settings.bias * _CERTAIN)
        self._restart = np.uint64(settings.restart * _CERTAIN)
        self._idle: deque[WalkScratch] = deque()

    def visits(self, query: CandidateQuery) -> Visits:
        """Walk from each query pin that is on a board, and count.

        When the stop comes first, what was counted until then is returned. The order of the query
        pins makes no difference to the counts: each has a stream of chance of its own.
        """
        degrees = self.graph.degrees(query.query_rows)
        usable = np.flatnonzero(degrees > 0)
        if len(usable) > QUERY_PIN_COUNT_MAX:
            heaviest = np.argsort(-query.weights[usable], kind="stable")
            usable = np.sort(usable[heaviest[:QUERY_PIN_COUNT_MAX]])
        if not len(usable):
            nothing = np.empty(0, np.int32)
            return Visits(nothing, np.empty(0, np.float64), nothing, 0)
        budgets = step_budgets(
            degrees[usable],
            query.weights[usable],
            degree_max=self.graph.degree_max,
            step_count=self.settings.step_count,
        )
        rounds = np.maximum(1, np.rint(budgets / self.settings.walker_count)).astype(np.int64)
        try:
            scratch = self._idle.pop()
        except IndexError:
            scratch = WalkScratch(self.graph.pin_count, self.settings)
        try:
            return self._visits(query, usable, rounds, scratch)
        finally:
            self._idle.append(scratch)

    def _visits(
        self,
        query: CandidateQuery,
        usable: NDArray[np.int64],
        rounds: NDArray[np.int64],
        scratch: WalkScratch,
    ) -> Visits:
        epoch, count, step_count = scratch.next_epoch(), 0, 0
        for i, query_index in enumerate(usable.tolist()):
            row = int(query.query_rows[query_index])
            done = self._walk(query, row, int(rounds[i]), epoch, scratch)
            step_count += done * self.settings.walker_count
            count = kernels.unite_visits(
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
        return Visits(rows[:count].copy(), found, query_indexes[:count].copy(), step_count)

    def _walk(
        self, query: CandidateQuery, row: int, round_count: int, epoch: int, scratch: WalkScratch
    ) -> int:
        """Walk from one query pin in chunks; return the rounds done."""
        graph, settings = self.graph, self.settings
        language = graph.languages.get(query.segment.language) if settings.bias > 0 else None
        is_biased = language is not None
        often = settings.early_stop_visit_count
        enough = settings.early_stop_pin_count if often else _NEVER
        scratch.tally[:] = 0
        done = 0
        while done < round_count and not query.stop.expired():
            wanted = min(done + CHUNK_ROUNDS, round_count)
            reached = kernels.walk(
                graph.pin_edges,
                graph.board_edges,
                graph.pin_groups if is_biased else None,
                graph.board_groups if is_biased else None,
                language,
                self._bias,
                self._restart,
                row,
                np.uint64(query.seed),
                (done, wanted),
                (often, enough),
                epoch,
                scratch.table,
                scratch.touched,
                scratch.lanes,
                scratch.tally,
            )
            assert reached >= 0, "a fresh epoch leaves room in the table"
            done = reached
            if done < wanted:
                break
        return done


def first_best(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the positions of the highest scores, best first, among equals the first; int64[k].

    Cost: O(n + k log k): a walk's tally has a hundred times more pins than are asked for.
    """
    if count <= 0:
        return np.empty(0, np.int64)
    near = kernels.shortlist(scores, count)
    chosen = near[np.argsort(-scores[near], kind="stable")[:count]]
    return np.asarray(chosen)
