"""What teaches and what is asked for, and that nothing of the latter is left to learn from."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest

from corkboard.answers import Action, Cluster, Profile
from corkboard.evaluation.asking import Terms, check_profile, make_question
from corkboard.evaluation.choices import SplitKind, Start
from corkboard.evaluation.split import (
    LeakFound,
    Split,
    check_inputs,
    make_scratch_root,
    read_pairs,
    seen_pairs,
    split_pairs,
)
from corkboard.importing import import_folder
from service_runtime.errors import InvalidRequest

DAY = 86_400.0
NOW = 1_767_225_600.0


def make_root(tmp_path: Path, rows: list[tuple[str, str, str, float]]) -> Path:
    """Import (user, pin, type, day) rows: saves as saves, everything else as actions."""
    folder = tmp_path / "folder"
    folder.mkdir()
    saves = [f"{user},{pin},{NOW + day * DAY}" for user, pin, kind, day in rows if kind == "save"]
    others = [
        f"{user},{pin},{kind},{NOW + day * DAY}" for user, pin, kind, day in rows if kind != "save"
    ]
    (folder / "saves.csv").write_text("\n".join(["user_id,pin_id,time", *saves]) + "\n")
    if others:
        head = "user_id,pin_id,action_type,time"
        (folder / "actions.csv").write_text("\n".join([head, *others]) + "\n")
    import_folder(folder, tmp_path / "root")
    return tmp_path / "root"


def named(split: Split, chosen: np.ndarray) -> set[tuple[str, str]]:
    """User and pin of the chosen pairs."""
    pairs = split.pairs
    return {
        (str(pairs.user_ids[pairs.users[at]]), str(pairs.pin_ids[pairs.pins[at]]))
        for at in np.flatnonzero(chosen)
    }


ROWS = [
    ("ana", "p1", "save", -9.0),
    ("ana", "p2", "save", -8.0),
    ("ana", "p3", "save", -1.0),
    ("ana", "p1", "save", -0.5),
    ("ben", "p1", "save", -7.0),
    ("ben", "p4", "view", -6.0),
    ("ben", "p4", "like", -0.7),
    ("ben", "p5", "hide", -0.6),
    ("cem", "p2", "like", -0.4),
]


def test_split_by_time_asks_for_what_was_new_afterwards(tmp_path: Path) -> None:
    """Not for p1 again, not for what ben had looked at before, not for what he hid."""
    pairs = read_pairs(make_root(tmp_path, ROWS))

    split = split_pairs(pairs, SplitKind.TIME, since=NOW - 2 * DAY)

    assert split.as_of == NOW - 2 * DAY
    assert named(split, split.is_held) == {("ana", "p3"), ("cem", "p2")}
    assert named(split, split.is_taught) == {("ana", "p1"), ("ana", "p2"), ("ben", "p1")}
    users, pins = seen_pairs(split)
    seen = {
        (str(pairs.user_ids[u]), str(pairs.pin_ids[p])) for u, p in zip(users, pins, strict=True)
    }
    assert seen == named(split, split.is_taught) | {("ben", "p4")}


def test_last_pin_of_each_user_with_enough_is_left_out(tmp_path: Path) -> None:
    """Ana's third pin; ben and cem have too few for one to be taken away."""
    pairs = read_pairs(make_root(tmp_path, ROWS))

    split = split_pairs(pairs, SplitKind.LAST)

    assert named(split, split.is_held) == {("ana", "p3")}
    assert split.is_taught.sum() == len(pairs) - 1


def test_auto_takes_times_only_where_there_are_any(tmp_path: Path) -> None:
    """Thirty people over ten days: by time. All at one moment: the last pin, by chance."""
    rows = [(f"u{n}", f"p{n + k}", "save", -float(k)) for n in range(30) for k in range(10)]
    timed = read_pairs(make_root(tmp_path, rows))
    (tmp_path / "b").mkdir()
    at_once = [(user, pin, kind, -1.0) for user, pin, kind, _ in rows]
    untimed = read_pairs(make_root(tmp_path / "b", at_once))

    assert split_pairs(timed, SplitKind.AUTO).kind is SplitKind.TIME
    last = split_pairs(untimed, SplitKind.AUTO)
    assert last.kind is SplitKind.LAST
    assert last.is_held.sum() == 30
    again = split_pairs(untimed, SplitKind.AUTO)
    other = split_pairs(untimed, SplitKind.AUTO, seed=1)
    assert (last.is_held == again.is_held).all()
    assert (last.is_held != other.is_held).any()


