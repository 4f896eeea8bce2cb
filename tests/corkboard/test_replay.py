"""Replayed days are chosen, peopled and rooted as the docstrings say."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corkboard.pipeline import Order, Outcome, Step, Watcher
from corkboard.replay import (
    HORIZON_DAYS,
    LOG_DAYS_MIN,
    SECONDS_PER_DAY,
    USERS_PER_DAY_MIN,
    choose_days,
    make_root,
    people_after,
    train,
)

NOW = 1_767_225_600.0
HORIZON = HORIZON_DAYS * SECONDS_PER_DAY


def write_actions(data_root: Path, rows: list[tuple[str, str, str, float]]) -> Path:
    """(user, pin, type, Unix seconds) as the action log of a data root."""
    folder = data_root / "events" / "actions" / "day=2026-01-01"
    folder.mkdir(parents=True)
    users, pins, types, times = zip(*rows, strict=True)
    table = pa.table(
        {
            "user_id": users,
            "pin_id": pins,
            "action_type": types,
            "action_time_us": [round(time * 1e6) for time in times],
        },
    )
    pq.write_table(table, folder / "import-1.parquet")
    return data_root


def busy(tmp_path: Path, people: int = USERS_PER_DAY_MIN) -> Path:
    """Many people who save something in each of two horizons."""
    rows = [
        (f"u{n}", f"p{n}", "save", NOW - age * HORIZON)
        for n in range(people)
        for age in (0.2, 0.4, 1.2, 1.4, 2.2)
    ]
    return write_actions(tmp_path, [*rows, ("last", "p0", "save", NOW - 10)])


def test_days_are_whole_horizons_before_the_newest_action(tmp_path: Path) -> None:
    """Two days, oldest first; the newest action lies within the last one's horizon."""
    days = choose_days(busy(tmp_path), NOW, 2)

    assert days == pytest.approx((NOW - 10 + 1 - 2 * HORIZON, NOW - 10 + 1 - HORIZON))


def test_nothing_after_as_of_is_looked_at(tmp_path: Path) -> None:
    """As of a day before the newest action the days lie earlier."""
    root = busy(tmp_path)
    as_of = NOW - 0.3 * HORIZON

    assert max(choose_days(root, as_of, 2)) <= as_of - HORIZON + 1


def test_too_few_people_give_no_days(tmp_path: Path) -> None:
    """There is nothing to learn from a handful of people."""
    assert choose_days(busy(tmp_path, USERS_PER_DAY_MIN - 2), NOW, 2) == ()


def test_training_without_days_is_skipped_with_a_word(tmp_path: Path) -> None:
    """No services are started."""
    result = train(Order(tmp_path, NOW))

    assert result.outcome is Outcome.SKIPPED
    assert "too few people" in result.reason


def test_people_who_had_acted_before_come_first(tmp_path: Path) -> None:
    """Newcomers fill at most three tenths of the places."""
    rows = [(f"new{n}", "p1", "save", NOW + 10 + n) for n in range(50)]
    rows += [(f"old{n}", "p1", "save", NOW - 10 - n) for n in range(8)]
    rows += [(f"old{n}", "p2", "save", NOW + 10 + n) for n in range(8)]
    root = write_actions(tmp_path, rows)

    people = people_after(root, NOW, count_max=20)

    assert sum(person.user_id.startswith("old") for person in people) == 8
    assert sum(person.user_id.startswith("new") for person in people) == 6
    assert all(person.is_known == person.user_id.startswith("old") for person in people)
    assert people == people_after(root, NOW, count_max=20)


def test_first_pin_is_the_earliest_and_hides_do_not_count(tmp_path: Path) -> None:
    """Only positive deeds within the horizon are deeds."""
    root = write_actions(
        tmp_path,
        [
            ("u1", "late", "save", NOW + 500),
            ("u1", "early", "save", NOW + 100),
            ("u1", "hidden", "hide", NOW + 50),
            ("u1", "beyond", "save", NOW + HORIZON + 1),
            ("u2", "hidden", "hide", NOW + 50),
        ],
    )

    (person,) = people_after(root, NOW, count_max=5)

    assert (person.user_id, person.pin_id, person.action_count) == ("u1", "early", 2)


def test_root_shares_catalogue_and_actions_and_nothing_else(tmp_path: Path) -> None:
    """What the replay writes never reaches the real root."""
    real = busy(tmp_path / "real")
    (real / "catalogue").mkdir()

    root = make_root(real, tmp_path / "day")

    assert (root / "catalogue").resolve() == (real / "catalogue").resolve()
    assert (root / "events" / "actions").resolve() == (real / "events" / "actions").resolve()
    assert sorted(path.name for path in root.rglob("*") if not path.is_symlink()) == ["events"]
    assert make_root(real, tmp_path / "day") == root


def test_ranker_is_trained_on_what_was_shown_once_there_is_enough(tmp_path: Path) -> None:
    """After two weeks of impressions no day is replayed; the job reads the log and refuses it."""
    for day in range(1, LOG_DAYS_MIN + 1):
        (tmp_path / "events" / "impressions" / f"day=2026-01-{day:02d}").mkdir(parents=True)
    watcher = Listening()

    result = train(Order(tmp_path, NOW), watcher)

    assert result.outcome in (Outcome.FAILED, Outcome.KEPT)
    assert watcher.heard[0] == "training"
    assert not (tmp_path / "replay").exists()


class Listening(Watcher):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def said(self, step: Step, line: str) -> None:
        """Keep the line."""
        del step
        self.heard.append(line)
