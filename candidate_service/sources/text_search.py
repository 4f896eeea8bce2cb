"""Pins whose words match the words of the query pins, or what the user just searched for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import content_vectors, text_index
from candidate_service.candidate import (
    CandidateList,
    CandidateQuery,
    QueryMerge,
    SourceFigures,
)
from candidate_service.catalogue import Catalogue
from candidate_service.config import CandidateConfig
from candidate_service.content_vectors import or_none, vector_of
from candidate_service.live_text import LiveText
from candidate_service.pin_search import BOOSTS, Found, PinSearch, SearchSettings, Space
from candidate_service.selection import best_of
from candidate_service.source_registry import SourceContext, SourcePlugin
from candidate_service.text_index import GRAMS, PinText, TextIndex, open_text_index, texts_of
from candidate_service.vector_index import VectorIndex, open_index

NAME: Final = "text_search"


def search_settings(config: CandidateConfig) -> SearchSettings:
    """Return how much what counts, as configured."""
    boosts = {**BOOSTS, GRAMS: config.text_search_gram_boost}
    return SearchSettings(
        boosts={field: boost for field, boost in boosts.items() if boost > 0},
        term_count=config.text_search_term_count,
        vector_weight=config.text_search_vector_weight,
        pin_holder_count=config.text_search_pin_holder_count_max,
        query_holder_count=config.text_search_query_holder_count_max,
    )


class TextSearchSource:
    """A search for each query pin by its own most telling words, and by its text's vector.

    Source: Liu et al. 2017, section 3 (search-based candidates); titles of boards as further words
    of a pin.
    """

    name = NAME
    artifacts = (text_index.ARTIFACT,)

    def __init__(
        self,
        index: Callable[[], TextIndex],
        vectors: Callable[[], VectorIndex],
        catalogue: Callable[[], Catalogue],
        search: PinSearch,
        *,
        query_pin_count_max: int = 8,
    ) -> None:
        """Remember how to get at what serves now; *vectors* may be NotReady."""
        self._index = index
        self._vectors = vectors
        self._catalogue = catalogue
        self._search = search
        self._query_pin_count_max = query_pin_count_max

    def figures(self) -> SourceFigures:
        """Return how many pins it can propose."""
        return SourceFigures(pin_count=self._index().document_count)

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return for each of the heaviest query pins those that share its words, in equal parts.

        The score is in (0, 1]: the share of a perfect match's BM25 (or, where pins have vectors of
        text, the fused score over the best possible). Words that the user just searched for count
        as one more query pin, with none behind its finds.
        """
        index, live = self._index(), query.live
        words = live.part(LiveText)
        space = Space(
            index, words, or_none(self._vectors), words.vectors, query.allowed, query.unwanted_rows
        )
        starts = self._starts(query, words)
        if limit <= 0 or not starts:
            return CandidateList.empty(NAME)
        is_in_turns = query.merge is QueryMerge.ROUND_ROBIN
        share = max(1, limit // len(starts)) if is_in_turns else limit
        parts: list[tuple[int, Found]] = []
        for at, row, text in starts:
            if query.stop.expired():
                break
            if row < 0:
                found = self._by_query(query, share, space)
            else:
                found = self._by_pin(row, text, share, space)
            parts.append((at, found))
        return _united(parts, limit)

    def _starts(self, query: CandidateQuery, words: LiveText) -> list[tuple[int, int, PinText]]:
        """Return position, row and text of what to start from; -1 for the words of the user."""
        heaviest = np.argsort(-query.weights, kind="stable")[: self._query_pin_count_max]
        places = np.sort(heaviest).tolist()
        rows = query.query_rows[places]
        known = self._catalogue()
        sealed = np.where(rows < len(known), rows, -1).astype(np.int32)
        texts = texts_of(known.known_of(sealed)) if len(rows) else []
        starts = [
            (at, row, words.text_of(row) or text)
            for at, row, text in zip(places, rows.tolist(), texts, strict=True)
        ]
        if query.query_text.strip():
            starts.append((-1, -1, PinText(title=query.query_text)))
        return starts

    def _by_pin(self, row: int, text: PinText, count: int, space: Space) -> Found:
        terms, best = self._search.terms_of_pin(text, space.index)
        vector = vector_of(row, space.vectors, space.live_vectors)
        rows, scores = self._search.find(terms, vector, count, space)
        if vector is not None:
            best = (1.0 + self._search.settings.vector_weight) / 61.0 if terms else 1.0
        return rows, _scaled(scores, best)

    def _by_query(self, query: CandidateQuery, count: int, space: Space) -> Found:
        terms = self._search.terms_of_query(query.query_text, query.segment.language, space.index)
        rows, scores = self._search.find(terms, None, count, space)
        return rows, _scaled(scores, float(scores[0]) if len(scores) else 1.0)


def _scaled(scores: NDArray[np.float32], best: float) -> NDArray[np.float32]:
    return np.asarray(np.clip(scores / max(best, 1e-9), 0.0, 1.0), np.float32)


def _united(parts: list[tuple[int, Found]], limit: int) -> CandidateList:
    if not parts:
        return CandidateList.empty(NAME)
    return best_of(
        NAME,
        np.concatenate([rows for _, (rows, _) in parts]),
        np.concatenate([scores for _, (_, scores) in parts]),
        np.concatenate([np.full(len(rows), at, np.int32) for at, (rows, _) in parts]),
        limit,
    )


def _make(context: SourceContext) -> TextSearchSource:
    artifacts = context.artifacts
    vectors = artifacts.add(content_vectors.TEXT, content_vectors.FORMAT_VERSION, open_index)
    return TextSearchSource(
        artifacts.add(text_index.ARTIFACT, text_index.FORMAT_VERSION, open_text_index),
        vectors,
        artifacts.catalogue,
        PinSearch(search_settings(context.config)),
        query_pin_count_max=context.config.text_search_query_pin_count_max,
    )


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=200, live_part=lambda _: LiveText())
"""Half of `ann`: matching words are less specific than neighbours. Guess."""
