"""The words of what changed since the generation: a small index in memory beside the sealed one.

It scores by the sealed index's statistics, so that a pin of a second ago and a pin of last year
compare: the same words get the same score, whichever index holds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.content_vectors import ChangedRows, LiveVectorsOf
from candidate_service.live.segment import LiveChanges, LivePin, LiveSave
from candidate_service.text_analysis import stems
from candidate_service.text_index import (
    BOARDS,
    PinText,
    QueryTerm,
    TextIndex,
    inverse_frequency,
    term_scores,
    terms_of,
)

BOARD_WORD_COUNT_MAX: Final = 200
"""Words of board titles kept of a pin; a pin that is saved all day has heard them all by then."""

_LENGTH_BITS: Final = 32
_LENGTH_MASK: Final = (1 << _LENGTH_BITS) - 1

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LiveMatches:
    """What the live pins add to an answer.

    Attributes:
        rows: Pins that match, int32[n], ascending.
        scores: Their scores, or what titles of new boards add to a sealed pin's, float32[n].
        replaced: Rows of which the sealed index holds old words, int32[m], ascending.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    replaced: NDArray[np.int32]


class LiveText:
    """Words of pins that were added or changed, and of boards that pins were saved to; a live part.

    One thread writes; readers hold the lock for as long as it takes to copy what matches.

    Attributes:
        vectors: Vectors of the same pins' texts.
    """

    def __init__(self) -> None:
        """Start without changes."""
        self._postings: dict[_Key, dict[int, int]] = {}
        self._terms: dict[int, dict[str, Counter[str]]] = {}
        self._texts: dict[int, PinText] = {}
        self._replaced = ChangedRows()
        self._titles: dict[str, tuple[int, str]] = {}
        self._lock = Lock()
        self.vectors = LiveVectorsOf(lambda pin: pin.text_vector)

    def __len__(self) -> int:
        """Return how many pins have words here."""
        return len(self._terms)

    def apply(self, changes: LiveChanges) -> None:
        """Take changes in; the same again changes nothing."""
        pins = [(pin, self._terms_of(pin)) for pin in changes.pins]
        with self._lock:
            for pin, terms in pins:
                self._take_pin(pin, terms)
        for save in changes.saves:
            self._take_save(save)
        self.vectors.apply(changes)

    def text_of(self, row: int) -> PinText | None:
        """Return what is written about a pin that was added or changed, None about others."""
        return self._texts.get(row)

    def find(self, terms: Sequence[QueryTerm], sealed: TextIndex | None) -> LiveMatches:
        """Return all live pins that match any of the terms.

        Args:
            terms: As for `TextIndex.find`.
            sealed: Whose statistics to score by; None = there is no index yet.
        """
        wanted = Counter((term.field, term.term, term.boost) for term in terms)
        with self._lock:
            held = [(key, *self._holders(key[0], key[1])) for key in wanted]
            replaced = self._replaced.sorted()
            document_count = len(self._terms) + (sealed.document_count if sealed else 0)
        found, parts = [np.empty(0, np.int32)], [np.empty(0, np.float64)]
        for key, rows, packed in held:
            if not len(rows):
                continue
            field, term, boost = key
            sealed_count = sealed.holder_count(field, term) if sealed else 0
            rarity = inverse_frequency(sealed_count or len(rows), document_count)
            mean = sealed.mean_lengths[field] if sealed else 0.0
            shares = term_scores(packed >> _LENGTH_BITS, packed & _LENGTH_MASK, mean)
            found.append(rows)
            parts.append(boost * wanted[key] * rarity * shares)
        distinct, inverse = np.unique(np.concatenate(found), return_inverse=True)
        scores = np.bincount(inverse, np.concatenate(parts), len(distinct))
        return LiveMatches(distinct, scores.astype(np.float32), replaced)

    def _holders(self, field: str, term: str) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return who holds a term, and how often in how long a field, packed into a word."""
        holders = self._postings.get((field, term), {})
        return (
            np.fromiter(holders.keys(), np.int32, len(holders)),
            np.fromiter(holders.values(), np.int64, len(holders)),
        )

    def _terms_of(self, pin: LivePin) -> Mapping[str, Sequence[str]]:
        if pin.is_removed:
            return {}
        return terms_of(_text_of(pin))

    def _take_pin(self, pin: LivePin, terms: Mapping[str, Sequence[str]]) -> None:
        """Replace the pin's words, but for the titles of boards that it was saved to meanwhile."""
        kept = self._terms.get(pin.row, {}).get(BOARDS, Counter())
        self._drop(pin.row)
        self._replaced.add(pin.row)
        if pin.is_removed:
            self._texts.pop(pin.row, None)
            return
        self._texts[pin.row] = _text_of(pin)
        counted = {field: Counter(found) for field, found in terms.items()}
        if kept:
            counted[BOARDS] = kept
        self._put(pin.row, counted)

    def _take_save(self, save: LiveSave) -> None:
        """Add the words of the board's title, or take them away with the save."""
        before = self._titles.get(save.save_id)
        after = (
            None
            if save.is_removed or not save.board_title
            else (
                save.pin_row,
                save.board_title,
            )
        )
        if before == after or (after is None and before is None):
            return
        with self._lock:
            if before is not None:
                self._change_boards(before, -1)
            if after is not None:
                self._change_boards(after, 1)
        if after is None:
            del self._titles[save.save_id]
        else:
            self._titles[save.save_id] = after

    def _change_boards(self, titled: tuple[int, str], step: int) -> None:
        row, title = titled
        terms = dict(self._terms.get(row, {}))
        boards = Counter(terms.get(BOARDS, Counter()))
        if step > 0 and boards.total() >= BOARD_WORD_COUNT_MAX:
            return
        text = self._texts.get(row)
        for word in stems(title, text.language if text else ""):
            boards[word] += step
        terms[BOARDS] = +boards
        self._drop(row)
        self._put(row, {field: counts for field, counts in terms.items() if counts})

    def _put(self, row: int, terms: dict[str, Counter[str]]) -> None:
        if not terms:
            return
        self._terms[row] = terms
        for field, counts in terms.items():
            length = counts.total()
            for term, count in counts.items():
                packed = count << _LENGTH_BITS | length
                self._postings.setdefault((field, term), {})[row] = packed

    def _drop(self, row: int) -> None:
        for field, counts in self._terms.pop(row, {}).items():
            for term in counts:
                holders = self._postings[field, term]
                del holders[row]
                if not holders:
                    del self._postings[field, term]


def _text_of(pin: LivePin) -> PinText:
    return PinText(pin.title, pin.description, tuple(pin.topics), pin.language)
