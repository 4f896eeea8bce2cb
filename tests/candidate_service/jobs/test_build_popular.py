"""Popularity fades, counts are counts, and there is always a list."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from candidate_service.action_types import STRENGTHS
from candidate_service.candidate import Segment
from candidate_service.catalogue import open_catalogue
from candidate_service.jobs import build_catalogue, build_popular
from candidate_service.sources.popular import open_lists
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import (
    DAY_US,
    NOW_US,
    make_context,
    write_actions,
    write_pins,
    write_saves,
)
from tests.naive.popular import popularity


def build(data_root: Path, **settings: Any) -> None:
    """Run the catalogue job and the job under test."""
    for job in (build_catalogue, build_popular):
        context = make_context(data_root, **settings)
        job.run(context)
        context.close()


def ranking(data_root: Path, segment: Segment | None = None) -> list[str]:
    """Return the prepared list as ids."""
    store = GenerationStore(data_root / "generations")
    lists, known = store.current("popular"), store.current("catalogue")
    assert lists is not None
    assert known is not None
    rows, _ = open_lists(lists).best_for(segment or Segment())
    return open_catalogue(known).ids.ids(rows)


def statistics(data_root: Path) -> dict[str, dict[str, Any]]:
    """Return the statistics of each pin by its id."""
    store = GenerationStore(data_root / "generations")
    counted, known = store.current("pin_statistics"), store.current("catalogue")
    assert counted is not None
    assert known is not None
    table = pa.ipc.open_file(str(counted.file("statistics.arrow"))).read_all()
    ids = open_catalogue(known).ids.ids(range(table.num_rows))
    return dict(zip(ids, table.to_pylist(), strict=True))


def test_recent_praise_beats_old_praise(tmp_path: Path) -> None:
    """Two clicks today are worth more than three saves two months ago."""
    actions = [("u", "now", "click", NOW_US - 1)] * 2
    actions += [("u", "then", "save", NOW_US - 60 * DAY_US)] * 3
    write_actions(tmp_path, actions)

    build(tmp_path)

    assert ranking(tmp_path) == ["now", "then"]


def test_strong_actions_count_more(tmp_path: Path) -> None:
    """At the same time a save outweighs a click, and a hide is no praise."""
    write_actions(
        tmp_path,
        [
            ("u", "hidden", "hide", NOW_US - 1),
            ("u", "clicked", "click", NOW_US - 1),
            ("u", "saved", "save", NOW_US - 1),
        ],
    )

    build(tmp_path)

    assert ranking(tmp_path) == ["saved", "clicked", "hidden"]


def test_decayed_counts_follow_the_formula(tmp_path: Path) -> None:
    """Each action counts exp(-0.01 days), its age measured from the newest fact."""
    newest = NOW_US - 500 * DAY_US
    write_actions(
        tmp_path,
        [
            ("u", "p", "click", newest),
            ("v", "p", "click", newest - 10 * DAY_US),
            ("v", "p", "long_click", newest - 30 * DAY_US),
        ],
    )

    build(tmp_path)

    found = statistics(tmp_path)["p"]
    assert found["decayed_click"] == pytest.approx(1 + math.exp(-0.1), rel=1e-6)
    assert found["decayed_long_click"] == pytest.approx(math.exp(-0.3), rel=1e-6)
    assert found["decayed_save"] == 0
    assert found["user_count"] == 2
    assert found["newest_action_time_us"] == newest


def test_popularity_equals_adding_up_one_by_one(tmp_path: Path) -> None:
    """On 300 random actions every pin has the sum of its faded strengths in the window."""
    rng = np.random.default_rng(8)
    kinds = list(STRENGTHS)
    actions = [
        ("u", f"p{rng.integers(20)}", kinds[rng.integers(len(kinds))], NOW_US - int(age))
        for age in rng.integers(1, 200 * DAY_US, 300)
    ]
    write_actions(tmp_path, actions)

    build(tmp_path)

    expected = popularity(
        [(pin, STRENGTHS[kind], time_us) for _, pin, kind, time_us in actions],
        anchor_us=max(time_us for *_, time_us in actions),
        half_life_days=14,
        window_days=90,
    )
    found = {pin: row["popularity"] for pin, row in statistics(tmp_path).items()}
    assert found == pytest.approx(expected, rel=1e-5)
    best_first = sorted(expected, key=lambda pin: -expected[pin])
    assert ranking(tmp_path)[:5] == best_first[:5]


def test_saves_boards_and_users_are_counted(tmp_path: Path) -> None:
    """A pin on two boards, one of which has it twice, has three saves and two boards."""
    write_saves(tmp_path, [("a", "p", NOW_US - 5), ("b", "p", NOW_US - 3), ("b", "p", NOW_US - 4)])

    build(tmp_path)

    found = statistics(tmp_path)["p"]
    assert (found["save_count"], found["board_count"], found["user_count"]) == (3, 2, 0)
    assert found["newest_save_time_us"] == NOW_US - 3


def test_data_that_ended_long_ago_is_as_fresh_as_on_its_last_day(tmp_path: Path) -> None:
    """Ages count from the newest fact: thirty years later nothing has faded."""
    write_actions(tmp_path, [("u", "p", "save", NOW_US - 11_000 * DAY_US)])

    build(tmp_path)

    assert statistics(tmp_path)["p"]["popularity"] == pytest.approx(1.0)


def test_saves_without_times_make_pins_popular(tmp_path: Path) -> None:
    """A bare list of pairs is enough: who is saved most is first."""
    write_saves(tmp_path, [("a", "often"), ("b", "often"), ("a", "once")])

    build(tmp_path)

    assert ranking(tmp_path) == ["often", "once"]


def test_segments_have_their_own_lists(tmp_path: Path) -> None:
    """Enough pins of a language make a list that its readers see first."""
    write_pins(
        tmp_path,
        [{"pin_id": f"ja{at}", "language": "ja"} for at in range(5)]
        + [{"pin_id": "en", "language": "en-GB", "country": "GB"}],
    )
    write_actions(tmp_path, [("u", "en", "save", NOW_US - 1), ("u", "ja3", "click", NOW_US - 1)])

    build(tmp_path, popular_segment_pin_count_min=5)

    assert ranking(tmp_path)[0] == "en"
    assert ranking(tmp_path, Segment("ja"))[:2] == ["ja3", "ja0"]
    assert ranking(tmp_path, Segment("en", "GB")) == ranking(tmp_path)


def test_never_empty_while_there_are_pins(tmp_path: Path) -> None:
    """Nobody did anything yet: the newest pins are shown."""
    write_pins(
        tmp_path,
        [{"pin_id": "old", "creation_time_us": 1}, {"pin_id": "new", "creation_time_us": 2}],
    )

    build(tmp_path)

    assert ranking(tmp_path) == ["new", "old"]


def test_nothing_later_than_as_of(tmp_path: Path) -> None:
    """Actions at or after as-of are not counted."""
    write_actions(tmp_path, [("u", "p", "save", NOW_US - 1), ("u", "p", "save", NOW_US)])

    build(tmp_path)

    assert statistics(tmp_path)["p"]["decayed_save"] == pytest.approx(1.0)


def test_empty_world(tmp_path: Path) -> None:
    """No pins at all: empty lists, no error."""
    build(tmp_path)

    assert ranking(tmp_path) == []


def test_pins_that_may_not_be_shown_are_in_no_list(tmp_path: Path) -> None:
    """Hidden, deleted and expired pins are counted and not proposed, however popular."""
    write_pins(
        tmp_path,
        [
            {"pin_id": "hidden", "is_hidden": True},
            {"pin_id": "deleted", "is_deleted": True},
            {"pin_id": "expired", "expiration_time_us": NOW_US - 1},
            {"pin_id": "shown", "expiration_time_us": NOW_US + 1},
        ],
    )
    actions = [("u", pin, "save", NOW_US - 1) for pin in ("hidden", "deleted", "expired") * 3]
    write_actions(tmp_path, [*actions, ("u", "shown", "click", NOW_US - 1)])

    build(tmp_path)

    assert ranking(tmp_path) == ["shown"]
    assert statistics(tmp_path)["hidden"]["popularity"] == pytest.approx(3.0)


def test_segments_named_by_an_attribute_have_their_own_lists(tmp_path: Path) -> None:
    """The settings say which attribute of pins names their segment."""
    write_pins(
        tmp_path,
        [{"pin_id": f"t{at}", "attributes": [("audience", "teens")]} for at in range(3)]
        + [{"pin_id": "other"}],
    )
    write_actions(tmp_path, [("u", "other", "save", NOW_US - 1), ("u", "t1", "click", NOW_US - 1)])

    build(tmp_path, local_segment_attribute="audience", popular_segment_pin_count_min=2)

    assert ranking(tmp_path, Segment(name="teens"))[0] == "t1"
    assert ranking(tmp_path)[0] == "other"


def test_a_user_s_save_counts_also_where_no_action_tells_of_it(tmp_path: Path) -> None:
    """A save with a user and a time counts once, in the action log or not."""
    write_saves(tmp_path, [("b", "only saved", NOW_US - 1), ("b", "both", NOW_US - 1)], user_id="u")
    write_actions(tmp_path, [("u", "both", "save", NOW_US - 1)])

    build(tmp_path)

    found = {pin: row["popularity"] for pin, row in statistics(tmp_path).items()}
    assert found == pytest.approx({"only saved": 1.0, "both": 1.0})


def test_the_manifest_says_how_well_the_list_foresees(tmp_path: Path) -> None:
    """What was saved until yesterday is saved today: the first 100 hold all, thrice chance."""
    actions = [
        (f"u{user}", f"p{pin}", "save", NOW_US - round(age * DAY_US))
        for pin in range(100)
        for user in range(3)
        for age in (0.1, 1.5, 3)
    ]
    write_pins(tmp_path, [{"pin_id": f"q{at}"} for at in range(200)])
    write_actions(tmp_path, actions)

    build(tmp_path)

    generation = GenerationStore(tmp_path / "generations").current("popular")
    assert generation is not None
    assert generation.manifest.quality["held_out_hit_rate"] == 1.0
    assert generation.manifest.quality["held_out_lift"] == pytest.approx(3.0)
