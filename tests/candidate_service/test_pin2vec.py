"""Pin2Vec learns what it should, exactly as the formulae read, and the same from the same seed."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from candidate_service import pin2vec, pin2vec_kernels, pin2vec_lists
from candidate_service.pin2vec import (
    Pin2Vec,
    Pin2VecSettings,
    Prepared,
    Sequences,
    Trained,
    fit,
    open_pin2vec,
    session_vector,
    write_pin2vec,
)
from candidate_service.pin2vec_lists import near_pins, next_pins
from service_runtime.errors import Corrupted
from service_runtime.generations import Generation, GenerationStore
from tests.naive import pin2vec as naive

SMALL = Pin2VecSettings(dimension=16, epoch_count=20, rate_first=0.1, rate_last=0.01)


def sequences_of(sessions: list[list[int]], *, step_s: float = 1.0) -> Sequences:
    """Sequences of pins, one every *step_s* seconds."""
    lengths = [len(session) for session in sessions]
    return Sequences(
        np.array([pin for session in sessions for pin in session], np.int32),
        np.concatenate([np.arange(length) * step_s for length in lengths]),
        np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
    )


def topic_sessions(*, topic_count: int = 8, size: int = 6, count: int = 600) -> list[list[int]]:
    """Sessions that each stay within one topic of *size* pins."""
    rng = np.random.default_rng(4)
    topics = rng.integers(topic_count, size=count)
    return [(topic * size + rng.integers(size, size=6)).tolist() for topic in topics]


@pytest.mark.parametrize("is_elu", [False, True])
@pytest.mark.parametrize("is_symmetric", [False, True])
def test_training_equals_the_formulae(is_elu: bool, is_symmetric: bool) -> None:  # noqa: FBT001
    """300 random tokens, thinned, with a window in time: the same pairs, noise and vectors."""
    rng = np.random.default_rng(1)
    pin_count, dimension = 12, 5
    sessions = [rng.integers(pin_count, size=rng.integers(0, 12)).tolist() for _ in range(50)]
    given = sequences_of(sessions, step_s=1.0)
    keep_chances = rng.uniform(0.4, 1.0, pin_count).astype(np.float32)
    noise = pin2vec_kernels.alias_table(rng.uniform(0.1, 3.0, pin_count))
    tables = rng.normal(0, 0.5, (2, pin_count, dimension))
    inputs, outputs = tables.astype(np.float32)
    expected_inputs, expected_outputs = tables.astype(np.float32).astype(np.float64)

    pair_count = pin2vec_kernels.train(
        (given.pins, given.times, given.bounds),
        np.arange(len(given)),
        (4, 2.0, is_symmetric),
        keep_chances,
        noise,
        3,
        (0.2, 0.05),
        is_elu,
        99,
        (inputs, outputs),
    )

    expected = naive.train(
        [list(zip(session, range(len(session)), strict=True)) for session in sessions],
        window_count=4,
        window_s=2.0,
        is_symmetric=is_symmetric,
        keep_chances=keep_chances.tolist(),
        chances=noise[0].tolist(),
        others=noise[1].tolist(),
        negative_count=3,
        rates=(0.2, 0.05),
        is_elu=is_elu,
        seed=99,
        inputs=expected_inputs,
        outputs=expected_outputs,
    )
    assert pair_count == expected > 100
    # float32 sums in another order, over some hundred steps
    np.testing.assert_allclose(inputs, expected_inputs, atol=2e-5)
    np.testing.assert_allclose(outputs, expected_outputs, atol=2e-5)


def test_alias_table_draws_in_proportion() -> None:
    """The chances that a table means are the weights, however uneven."""
    weights = np.array([5.0, 0.0, 1.0, 0.25, 3.75, 2.0])

    chances, others = pin2vec_kernels.alias_table(weights)

    meant = chances / len(weights)
    np.add.at(meant, others, (1 - chances) / len(weights))
    np.testing.assert_allclose(meant, weights / weights.sum(), atol=1e-6)


@pytest.mark.parametrize("is_elu", [False, True])
def test_pins_of_a_topic_become_neighbours(is_elu: bool) -> None:  # noqa: FBT001
    """Eight topics of six pins: the five nearest of each pin are those of its topic."""
    settings = dataclasses.replace(SMALL, is_elu=is_elu)

    trained = fit(sequences_of(topic_sessions()), 48, settings, seed=3, advance=lambda _: None)

    near = near_pins(
        trained,
        5,
        advance=lambda _: None,
    )
    assert trained.pair_count > 10_000
    topics = np.arange(48) // 6
    assert (topics[near.indexes] == topics[:, None]).mean() > 0.98


def test_what_follows_is_foreseen() -> None:
    """Pin 2k is always followed by 2k + 1, then by anything: after 2k comes 2k + 1."""
    rng = np.random.default_rng(5)
    sessions = [
        [2 * pin, 2 * pin + 1, *rng.integers(40, size=2).tolist()]
        for pin in rng.integers(20, size=2000).tolist()
    ]
    settings = dataclasses.replace(SMALL, is_symmetric=False, window_count=1)
    trained = fit(sequences_of(sessions), 40, settings, seed=1, advance=lambda _: None)

    following = next_pins(
        trained,
        3,
        advance=lambda _: None,
    )

    assert following.indexes[::2, 0].tolist() == list(range(1, 40, 2))


def test_far_apart_in_time_is_not_together() -> None:
    """With a window of a minute, saves an hour apart make no pairs."""
    settings = dataclasses.replace(SMALL, window_s=60.0)

    trained = fit(
        sequences_of(topic_sessions(count=20), step_s=3600.0),
        48,
        settings,
        seed=1,
        advance=lambda _: None,
    )

    assert trained.pair_count == 0


def test_same_seed_same_bytes() -> None:
    """One thread and one seed give the same vectors, another seed gives others."""
    given = sequences_of(topic_sessions(count=50))

    first, again, other = (
        fit(given, 48, SMALL, seed=seed, advance=lambda _: None) for seed in (1, 1, 2)
    )

    assert first.inputs.tobytes() == again.inputs.tobytes()
    assert first.outputs.tobytes() == again.outputs.tobytes()
    assert first.inputs.tobytes() != other.inputs.tobytes()


def test_two_threads_learn_as_well() -> None:
    """Threads that do not wait for each other still find the topics."""
    settings = dataclasses.replace(SMALL, thread_count=2)

    trained = fit(sequences_of(topic_sessions()), 48, settings, seed=3, advance=lambda _: None)

    cosines = pin2vec_cosines(trained.inputs)
    same = np.equal.outer(np.arange(48) // 6, np.arange(48) // 6)
    assert cosines[same].mean() > cosines[~same].mean() + 0.3


def pin2vec_cosines(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines of all pairs."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines: NDArray[np.float32] = unit @ unit.T
    return cosines


def test_nothing_to_learn() -> None:
    """No pins and no sequences: empty vectors, no error."""
    nothing = Sequences(np.empty(0, np.int32), np.empty(0), np.zeros(1, np.int64))

    trained = fit(nothing, 0, SMALL, seed=0, advance=lambda _: None)

    assert trained.inputs.shape == (0, 16)
    assert len(trained.priors) == 0


@hypothesis.settings(deadline=None, max_examples=15)
@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 20))
def test_lists_are_those_of_sorting_everything(seed: int, pin_count: int, list_count: int) -> None:
    """Over several tiles of sources and any number of threads; whole numbers, so scores tie."""
    rng = np.random.default_rng(seed)
    inputs, outputs = rng.integers(-2, 3, (2, pin_count, 3)).astype(np.float32)
    priors = rng.integers(-1, 2, pin_count).astype(np.float32)
    trained = Trained(inputs, outputs, priors, 0)

    found = next_pins(trained, list_count, advance=lambda _: None, threads=2)

    logits = inputs @ outputs.T + priors
    for pin in range(pin_count):
        expected = sorted(set(range(pin_count)) - {pin}, key=lambda to: (-logits[pin, to], to))
        indexes, scores = found.of(pin)
        assert indexes.tolist() == expected[:list_count]
        assert scores.tolist() == logits[pin, expected[:list_count]].tolist()


def test_lists_over_several_tiles_of_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """However narrow the tiles, the same lists."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(300, 8)).astype(np.float32)
    trained = Trained(vectors, vectors, np.zeros(300, np.float32), 0)

    whole = near_pins(trained, 10, advance=lambda _: None)
    monkeypatch.setattr(pin2vec_lists, "TARGET_TILE", 7)
    tiled = near_pins(trained, 10, advance=lambda _: None)

    np.testing.assert_array_equal(whole.indexes, tiled.indexes)
    np.testing.assert_allclose(whole.scores, tiled.scores, rtol=1e-5)


