"""Pins by their words: sealed and live, filtered, fused with vectors of text."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from candidate_service.candidate import CandidateQuery, QueryMerge
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.content_vectors import TEXT
from candidate_service.jobs import build_catalogue, build_content_vectors, build_text_index
from candidate_service.live.segment import LiveChanges, LivePin, LiveSave, LiveSegment
from candidate_service.live_text import LiveText
from candidate_service.pin_search import PinSearch, SearchSettings
from candidate_service.sources.text_search import TextSearchSource
from candidate_service.text_index import TextIndex, open_text_index
from candidate_service.vector_index import VectorIndex, open_index
from service_runtime.errors import NotReady
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import make_context, write_pins, write_saves
from tests.contracts.candidate_source import CandidateSourceContract, make_query

PINS = [
    {"title": "Sourdough with a dark crust", "topics": ["baking", "bread"]},
    {"title": "Rye bread, slowly baked", "topics": ["baking", "bread"]},
    {"title": "Banana bread", "topics": ["baking", "cake"]},
    {"title": "Crème brûlée", "topics": ["dessert"], "language": "fr"},
    {"title": "Creme Brulee tart", "topics": ["dessert", "baking"]},
    {"title": "Alpine hut", "topics": ["hiking"], "description": "with bread and cheese"},
    {"title": "Häuser am See", "topics": ["architektur"], "language": "de"},
    {"title": "Ein Haus am Meer", "topics": ["architektur"], "language": "de"},
    {"title": "東京タワー", "language": "ja"},
    {"title": "東京の夜", "language": "ja"},
    {"title": "Nameless"},
    {},
]
IDS = [f"p{at:02}" for at in range(len(PINS))]


def build(data_root: Path, pins: list[dict[str, object]], saves: list[tuple[str, str]]) -> None:
    """Run the jobs on a small world."""
    write_pins(
        data_root,
        [{"pin_id": pin_id, **pin} for pin_id, pin in zip(IDS, pins, strict=False)],
    )
    write_saves(data_root, saves, titles={"b1": "Winter evenings"})
    for job in (build_catalogue, build_text_index, build_content_vectors):
        context = make_context(data_root)
        job.run(context)
        context.close()


class World:
    """What the jobs made of a data root, opened."""

    def __init__(self, data_root: Path) -> None:
        store = GenerationStore(data_root / "generations")
        self.catalogue: Catalogue = open_catalogue(store.current("catalogue"))
        self.index: TextIndex = open_text_index(store.current("text_index"))
        generation = store.current(TEXT)
        self.vectors = None if generation is None else open_index(generation)

    def source(self) -> TextSearchSource:
        """Return the source over this world."""
        return TextSearchSource(
            lambda: self.index,
            self._vectors,
            lambda: self.catalogue,
            PinSearch(SearchSettings()),
        )

    def _vectors(self) -> VectorIndex:
        if self.vectors is None:
            raise NotReady("none were imported")
        return self.vectors


@cache
def bakery() -> World:
    """Return the world of the pins above; p10 and p11 are saved to a board `Winter evenings`."""
    data_root = Path(mkdtemp(prefix="corkboard-test-"))
    build(data_root, PINS, [("b1", "p10"), ("b1", "p05"), ("b2", "p11")])
    return World(data_root)


@cache
def wordless() -> World:
    """Return a world of pins that nobody wrote anything about."""
    data_root = Path(mkdtemp(prefix="corkboard-test-"))
    build(data_root, [{}, {}], [])
    return World(data_root)


def live_over(world: World, changes: LiveChanges) -> LiveSegment:
    """Return the segment of a world's changes."""
    segment = LiveSegment(world.catalogue, [LiveText()])
    segment.apply(changes)
    return segment


def found(query: CandidateQuery, limit: int = 10) -> list[str]:
    """Return the ids that the source finds."""
    rows = bakery().source().retrieve(query, limit).rows
    return (query.live if query.live.base_count else live_over(bakery(), LiveChanges())).ids(rows)


