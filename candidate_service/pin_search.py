"""Find pins by words: BM25 over sealed and live pins, fused with vectors of text if there are any.

Words and vectors score on scales of their own, so lists are united by rank: a pin's score is the
sum over lists of weight / (60 + rank).

A search looks at the pins that hold its terms, so words that most pins hold cost much and tell
little. The rarest terms are kept whose lists of holders fit the settings; the others are dropped.

Source: Cormack, Clarke and Buettcher 2009 (reciprocal rank fusion, k = 60); leaving out the lists
of common terms as in Moffat and Zobel 1996 (self-indexing inverted files, the *quit* strategy).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.content_vectors import LiveVectorsOf, nearest_to
from candidate_service.live_text import LiveText
from candidate_service.selection import is_allowed, is_in
from candidate_service.text_analysis import DEFAULT_LANGUAGE, grams, stems
from candidate_service.text_index import (
    BOARDS,
    DESCRIPTION,
    GRAMS,
    K1,
    WORDS,
    PinText,
    QueryTerm,
    TextIndex,
    inverse_frequency,
)
from candidate_service.vector_index import VectorIndex

FUSION_OFFSET: Final = 60.0
FUSION_DEPTH_MIN: Final = 100
"""Lists are fused at least so deep: a pin that is 50th in both beats one that is 2nd in one."""
RARE_SHARE: Final = 10
"""Naming the allowed rows costs more than dropping others unless one in so many is allowed."""
EXAMINED_MAX: Final = 65_536
"""Most matches that are looked through for allowed ones."""
QUERY_WORD_COUNT_MAX: Final = 64
BOOSTS: Final = {WORDS: 1.0, DESCRIPTION: 0.5, BOARDS: 0.3, GRAMS: 0.25}
"""What a match counts by field: grams measured, the others guesses."""

Found = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How much what counts.

    Attributes:
        boosts: What a match counts by field, > 0; fields without one are not looked at.
        term_count: Most telling words of a pin that make its query, >= 1.
        vector_weight: Of the vectors' list beside the words' (1).
        few_row_count: With at most so many allowed rows, and at most a tenth of all, only those
            are looked at; else more matches are asked for until enough of them are allowed.
        pin_holder_count: Holders that the terms of a query pin may have together, >= 1.
        query_holder_count: Those of typed words may have, >= 1.
    """

    boosts: Mapping[str, float] = field(default_factory=lambda: dict(BOOSTS))
    term_count: int = 16
    vector_weight: float = 1.0
    few_row_count: int = 5000
    pin_holder_count: int = 500_000
    query_holder_count: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched, all of one moment.

    Attributes:
        index: Words of the generation's pins; None = not built yet.
        words: Words of live pins.
        vectors: Vectors of the generation's texts; None = there are none.
        live_vectors: Of live ones.
        allowed: Which rows may be found, bool[row_count]; None = all.
        unwanted: Rows that may not, int32[m], ascending.
    """

    index: TextIndex | None
    words: LiveText
    vectors: VectorIndex | None
    live_vectors: LiveVectorsOf
    allowed: NDArray[np.bool_] | None = None
    unwanted: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))


class PinSearch:
    """Turns words and vectors into queries and their answers into one list; keeps no state."""

    def __init__(self, settings: SearchSettings) -> None:
        """Search with these settings."""
        self.settings = settings

    def terms_of_query(self, text: str, language: str, index: TextIndex | None) -> list[QueryTerm]:
        """Return what to look for when somebody typed *text*.

        The words are stemmed by the reader's language and by the default one, as people search in
        either. At most `QUERY_WORD_COUNT_MAX` of them count.

        Args:
            text: What was typed.
            language: The reader's, as in BCP 47; "" = not known.
            index: Whose holders are counted; None = no term is too common.
        """
        languages = dict.fromkeys((language or DEFAULT_LANGUAGE, DEFAULT_LANGUAGE))
        words = {stem: None for one in languages for stem in stems(text, one)}
        terms = self._in_fields(list(words)[:QUERY_WORD_COUNT_MAX])
        boost = self.settings.boosts.get(GRAMS)
        if boost:
            pieces = grams(text)[: 4 * QUERY_WORD_COUNT_MAX]
            terms += [QueryTerm(GRAMS, piece, boost) for piece in pieces]
        return rarest(terms, index, self.settings.query_holder_count)

    def terms_of_pin(self, text: PinText, index: TextIndex | None) -> tuple[list[QueryTerm], float]:
        """Return the most telling words of a pin as a query, and the score of a perfect match.

        Source: Liu et al. 2017, section 3 (the query pin's annotations as tokens of a search).
        """
        counts = Counter(stems(" ".join((text.title, *text.topics)), text.language))
        counts.update(set(stems(text.description, text.language)))
        rarity = {word: self._rarity(word, index) for word in counts}
        known = [word for word in counts if rarity[word] > 0]
        known.sort(key=lambda word: (-rarity[word] * min(counts[word], 3), word))
        chosen = known[: self.settings.term_count]
        terms = rarest(self._in_fields(chosen), index, self.settings.pin_holder_count)
        kept = {one.term for one in terms}
        best = sum(rarity[word] for word in chosen if word in kept)
        return terms, best * (K1 + 1) * self.settings.boosts[WORDS]

    def find_by_words(self, terms: Sequence[QueryTerm], count: int, space: Space) -> Found:
        """Return the pins that match terms best, sealed and live together, best first.

        A sealed pin that was saved to titled boards meanwhile gets their words' score on top.
        """
        if count <= 0 or not terms:
            return _nothing()
        live = space.words.find(terms, space.index)
        rows, scores = self._sealed(terms, count, space, live.replaced)
        is_sealed_too = is_in(live.rows, np.sort(rows))
        at = {row: place for place, row in enumerate(rows.tolist())}
        for row, extra in zip(live.rows[is_sealed_too], live.scores[is_sealed_too], strict=True):
            scores[at[int(row)]] += extra
        young = ~is_sealed_too & is_allowed(live.rows, space.allowed)
        young &= ~is_in(live.rows, space.unwanted)
        rows = np.concatenate((rows, live.rows[young]))
        scores = np.concatenate((scores, live.scores[young]))
        order = np.lexsort((rows, -scores))[:count]
        return rows[order], scores[order]

    def find_by_vector(self, vector: NDArray[np.float32], count: int, space: Space) -> Found:
        """Return the pins whose texts' vectors are nearest to a unit vector, best first."""
        spare = len(space.unwanted)
        rows, cosines = nearest_to(
            vector, count + spare, space.vectors, space.live_vectors, allowed=space.allowed
        )
        kept = np.flatnonzero(~is_in(rows, space.unwanted))[:count]
        return rows[kept], cosines[kept]

    def find(
        self,
        terms: Sequence[QueryTerm],
        vector: NDArray[np.float32] | None,
        count: int,
        space: Space,
    ) -> Found:
        """Return the pins found by words, by a vector, or by both, fused by reciprocal ranks.

        The score is BM25 with words alone, the cosine with a vector alone, and the fused score with
        both.
        """
        if vector is None:
            return self.find_by_words(terms, count, space)
        if not terms:
            return self.find_by_vector(vector, count, space)
        depth = max(count, FUSION_DEPTH_MIN)
        lists = (
            self.find_by_words(terms, depth, space)[0],
            self.find_by_vector(vector, depth, space)[0],
        )
        return fuse(lists, (1.0, self.settings.vector_weight), count)

    def _sealed(
        self,
        terms: Sequence[QueryTerm],
        count: int,
        space: Space,
        replaced: NDArray[np.int32],
    ) -> Found:
        """Return the generation's best that are allowed, wanted and not out of date."""
        index, allowed = space.index, space.allowed
        if index is None:
            return _nothing()
        if allowed is not None:
            known = allowed[: index.pin_count]
            few = min(self.settings.few_row_count, index.pin_count // RARE_SHARE)
            if np.count_nonzero(known) <= few:
                within = np.flatnonzero(known).astype(np.int32)
                within = within[~is_in(within, replaced) & ~is_in(within, space.unwanted)]
                return index.find(terms, count, within=within)
        asked = count + min(count, len(replaced) + len(space.unwanted))
        while True:
            rows, scores = index.find(terms, asked)
            kept = ~is_in(rows, replaced) & ~is_in(rows, space.unwanted)
            kept &= is_allowed(rows, allowed)
            if kept.sum() >= count or len(rows) < asked or asked >= EXAMINED_MAX:
                chosen = np.flatnonzero(kept)[:count]
                return rows[chosen], scores[chosen]
            asked = min(EXAMINED_MAX, asked * 4)

    def _in_fields(self, words: Sequence[str]) -> list[QueryTerm]:
        boosts = [(field, boost) for field, boost in self.settings.boosts.items() if field != GRAMS]
        return [QueryTerm(field, word, boost) for word in words for field, boost in boosts]

    def _rarity(self, word: str, index: TextIndex | None) -> float:
        """Return a word's weight by its holders; a word nobody else holds finds nobody."""
        if index is None:
            return 1.0
        holders = max(index.holder_count(field, word) for field in (WORDS, DESCRIPTION, BOARDS))
        return inverse_frequency(max(holders, 1), max(index.document_count, 1))


def rarest(
    terms: Sequence[QueryTerm], index: TextIndex | None, holder_count_max: int
) -> list[QueryTerm]:
    """Return the terms with fewest holders that have at most so many together, in their order.

    The rarest term that any pin holds is kept whatever it costs, else there were nothing to find.

    Args:
        terms: Of one search; a repeated one costs again.
        index: Whose holders are counted; None = none are.
        holder_count_max: >= 1.

    Cost: some microseconds a term.
    """
    if index is None:
        return list(terms)
    holders = np.array([index.holder_count(one.field, one.term) for one in terms], np.int64)
    order = np.argsort(holders, kind="stable")
    is_kept = np.cumsum(holders[order]) <= holder_count_max
    held = np.flatnonzero(holders[order])
    is_kept[held[:1]] = True
    kept = np.sort(order[is_kept]).tolist()
    return [terms[at] for at in kept]


def fuse(lists: Sequence[NDArray[np.int32]], weights: Sequence[float], count: int) -> Found:
    """Unite ranked lists by reciprocal ranks.

    Args:
        lists: Rows, int32[n] each, distinct, best first.
        weights: Of each list, >= 0.
        count: How many to keep.

    Returns:
        Rows and the sum over lists of weight / (60 + rank), rank from 1; best first, lower row
        first among equals.
    """
    if not any(len(rows) for rows in lists):
        return _nothing()
    rows = np.concatenate(lists)
    parts = [
        weight / (FUSION_OFFSET + 1.0 + np.arange(len(one)))
        for one, weight in zip(lists, weights, strict=True)
    ]
    distinct, inverse = np.unique(rows, return_inverse=True)
    scores = np.bincount(inverse, np.concatenate(parts), len(distinct)).astype(np.float32)
    order = np.lexsort((distinct, -scores))[:count]
    return distinct[order].astype(np.int32), scores[order]


def _nothing() -> Found:
    return np.empty(0, np.int32), np.empty(0, np.float32)