def test_exact_lists_are_sorted_and_end_where_pins_end() -> None:
    """Three pins have two neighbours each, best first, and the rest of a row says so."""
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1]], np.float32)
    trained = Trained(vectors, vectors, np.zeros(3, np.float32), 0)

    near = near_pins(
        trained,
        4,
        advance=lambda _: None,
    )

    assert near.indexes.tolist() == [[1, 2, -1, -1], [0, 2, -1, -1], [1, 0, -1, -1]]
    assert near.of(0)[0].tolist() == [1, 2]


def make_opened() -> Pin2Vec:
    """Three pins at rows 2, 5, 9."""
    rng = np.random.default_rng(0)
    inputs, outputs = rng.normal(size=(2, 3, 4)).astype(np.float32)
    lists = Prepared(np.array([[1, 2], [0, 2], [1, -1]], np.int32), np.ones((3, 2), np.float32))
    trained = Trained(inputs, outputs, np.log(np.array([0.5, 0.3, 0.2], np.float32)), 7)
    return Pin2Vec(np.array([2, 5, 9], np.int32), trained, lists, lists, fade=0.5)


def published(root: Path, opened: Pin2Vec, **details: object) -> Generation:
    """Publish it."""
    with GenerationStore(root).draft("pin2vec", format_version=1) as draft:
        write_pin2vec(draft, opened)
        shape = {"vector_count": 3, "dimension": 4, "fade": 0.5}
        return draft.publish(as_of_us=0, details={**shape, **details})