def test_left_out_pins_are_taken_out_of_saves_and_actions(tmp_path: Path) -> None:
    """The scratch root has every other row; the real one is as it was."""
    root = make_root(tmp_path, ROWS)
    split = split_pairs(read_pairs(root), SplitKind.LAST)

    scratch = make_scratch_root(split, root, tmp_path / "scratch")
    check_inputs(split, scratch)

    for name in ("catalogue/saves", "events/actions"):
        before = pds.dataset(root / name, partitioning=None).to_table()
        after = pds.dataset(scratch / name, partitioning=None).to_table()
        assert after.num_rows == before.num_rows - 1
        assert ("ana", "p3") not in zip(
            after["user_id"].to_pylist(), after["pin_id"].to_pylist(), strict=True
        )


def test_guard_finds_a_pair_that_was_left_in(tmp_path: Path) -> None:
    """A scratch root of another split, in which ana's last pin can be learned from."""
    root = make_root(tmp_path, ROWS)
    split = split_pairs(read_pairs(root), SplitKind.LAST)
    by_time = split_pairs(read_pairs(root), SplitKind.TIME, since=NOW - 2 * DAY)
    scratch = make_scratch_root(by_time, root, tmp_path / "scratch")

    with pytest.raises(LeakFound, match="user ana, pin p3"):
        check_inputs(split, scratch)


def test_guard_finds_saves_without_a_time(tmp_path: Path) -> None:
    """They count as old, so a job as of the split would read them."""
    root = make_root(tmp_path, ROWS)
    split = split_pairs(read_pairs(root), SplitKind.TIME, since=NOW - 2 * DAY)
    check_inputs(split, root)
    (path,) = (root / "catalogue" / "saves").rglob("*.parquet")
    table = pq.read_table(path, partitioning=None)
    at = table.column_names.index("save_time_us")
    nulls = pa.nulls(table.num_rows, pa.int64())
    pq.write_table(table.set_column(at, "save_time_us", nulls), path)

    with pytest.raises(LeakFound, match="--split last") as found:
        check_inputs(split, root)

    assert "catalogue/saves" in str(found.value)


@pytest.mark.parametrize(
    ("kind", "since", "words"),
    [
        (SplitKind.TIME, NOW + 5 * DAY, "nothing is left to ask for"),
        (SplitKind.TIME, NOW - 50 * DAY, "nothing would teach"),
    ],
)
def test_split_with_nothing_on_one_side_is_refused(
    tmp_path: Path, kind: SplitKind, since: float, words: str
) -> None:
    """With what to do about it."""
    pairs = read_pairs(make_root(tmp_path, ROWS))

    with pytest.raises(InvalidRequest, match=words):
        split_pairs(pairs, kind, since=since)


def test_data_root_without_actions_is_refused(tmp_path: Path) -> None:
    """Saying how to bring some in."""
    with pytest.raises(InvalidRequest, match="no actions"):
        read_pairs(tmp_path)


def profile(moment: float, *, acted: tuple[str, ...] = ()) -> Profile:
    """One interest and one recent action at *moment*."""
    when = datetime.fromtimestamp(moment, tz=UTC)
    return Profile(
        "ana",
        (Cluster("p1", 2.0, 3, when, "batch"), Cluster("p2", 0.0, 1, when, "batch")),
        recent_actions=(Action("ana", "p1", "like", action_time=when),),
        acted_pin_ids=acted,
    )


def test_profile_that_knows_the_future_fails_the_run() -> None:
    """By a pin, or by a time."""
    check_profile(profile(NOW - 1, acted=("p1",)), frozenset({"p3"}), NOW)
    with pytest.raises(LeakFound, match="p3"):
        check_profile(profile(NOW - 1, acted=("p3",)), frozenset({"p3"}), NOW)
    with pytest.raises(LeakFound, match="after the split"):
        check_profile(profile(NOW + 1), frozenset({"p3"}), NOW)


def test_question_is_the_one_that_ranking_service_asks() -> None:
    """Interests by importance, what was done within the day as query pins, the rest excluded."""
    terms = Terms(Start.INTERESTS, NOW, 400, ["pixie"])
    known = profile(NOW - 3600, acted=("p1", "p7"))

    question = make_question(known, terms, seed=9)
    later = make_question(profile(NOW - 3 * DAY), terms, seed=9)
    history = make_question(known, Terms(Start.HISTORY, NOW, 400, ["pixie"]), seed=9)

    assert [(pin.pin_id, pin.weight) for pin in question.medoids] == [("p1", 1.0), ("p2", 1e-6)]
    assert [(pin.pin_id, pin.action_type) for pin in question.query_pins] == [("p1", "like")]
    assert question.excluded_pin_ids == ("p1", "p7")
    assert question.sources == {"pixie": 400}
    assert later.query_pins == []
    assert [pin.pin_id for pin in history.query_pins] == ["p1", "p7"]
    assert history.medoids == []
