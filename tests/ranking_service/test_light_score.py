"""The light score: columns of the features, learnt from a model, and what the cut keeps."""

from typing import Any

import numpy as np
import pytest

from ranking_service.choice import promising_pool
from ranking_service.conditions import Conditions
from ranking_service.features import feature_rows, make_context
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.light_score import (
    LIGHT_COLUMNS,
    LIGHT_FEATURES,
    RANK_FUSION,
    LightScore,
    light_of,
    light_rows,
)
from ranking_service.models.light import ROW_COUNT_MIN, fit_light, light_recall
from ranking_service.plan import Plan, Rule
from ranking_service.pool import merge
from ranking_service.query import Surface, Viewer
from tests.ranking_service.worlds import (
    NOW,
    make_candidates,
    make_list,
    make_profile,
    make_world,
)

NOTHING = np.empty(0, np.int32)


@pytest.fixture(scope="module")
def world(tmp_path_factory: Any) -> Any:
    """A random world of 60 pins."""
    return make_world(tmp_path_factory.mktemp("world"), 60)


def context_of(world: Any, surface: Surface = Surface.HOME_FEED) -> Any:
    """A reader of English in the Netherlands."""
    row = 7 if surface == Surface.RELATED_PINS else -1
    viewer = Viewer("en", "NL")
    return make_context(world, make_profile([1]), viewer, surface=surface, query_row=row, now=NOW)


def random_pool(seed: int) -> Any:
    """Three lists over 60 pins."""
    rng = np.random.default_rng(seed)
    names = ("ann", "pixie", "popular")
    lists = [make_list(name, rng.permutation(60)[:30].tolist()) for name in names]
    return merge(make_candidates(*lists), excluded_rows=NOTHING)


@pytest.mark.parametrize("seed", range(3))
def test_light_rows_are_columns_of_the_features_to_the_bit(world: Any, seed: int) -> None:
    """So weights may be learnt from logged rows, and a candidate scores alike in any pool."""
    pool, context = random_pool(seed), context_of(world)

    light = np.ascontiguousarray(light_rows(pool, context))

    whole = np.ascontiguousarray(feature_rows(pool, context)[:, LIGHT_COLUMNS])
    assert light.tobytes() == whole.tobytes()
    some = np.arange(0, len(pool), 3)
    assert light_rows(pool.take(some), context).tobytes("C") == light[some].tobytes()
    scores = make_hand_tuned().light.of_pool(pool, context)
    assert make_hand_tuned().light.of_pool(pool.take(some), context).tobytes() == (
        scores[some].tobytes()
    )


def test_rank_fusion_is_the_sum_of_reciprocal_ranks(world: Any) -> None:
    """A pin in the middle of three lists beats the second of one."""
    candidates = make_candidates(
        make_list("ann", [1, 2, 9]), make_list("pixie", [3, 4, 9]), make_list("popular", [5, 6, 9])
    )
    pool = merge(candidates, excluded_rows=NOTHING)

    kept = promising_pool(pool, 4, RANK_FUSION, context_of(world), Plan())

    assert kept.rows.tolist() == [1, 3, 5, 9]


def test_remembered_winners_and_promoted_pins_are_not_cut(world: Any) -> None:
    """However little the light score thinks of them, there was a reason to put them in."""
    candidates = make_candidates(
        make_list("ann", [1, 2, 3, 4]),
        make_list("popular", [1, 2, 3, 4]),
        make_list("memboost", [20]),
        make_list("promotion", [30]),
    )
    pool = merge(candidates, excluded_rows=NOTHING)

    kept = promising_pool(pool, 3, make_hand_tuned().light, context_of(world), Plan())

    assert {20, 30} < set(kept.rows.tolist())
    assert len(kept) == 3