def test_generation_survives_the_disk(tmp_path: Path) -> None:
    """What was written is what is opened."""
    opened = open_pin2vec(published(tmp_path, make_opened()))

    expected = make_opened()
    np.testing.assert_array_equal(expected.inputs, opened.inputs)
    np.testing.assert_array_equal(expected.followers.indexes, opened.followers.indexes)
    assert opened.indexes_of(np.array([5, 3, 9, 2, 100], np.int32)).tolist() == [1, -1, 2, 0, -1]
    assert opened.fade == 0.5


def test_generation_that_does_not_fit_its_manifest_is_refused(tmp_path: Path) -> None:
    """Other counts than the files have are damage, told with what to do."""
    with pytest.raises(Corrupted, match="train_pin2vec"):
        open_pin2vec(published(tmp_path, make_opened(), vector_count=4))


def test_next_saves_are_scored_against_the_whole_session() -> None:
    """The score is the faded mean of the session's inputs times the output, plus the prior."""
    opened = make_opened()

    found, scores = opened.next_saves(np.array([0, 2], np.int32))

    mean = (opened.inputs[0] + 0.5 * opened.inputs[2]) / 1.5
    np.testing.assert_allclose(
        session_vector(opened.inputs, np.array([0, 2], np.int32), 0.5), mean, rtol=1e-5
    )
    assert found.tolist() == [1, 2]
    expected = [float(opened.outputs[at] @ mean + opened.priors[at]) for at in (1, 2)]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_settings_say_what_is_literal() -> None:
    """The defaults keep no window in time; the ELU is an option."""
    assert math.isinf(pin2vec.Pin2VecSettings().window_s)
    assert not pin2vec.Pin2VecSettings().is_elu
