"""Pins by their pictures: what goes with a near-duplicate of the query pin, else look-alikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import content_vectors, cooccurrence, duplicates
from candidate_service.candidate import CandidateList, CandidateQuery, QueryMerge, SourceFigures
from candidate_service.content_vectors import LiveVectorsOf, nearest_to, or_none, vector_of
from candidate_service.cooccurrence import NeighbourLists
from candidate_service.duplicates import Duplicates, open_duplicates
from candidate_service.hamming import HammingIndex, LiveHashes, open_hashes
from candidate_service.live.segment import LiveChanges
from candidate_service.selection import best_of, is_allowed, is_in
from candidate_service.source_registry import SourceContext, SourcePlugin
from candidate_service.vector_index import VectorIndex, open_index
from service_runtime.generations import Generation

NAME: Final = "visual"
TWIN_COUNT_MAX: Final = 20
"""Near-duplicates whose lists are borrowed, those with the lowest rows or nearest hashes."""
BORROWED_SCORE: Final = 1.0
"""Added to borrowed scores: what people did with the same picture beats what merely looks alike."""

Found = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Pictures:
    """One generation's groups of near-duplicates and the hashes that they were made of."""

    duplicates: Duplicates
    hashes: HammingIndex
    _members: NDArray[np.int32] = field(init=False)
    _groups: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        """Put the members of each group side by side."""
        groups = np.asarray(self.duplicates.groups)
        members = np.flatnonzero(groups).astype(np.int32)
        order = np.lexsort((members, groups[members]))
        object.__setattr__(self, "_members", members[order])
        object.__setattr__(self, "_groups", groups[members[order]])

    def members(self, group: int) -> NDArray[np.int32]:
        """Return the rows of a group, int32[m], ascending."""
        low, high = np.searchsorted(self._groups, (group, group + 1))
        return self._members[low:high]


def open_pictures(generation: Generation) -> Pictures:
    """Open a generation of `duplicates`.

    Raises:
        Corrupted: Its arrays do not fit each other.
    """
    return Pictures(open_duplicates(generation), open_hashes(generation))


class LivePictures:
    """Hashes and vectors of pictures that were added or changed; a live part."""

    def __init__(self) -> None:
        """Start empty."""
        self.hashes = LiveHashes()
        self.vectors = LiveVectorsOf(lambda pin: pin.visual_vector)

    def apply(self, changes: LiveChanges) -> None:
        """Take changed pins in."""
        self.hashes.apply(changes)
        self.vectors.apply(changes)