def test_named_boosts_count_in_the_cut(world: Any) -> None:
    """A rule that lifts some pins lifts them over the cut as well; one that sinks them, below."""
    pool, context = random_pool(1), context_of(world)
    language = world.language_codes(pool.rows)
    words = {code: word for word, code in world.catalogue.languages.code_by_word.items()}
    wanted = words[int(language[language >= 0][-1])]
    is_wanted = language == world.catalogue.languages.code(wanted)
    count = int(is_wanted.sum())

    def kept(boost: float) -> Any:
        rule = Rule("mine", Conditions(languages=(wanted,)), boost)
        plan = Plan(rules=(rule,))
        return set(promising_pool(pool, count, RANK_FUSION, context, plan).rows.tolist())

    assert kept(20.0) == set(pool.rows[is_wanted].tolist())
    assert not kept(-20.0) & set(pool.rows[is_wanted].tolist())


def test_what_a_model_says_of_the_light_features_is_learnt() -> None:
    """A linear model of nothing else is found again; each surface has weights of its own."""
    rng = np.random.default_rng(4)
    rows = rng.random((4 * ROW_COUNT_MIN, len(LIGHT_FEATURES))).astype(np.float32)
    rows[:, 3] = 0.5  # tells nothing
    is_related = np.arange(len(rows)) % 2 == 1
    home, related = rng.standard_normal((2, len(LIGHT_FEATURES)))
    logits = np.where(is_related, rows @ related + 3, rows @ home - 6)

    learnt = fit_light(rows, logits, is_related)

    for surface, is_here in ((Surface.HOME_FEED, ~is_related), (Surface.RELATED_PINS, is_related)):
        # The prior pulls by 1 row in 2,000.
        np.testing.assert_allclose(
            learnt.of_rows(rows[is_here], surface), logits[is_here], atol=0.01
        )


def test_a_surface_with_few_rows_keeps_what_it_had() -> None:
    """Nothing is learnt from a handful."""
    rng = np.random.default_rng(5)
    count = ROW_COUNT_MIN + 10
    rows = rng.random((count, len(LIGHT_FEATURES))).astype(np.float32)
    is_related = np.arange(count) < 10
    before = make_hand_tuned().light

    learnt = fit_light(rows, rows[:, 0] * 2.0, is_related, otherwise=before)

    assert learnt.weights[Surface.RELATED_PINS] == before.weights[Surface.RELATED_PINS]
    assert learnt.weights[Surface.HOME_FEED] != before.weights[Surface.HOME_FEED]


def test_recall_of_the_cut_by_hand() -> None:
    """Of 20 rows the cut keeps 10: all of the best ten by the same order, none by the reverse."""
    logits = np.tile(np.arange(20.0), 2)
    lists = np.repeat([7, 9], 20)

    assert light_recall(logits, logits, lists) == 1
    assert light_recall(-logits, logits, lists) == 0
    mixed = np.where(lists == 7, logits, -logits)
    assert light_recall(mixed, logits, lists) == 0.5
    assert np.isnan(light_recall(logits[:19], logits[:19], lists[:19]))
    assert np.isnan(light_recall(logits[:0], logits[:0], lists[:0]))


def test_hand_tuned_weights_are_those_the_light_stage_can_look_at() -> None:
    """Cosines are left out; the rest stands as it is."""
    light = light_of(dict.fromkeys(Surface, {"query_cosine": 1.0, "pixie_rank": 0.2}))  # noqa: RUF024

    assert light.weights[Surface.HOME_FEED] == {"pixie_rank": 0.2}


@pytest.mark.parametrize(
    ("weights", "bias", "fault"),
    [
        ({"query_cosine": 1.0}, 0.0, "cannot look at query_cosine"),
        ({"pixie_rank": float("nan")}, 0.0, "no numbers"),
        ({}, float("inf"), "no numbers"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: Any, bias: Any, fault: str) -> None:
    """At the door, not at the first request."""
    with pytest.raises(ValueError, match=fault):
        LightScore(dict.fromkeys(Surface, weights), dict.fromkeys(Surface, bias))


def test_every_surface_needs_a_light_score() -> None:
    """One that is missing is named."""
    with pytest.raises(ValueError, match="related_pins"):
        LightScore({Surface.HOME_FEED: {}}, dict.fromkeys(Surface, 0.0))
