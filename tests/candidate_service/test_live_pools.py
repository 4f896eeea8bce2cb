"""The pools' part of the live segment: each save counts once, whatever comes twice."""

from __future__ import annotations

from candidate_service.live.segment import LiveChanges
from candidate_service.live_pools import LivePools, PinFacts, SaveTally
from tests.candidate_service.live_changes import live_pin, live_save
from tests.candidate_service.world import NOW_US


def totals_of(part: LivePools) -> dict[int, float]:
    """What one reader adds up, every save counting 1."""
    tally = SaveTally(part, as_of_us=NOW_US, weigh=lambda _: 1.0)
    tally.read_on()
    return {row: total for row, total in tally.totals.items() if total}


def test_a_save_counts_once_however_often_it_comes() -> None:
    """The same change may come again."""
    part = LivePools()
    for _ in range(3):
        part.apply(LiveChanges([], [live_save(4, "s"), live_save(4, "t")]))

    assert totals_of(part) == {4: 2.0}


def test_a_save_that_is_taken_back_counts_no_more() -> None:
    """Also when it is taken back twice, and again when it is made anew."""
    part = LivePools()
    part.apply(LiveChanges([], [live_save(4, "s")]))
    for _ in range(2):
        part.apply(LiveChanges([], [live_save(4, "s", is_removed=True)]))
    taken_back = totals_of(part)
    part.apply(LiveChanges([], [live_save(4, "s")]))

    assert taken_back == {}
    assert totals_of(part) == {4: 1.0}


def test_a_save_that_moves_to_another_pin_moves() -> None:
    """The old pin loses what the new one gains."""
    part = LivePools()
    part.apply(LiveChanges([], [live_save(4, "s")]))
    part.apply(LiveChanges([], [live_save(4, "s", is_removed=True), live_save(5, "s")]))

    assert totals_of(part) == {5: 1.0}


def test_what_a_generation_has_already_is_not_counted_again() -> None:
    """A save from before as-of is in the lists; taking it back takes it out of them."""
    part = LivePools()
    old_us = NOW_US - 1
    part.apply(LiveChanges([], [live_save(4, "s", time_us=old_us)]))
    part.apply(LiveChanges([], [live_save(5, "t", time_us=old_us, is_removed=True)]))
    part.apply(LiveChanges([], [live_save(6, "u", is_removed=True)]))

    assert totals_of(part) == {5: -1.0}


def test_a_save_of_a_generation_that_moves_to_another_pin_moves() -> None:
    """It is old, so the generation has it at the old pin; moved again it moves again."""
    part = LivePools()
    old_us = NOW_US - 1
    for here, there in ((4, 5), (5, 6)):
        taken = live_save(here, "s", time_us=old_us, is_removed=True)
        part.apply(LiveChanges([], [taken, live_save(there, "s", time_us=old_us)]))

    assert totals_of(part) == {4: -1.0, 6: 1.0}


def test_a_reader_reads_on_where_it_stopped() -> None:
    """Later changes are added to what was read; nothing new changes no version."""
    part = LivePools()
    tally = SaveTally(part, as_of_us=NOW_US, weigh=lambda _: 2.0)
    part.apply(LiveChanges([live_pin(9)], [live_save(4, "s")]))
    first = tally.read_on(), dict(tally.totals), tally.version
    again = tally.read_on(), dict(tally.totals), tally.version
    part.apply(LiveChanges([], [live_save(4, "t")]))
    tally.read_on()

    assert [pin.row for pin in first[0]] == [9]
    assert first[1] == again[1] == {4: 2.0}
    assert first[2] == again[2]
    assert tally.totals == {4: 4.0}
    assert tally.version > again[2]


def test_facts_name_the_segments_of_a_pin() -> None:
    """Language, country, and the attribute that the settings name."""
    facts = PinFacts("ja-JP", "jp", (("audience", "teens"), ("colour", "red")))

    assert facts.keys("audience") == ("language:ja", "country:JP", "segment:teens")
    assert facts.keys("") == ("language:ja", "country:JP")
    assert PinFacts().keys("audience") == ()
