"""Pins near the query pins in vector space (PinnerSage: neighbours of sampled medoids)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import vector_index
from candidate_service.candidate import (
    CandidateList,
    CandidateQuery,
    QueryMerge,
    SourceFigures,
)
from candidate_service.graph_access import walker_of
from candidate_service.live_vectors import LiveVectors, PinsOfBoard, VectorRows, merged, no_boards
from candidate_service.neighbours import NeighbourCache, Neighbours, cached
from candidate_service.recall_meter import RecallMeter
from candidate_service.selection import best_of, is_allowed, is_in
from candidate_service.source_registry import SourceContext, SourcePlugin
from candidate_service.vector_index import open_index
from candidate_service.vector_recall import recall_against
from candidate_service.walk import Walker
from service_runtime.errors import NotReady

NAME: Final = "ann"
COUNT_STEP: Final = 64
"""Searches ask for a multiple of this, so that nearly equal questions share a cached answer."""
SPARE_COUNT: Final = 32
"""How many neighbours are first asked for beyond those wanted, where some pins are unwanted."""
SEARCHED_AT_ONCE: Final = 8
"""Query pins that are searched before the stop is looked at again."""


class AnnSource:
    """Nearest neighbours of each query pin by cosine, its share of the limit for each of them.

    Source: Pal et al. 2020, section 4: floor(400 / e) neighbours of each of e = 3 medoids.
    """

    name = NAME
    artifacts = (vector_index.ARTIFACT,)

    def __init__(
        self,
        neighbours: Callable[[], NeighbourCache],
        *,
        pins_of_board: PinsOfBoard = no_boards,
        meter: RecallMeter | None = None,
    ) -> None:
        """Remember how to get at what serves now.

        Args:
            neighbours: Gives the neighbours, or raises NotReady.
            pins_of_board: Gives the rows of a board, for pins that are too young for the index.
            meter: Samples the recall; None = nobody does.
        """
        self._neighbours = neighbours
        self._pins_of_board = pins_of_board
        self._meter = meter or RecallMeter(0)

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return the nearest pins; the score is the cosine to the query pin behind it.

        Query pins without a vector are passed over and their share goes to the others. In turns
        (round robin) each query pin has a share by its weight, floor(limit / e) where the weights
        are equal; places that are left because several query pins found the same pins are dealt out
        in turns. By score, all query pins compete for the whole list. Rows that must not be
        proposed are left out before a share is cut.
        """
        neighbours = self._neighbours()
        live = query.live.part(LiveVectors).vectors(neighbours.index, self._pins_of_board)
        search = _Search(neighbours, live, query)
        if not len(search.queried) or limit <= 0 or query.stop.expired():
            return CandidateList.empty(NAME)
        shares = _shares(query, search.queried, limit)
        answers = search.nearest(shares)
        if self._meter.wants_next():
            self._meter.offer(search.recall_check(answers[0], shares[0]))
        rows = np.concatenate([near for near, _ in answers])
        cosines = np.concatenate([cosines for _, cosines in answers])
        owners = np.repeat(search.queried, [len(near) for near, _ in answers])
        if query.merge is QueryMerge.ROUND_ROBIN and len(answers) > 1:
            kept = _dealt(rows, [len(near) for near, _ in answers], shares, limit)
            rows, cosines, owners = rows[kept], cosines[kept], owners[kept]
        elif query.merge is QueryMerge.ROUND_ROBIN:
            limit = min(limit, shares[0])
        return best_of(NAME, rows, cosines, owners, limit)

    def figures(self) -> SourceFigures:
        """Return how many pins it finds, how often from memory, and how surely."""
        neighbours = self._neighbours()
        return SourceFigures(
            neighbours.index.found_count, neighbours.hit_ratio, self._meter.recall()
        )


def _shares(query: CandidateQuery, queried: NDArray[np.int32], limit: int) -> list[int]:
    """Return how many neighbours of each query pin may be proposed, each >= 1."""
    if query.merge is QueryMerge.BEST_SCORE:
        return [limit] * len(queried)
    weights = query.weights[queried].astype(np.float64)
    shares = np.floor(limit * weights / weights.sum() + 1e-9)
    return [max(1, int(share)) for share in shares.tolist()]


