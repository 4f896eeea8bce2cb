"""The job of the fresh pools: who is young, what they had, and what was to be expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candidate_service.catalogue import open_catalogue
from candidate_service.fresh_pool import FreshPins, open_fresh
from candidate_service.jobs import build_catalogue, build_fresh
from service_runtime.errors import Corrupted
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import (
    DAY_US,
    NOW_US,
    make_context,
    write_actions,
    write_pins,
    write_saves,
)


def build(data_root: Path, **settings: Any) -> dict[str, Any]:
    """Run the catalogue job and the job under test."""
    report: dict[str, Any] = {}
    for job in (build_catalogue, build_fresh):
        context = make_context(data_root, **settings)
        report = dict(job.run(context))
        context.close()
    return report


def opened(data_root: Path) -> tuple[FreshPins, list[str]]:
    """The current generation, and the ids of its pins."""
    store = GenerationStore(data_root / "generations")
    fresh, known = store.current("fresh"), store.current("catalogue")
    assert fresh is not None
    assert known is not None
    pins = open_fresh(fresh)
    return pins, open_catalogue(known).ids.ids(pins.rows)


def pin(pin_id: str, age_days: float, **fields: Any) -> dict[str, Any]:
    """A pin made so many days ago."""
    return {"pin_id": pin_id, "creation_time_us": NOW_US - round(age_days * DAY_US), **fields}


def test_only_young_pins_that_may_be_shown(tmp_path: Path) -> None:
    """Newest first; too old, of unknown age, hidden, deleted, expired or poor ones are left out."""
    write_pins(
        tmp_path,
        [
            pin("week", 6.9),
            pin("now", 0.1),
            pin("old", 7.1),
            {"pin_id": "timeless"},
            pin("hidden", 1, is_hidden=True),
            pin("deleted", 1, is_deleted=True),
            pin("expired", 1, expiration_time_us=NOW_US - 1),
            pin("poor", 1, quality=0.1),
            pin("fine", 1, quality=0.5),
        ],
    )

    report = build(tmp_path, fresh_quality_min=0.2)

    pins, ids = opened(tmp_path)
    assert ids == ["now", "fine", "week"]
    assert report["fresh_pin_count"] == 3
    np.testing.assert_array_equal(np.isnan(pins.qualities), [True, False, True])
    assert pins.stands_still_us is None


def test_praise_and_expectation_are_counted(tmp_path: Path) -> None:
    """Saves and clicks on two pins of a day: what they had, and the mean of it as expectation."""
    write_pins(tmp_path, [pin("loved", 1), pin("ignored", 1)])
    write_actions(
        tmp_path,
        [
            ("u", "loved", "save", NOW_US - DAY_US // 2),
            ("v", "loved", "click", NOW_US - DAY_US // 4),
            ("w", "loved", "hide", NOW_US - DAY_US // 4),
        ],
    )
    write_saves(tmp_path, [("b", "loved", NOW_US - DAY_US // 2)])

    report = build(tmp_path)

    pins, ids = opened(tmp_path)
    praise = dict(zip(ids, pins.engagements.tolist(), strict=True))
    assert praise == {"loved": pytest.approx(2.3), "ignored": 0.0}
    assert pins.expected[24] == pytest.approx(2.3 / 2)
    assert report["hot_pin_count"] == 1


def test_a_save_in_the_action_log_is_not_counted_twice(tmp_path: Path) -> None:
    """An import tells a user's save both as a save and as an action."""
    write_pins(tmp_path, [pin("p", 1)])
    write_actions(tmp_path, [("u", "p", "save", NOW_US - 9)])
    write_saves(tmp_path, [("b", "p", NOW_US - 9)], user_id="u")

    build(tmp_path)

    assert opened(tmp_path)[0].engagements.tolist() == [1.0]


def test_data_that_ended_long_ago_is_as_fresh_as_on_its_last_day(tmp_path: Path) -> None:
    """Thirty years later the pins of its last week are the fresh ones."""
    end_us = NOW_US - 11_000 * DAY_US
    write_pins(
        tmp_path,
        [
            {"pin_id": "last week", "creation_time_us": end_us - 5 * DAY_US},
            {"pin_id": "before", "creation_time_us": end_us - 8 * DAY_US},
        ],
    )
    write_actions(tmp_path, [("u", "before", "save", end_us)])

    build(tmp_path)

    pins, ids = opened(tmp_path)
    assert ids == ["last week"]
    assert pins.stands_still_us == end_us


def test_the_manifest_says_how_well_the_hot_pool_foresees(tmp_path: Path) -> None:
    """Pins that did well until yesterday go on doing well: chance is one half, they reach .9."""
    rng = np.random.default_rng(0)
    write_pins(tmp_path, [pin(f"p{at}", 3) for at in range(300)])
    good = rng.permutation(300)[:30]
    actions = [
        (f"u{at}{day}", f"p{row}", "save", NOW_US - round((2.9 - day) * DAY_US))
        for row in good.tolist()
        for at in range(3)
        for day in (0, 1, 2.5)
    ]
    write_actions(tmp_path, actions)

    report = build(tmp_path)

    assert report["held_out_auc"] > 0.9
    assert report["held_out_hit_rate"] == 1.0
    assert report["held_out_lift"] == pytest.approx(3.0)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    """Two of three."""
    write_pins(tmp_path, [pin("a", 3), pin("b", 1), pin("c", 2)])

    build(tmp_path, fresh_pin_count_max=2)

    assert opened(tmp_path)[1] == ["b", "c"]


def test_empty_world(tmp_path: Path) -> None:
    """No pins at all: an empty pool, no error."""
    report = build(tmp_path)

    assert report["fresh_pin_count"] == 0


def test_a_damaged_generation_is_refused(tmp_path: Path) -> None:
    """Other lengths than the manifest says, told with what to do."""
    write_pins(tmp_path, [pin("a", 1)])
    build(tmp_path)
    store = GenerationStore(tmp_path / "generations")
    generation = store.current("fresh")
    assert generation is not None
    np.save(generation.path / "rows.npy", np.array([1, 2], np.int32))

    with pytest.raises(Corrupted, match="build_fresh"):
        open_fresh(generation)
