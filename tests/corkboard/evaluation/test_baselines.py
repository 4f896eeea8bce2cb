"""Baselines against their definitions, and on two groups of users that share nothing."""

import numpy as np
import pytest
import scipy.sparse as sp

from corkboard.evaluation import baselines
from tests.naive import evaluation as naive

PINS = 20


def random_boards(seed: int = 3, count: int = 30) -> list[set[int]]:
    """Some users with 2 to 8 pins each; pin 19 belongs to nobody."""
    rng = np.random.default_rng(seed)
    return [set(rng.permutation(PINS - 1)[: rng.integers(2, 9)].tolist()) for _ in range(count)]


def matrix(boards: list[set[int]]) -> sp.csr_matrix:
    """Users by pins."""
    users = np.repeat(np.arange(len(boards)), [len(pins) for pins in boards])
    pins = np.concatenate([sorted(pins) for pins in boards])
    return baselines.pair_matrix(users.astype(np.int32), pins.astype(np.int32), (len(boards), PINS))


def weights_of(model: baselines.Model) -> np.ndarray:
    """Scores of a history of one pin each: the matrix of pins by pins."""
    return model.scores(sp.identity(PINS, format="csr", dtype=np.float32))


def test_pairs_that_come_twice_count_once() -> None:
    """A user saves a pin, or does not."""
    pairs = baselines.pair_matrix(np.array([0, 0], np.int32), np.array([1, 1], np.int32), (1, 2))

    assert pairs.toarray().tolist() == [[0, 1]]


def test_item_knn_equals_its_definition() -> None:
    """Cosine of sets of users."""
    boards = random_boards()

    found = weights_of(baselines.fit_item_knn(matrix(boards)))

    assert found == pytest.approx(np.array(naive.item_knn(boards, PINS)), abs=1e-6)


def test_rp3beta_equals_its_definition() -> None:
    """Walks counted one by one."""
    boards = random_boards()

    found = weights_of(baselines.fit_rp3beta(matrix(boards)))

    expected = np.array(naive.rp3beta(boards, PINS, baselines.RP3_BETA))
    assert found == pytest.approx(expected, abs=1e-6)


def test_ease_is_the_minimum_of_its_loss() -> None:
    """No small change of a free weight makes |X - XB|² + λ|B|² smaller; the diagonal is empty."""
    pairs = matrix(random_boards()).toarray().astype(np.float64)
    found = weights_of(baselines.fit_ease(sp.csr_matrix(pairs))).astype(np.float64)

    gradient = pairs.T @ (pairs @ found - pairs) + baselines.EASE_LAMBDA * found
    np.fill_diagonal(gradient, 0.0)

    assert np.diag(found).tolist() == [0.0] * PINS
    assert np.abs(gradient).max() < 1e-3  # of entries up to 30, in float32


def test_ease_of_too_many_pins_knows_the_popular_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others score 0 instead of filling the memory."""
    monkeypatch.setattr(baselines, "EASE_PINS_MAX", 5)
    pairs = matrix(random_boards())
    popular = np.argsort(-np.asarray(pairs.sum(axis=0)).ravel(), kind="stable")[:5]

    scores = baselines.fit_ease(pairs).scores(pairs)

    assert set(np.flatnonzero(np.abs(scores).sum(axis=0))) <= set(popular.tolist())


def two_groups() -> list[set[int]]:
    """Even users save six of pins 0 to 9, odd ones six of 10 to 18."""
    rng = np.random.default_rng(5)
    groups = (np.arange(0, 10), np.arange(10, 19))
    return [set(rng.permutation(groups[user % 2])[:6].tolist()) for user in range(60)]


@pytest.mark.parametrize("baseline", baselines.BASELINES[1:4], ids=lambda b: b.name)
def test_people_get_what_their_own_group_saves(baseline: baselines.Baseline) -> None:
    """Each gets two missing pins of their own group and nothing that they had."""
    boards = two_groups()
    pairs = matrix(boards)

    lists = baselines.rank_all(baseline.fit(pairs), pairs, pairs, 2)

    for user, best in enumerate(lists):
        assert len(best) == 2
        assert not set(best.tolist()) & boards[user]
        assert all((pin < 10) == (user % 2 == 0) for pin in best.tolist())


def test_factors_put_ones_own_group_above_the_other() -> None:
    """ALS, folded in from the history: on average a missing pin of one's own scores higher."""
    boards = two_groups()
    pairs = matrix(boards)

    scores = baselines.fit_als(pairs).scores(pairs)

    own, other = [], []
    for user, pins in enumerate(boards):
        for pin in set(range(19)) - pins:
            (own if (pin < 10) == (user % 2 == 0) else other).append(scores[user, pin])
    assert np.mean(own) > np.mean(other)


def test_popularity_ranks_by_users_without_what_was_seen() -> None:
    """Pin 0 has three users, pin 1 two, pin 2 one; ties by row; pins of nobody are left out."""
    boards = [{0, 1}, {0, 1}, {0, 2}]
    pairs = matrix(boards)

    lists = baselines.rank_all(baselines.fit_popularity(pairs), pairs, pairs, 10)

    assert [best.tolist() for best in lists] == [[2], [2], [1]]


def test_chosen_scores_are_those_of_all_pins() -> None:
    """`scores_of` picks columns."""
    pairs = matrix(random_boards())
    model = baselines.fit_item_knn(pairs)
    candidates = np.random.default_rng(0).integers(0, PINS, (pairs.shape[0], 4)).astype(np.int32)

    found = baselines.scores_of(model, pairs, candidates)

    everything = model.scores(pairs)
    assert found == pytest.approx(np.take_along_axis(everything, candidates.astype(int), 1))