class VisualSource:
    """Related pins of the query pin's near-duplicates, else nearest neighbours of its picture.

    Source: Liu et al. 2017, section 3 (visually similar candidates): a pin without a history of its
    own borrows that of another pin with the same picture.
    """

    name = NAME
    artifacts = (duplicates.ARTIFACT,)

    def __init__(
        self,
        pictures: Callable[[], Pictures],
        related: Callable[[], NeighbourLists],
        vectors: Callable[[], VectorIndex],
        *,
        distance_max: int,
    ) -> None:
        """Remember how to get at what serves now; *related* and *vectors* may be NotReady."""
        self._pictures = pictures
        self._related = related
        self._vectors = vectors
        self._distance_max = distance_max

    def figures(self) -> SourceFigures:
        """Return how many pictures it knows."""
        vectors = or_none(self._vectors)
        seen = 0 if vectors is None else int(vectors.vectors.any(axis=1).sum())
        return SourceFigures(pin_count=max(len(self._pictures().hashes), seen))

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return for each query pin its twins' related pins or its look-alikes, in equal parts.

        The score is 1 plus the borrowed one, in (1, 2], or the cosine of the pictures' vectors, at
        most 1. Near-duplicates of a query pin are not proposed: they show what is already there.
        """
        pictures, live = self._pictures(), query.live.part(LivePictures)
        if limit <= 0 or not len(query.query_rows):
            return CandidateList.empty(NAME)
        is_in_turns = query.merge is QueryMerge.ROUND_ROBIN
        share = max(1, limit // len(query.query_rows)) if is_in_turns else limit
        parts: list[tuple[int, Found]] = []
        for at, row in enumerate(query.query_rows.tolist()):
            if query.stop.expired():
                break
            twins = self._twins(row, pictures, live.hashes)
            found = self._borrowed(twins, query, share)
            if not len(found[0]):
                found = self._look_alikes(row, twins, query, live.vectors, share)
            parts.append((at, found))
        if not parts:
            return CandidateList.empty(NAME)
        return best_of(
            NAME,
            np.concatenate([rows for _, (rows, _) in parts]),
            np.concatenate([scores for _, (_, scores) in parts]),
            np.concatenate([np.full(len(rows), at, np.int32) for at, (rows, _) in parts]),
            limit,
        )

    def _twins(self, row: int, pictures: Pictures, live: LiveHashes) -> NDArray[np.int32]:
        """Return the near-duplicates of a pin, int32[m], itself left out."""
        groups = pictures.duplicates.groups
        if live.is_changed(row) or row >= len(groups):
            wanted = live.hash_of(row)
            if wanted is None:
                return np.empty(0, np.int32)
            sealed, _ = pictures.hashes.near(wanted, self._distance_max)
            sealed = sealed[[not live.is_changed(at) for at in sealed.tolist()]]
            twins = np.concatenate((sealed, live.near(wanted, self._distance_max)))
        elif groups[row]:
            twins = pictures.members(int(groups[row]))
        else:
            return np.empty(0, np.int32)
        return np.asarray(twins[twins != row], np.int32)

    def _borrowed(self, twins: NDArray[np.int32], query: CandidateQuery, count: int) -> Found:
        """Return what goes with the twins by boards, each pin with its best score."""
        lists = or_none(self._related) if len(twins) else None
        if lists is None:
            return _nothing()
        known = twins[twins < len(lists)][:TWIN_COUNT_MAX]
        spans = [slice(int(lists.offsets[at]), int(lists.offsets[at + 1])) for at in known]
        if not spans:
            return _nothing()
        rows = np.concatenate([lists.rows[span] for span in spans])
        scores = np.concatenate([lists.scores[span] for span in spans])
        wanted = ~is_in(rows, np.sort(twins)) & ~is_in(rows, query.unwanted_rows)
        wanted &= is_allowed(rows, query.allowed)
        rows, scores = rows[wanted], scores[wanted]
        order = np.lexsort((rows, -scores))
        _, first = np.unique(rows[order], return_index=True)
        best = order[np.sort(first)[:count]]
        return rows[best], np.asarray(BORROWED_SCORE + scores[best], np.float32)

    def _look_alikes(
        self,
        row: int,
        twins: NDArray[np.int32],
        query: CandidateQuery,
        live: LiveVectorsOf,
        count: int,
    ) -> Found:
        """Return the pins whose pictures' vectors are nearest and point the same way at all."""
        sealed = or_none(self._vectors)
        vector = vector_of(row, sealed, live)
        if vector is None:
            return _nothing()
        unwanted = np.union1d(query.unwanted_rows, twins)
        rows, cosines = nearest_to(
            vector, count + len(unwanted), sealed, live, allowed=query.allowed
        )
        kept = np.flatnonzero(~is_in(rows, unwanted) & (cosines > 0))[:count]
        return rows[kept], np.minimum(cosines[kept], BORROWED_SCORE)


def _nothing() -> Found:
    return np.empty(0, np.int32), np.empty(0, np.float32)


def _make(context: SourceContext) -> VisualSource:
    add = context.artifacts.add
    return VisualSource(
        add(duplicates.ARTIFACT, duplicates.FORMAT_VERSION, open_pictures),
        add(cooccurrence.ARTIFACT, cooccurrence.FORMAT_VERSION, NeighbourLists.open),
        add(content_vectors.VISUAL, content_vectors.FORMAT_VERSION, open_index),
        distance_max=context.config.duplicate_distance_max,
    )


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=200, live_part=lambda _: LivePictures())
"""Half of `ann`: looking alike is less specific than going together. Guess."""