class TestTextSearch(CandidateSourceContract):
    pin_count = len(PINS)
    query_rows = (0, 3)

    def make_source(self) -> TextSearchSource:
        """Return the source over the small world."""
        return bakery().source()

    def make_empty_source(self) -> TextSearchSource:
        """Return the source over a world without words."""
        return wordless().source()

    def test_most_shared_words_first(self) -> None:
        """Sourdough bread goes with rye bread before banana bread before what is merely baked."""
        assert found(make_query([0])) == ["p01", "p02", "p04", "p05"]

    def test_accents_and_case_do_not_matter(self) -> None:
        """French crème brûlée finds the creme brulee of people without accents."""
        assert found(make_query([3]))[0] == "p04"

    def test_stems_of_the_pins_own_language(self) -> None:
        """German Häuser meet a German Haus."""
        assert found(make_query([6])) == ["p07"]

    def test_scripts_without_spaces(self) -> None:
        """Two Japanese titles share 東京."""
        assert found(make_query([8])) == ["p09"]

    def test_titles_of_boards_are_words_of_a_pin(self) -> None:
        """What was saved to `Winter evenings` is found by these words."""
        query = replace(make_query([]), query_text="winter evening")

        assert set(found(query)[:2]) == {"p05", "p10"}

    def test_words_just_searched_for(self) -> None:
        """A search stands beside the query pins, with no query pin behind its finds."""
        query = replace(make_query([8]), query_text="brulee")
        candidates = bakery().source().retrieve(query, 10)

        assert (
            dict(zip(candidates.rows.tolist(), candidates.query_indexes.tolist(), strict=True))[3]
            == -1
        )

    def test_misspelt_search(self) -> None:
        """Grams of letters find what no stem matches."""
        assert found(replace(make_query([]), query_text="sourdoughs crusty"))[0] == "p00"

    def test_filter_keeps_the_list_full(self) -> None:
        """What may not be shown makes room for what may."""
        allowed = np.ones(len(PINS), np.bool_)
        allowed[[1, 2]] = False

        assert found(replace(make_query([0]), allowed=allowed), 1) == ["p04"]

    def test_unwanted_pins_make_room(self) -> None:
        """Excluded pins are left out before the list is cut."""
        query = replace(make_query([0]), excluded_rows=np.array([1, 2], np.int32))

        assert found(query, 1) == ["p04"]

    def test_heaviest_query_pins_are_searched_for(self) -> None:
        """Many query pins cost no more than some; whose find it is stays told."""
        source = TextSearchSource(
            lambda: bakery().index,
            bakery()._vectors,
            lambda: bakery().catalogue,
            PinSearch(SearchSettings()),
            query_pin_count_max=1,
        )
        candidates = source.retrieve(make_query([0, 8], weights=[1.0, 2.0]), 10)

        assert (candidates.rows.tolist(), candidates.query_indexes.tolist()) == ([9], [1])

    def test_best_score_over_all_query_pins(self) -> None:
        """Merged by score, one query pin may take all places; in turns it has its half."""
        query = replace(make_query([0, 8]), merge=QueryMerge.BEST_SCORE)

        assert len(found(query, 4)) == 4


class TestLive:
    def test_new_pin_scores_as_a_sealed_one(self) -> None:
        """The same words get about the same score, whether a night or a second old."""
        new = LivePin(len(PINS), "new", True, title="Banana bread", topics=("baking", "cake"))
        live = live_over(bakery(), LiveChanges(pins=[new]))
        candidates = bakery().source().retrieve(replace(make_query([1]), live=live), 10)
        scores = dict(zip(candidates.rows.tolist(), candidates.scores.tolist(), strict=True))

        # One more document moves the frequencies; lengths are exact here and rounded there.
        assert scores[len(PINS)] == pytest.approx(scores[2], rel=0.15)

    def test_new_pin_is_a_query(self) -> None:
        """A pin that no generation knows starts a search by its own words."""
        new = LivePin(len(PINS), "new", True, title="Alpine hut", topics=("hiking",))
        live = live_over(bakery(), LiveChanges(pins=[new]))

        assert found(replace(make_query([len(PINS)]), live=live)) == ["p05"]

    def test_changed_words_replace_the_old(self) -> None:
        """Nobody finds a pin by what it used to say."""
        changed = LivePin(1, "p01", False, title="Wooden spoon")
        live = live_over(bakery(), LiveChanges(pins=[changed]))

        assert "p01" not in found(replace(make_query([0]), live=live))
        query = replace(make_query([]), query_text="spoon", live=live)
        assert found(query)[0] == "p01"

    def test_deleted_pin_is_gone(self) -> None:
        """A removed pin has no words."""
        removed = LivePin(1, "p01", False, is_removed=True)
        live = live_over(bakery(), LiveChanges(pins=[removed]))

        assert "p01" not in found(replace(make_query([0]), live=live))

    def test_saved_to_a_titled_board_and_taken_back(self) -> None:
        """The board's words come with the save and go with it; twice applied is once."""
        save = LiveSave("s1", "b9", 11, "u", 0, "Quiet corners")
        live = live_over(bakery(), LiveChanges(saves=[save, save]))
        query = replace(make_query([]), query_text="quiet corner", live=live)

        assert found(query) == ["p11"]

        live.apply(LiveChanges(saves=[replace(save, is_removed=True)]))
        assert "p11" not in found(query)


class TestTextVectors:
    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        """Two pins share a word, two a direction."""
        pins = [
            {"title": "jaguar", "text_vector": [1.0, 0.0]},
            {"title": "jaguar roadster", "text_vector": [0.0, 1.0]},
            {"title": "ocelot", "text_vector": [0.9, 0.1]},
            {"title": "tractor"},
        ]
        build(tmp_path, pins, [])
        return World(tmp_path)

    def test_words_and_vectors_are_fused(self, world: World) -> None:
        """Both find something; a pin in both lists would win."""
        candidates = world.source().retrieve(make_query([0]), 10)

        assert set(candidates.rows.tolist()) == {1, 2}

    def test_live_vector_counts(self, world: World) -> None:
        """A pin upserted with a vector is a neighbour at once."""
        vector = np.array([1.0, 0.0], np.float32)
        new = LivePin(4, "new", True, title="leopard", text_vector=vector)
        live = live_over(world, LiveChanges(pins=[new]))
        query = replace(make_query([0]), live=live)

        assert 4 in world.source().retrieve(query, 2).rows.tolist()
