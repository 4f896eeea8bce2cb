"""Agreement in words and topics equals bags in dictionaries, and the score is the formula's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.cooccurrence import NeighbourLists
from candidate_service.pin_agreement import AgreementWeights, topics_of, weigh, words_of
from tests.naive import cooccurrence as naive

WORDS = ("zzb", "zzc", "zzd", "zzf", "zzg", "zzh")
"""No stemmer touches them."""


def catalogue(titles: list[str | None], topics: list[list[str] | None]) -> Any:
    """What the functions read of a catalogue: columns of its pins, and how many there are."""

    class Pins:
        pins = pa.table(
            {
                "language": pa.array([None] * len(titles), pa.large_string()),
                "title": pa.array(titles, pa.large_string()),
                "description": pa.array([None] * len(titles), pa.large_string()),
                "topics": pa.array(topics, pa.large_list(pa.large_string())),
            }
        )

        def __len__(self) -> int:
            return len(titles)

    return Pins()


def full_lists(pin_count: int, score: float = 0.5) -> NeighbourLists:
    """Every pin is every other's neighbour, all with one score."""
    rows = [row for pin in range(pin_count) for row in range(pin_count) if row != pin]
    return NeighbourLists(
        np.arange(0, pin_count * (pin_count - 1) + 1, pin_count - 1),
        np.array(rows, np.int32),
        np.full(len(rows), score, np.float32),
    )


def scores_of(lists: NeighbourLists, pin: int) -> dict[int, float]:
    """One pin's neighbours, best first."""
    part = slice(int(lists.offsets[pin]), int(lists.offsets[pin + 1]))
    return dict(zip(lists.rows[part].tolist(), lists.scores[part].tolist(), strict=True))


BAGS = st.lists(st.sets(st.sampled_from(WORDS)), min_size=3, max_size=8)


@settings(deadline=None)
@given(texts=BAGS, topics=BAGS, text=st.floats(0, 3), topic=st.floats(0, 3), data=st.data())
def test_scores_equal_the_formula_in_dictionaries(
    texts: list[set[str]],
    topics: list[set[str]],
    text: float,
    topic: float,
    data: st.DataObject,
) -> None:
    """Co-occurrence times agreement of words and topics, each weight only where it applies."""
    count = min(len(texts), len(topics))
    titles = [" ".join(sorted(bag)) for bag in texts[:count]]
    pins = catalogue([title or None for title in titles], [sorted(bag) for bag in topics[:count]])
    gone = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))

    found = weigh(
        full_lists(count),
        AgreementWeights(text, topic),
        words=words_of(pins),
        topics=topics_of(pins),
        is_gone=np.array(gone),
        neighbour_count=100,
    )

    bags = naive.rare_words(titles)
    total = 1 + text * any(bags) + topic * any(topics[:count])
    for pin in range(count):
        expected = {
            other: 0.5
            * (
                1
                + text * naive.agreement(bags[pin], bags[other])
                + topic * naive.agreement(topics[pin], topics[other])
            )
            / total
            for other in range(count)
            if other != pin and not gone[other]
        }
        actual = scores_of(found, pin)
        assert actual.keys() == expected.keys()
        for other, score in expected.items():
            assert actual[other] == pytest.approx(score, rel=1e-4)  # float32 sums
        assert list(actual.values()) == sorted(actual.values(), reverse=True)
    assert found.neutral == pytest.approx(1 / total)


def test_agreement_moves_a_neighbour_up_and_cuts_the_worst() -> None:
    """Of neighbours with one score the one that speaks of the same comes first."""
    pins = catalogue(["zzb zzc", "zzd", "zzb zzc", "zzd"], [["a"], ["b"], ["a"], None])

    found = weigh(
        full_lists(4),
        AgreementWeights(1.0, 1.0),
        words=words_of(pins),
        topics=topics_of(pins),
        is_gone=np.zeros(4, np.bool_),
        neighbour_count=1,
    )

    assert list(scores_of(found, 0)) == [2]
    assert scores_of(found, 0)[2] == pytest.approx(0.5)
    assert list(scores_of(found, 1)) == [3]


def test_rare_words_say_more_than_common_ones() -> None:
    """Two pins that share a rare word agree more than two that share one that everybody has."""
    titles = ["zzb zzc", "zzb zzd", "zzc zzd", *["zzd zzf"] * 20]
    words = words_of(catalogue(list(titles), [None] * 23))

    lists = weigh(
        full_lists(23),
        AgreementWeights(text=1.0),
        words=words,
        topics=topics_of(catalogue([None] * 23, [None] * 23)),
        is_gone=np.zeros(23, np.bool_),
        neighbour_count=22,
    )

    assert next(iter(scores_of(lists, 1))) == 0


def test_long_texts_count_by_their_rarest_words() -> None:
    """A novel in a description costs no more than a paragraph."""
    words = words_of(catalogue([" ".join(f"zz{n}q" for n in range(500))] * 2, [None] * 2))

    assert np.diff(words.offsets).tolist() == [64, 64]
    np.testing.assert_allclose(np.add.reduceat(words.weights**2, [0, 64]), 1.0, rtol=1e-5)


def test_block_is_weighed_as_all_lists_are() -> None:
    """Some pins' lists weighed alone: the scores they have among all."""
    topics = [["a"], ["b"], ["a", "b"], ["b"], ["a"]]
    pins = catalogue([None] * 5, list(topics))

    def weighed(lists: NeighbourLists) -> NeighbourLists:
        return weigh(
            lists,
            AgreementWeights(topic=1.0),
            words=words_of(pins),
            topics=topics_of(pins),
            is_gone=np.zeros(5, np.bool_),
            neighbour_count=3,
        )

    everything, block = weighed(full_lists(5)), weighed(full_lists(5).of(range(2, 4)))

    expected = everything.of(range(2, 4))
    assert block.first_pin == 2
    assert block.neutral == everything.neutral == 0.5
    np.testing.assert_array_equal(block.rows, expected.rows)
    np.testing.assert_array_equal(block.scores, expected.scores)
