"""The figures of the manifests, on worlds where they are known."""

from __future__ import annotations

import numpy as np
import pytest

from candidate_service.held_out import Foreseen, judge_list, judge_next


def test_a_perfect_scorer_a_random_one_and_the_reverse() -> None:
    """1,000 pins: areas 1, one half and 0; the first 100 hold all, a tenth, none."""
    rng = np.random.default_rng(0)
    truths = rng.integers(1000, size=400).astype(np.int32)
    sessions = [np.array([(truth + 1) % 1000], np.int32) for truth in truths]
    flat = np.zeros(1000, np.float32)

    def judged(factor: float, noise: float) -> Foreseen:
        following = iter(truths.tolist())

        def score(_: np.ndarray) -> np.ndarray:
            scores = rng.normal(0, noise, 1000)
            scores[next(following)] += factor
            return scores.astype(np.float32)

        return judge_next(score, sessions, truths, popularity=flat)

    perfect, random, reverse = judged(9, 0.1), judged(0, 1.0), judged(-9, 0.1)

    assert (perfect.hit_rate, perfect.auc) == (1.0, 1.0)
    assert perfect.lift == pytest.approx(10.0, rel=0.01)
    assert random.auc == pytest.approx(0.5, abs=0.06)  # 400 facts: four standard errors
    assert random.hit_rate == pytest.approx(0.1, abs=0.06)
    assert (reverse.hit_rate, reverse.auc) == (0.0, 0.0)
    assert perfect.popular_hit_rate == 0.0  # all equal: the true pin stands in the middle


def test_a_list_is_judged_by_what_was_chosen_later() -> None:
    """Two thirds of the later choices are in the list of 200 pins' first 100."""
    later = np.zeros(200)
    later[[5, 150]] = 2.0, 1.0

    judged = judge_list(np.arange(200, dtype=np.int32), later)

    assert judged.hit_rate == pytest.approx(2 / 3)
    assert judged.lift == pytest.approx(4 / 3)
    assert judged.auc == pytest.approx((2 * (1 - 5 / 199) + (1 - 150 / 199)) / 3)


def test_nothing_kept_out_gives_no_figures() -> None:
    """A figure without a fact behind it would mislead."""
    nothing = judge_list(np.arange(3, dtype=np.int32), np.zeros(3))

    assert nothing.figures() == {}
    assert (
        judge_next(
            lambda _: np.empty(0), [], np.empty(0, np.int32), popularity=np.empty(0)
        ).figures()
        == {}
    )
