"""The index against BM25 by the book, filters against a sieve, damage against the manifest."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from candidate_service.content_vectors import LiveVectorsOf
from candidate_service.live.segment import LiveChanges, LivePin
from candidate_service.live_text import LiveText
from candidate_service.pin_search import PinSearch, SearchSettings, Space, fuse, rarest
from candidate_service.text_index import (
    FORMAT_VERSION,
    PinText,
    QueryTerm,
    open_text_index,
    terms_of,
    write_text_index,
)
from service_runtime.errors import Corrupted
from service_runtime.generations import Generation, GenerationStore
from tests.naive import text_search as naive

LEXICON = ["ash", "birch", "cedar", "elm", "fir", "oak", "pine", "yew"]


def make_texts(count: int, seed: int = 3) -> list[PinText]:
    """Return pins with words drawn from a few; lengths stay below where they are rounded."""
    rng = np.random.default_rng(seed)

    def some(most: int) -> str:
        return " ".join(rng.choice(LEXICON, rng.integers(0, most + 1)))

    return [
        PinText(some(4), some(8), tuple(some(2).split()), "sw", (some(3),)) for _ in range(count)
    ]


def publish(root: Path, texts: list[PinText]) -> Generation:
    """Publish an index."""
    with GenerationStore(root).draft("text_index", format_version=FORMAT_VERSION) as draft:
        written = write_text_index(draft, ((row, terms_of(text)) for row, text in enumerate(texts)))
        return draft.publish(
            as_of_us=0,
            counts={"document_count": written.document_count},
            details={"pin_count": len(texts), "mean_lengths": dict(written.mean_lengths)},
        )


def make_query(seed: int) -> list[QueryTerm]:
    """Return two or three terms in some fields."""
    rng = np.random.default_rng(seed)
    fields = rng.choice(["words", "description", "boards"], rng.integers(2, 4))
    return [
        QueryTerm(str(f), str(rng.choice(LEXICON)), float(rng.choice([0.3, 1.0]))) for f in fields
    ]


def test_scores_are_bm25(tmp_path: Path) -> None:
    """Every pin gets the score of the naive formula; documents without words do not count."""
    texts = make_texts(120)
    index = open_text_index(publish(tmp_path, texts))
    documents = [terms_of(text) for text in texts]

    for seed in range(20):
        query = make_query(seed)
        expected = naive.scores(documents, [(q.field, q.term, q.boost) for q in query])
        rows, scores = index.find(query, 1000)
        assert set(rows.tolist()) == {row for row, score in enumerate(expected) if score > 0}
        np.testing.assert_allclose(scores, [expected[row] for row in rows], rtol=1e-4)
        assert (np.diff(scores) <= 0).all()


def test_live_pins_score_as_sealed_ones_of_the_same_statistics(tmp_path: Path) -> None:
    """The small index in memory and the sealed one agree on the same documents."""
    texts = make_texts(60)
    index = open_text_index(publish(tmp_path, texts))
    live = LiveText()
    pins = [
        LivePin(60 + row, f"n{row}", True, title=text.title, topics=text.topics, language="sw")
        for row, text in enumerate(texts)
    ]
    live.apply(LiveChanges(pins=pins))
    query = [QueryTerm("words", "oak", 1.0), QueryTerm("words", "elm", 0.5)]

    sealed = dict(zip(*(part.tolist() for part in index.find(query, 100)), strict=True))
    found = live.find(query, index)
    young = dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))

    assert {row - 60 for row in young} == set(sealed)
    ratios = np.array([young[row + 60] / score for row, score in sealed.items()])
    # The number of documents doubles, frequencies are the sealed ones: all scores rise alike.
    assert ratios.std() < 0.1 * ratios.mean()


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01])
def test_filtered_search_is_the_sieved_search(tmp_path: Path, share: float) -> None:
    """However few pins are allowed, the best of them are found."""
    index = open_text_index(publish(tmp_path, make_texts(300)))
    allowed = np.random.default_rng(1).random(300) < share
    space = Space(index, LiveText(), None, LiveVectorsOf(lambda _: None), allowed)
    query = [QueryTerm("words", "oak", 1.0), QueryTerm("description", "elm", 0.5)]
    rows, scores = index.find(query, 1000)

    found, found_scores = PinSearch(SearchSettings()).find_by_words(query, 10, space)

    assert found.tolist() == [row for row in rows.tolist() if allowed[row]][:10]
    np.testing.assert_allclose(found_scores, scores[allowed[rows]][:10], rtol=1e-6)


def test_many_allowed_rows_are_sieved_too(tmp_path: Path) -> None:
    """Above the bound for naming rows, matches are asked for until enough are allowed."""
    index = open_text_index(publish(tmp_path, make_texts(300)))
    allowed = np.random.default_rng(1).random(300) < 0.1
    space = Space(index, LiveText(), None, LiveVectorsOf(lambda _: None), allowed)
    query = [QueryTerm("words", "oak", 1.0)]
    rows, _ = index.find(query, 1000)

    found, _ = PinSearch(SearchSettings(few_row_count=0)).find_by_words(query, 5, space)

    assert found.tolist() == [row for row in rows.tolist() if allowed[row]][:5]


@pytest.mark.parametrize("holder_count_max", [1, 10, 40, 100, 10_000])
def test_the_rarest_terms_are_looked_for(tmp_path: Path, holder_count_max: int) -> None:
    """What is kept has fewest holders and fits; the rarest that anybody holds is always kept."""
    texts = make_texts(120)
    index = open_text_index(publish(tmp_path, texts))
    documents = [terms_of(text) for text in texts]
    terms = [*make_query(3), QueryTerm("words", "nobody", 1.0)]
    held = [sum(one.term in has.get(one.field, ()) for has in documents) for one in terms]

    kept = rarest(terms, index, holder_count_max)

    chosen = naive.rarest(held, holder_count_max)
    assert kept == [terms[at] for at in chosen]
    assert any(held[at] for at in chosen)
    assert rarest(terms, None, holder_count_max) == terms


def test_a_word_that_all_pins_hold_is_not_looked_for(tmp_path: Path) -> None:
    """A pin is found by its telling word; those with nothing but the common one are not."""
    texts = [PinText(title="picture"), PinText(title="picture heron")] * 20
    texts += [PinText(title="picture")] * 60
    index = open_text_index(publish(tmp_path, texts))
    search = PinSearch(SearchSettings(pin_holder_count=99, query_holder_count=99))
    space = Space(index, LiveText(), None, LiveVectorsOf(lambda _: None))

    of_pin, best = search.terms_of_pin(texts[1], index)
    typed = search.terms_of_query("picture heron", "en", index)

    assert {one.term for one in of_pin if one.field == "words"} == {"heron"}
    assert {one.term for one in typed if one.field == "words"} == {"heron"}
    rows, scores = search.find_by_words(of_pin, 100, space)
    assert rows.tolist() == list(range(1, 40, 2))
    assert (scores <= best).all()
    only_common, _ = search.terms_of_pin(texts[0], index)
    assert len(search.find_by_words(only_common, 100, space)[0]) == 100


def test_nothing_asked_nothing_found(tmp_path: Path) -> None:
    """No terms, no room and unknown terms are no errors."""
    index = open_text_index(publish(tmp_path, make_texts(5)))

    assert len(index.find([], 10)[0]) == 0
    assert len(index.find([QueryTerm("words", "oak", 1.0)], 0)[0]) == 0
    assert len(index.find([QueryTerm("words", "nowhere", 1.0)], 10)[0]) == 0
    assert index.holder_count("words", "nowhere") == 0


def test_empty_world(tmp_path: Path) -> None:
    """An index over pins without words opens and finds nothing."""
    index = open_text_index(publish(tmp_path, [PinText(), PinText()]))

    assert (index.document_count, index.pin_count) == (0, 2)
    assert len(index.find([QueryTerm("words", "oak", 1.0)], 10)[0]) == 0


def test_index_on_a_read_only_disk(tmp_path: Path) -> None:
    """Where nothing can be written beside the index, a copy of it serves."""
    if os.geteuid() == 0:
        pytest.skip("root writes anywhere")
    generation = publish(tmp_path, make_texts(20))
    folder = generation.path / "index"
    folder.chmod(stat.S_IREAD | stat.S_IEXEC)

    index = open_text_index(generation)

    folder.chmod(0o755)
    assert len(index.find([QueryTerm("words", "oak", 1.0)], 10)[0])


@pytest.mark.parametrize("damage", ["meta.json", "counts"])
def test_damage_is_refused(tmp_path: Path, damage: str) -> None:
    """A cut index, or one of another size than its manifest says, does not serve."""
    generation = publish(tmp_path, make_texts(20))
    if damage == "counts":
        generation.manifest.counts["document_count"] += 1
    else:
        (generation.path / "index" / damage).write_text("{")

    with pytest.raises(Corrupted, match="text_index"):
        open_text_index(generation)


def test_fusion_is_the_sum_of_reciprocal_ranks() -> None:
    """A pin in both lists beats one that leads a single list."""
    rows, scores = fuse((np.array([4, 2], np.int32), np.array([7, 2], np.int32)), (1.0, 1.0), 3)

    assert rows.tolist() == [2, 4, 7]
    np.testing.assert_allclose(scores, [2 / 62, 1 / 61, 1 / 61], rtol=1e-6)
    assert len(fuse((), (), 5)[0]) == 0
