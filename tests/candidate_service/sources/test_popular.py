"""Prepared lists: local first, never empty, no query pin needed."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.candidate import Segment
from candidate_service.live_pools import LivePools
from candidate_service.pools import first_wanted
from candidate_service.sources.popular import (
    EVERYONE,
    LivePopular,
    PopularLists,
    PopularSource,
    Refresh,
    open_lists,
    write_lists,
)
from service_runtime.errors import Corrupted
from service_runtime.generations import GenerationStore
from tests.candidate_service.live_changes import PoolSegment, live_pin, live_save
from tests.candidate_service.world import DAY_US, NOW_US
from tests.contracts.candidate_source import CandidateSourceContract, make_query
from tests.naive import popular as naive

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

    def test_what_is_not_allowed_is_passed_over(self) -> None:
        """A filter that lets ten pins through gets ten, also from beyond the lists."""
        allowed = np.zeros(60, np.bool_)
        allowed[[3, 7, 55, 59]] = True

        found = make_popular().retrieve(dataclasses.replace(make_query([]), allowed=allowed), 10)

        assert found.rows.tolist() == [3, 7, 59, 55]


def live_popular() -> PopularSource:
    """The source over the same lists, the best of which stands for 4 saves today."""
    lists = PopularLists(
        LISTS, as_of_us=NOW_US, anchor_us=NOW_US, half_life_days=2.0, recent_max=4.0
    )
    return PopularSource(lambda: lists)


def best(source: PopularSource, live: PoolSegment, count: int, segment: Segment) -> list[int]:
    """The first rows for a viewer."""
    query = dataclasses.replace(make_query([], segment=segment), live=live)
    return source.retrieve(query, count).rows.tolist()


def test_live_saves_lift_a_pin() -> None:
    """Five saves of a pin in the middle make it the first; four more of another overtake it."""
    source, live = live_popular(), PoolSegment(60)

    before = best(source, live, 2, Segment())
    live.add(*(live_save(20, f"a{at}") for at in range(5)))
    after = best(source, live, 2, Segment())
    live.add(*(live_save(25, f"b{at}") for at in range(7)))

    assert before == [0, 1]
    assert after == [20, 0]
    assert best(source, live, 3, Segment()) == [25, 20, 0]


def test_live_saves_fade_like_those_in_the_lists() -> None:
    """Of two pins of no list, the one saved two days (a half-life) later stands higher."""
    source, live = live_popular(), PoolSegment(60)
    live.add(live_save(58, "early"), live_save(59, "late", time_us=NOW_US + 2 * DAY_US))

    found = best(source, live, 60, Segment())

    assert found.index(59) < found.index(58)


def test_a_save_taken_back_lowers_a_pin() -> None:
    """The first pin of the lists loses three of its four saves."""
    source, live = live_popular(), PoolSegment(60)
    live.add(*(live_save(0, f"{at}", time_us=NOW_US - 1, is_removed=True) for at in range(3)))

    assert best(source, live, 2, Segment()) == [1, 2]


@settings(deadline=None, max_examples=60)
@given(
    base=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 20)), min_size=1, max_size=30),
    live=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 10)), max_size=20),
    taken_back=st.lists(st.integers(0, 5), max_size=5),
)
def test_live_order_equals_a_recount_of_all_saves(
    base: list[tuple[int, int]], live: list[tuple[int, int, int]], taken_back: list[int]
) -> None:
    """Any saves before and since, moved, repeated and taken back: as if all were counted anew."""
    half_life = 4.0
    sums = np.zeros(10)
    for row, age in base:
        sums[row] += 0.5 ** (age / half_life)
    order = np.lexsort((np.arange(10), -sums)).astype(np.int32)
    top = float(sums.max())
    scores = np.where(sums > 0, 0.5 + 0.5 * sums / top, 0.0).astype(np.float32)
    lists = PopularLists(
        {EVERYONE: (order, scores[order])},
        as_of_us=NOW_US,
        anchor_us=NOW_US,
        half_life_days=half_life,
        recent_max=top,
    )
    segment = PoolSegment(10)
    for name, row, day in live:
        segment.add(live_save(row, f"{name}", time_us=NOW_US + day * DAY_US))
    standing = {f"{name}": row for name, row, _ in live}
    gone = [f"{name}" for name in taken_back if f"{name}" in standing]
    segment.add(*(live_save(standing[name], name, is_removed=True) for name in gone))

    found, scored = LivePopular(lists, segment.part(LivePools), Refresh()).best_for(Segment())

    expected = naive.order_with_live(
        [(row, NOW_US - age * DAY_US) for row, age in base],
        [(f"{name}", row, NOW_US + day * DAY_US) for name, row, day in live],
        gone,
        as_of_us=NOW_US,
        half_life_days=half_life,
    )
    place = {row: at for at, row in enumerate(found.tolist())}
    by_score = dict(zip(found.tolist(), scored.tolist(), strict=True))
    for first, second in pairwise(expected):
        close = by_score[first] == pytest.approx(by_score[second], rel=1e-4)  # float32 sums
        assert close or place[first] < place[second]


@given(
    rows=st.lists(st.integers(0, 60), unique=True, max_size=50),
    excluded=st.lists(st.integers(0, 60), unique=True, max_size=20),
    allowed=st.none() | st.lists(st.booleans(), min_size=40, max_size=40),
    limit=st.integers(0, 30),
)
def test_first_wanted_is_a_filter_and_a_cut(
    rows: list[int], excluded: list[int], allowed: list[bool] | None, limit: int
) -> None:
    """However an order is looked through, the result is that of going through it one by one."""
    mask = None if allowed is None else np.array(allowed)
    query = dataclasses.replace(
        make_query([]), excluded_rows=np.array(sorted(excluded), np.int32), allowed=mask
    )

    found = first_wanted(np.array(rows, np.int32), query, limit)

    wanted = [
        at
        for at, row in enumerate(rows)
        if row not in excluded and (allowed is None or (row < 40 and allowed[row]))
    ]
    assert found.tolist() == wanted[:limit]


def test_live_pins_are_there_at_once_and_belong_to_their_segment() -> None:
    """Last for everyone until somebody saves them; first for a reader whom they fit doubly."""
    source, live = live_popular(), PoolSegment(60)
    live.add(live_pin(60, language="ja", country="JP"), live_pin(61, language="en"))

    everyone = best(source, live, 100, Segment())

    assert everyone[-2:] == [60, 61]
    assert best(source, live, 2, Segment("ja", "JP")) == [12, 60]


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