def _dealt(
    rows: NDArray[np.int32], lengths: list[int], shares: list[int], limit: int
) -> NDArray[np.bool_]:
    """Choose pins in turns: each query pin's share, then what fills the places left by repeats.

    Args:
        rows: The query pins' lists one after another, best first, int32[n].
        lengths: Of each list.
        shares: Of each query pin; the j-th pin of a list has its turn at (j + 1) / share.
        limit: How many pins are wanted.

    Returns:
        Which entries name a chosen pin, bool[n]; a pin may be named by several.
    """
    ranks = np.concatenate([np.arange(length) for length in lengths])
    turns = (ranks + 1) / np.repeat(shares, lengths)
    order = np.argsort(turns, kind="stable")
    _, first = np.unique(rows[order], return_index=True)
    chosen = rows[order][np.sort(first)[: min(limit, sum(shares))]]
    return is_in(rows, np.sort(chosen))


class _Search:
    """One query's searches, in the index and among the pins that are younger."""

    def __init__(
        self, neighbours: NeighbourCache, live: VectorRows | None, query: CandidateQuery
    ) -> None:
        self._neighbours = neighbours
        self._live = live
        self._query = query
        self._moved = np.empty(0, np.int32) if live is None else live.sorted_rows()
        index, rows = neighbours.index, query.query_rows
        is_young = is_in(rows, self._moved)
        known = index.has_vector(rows) | is_young
        self.queried = np.flatnonzero(known).astype(np.int32)
        self._is_young = is_young[self.queried]

    def nearest(self, shares: list[int]) -> list[Neighbours]:
        """Return for each queried pin its nearest that may be proposed, its share and some more.

        Most unwanted pins are far away, so a few more than wanted are asked for, and once more, up
        to twice as many as wanted, only for query pins that came out short. When the stop comes,
        those that were not reached have none.
        """
        nobody = np.empty(0, np.int32), np.empty(0, np.float32)
        found: list[Neighbours] = [nobody] * len(shares)
        short = range(len(shares))
        asked = [0] * len(shares)
        for is_second in (False, True):
            counts = [_count(self._query, shares[at], is_second=is_second) for at in short]
            wanted = [(at, n) for at, n in zip(short, counts, strict=True) if n != asked[at]]
            for start in range(0, len(wanted), SEARCHED_AT_ONCE):
                if start and self._query.stop.expired():
                    break
                for at, answer in self._ask(wanted[start : start + SEARCHED_AT_ONCE]):
                    found[at] = self._proposable(answer)
            asked = [dict(wanted).get(at, asked[at]) for at in range(len(shares))]
            short = [at for at in short if len(found[at][0]) < shares[at]]  # type: ignore[assignment]
        return self._with_live(found, shares)

    def _ask(self, wanted: list[tuple[int, int]]) -> list[tuple[int, Neighbours]]:
        """Ask for so many neighbours of each: equal numbers at once, old pins from memory."""
        answers: list[tuple[int, Neighbours]] = []
        shared = self._query.shared
        for count in {count for _, count in wanted}:
            ats = np.array([at for at, one in wanted if one == count], np.int32)
            old, young = ats[~self._is_young[ats]], ats[self._is_young[ats]]
            rows = self._query.query_rows[self.queried[old]]
            answers += zip(old.tolist(), self._neighbours.nearest(rows, count, shared), strict=True)
            if len(young):
                found = self._neighbours.search(self._vectors(young), count, shared)
                answers += zip(young.tolist(), found, strict=True)
        return answers

    def _vectors(self, ats: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the vectors of queried pins, float32[n, d]."""
        rows = self._query.query_rows[self.queried[ats]].tolist()
        index, live = self._neighbours.index, self._live
        vectors = [
            index.vectors[row] if live is None or (own := live.get(row)) is None else own
            for row in rows
        ]
        return np.ascontiguousarray(vectors, np.float32)

    def _proposable(self, answer: Neighbours) -> Neighbours:
        near, cosines = answer
        dropped = is_in(near, self._query.unwanted_rows) | is_in(near, self._moved)
        base_count = self._query.live.base_count
        if 0 < base_count < len(self._neighbours.index.vectors):
            dropped |= near >= base_count  # an index younger than the catalogue: other pins there
        kept = np.flatnonzero(~dropped & is_allowed(near, self._query.allowed))
        return near[kept], cosines[kept]

    def _with_live(self, found: list[Neighbours], shares: list[int]) -> list[Neighbours]:
        """Add the pins that are younger than the index."""
        if self._live is None or not len(self._live):
            return found
        queries = self._vectors(np.arange(len(found), dtype=np.int32))
        count = max(shares) + min(SPARE_COUNT, len(self._query.unwanted_rows))
        young = self._live.nearest(queries, count, self._query.allowed)
        for at, (near, cosines) in enumerate(young):
            kept = np.flatnonzero(~is_in(near, self._query.unwanted_rows))
            count = max(len(found[at][0]), shares[at])
            found[at] = merged([found[at], (near[kept], cosines[kept])], count)
        return found

    def recall_check(self, found: Neighbours, depth: int) -> Callable[[], float]:
        """Return what asks exactly for the first queried pin's neighbours, and compares.

        Args:
            found: What was found for it.
            depth: How many were wanted.
        """
        index, query = self._neighbours.index, self._query
        vector, cosines = self._vectors(np.zeros(1, np.int32)), found[1][:depth]

        def check() -> float:
            everything = np.ones(len(index.vectors), np.bool_)
            mask = index.findable(everything if query.allowed is None else query.allowed)
            for rows in (query.unwanted_rows, self._moved):
                mask[rows[rows < len(mask)]] = False
            truth = index.nearest_among(vector, np.flatnonzero(mask).astype(np.int32), depth)[0]
            parts = [truth]
            if self._live is not None:
                near, near_cosines = self._live.nearest(vector, len(self._live), query.allowed)[0]
                kept = np.flatnonzero(~is_in(near, query.unwanted_rows))
                parts.append((near[kept], near_cosines[kept]))
            return recall_against(cosines, merged(parts, depth)[1])

        return check


def _count(query: CandidateQuery, share: int, *, is_second: bool) -> int:
    """Return how many neighbours to ask for so that enough are left, in steps."""
    unwanted = len(query.unwanted_rows)
    if query.allowed is not None:
        unwanted += share  # nobody knows how many of the nearest are hidden
    spare = min(unwanted, share if is_second else SPARE_COUNT)
    count = share + spare
    return count + -count % COUNT_STEP


def _make(context: SourceContext) -> AnnSource:
    config = context.config

    index = context.artifacts.add(vector_index.ARTIFACT, vector_index.FORMAT_VERSIONS, open_index)
    lists = context.metrics.counter(
        "neighbour_lists", "Neighbour lists answered from memory and from the index.", ["origin"]
    )
    remembered, searched = lists.labels("memory"), lists.labels("index")

    def count(hits: int, misses: int) -> None:
        remembered.inc(hits)
        searched.inc(misses)

    neighbours = cached(index, config.ann_cached_answer_count, count)
    sampled = context.metrics.histogram(
        "ann_sampled_recall",
        "Share of the true nearest pins found, sampled under the filters in use.",
        buckets=(0.5, 0.7, 0.8, 0.9, 0.925, 0.95, 0.975, 0.99, 1.0),
    )
    meter = RecallMeter(config.ann_recall_sample_every, on_sample=sampled.observe)
    walker = walker_of(context.artifacts, config)
    return AnnSource(neighbours, pins_of_board=_board_reader(walker), meter=meter)


def _board_reader(walker: Callable[[], Walker]) -> PinsOfBoard:
    def pins_of_board(board_id: str) -> NDArray[np.int32]:
        try:
            opened = walker().graph
        except NotReady:
            return np.empty(0, np.int32)
        row = -1 if opened.board_ids is None else int(opened.board_ids.rows([board_id])[0])
        if row < 0:
            return np.empty(0, np.int32)
        offsets, pins = opened.board_edges
        return np.asarray(pins[offsets[row] : offsets[row + 1]])

    return pins_of_board


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=400, live_part=lambda _: LiveVectors())
"""floor(400 / e) for each of e medoids (PinnerSage)."""
