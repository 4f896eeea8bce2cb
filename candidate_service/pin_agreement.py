"""Rough agreement of two pins in words and topics, and the heuristic score that is made with it.

    score(p, q) = co-occurrence(p, q) * (1 + w_text * text(p, q) + w_topic * topic(p, q))
                                      / (1 + w_text + w_topic)

text and topic are cosines in [0, 1]: of the stemmed words of title and description, each weighted
by how rare it is, and of the topics. What is not known of a pin agrees with nothing; a weight
counts only where the catalogue knows any words, or topics, at all.

Source: Liu et al. 2017, section 3: pairs of boards, then "rough text and category matching"; no
formula was published, this one and its weights are ours (README.md has what was measured).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service import agreement_kernels
from candidate_service.catalogue import Catalogue
from candidate_service.cooccurrence import NeighbourLists
from candidate_service.text_analysis import stems

WORD_COUNT_MAX: Final = 64
"""Of a longer text the rarest words count."""

_BATCH_PINS: Final = 65_536


@dataclass(frozen=True, slots=True)
class AgreementWeights:
    """How much agreement counts beside co-occurrence.

    Attributes:
        text: Of words (w_text), >= 0.
        topic: Of topics (w_topic), >= 0.
    """

    text: float = 0.0
    topic: float = 0.0

    def neutral(self, words: Traits, topics: Traits) -> float:
        """Return what a score is multiplied with where nothing agrees, in (0, 1]."""
        return 1.0 / (1.0 + sum(weight for weight, _ in self.counting(words, topics)))

    def counting(self, words: Traits, topics: Traits) -> list[tuple[float, Traits]]:
        """Return the weights that count, each with what it weighs."""
        pairs = ((self.text, words), (self.topic, topics))
        return [(weight, traits) for weight, traits in pairs if weight > 0 and len(traits.numbers)]


@dataclass(frozen=True, slots=True)
class Traits:
    """Words or topics of each pin, as rows of length 1.

    Attributes:
        offsets: Pin p's are at offsets[p] to offsets[p + 1], int64[pins + 1].
        numbers: Which, in [0, count), int32[t]; none twice for a pin.
        weights: float32[t], > 0; their squares sum to 1 for each pin that has any.
        count: How many words or topics there are.
    """

    offsets: NDArray[np.int64]
    numbers: NDArray[np.int32]
    weights: NDArray[np.float32]
    count: int


def topics_of(catalogue: Catalogue) -> Traits:
    """Return the topics of each pin, all of equal weight."""
    column = catalogue.pins.column("topics").combine_chunks()
    owners = pc.list_parent_indices(column).to_numpy().astype(np.int64)
    encoded = pc.list_flatten(column).dictionary_encode()
    numbers = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return _traits(owners, numbers.astype(np.int64), len(encoded.dictionary), len(catalogue))


def words_of(catalogue: Catalogue) -> Traits:
    """Return the words of each pin's title and description, weighted by rarity.

    A word of one pin alone can agree with none, and is left out.
    """
    numbers_of: dict[str, int] = {}
    owners, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for begin, batch in _texts(catalogue):
        found = [
            (begin + at, numbers_of.setdefault(word, len(numbers_of)))
            for at, (language, text) in enumerate(batch)
            for word in set(stems(text, language))
        ]
        pairs = np.array(found, np.int64).reshape(-1, 2)
        owners.append(pairs[:, 0])
        numbers.append(pairs[:, 1])
    pins, words = np.concatenate(owners), np.concatenate(numbers)
    frequencies = np.bincount(words, minlength=len(numbers_of))
    rarity = np.log1p(len(catalogue) / np.maximum(frequencies, 1))
    words = np.where(frequencies[words] > 1, words, -1)
    return _traits(pins, words, len(numbers_of), len(catalogue), rarity)


def weigh(
    lists: NeighbourLists,
    weights: AgreementWeights,
    *,
    words: Traits,
    topics: Traits,
    is_gone: NDArray[np.bool_],
    neighbour_count: int,
) -> NeighbourLists:
    """Weigh neighbours by agreement, drop those that are gone, order anew and cut.

    Args:
        lists: By co-occurrence alone, of all pins or of some.
        weights: How much agreement counts.
        words: Of each pin.
        topics: Of each pin.
        is_gone: Pins that are not to be proposed, bool[pins].
        neighbour_count: How many to keep of each list.
    """
    factors = np.ones(len(lists.rows), np.float32)
    for weight, traits in weights.counting(words, topics):
        factors += np.float32(weight) * _cosines(lists, traits)
    neutral = weights.neutral(words, topics)
    return NeighbourLists(
        *agreement_kernels.keep_best(
            lists.offsets,
            lists.rows,
            lists.scores * (factors * np.float32(neutral)),
            is_gone,
            neighbour_count,
        ),
        neutral=neutral,
        first_pin=lists.first_pin,
    )


def _cosines(lists: NeighbourLists, traits: Traits) -> NDArray[np.float32]:
    cosines = np.empty(len(lists.rows), np.float32)
    arrays = (traits.offsets, traits.numbers, traits.weights)
    scratch = np.zeros(traits.count, np.float32)
    agreement_kernels.agree(lists.offsets, lists.rows, lists.first_pin, arrays, scratch, cosines)
    return cosines


def _texts(catalogue: Catalogue) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Return language and text of all pins, some at a time, with the row of the first."""
    columns = catalogue.pins.select(["language", "title", "description"])
    for begin in range(0, len(catalogue), _BATCH_PINS):
        part = columns.slice(begin, _BATCH_PINS)
        language, *texts = (pc.fill_null(part.column(name), "") for name in part.column_names)
        joined = pc.binary_join_element_wise(*texts, pa.scalar(" ", texts[0].type))
        yield begin, list(zip(language.to_pylist(), joined.to_pylist(), strict=True))


def _traits(
    owners: NDArray[np.int64],
    numbers: NDArray[np.int64],
    count: int,
    pin_count: int,
    rarity: NDArray[np.float64] | None = None,
) -> Traits:
    """Compress (pin, number) pairs, numbers of -1 left out, the rarest of too many kept."""
    known = numbers >= 0
    pairs = np.unique(owners[known] * max(1, count) + numbers[known])
    pins, kept = np.divmod(pairs, max(1, count))
    weights = np.ones(len(kept)) if rarity is None else rarity[kept]
    order = np.lexsort((kept, -weights, pins))
    pins, kept, weights = pins[order], kept[order], weights[order]
    place = np.arange(len(pins)) - np.searchsorted(pins, pins)
    chosen = place < WORD_COUNT_MAX
    pins, kept, weights = pins[chosen], kept[chosen], weights[chosen]
    lengths = np.sqrt(np.bincount(pins, weights**2, minlength=pin_count))
    counts = np.bincount(pins, minlength=pin_count)
    return Traits(
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        kept.astype(np.int32),
        (weights / lengths[pins]).astype(np.float32),
        max(1, count),
    )
