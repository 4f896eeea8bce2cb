"""Masks say what looking at one pin after the other says, also while pins change."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.catalogue import PINS_SCHEMA, Catalogue
from candidate_service.filter_language import FilterInvalid, Node, parse
from candidate_service.filter_truth import evaluate
from candidate_service.filters import (
    Filters,
    LiveColumns,
    Wanted,
    age_between,
    conjunction,
    local_to,
)
from candidate_service.live.segment import LiveChanges, LivePin, LiveSegment
from candidate_service.pin_columns import PinColumns
from tests.naive.filters import DAY_US, holds

NOW_US = 1_000 * DAY_US
EXPRESSIONS = (
    'language = "JA"',
    'language : "pt"',
    'language != "ja"',
    'NOT (language = "ja" OR country = "JP")',
    'country IN ("jp", "BR")',
    'owner_id = "o1"',
    'topics : "food"',
    'topics : ("food", "travel") AND NOT topics : "cats"',
    'title : "RED"',
    "quality <= 0.3",
    "quality != 0.3 OR KNOWN(country)",
    "NOT KNOWN(quality)",
    "age_days > 3 AND age_days <= 10",
    "attributes.price < 20",
    'attributes.price = "20"',
    'attributes.brand : "cm"',
    'attributes.day >= "2024-02-01"',
    "NOT attributes.price < 20",
    "KNOWN(attributes.brand) AND NOT KNOWN(topics)",
    "KNOWN(title) OR KNOWN(age_days)",
)
NODES = {text: parse(text) for text in EXPRESSIONS}

PINS = st.builds(
    dict,
    language=st.sampled_from(["", "ja", "pt", "pt-BR", "en"]),
    country=st.sampled_from(["", "JP", "BR"]),
    owner_id=st.sampled_from(["", "o1", "o2"]),
    title=st.sampled_from(["", "A red car", "blue"]),
    topics=st.lists(st.sampled_from(["food", "travel", "cats"]), max_size=2).map(tuple),
    quality=st.sampled_from([None, 0.1, 0.3, 0.9]),
    creation_time_us=st.sampled_from([None, *(NOW_US - days * DAY_US for days in (-1, 1, 5, 99))]),
    attributes=st.dictionaries(
        st.sampled_from(["price", "brand", "day"]),
        st.sampled_from(["", "5", "20", "20.5", "Acme", "2024-03-01", "nan"]),
    ),
)


def make_pin(row: int, fields: dict[str, Any], *, base_count: int = 0) -> LivePin:
    """Return a pin with some fields known."""
    return LivePin(row, f"p{row}", is_new=row >= base_count, **fields)


def make_catalogue(pins: list[dict[str, Any]]) -> Catalogue:
    """Return a catalogue with those pins."""
    rows = [{**pin, "attributes": list(pin.get("attributes", {}).items())} for pin in pins]
    ids = [f"p{row}" for row in range(len(pins))]
    return Catalogue(ids, pa.Table.from_pylist(rows, PINS_SCHEMA), "space")  # type: ignore[arg-type]


def allowed(
    filters: Filters, catalogue: Catalogue, live: LiveSegment, wanted: Wanted
) -> list[bool]:
    """Return the mask as a list."""
    found = filters.allowed(catalogue, live, wanted, now_us=NOW_US).rows
    assert found is not None
    assert not found.flags.writeable
    return found.tolist()


@pytest.mark.parametrize("text", EXPRESSIONS)
@given(pins=st.lists(PINS, max_size=8))
@settings(max_examples=30, deadline=None)
def test_equals_looking_at_each_pin(text: str, pins: list[dict[str, Any]]) -> None:
    """Whole columns say what one value after the other says."""
    live = [make_pin(row, pin) for row, pin in enumerate(pins)]

    found = evaluate(NODES[text], PinColumns.of_pins(live), NOW_US)

    assert found.tolist() == [holds(NODES[text], pin, NOW_US) for pin in live]


@given(
    old=st.lists(PINS, min_size=1, max_size=5),
    batches=st.lists(st.lists(st.tuples(st.integers(0, 9), PINS), max_size=4), max_size=5),
    text=st.sampled_from(EXPRESSIONS),
)
@settings(deadline=None)
def test_follows_live_changes(
    old: list[dict[str, Any]], batches: list[list[tuple[int, dict[str, Any]]]], text: str
) -> None:
    """After every change the mask is what a new one would be: new pins, and changed old ones."""
    catalogue, filters = make_catalogue(old), Filters({}, mask_count_max=4)
    live = LiveSegment(catalogue, [LiveColumns(len(old))])
    known = [make_pin(row, pin, base_count=len(old)) for row, pin in enumerate(old)]
    wanted = Wanted(NODES[text])
    assert allowed(filters, catalogue, live, wanted) == [
        holds(NODES[text], pin, NOW_US) for pin in known
    ]
    for batch in batches:
        changed = []
        for place, fields in batch:
            row = min(place, len(known))
            changed.append(make_pin(row, fields, base_count=len(old)))
            known[row:] = [changed[-1], *known[row + 1 :]]
        live.apply(LiveChanges(pins=changed))

        assert allowed(filters, catalogue, live, wanted) == [
            holds(NODES[text], pin, NOW_US) for pin in known
        ]


def make_world() -> tuple[Catalogue, LiveSegment]:
    """Three old pins and two live ones; of each language one is of owner o1."""
    catalogue = make_catalogue(
        [
            {"language": "ja", "owner_id": "o1", "creation_time_us": NOW_US - DAY_US},
            {"language": "en", "owner_id": "o2", "creation_time_us": NOW_US - 9 * DAY_US},
            {"language": "ja", "owner_id": "o2"},
        ]
    )
    live = LiveSegment(catalogue, [LiveColumns(3)])
    live.apply(
        LiveChanges(
            pins=[
                make_pin(3, {"language": "ja", "owner_id": "o3", "creation_time_us": NOW_US}),
                make_pin(4, {"language": "en", "owner_id": "o1"}),
            ]
        )
    )
    return catalogue, live


def test_nothing_asked_for_is_no_mask() -> None:
    """Without a filter and without removed pins there is nothing to check."""
    catalogue, live = make_world()

    found = Filters({}, mask_count_max=1).allowed(catalogue, live, Wanted(), now_us=NOW_US)

    assert found.rows is None
    assert found.shared is None


def test_removed_pins_are_never_allowed() -> None:
    """Deleted and hidden pins vanish whatever the filter; what is shared does not say so."""
    catalogue, live = make_world()
    filters = Filters({}, mask_count_max=1)
    live.apply(LiveChanges(pins=[LivePin(0, "p0", is_new=False, is_removed=True, language="ja")]))
    live.apply(LiveChanges(pins=[LivePin(3, "p3", is_new=True, is_hidden=True, language="ja")]))

    found = filters.allowed(catalogue, live, Wanted(NODES['language = "JA"']), now_us=NOW_US)

    assert allowed(filters, catalogue, live, Wanted()) == [False, True, True, False, True]
    assert found.rows is not None
    assert found.rows.tolist() == [False, False, True, False, False]
    assert found.shared is not None
    assert found.shared.mask.tolist() == [True, False, True, True, False]


def test_excluded_owners() -> None:
    """Pins of blocked owners go, old and live; an owner nobody knows harms nobody."""
    catalogue, live = make_world()
    filters = Filters({}, mask_count_max=1)

    found = allowed(filters, catalogue, live, Wanted(excluded_owner_ids=("o1", "nobody")))
    both = allowed(
        filters, catalogue, live, Wanted(NODES['language = "JA"'], excluded_owner_ids=("o2",))
    )

    assert found == [False, True, True, True, False]
    assert both == [True, False, False, True, False]


def test_texts_are_copied_for_filters_that_read_them_alone() -> None:
    """Two thousand pins of the longest texts are 250 MB, and owners are asked for all the time."""
    text = "x" * 65_536
    pins = [LivePin(at, f"p{at}", True, owner_id="o", title=text + str(at)) for at in range(400)]
    before = pa.total_allocated_bytes()

    columns = PinColumns.of_pins(pins)
    owned = columns.rows_of_word("owner_id", ["o"])
    for_owners = pa.total_allocated_bytes() - before
    found = evaluate(parse('title : "x"'), columns, NOW_US)

    assert len(owned) == len(found) == 400
    assert for_owners < 1 << 20
    assert pa.total_allocated_bytes() - before > 400 * len(text)


def test_pin_that_changes_its_owner() -> None:
    """The newest owner counts, for old pins too."""
    catalogue, live = make_world()
    live.apply(LiveChanges(pins=[make_pin(0, {"owner_id": "o2"}, base_count=3)]))

    found = allowed(
        Filters({}, mask_count_max=1), catalogue, live, Wanted(excluded_owner_ids=("o1",))
    )

    assert found == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (age_between(None, 2 * 86_400.0), [True, False, False, True, False]),
        (age_between(86_400.0, None), [True, True, False, False, False]),
        (age_between(2 * 86_400.0, 10 * 86_400.0), [False, True, False, False, False]),
        (local_to("ja-JP", ""), [True, False, True, True, False]),
        (local_to("en", "JP"), [False, True, False, False, True]),
    ],
)
def test_ages_and_places(parts: list[Node], expected: list[bool]) -> None:
    """Bounds are included; a pin of unknown age or place is left out."""
    catalogue, live = make_world()

    found = allowed(Filters({}, mask_count_max=1), catalogue, live, Wanted(conjunction(parts)))

    assert found == expected


def test_ages_go_on_with_the_clock() -> None:
    """A mask by age is good for a minute, and no longer."""
    catalogue, live = make_world()
    filters = Filters({}, mask_count_max=8)
    wanted = Wanted(conjunction(age_between(None, 86_400.0)))

    keys = set()
    for seconds in (0, 30, 59, 60, 120):
        found = filters.allowed(catalogue, live, wanted, now_us=NOW_US + seconds * 1_000_000)
        assert found.shared is not None
        assert found.shared.mask[0] == (seconds < 60)
        keys.add(found.shared.key)

    assert len(keys) == 3


def test_shared_key_changes_when_an_old_pin_does() -> None:
    """Answers that were remembered under a filter are not used after a pin came under it."""
    catalogue, live = make_world()
    filters, wanted = Filters({}, mask_count_max=1), Wanted(NODES['language = "JA"'])
    before = filters.allowed(catalogue, live, wanted, now_us=NOW_US).shared
    live.apply(LiveChanges(pins=[make_pin(5, {"language": "ja"}, base_count=3)]))
    new = filters.allowed(catalogue, live, wanted, now_us=NOW_US).shared
    live.apply(LiveChanges(pins=[make_pin(1, {"language": "ja"}, base_count=3)]))
    changed = filters.allowed(catalogue, live, wanted, now_us=NOW_US).shared

    assert before is not None
    assert new is not None
    assert changed is not None
    assert before.key == new.key != changed.key
    assert changed.mask.tolist() == [True, True, True, True, False, True]


def test_masks_are_bounded() -> None:
    """The filter that was used longest ago is forgotten."""
    catalogue, live = make_world()
    filters = Filters({}, mask_count_max=2)
    for text in EXPRESSIONS:
        filters.allowed(catalogue, live, Wanted(NODES[text]), now_us=NOW_US)

    assert len(filters._generations[0]._masks) == 2


def test_only_two_generations_are_kept() -> None:
    """Masks of replaced catalogues are let go."""
    filters = Filters({}, mask_count_max=2)
    for _ in range(4):
        catalogue, live = make_world()
        allowed(filters, catalogue, live, Wanted(NODES['language = "JA"']))

    assert len(filters._generations) == 2


def test_prepared_columns_are_used() -> None:
    """What is made before a switch is what serves after it; and says what it should."""
    filters = Filters({}, mask_count_max=2)
    catalogue, live = make_world()
    wanted = Wanted(NODES['language = "JA"'])
    for text in ('topics : "food"', "attributes.price < 20", "quality <= 0.3"):
        if text in NODES:
            allowed(filters, catalogue, live, Wanted(NODES[text], ("o1",)))
    allowed(filters, catalogue, live, wanted)
    catalogue, live = make_world()
    filters.prepare(catalogue)
    assert filters._prepared is not None
    made = ["attribute:price", "numbers:quality", "order:owner_id", "sets:topics"]
    assert set(made) <= set(filters._prepared[1]._made)

    found = allowed(filters, catalogue, live, wanted)

    assert found == [True, False, True, True, False]
    assert filters._generations[0].columns is filters._prepared[1]
    assert "words:language" in filters._prepared[1]._made


def test_named_filter_with_placeholder() -> None:
    """Both the named filter and the expression must hold."""
    filters = Filters({"market": "language = $language"}, mask_count_max=1)
    catalogue, live = make_world()
    node = filters.read('owner_id = "o2"', "market", {"language": "ja"})

    assert allowed(filters, catalogue, live, Wanted(node)) == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("expression", "name", "parameters", "reason"),
    [
        ("", "unheard of", {}, "UNKNOWN_FILTER"),
        ("", "market", {}, "PARAMETER_MISSING"),
        ("", "market", {"language": "ja", "more": "1"}, "PARAMETER_UNUSED"),
        ('topics : "x"', "", {"language": "ja"}, "PARAMETER_UNUSED"),
        ("topics :", "market", {"language": "ja"}, "FILTER_INVALID"),
    ],
)
def test_bad_filters_are_refused(
    expression: str, name: str, parameters: dict[str, str], reason: str
) -> None:
    """With a reason for machines and a hint for people."""
    filters = Filters({"market": "language = $language"}, mask_count_max=1)

    with pytest.raises(FilterInvalid) as refused:
        filters.read(expression, name, parameters)

    assert refused.value.reason == reason
    assert refused.value.hint


def test_readers_beside_a_writer() -> None:
    """Masks are whole while pins come: a row in a mask is right or not yet there."""
    catalogue, live = make_world()
    filters, wanted = Filters({}, mask_count_max=1), Wanted(NODES['language = "JA"'])

    def write() -> None:
        for row in range(5, 300):
            language = "ja" if row % 2 else "en"
            live.apply(LiveChanges(pins=[make_pin(row, {"language": language}, base_count=3)]))

    def read() -> None:
        while live.row_count < 300:
            mask = np.array(allowed(filters, catalogue, live, wanted))
            rows = np.arange(5, len(mask))
            assert not mask[rows[rows % 2 == 0]].any()

    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(write), pool.submit(read), pool.submit(read)]
        for one in done:
            one.result()

    mask = allowed(filters, catalogue, live, wanted)
    assert mask[5:] == [row % 2 == 1 for row in range(5, 300)]
