"""Experiments: who is in which arm, what an arm earned, and when it is stopped."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from ranking_service.config import RankingConfig
from ranking_service.experiments import arm_of, loss_probability, measure_arm, wilson
from ranking_service.planner import Planner
from ranking_service.profile import empty_profile
from service_runtime.errors import NotFound
from service_runtime.telemetry import Metrics
from tests.ranking_service.test_recommend import CANDIDATES, ask, make
from tests.ranking_service.worlds import make_store

SHARES = {"control": 0.5, "walks": 0.3, "text": 0.2}
BOOK = """
    [experiments.mix]
    control = "control"
    shares = { control = 0.5, walks = 0.5 }
    scenarios = ["home_feed"]
    [experiments.mix.arms.control]
    [experiments.mix.arms.walks]
    sources = { pixie = 100 }
    model = "hand_tuned"
    diversity = 0.3
"""


def test_users_stay_in_their_arms_and_fill_the_shares() -> None:
    """Stateless; 20,000 users, 5 standard deviations; another salt splits independently."""
    users = [f"user {number}" for number in range(20_000)]
    arms = [arm_of(user, "one", SHARES) for user in users]
    again = [arm_of(user, "one", dict(reversed(SHARES.items()))) for user in users]
    other = [arm_of(user, "two", SHARES) for user in users]

    assert arms == again
    counts = Counter(arms)
    for arm, share in SHARES.items():
        assert abs(counts[arm] - 20_000 * share) < 5 * np.sqrt(20_000 * share * (1 - share))
    both = sum(a == b for a, b in zip(arms, other, strict=True)) / 20_000
    assert both == pytest.approx(0.5**2 + 0.3**2 + 0.2**2, abs=0.02)


def test_volume_and_propensity_have_honest_intervals() -> None:
    """
    The truth lies within 95 % intervals in about 95 % of simulated experiments.

    400 simulations, users of very different activity: at least 90 % each (chance below 1e-5
    otherwise).
    """
    rng = np.random.default_rng(3)
    hits = np.zeros(2)
    for _ in range(400):
        activity = rng.gamma(0.5, 40.0, 300).astype(np.int64) + 1
        taste = rng.beta(1, 30, 300)
        actions = rng.binomial(activity, taste)
        result = measure_arm("a", "", activity, actions)
        truth = 1000 * (1 / 31)
        hits[0] += result.volume.low <= truth <= result.volume.high
        some = wilson(int(rng.binomial(300, 0.04)), 300)
        hits[1] += some.low <= 0.04 <= some.high

    assert (hits / 400 > 0.90).all()


def test_figures_of_nothing_promise_nothing() -> None:
    """No user, one user: no false certainty."""
    nothing = measure_arm("a", "", np.empty(0, np.int64), np.empty(0, np.int64))
    one = measure_arm("a", "", np.array([10]), np.array([1]))

    assert (nothing.user_count, nothing.propensity.low, nothing.propensity.high) == (0, 0.0, 1.0)
    assert one.volume.value == pytest.approx(100.0)
    assert one.volume.high == 1000.0
    assert loss_probability(nothing, one, 0.0) == 1.0


def test_a_losing_arm_is_told_from_an_unlucky_one() -> None:
    """A third fewer users act: beyond doubt with many users, not with few; a winner never."""

    def arm(users: int, share: float) -> Any:
        acted = (np.arange(users) < users * share).astype(np.int64)
        return measure_arm("a", "", np.ones(users, np.int64), acted)

    assert loss_probability(arm(5000, 0.2), arm(5000, 0.3), 0.0) < 1e-6
    assert loss_probability(arm(30, 0.2), arm(30, 0.3), 0.0) > 0.05
    assert loss_probability(arm(5000, 0.4), arm(5000, 0.3), 0.0) > 0.99
    assert loss_probability(arm(5000, 0.29), arm(5000, 0.3), 0.1) > 0.5, "within what is allowed"


def test_an_arm_changes_sources_rules_and_model(tmp_path: Any) -> None:
    """And is told with the answer, and logged; elsewhere and without a user nothing happens."""
    store = make_store(tmp_path, 60)
    recommender, upstream, impressions = make(store, candidates=CANDIDATES, book=BOOK)

    walks = recommender.recommend(ask(experiment_arms={"mix": "walks"}))
    control = recommender.recommend(ask(experiment_arms={"mix": "control"}))
    hashed = recommender.recommend(ask(user_id="somebody"))
    nobody = recommender.recommend(ask(user_id=""))

    assert [dict(a.experiment_arms) for a in (walks, control, nobody)] == [
        {"mix": "walks"},
        {"mix": "control"},
        {},
    ]
    split = arm_of("somebody", "mix", {"control": 0.5, "walks": 0.5})
    assert dict(hashed.experiment_arms) == {"mix": split}
    assert upstream.asked[0].quotas == (("pixie", 100),)
    assert upstream.asked[1].quotas == ()
    assert impressions.kept[0][0].experiment_arms == {"mix": "walks"}


def test_unknown_experiments_and_arms_are_refused(tmp_path: Any) -> None:
    """A typing error does not silently give the control."""
    recommender, _, _ = make(make_store(tmp_path, 60), book=BOOK)

    for arms in ({"mix": "nothing"}, {"nothing": "walks"}):
        with pytest.raises(NotFound, match="nothing"):
            recommender.recommend(ask(experiment_arms=arms))


def test_users_of_a_stopped_arm_get_the_control(tmp_path: Any) -> None:
    """Unless they ask for it by name."""
    path = tmp_path / "book.toml"
    path.write_text(BOOK)
    planner = Planner(
        path, RankingConfig(), stopped=lambda _: {"walks": "it loses"}, metrics=Metrics("r")
    )

    arms = {planner.plan(ask(user_id=f"u{number}")).experiment_arms["mix"] for number in range(50)}

    assert arms == {"control"}
    named = planner.plan(ask(experiment_arms={"mix": "walks"}))
    assert named.experiment_arms["mix"] == "walks"
    assert planner.shares("mix") == {"control": 0.5, "walks": 0.5}
    with pytest.raises(NotFound):
        planner.shares("other")


def test_a_model_that_cannot_be_used_is_replaced_and_named(tmp_path: Any) -> None:
    """The serving model scores, and the answer says so."""
    book = '[scenarios.home_feed]\nmodel = "20200101T000000000000-1"'
    recommender, _, _ = make(make_store(tmp_path, 60), profile=empty_profile(), book=book)

    answer = recommender.recommend(ask())

    assert answer.model == "hand_tuned"
    assert "20200101" in dict(answer.missing)["ranker"]
