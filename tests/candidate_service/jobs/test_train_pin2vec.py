"""The job makes sequences of what people saved, and publishes only what foresees something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candidate_service.catalogue import open_catalogue
from candidate_service.jobs import build_catalogue, train_pin2vec
from candidate_service.pin2vec import Pin2Vec, open_pin2vec
from service_runtime.generations import GenerationStore
from service_runtime.job import JobFailed
from tests.candidate_service.test_pin2vec import topic_sessions
from tests.candidate_service.world import (
    DAY_US,
    NOW_US,
    make_context,
    write_actions,
    write_pins,
    write_saves,
)

SECOND_US = 1_000_000
SETTINGS = {"pin2vec_dimension": 16, "pin2vec_epoch_count": 15, "pin2vec_save_count_min": 1}


def build(data_root: Path, *, seed: int = 0, **settings: Any) -> dict[str, Any]:
    """Run the catalogue job and the job under test."""
    report: dict[str, Any] = {}
    for job in (build_catalogue, train_pin2vec):
        context = make_context(data_root, seed=seed, **{**SETTINGS, **settings})
        report = dict(job.run(context))
        context.close()
    return report


def opened(data_root: Path) -> tuple[Pin2Vec, list[str]]:
    """The current generation, and the ids of its pins."""
    store = GenerationStore(data_root / "generations")
    trained, known = store.current("pin2vec"), store.current("catalogue")
    assert trained is not None
    assert known is not None
    found = open_pin2vec(trained)
    return found, open_catalogue(known).ids.ids(found.rows)


def write_topics(data_root: Path, count: int = 600) -> None:
    """Eight topics of six pins; each user saves pins of one, a second apart."""
    sessions = topic_sessions(count=count)
    write_actions(
        data_root,
        [
            (f"u{user}", f"p{pin:02}", "save", NOW_US - DAY_US + at * SECOND_US)
            for user, session in enumerate(sessions)
            for at, pin in enumerate(session)
        ],
    )


def test_topics_are_found_and_the_next_save_is_foreseen(tmp_path: Path) -> None:
    """Neighbours are of the topic; the figure in the manifest says how well it foresees."""
    write_topics(tmp_path)

    report = build(tmp_path)

    found, ids = opened(tmp_path)
    topics = np.array([int(pin_id[1:]) // 6 for pin_id in ids])
    assert (topics[found.neighbours.indexes[:, :5]] == topics[:, None]).mean() > 0.95
    assert report["vector_count"] == 48
    assert report["judged_count"] == 30
    # a pin's five fellows against 42 others: the true one is among the first six of 47
    assert report["held_out_auc"] > 0.85


def test_order_comes_from_the_times_not_from_the_log(tmp_path: Path) -> None:
    """Everybody saves `a` and then `b` within a minute, told the other way round in the log."""
    others = [f"x{at}" for at in range(20)]
    actions = []
    for user in range(200):
        start = NOW_US - DAY_US + user * SECOND_US
        actions.append((f"u{user}", "b", "save", start + 2 * SECOND_US))
        actions.append((f"u{user}", "a", "save", start))
        actions.append((f"u{user}", others[user % 20], "save", start + 3 * SECOND_US))
    write_actions(tmp_path, actions)

    build(tmp_path, pin2vec_is_symmetric=False, pin2vec_window_count=1, pin2vec_frequent_share=0.0)

    found, ids = opened(tmp_path)
    follower, _ = found.followers.of(ids.index("a"))
    assert ids[follower[0]] == "b"


def test_saves_without_a_user_follow_their_board(tmp_path: Path) -> None:
    """A board's saves in order of time are a sequence; saves without a time are none."""
    write_saves(tmp_path, [("b", "x", NOW_US - 3), ("b", "y", NOW_US - 2), ("b", "z")])

    report = build(tmp_path)

    assert opened(tmp_path)[1] == ["x", "y"]
    assert report["sequence_count"] == 1
    assert report["pair_count"] > 0


def test_what_is_no_praise_and_what_is_deleted_is_left_out(tmp_path: Path) -> None:
    """Views and hides make no sequence; a deleted pin has no vector and is nobody's neighbour."""
    write_pins(tmp_path, [{"pin_id": "gone", "is_deleted": True}, {"pin_id": "here"}])
    write_actions(
        tmp_path,
        [
            ("u", "here", "save", NOW_US - 9),
            ("u", "gone", "save", NOW_US - 8),
            ("u", "seen", "view", NOW_US - 7),
            ("u", "hidden", "hide", NOW_US - 6),
            ("u", "clicked", "click", NOW_US - 5),
        ],
    )

    build(tmp_path)

    assert opened(tmp_path)[1] == ["clicked", "here"]


def test_only_the_most_saved_pins_get_a_vector(tmp_path: Path) -> None:
    """N = 2 of three pins; of those saved equally often the lower row."""
    saves = [("u", "a", 1), ("v", "a", 2), ("u", "b", 3), ("u", "c", 4), ("v", "c", 5)]
    write_actions(tmp_path, [(user, pin, "save", NOW_US - age) for user, pin, age in saves])

    build(tmp_path, pin2vec_pin_count_max=2)

    assert opened(tmp_path)[1] == ["a", "c"]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """Two runs over the same facts publish the same files."""
    write_topics(tmp_path, count=60)
    store = GenerationStore(tmp_path / "generations")
    files = []
    for _ in range(2):
        build(tmp_path, seed=5)
        generation = store.current("pin2vec")
        assert generation is not None
        files.append(dict(generation.manifest.files))

    assert files[0] == files[1]


def test_nothing_later_than_as_of(tmp_path: Path) -> None:
    """What happens at or after as-of is not learned from."""
    write_actions(
        tmp_path,
        [("u", "a", "save", NOW_US - 1), ("u", "b", "save", NOW_US), ("v", "a", "save", 5)],
    )

    build(tmp_path)

    assert opened(tmp_path)[1] == ["a"]


def test_vectors_that_foresee_nothing_are_not_published(tmp_path: Path) -> None:
    """Random saves: the gate above chance refuses, and the report says what was measured."""
    rng = np.random.default_rng(3)
    write_actions(
        tmp_path,
        [
            (f"u{user}", f"p{rng.integers(60)}", "save", NOW_US - DAY_US + at)
            for user in range(2500)
            for at in range(4)
        ],
    )

    with pytest.raises(JobFailed, match="kept-out") as caught:
        build(tmp_path, pin2vec_auc_min=0.8)

    assert 0.3 < caught.value.report["held_out_auc"] < 0.7
    assert GenerationStore(tmp_path / "generations").current("pin2vec") is None


def test_empty_world(tmp_path: Path) -> None:
    """Pins that nobody saved: an empty generation, no error."""
    write_pins(tmp_path, [{"pin_id": "a"}])

    report = build(tmp_path)

    assert report["vector_count"] == 0
    assert len(opened(tmp_path)[0]) == 0
