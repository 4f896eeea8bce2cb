"""Prepared lists: local first, never empty, no query pin needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from candidate_service.candidate import Segment
from candidate_service.sources.popular import (
    EVERYONE,
    PopularLists,
    PopularSource,
    open_lists,
    write_lists,
)
from service_runtime.errors import Corrupted
from service_runtime.generations import GenerationStore
from tests.contracts.candidate_source import CandidateSourceContract, make_query

LISTS = {
    EVERYONE: (np.arange(30, dtype=np.int32), np.linspace(1, 0.1, 30, dtype=np.float32)),
    "language:ja": (np.array([8, 12, 40], np.int32), np.array([0.7, 0.6, 0.05], np.float32)),
    "country:JP": (np.array([12, 50], np.int32), np.array([0.6, 0.04], np.float32)),
}


def make_popular() -> PopularSource:
    """Return the source over the lists above."""
    lists = PopularLists(LISTS)
    return PopularSource(lambda: lists)


class TestPopular(CandidateSourceContract):
    pin_count = 60
    query_rows = (0, 3)
    answers_without_query_pins = True

    def make_source(self) -> PopularSource:
        """Return the source over the small world."""
        return make_popular()

    def make_empty_source(self) -> PopularSource:
        """Return the source over a world in which nothing was saved."""
        nothing = (np.empty(0, np.int32), np.empty(0, np.float32))
        lists = PopularLists({EVERYONE: nothing})
        return PopularSource(lambda: lists)

    def test_local_pins_come_first(self) -> None:
        """Language and country both fit, then one of them, then the rest of the world."""
        query = make_query([], segment=Segment("ja", "JP"))

        found = make_popular().retrieve(query, 6)

        assert found.rows.tolist() == [12, 8, 40, 50, 0, 1]

    def test_spelling_of_a_locale_does_not_matter(self) -> None:
        """`JA-jp` is Japanese, `jp` is Japan."""
        query = make_query([], segment=Segment("JA-jp", "jp"))

        assert make_popular().retrieve(query, 3).rows.tolist() == [12, 8, 40]

    def test_unknown_segment_gets_what_everyone_gets(self) -> None:
        """A language without a list is no reason for an empty answer."""
        query = make_query([], segment=Segment("xx", "YY"))

        assert make_popular().retrieve(query, 3).rows.tolist() == [0, 1, 2]


def test_lists_survive_the_disk(tmp_path: Path) -> None:
    """What was written is what is opened."""
    store = GenerationStore(tmp_path)
    with store.draft("popular", format_version=1) as draft:
        segments = write_lists(draft, LISTS)
        generation = draft.publish(as_of_us=0, details={"segments": segments})

    lists = open_lists(generation)

    for segment in (Segment(), Segment("ja"), Segment("ja", "JP")):
        for expected, actual in zip(
            PopularLists(LISTS).best_for(segment), lists.best_for(segment), strict=True
        ):
            np.testing.assert_array_equal(expected, actual)


def test_lists_that_do_not_fit_their_manifest_are_refused(tmp_path: Path) -> None:
    """A manifest of other segments than the file has is damage."""
    store = GenerationStore(tmp_path)
    with store.draft("popular", format_version=1) as draft:
        write_lists(draft, LISTS)
        generation = draft.publish(as_of_us=0, details={"segments": [EVERYONE]})

    with pytest.raises(Corrupted, match="manifest"):
        open_lists(generation)
