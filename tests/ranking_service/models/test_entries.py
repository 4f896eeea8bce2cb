"""What each version of Related Pins' ranker can learn, in worlds where the answer is planted."""

from typing import Any

import numpy as np
import pytest

from ranking_service.evaluation import mean_ndcg
from ranking_service.feature_table import FAMILIES, FEATURE_NAMES, columns_of
from ranking_service.models.boosting import BoostSettings
from ranking_service.models.comparison import examined, flipped, places
from ranking_service.models.entries import Recipe, fit
from ranking_service.models.example_split import Slice, Split, row_weights, split
from ranking_service.models.pairs import (
    Negatives,
    is_unrelated_popular,
    memboost_pairs,
    pair_boosts,
    session_pairs,
)
from tests.ranking_service.example_worlds import make_examples_of

LENGTH = 20
CATEGORY = FEATURE_NAMES.index("is_fresh")
LIKENESS = FEATURE_NAMES.index("visual_score")
OTHER = FEATURE_NAMES.index("session_walk")
POPULAR = FEATURE_NAMES.index("popular_rank")
SOURCES = FEATURE_NAMES.index("source_count")
SETTINGS = BoostSettings(60, 15, 0.15, 50, 1, 0, lambda _: None)


def examples_of(features: Any, appeal: Any, rng: Any, **fields: Any) -> Any:
    """Lists of LENGTH whose pins are saved by appeal, a logit."""
    labels = (rng.random(len(appeal)) < 1 / (1 + np.exp(-appeal))).astype(np.int8)
    lists = np.repeat(np.arange(len(appeal) // LENGTH), LENGTH)
    return make_examples_of(features, labels, lists, **fields)


def cut(examples: Any) -> Split:
    """The last third of the lists judges."""
    return split(examples, int(examples.times_us.max() * 2 / 3))


def art_world(seed: int = 0, *, lists: Any = 500) -> Any:
    """
    Art looks: in one category likeness speaks for a pin, in the other as much against it.

    No weight on likeness helps: half of the time it is wrong. Only the combination tells.
    """
    rng = np.random.default_rng(seed)
    n = lists * LENGTH
    features = np.zeros((n, len(FEATURE_NAMES)), np.float32)
    features[:, CATEGORY] = rng.random(n) < 0.5
    features[:, LIKENESS] = rng.random(n)
    features[:, OTHER] = rng.random(n)
    sign = np.where(features[:, CATEGORY] == 1, 1.0, -1.0)
    appeal = 6.0 * sign * (features[:, LIKENESS] - 0.5) - 2.0
    return examples_of(features, appeal, rng)


def ndcg(model: Any, parts: Split, **fields: Any) -> float:
    """NDCG@10 of a model on the judging lists."""
    found = fit(Recipe(model, SETTINGS, **fields), parts)
    newer = parts.newer
    return mean_ndcg(newer.labels, found.judged, newer.lists)


def test_trees_find_a_combination_that_linear_models_cannot() -> None:
    """RankNet on trees learns "in art, likeness counts"; hinge losses on weights do not."""
    parts = cut(art_world())
    found = {
        model: ndcg(model, parts)
        for model in ("ranknet_gbdt", "pointwise_gbdt", "lambdamart", "logistic", "session_pairs")
    }
    shuffled = np.random.default_rng(1).random(len(parts.newer)).astype(np.float32)
    chance = mean_ndcg(parts.newer.labels, shuffled, parts.newer.lists)

    # about 160 judged lists: the standard error of a mean is 0.02
    assert min(found[m] for m in ("ranknet_gbdt", "pointwise_gbdt", "lambdamart")) > chance + 0.2
    assert found["session_pairs"] < chance + 0.08
    assert found["logistic"] > chance + 0.2  # through its cross of the two


def test_rank_svm_recovers_a_planted_order_and_puts_random_pins_last() -> None:
    """From Memboost alone: what earned more stands higher, unrelated popular pins at the end."""
    rng = np.random.default_rng(3)
    queries, pins, shows = 40, 15, 20
    n = queries * pins * shows
    query = np.repeat(np.arange(queries), pins * shows)
    pin = np.tile(np.repeat(np.arange(pins), shows), queries)
    quality = rng.random((queries, pins))[query, pin]
    features = np.zeros((n, len(FEATURE_NAMES)), np.float32)
    features[:, LIKENESS] = quality
    features[:, SOURCES] = 2
    is_popular = pin == 0
    features[is_popular, POPULAR] = 1.0
    features[is_popular, SOURCES] = 1
    labels = (rng.random(n) < np.where(is_popular, 0.0, 0.05 + 0.4 * quality)).astype(np.int8)
    examples = make_examples_of(
        features,
        labels,
        np.arange(n) // LENGTH,
        query_keys=query,
        pin_keys=query * 100 + pin,
        positions=rng.integers(0, 10, n),
    )

    model = fit(Recipe("rank_svm", SETTINGS), cut(examples)).ranker
    rows = np.zeros((3, len(FEATURE_NAMES)), np.float32)
    rows[:, LIKENESS] = [0.9, 0.3, 0.6]
    rows[:, SOURCES] = [2, 2, 1]
    rows[2, POPULAR] = 1.0

    assert model is not None
    assert (-model.logits(rows)).argsort().tolist() == [0, 1, 2]


def test_memboost_of_pairs_takes_the_position_out() -> None:
    """A pin shown low and saved as often as one shown high has the higher boost."""
    rng = np.random.default_rng(5)
    n = 40_000
    positions = rng.integers(0, 2, n)
    curve = np.array([0.4, 0.05])
    # pin 1 stands mostly first, pin 2 mostly second; pin 2 is twice as good, pin 1 looks better
    pins = np.where(rng.random(n) < np.where(positions == 0, 0.9, 0.1), 1, 2)
    chance = curve[positions] * np.where(pins == 2, 1.0, 0.5)
    labels = (rng.random(n) < chance).astype(np.int8)
    features = np.zeros((n, len(FEATURE_NAMES)), np.float32)
    examples = make_examples_of(
        features,
        labels,
        np.arange(n) // 2,
        positions=positions,
        pin_keys=pins,
        query_keys=np.zeros(n, np.int64),
    )

    boosts, first, _ = pair_boosts(examples)
    by_pin = dict(zip(pins[first].tolist(), boosts.tolist(), strict=True))

    assert labels[pins == 1].mean() > labels[pins == 2].mean()
    assert by_pin[1] < by_pin[2]
    better, worse = memboost_pairs(examples, rng)
    assert set(pins[better].tolist()) == {2}
    assert set(pins[worse].tolist()) == {1}


def test_session_pairs_are_those_of_the_list() -> None:
    """Saved above what was shown before it; neighbours and popular pins only where asked for."""
    features = np.zeros((6, len(FEATURE_NAMES)), np.float32)
    features[5, [POPULAR, SOURCES]] = 1
    labels = np.array([0, 0, 1, 0, 0, 0], np.int8)
    examples = make_examples_of(features, labels, np.zeros(6, np.int64))
    rng = np.random.default_rng(0)

    def worse(kind: Any) -> Any:
        better, found = session_pairs(examples, Negatives(kind), rng)
        assert set(better.tolist()) == {2}
        return found.tolist()

    assert worse("none") == [0, 1]
    assert worse("neighbours") == [0, 1, 3, 4]
    assert worse("popular") == [0, 1, 5]
    assert worse("both") == [0, 1, 3, 4, 5]
    assert is_unrelated_popular(examples).tolist() == [False] * 5 + [True]


def test_without_extra_negatives_the_order_of_popular_pins_flips() -> None:
    """
    Shown first are near pins, popular ones last and never before a saved one.

    From "saved above shown before" alone the model learns that what stands low is good, and puts
    unrelated popular pins on top; seeing some of them as negatives cures it.
    """
    rng = np.random.default_rng(7)
    lists = 400
    n = lists * LENGTH
    place = np.tile(np.arange(LENGTH), lists)
    features = np.zeros((n, len(FEATURE_NAMES)), np.float32)
    features[:, LIKENESS] = 1.0 - place / LENGTH + 0.1 * rng.random(n)
    features[:, OTHER] = rng.random(n)
    features[:, SOURCES] = np.where(place >= 15, 1, 2)
    features[:, POPULAR] = np.where(place >= 15, 0.5, 0.0)
    looked = 0.5 * (place < 12)
    chance = looked * (features[:, OTHER] > 0.6)
    labels = (rng.random(n) < chance).astype(np.int8)
    parts = cut(make_examples_of(features, labels, np.arange(n) // LENGTH))

    def flips(kind: Any) -> float:
        found = fit(Recipe("session_pairs", SETTINGS, negatives=Negatives(kind)), parts)
        return flipped(parts.newer, found.judged)

    assert flips("none") > 0.3
    assert flips("both") < 0.05


def test_the_random_slice_teaches_what_ranked_logs_hide() -> None:
    """
    The old model puts likeness first, and readers look at what stands first.

    So its logs say that likeness is good, though people like the opposite a little better. Lists in
    random order tell; training on that small slice, or on both at equal weight, beats all logs.
    """
    rng = np.random.default_rng(11)
    lists = 900
    n = lists * LENGTH
    is_random = np.repeat(rng.random(lists) < 0.2, LENGTH)
    features = np.zeros((n, len(FEATURE_NAMES)), np.float32)
    features[:, OTHER] = rng.random(n)
    likeness = rng.random((lists, LENGTH))
    likeness = np.where(is_random.reshape(likeness.shape), likeness, -np.sort(-likeness, axis=1))
    features[:, LIKENESS] = likeness.ravel()
    looked = 0.8 ** np.tile(np.arange(LENGTH), lists)
    chance = looked * (0.05 + 0.7 * features[:, OTHER] * (1.0 - 0.6 * features[:, LIKENESS]))
    labels = (rng.random(n) < chance).astype(np.int8)
    examples = make_examples_of(features, labels, np.arange(n) // LENGTH, is_randomised=is_random)
    parts = cut(examples)
    first, second = (half.where(half.is_randomised) for half in parts.halves)
    fair = Split(parts.training, (first, second), parts.boundary_us)
    found = {kind: ndcg("pointwise_gbdt", fair, slice=kind) for kind in Slice}

    assert found[Slice.RANDOM] > found[Slice.ALL] + 0.03
    assert found[Slice.MIXED] > found[Slice.ALL] + 0.03


def test_mixed_slices_weigh_the_same() -> None:
    """The few random rows together weigh as much as all others."""
    features = np.zeros((10, len(FEATURE_NAMES)), np.float32)
    is_random = np.arange(10) < 2
    labels, lists = np.zeros(10, np.int8), np.zeros(10, np.int64)
    examples = make_examples_of(features, labels, lists, is_randomised=is_random)

    weights = row_weights(examples, Slice.MIXED)

    assert weights[is_random].sum() == weights[~is_random].sum()
    assert row_weights(examples, Slice.ALL).tolist() == [1.0] * 10


def test_families_cover_all_features() -> None:
    """Each column belongs to one family; an unknown name is refused."""
    columns = [column for family in FAMILIES for column in columns_of([family])]

    assert sorted(columns) == list(range(len(FEATURE_NAMES)))
    with pytest.raises(ValueError, match="misspelt"):
        columns_of(["misspelt"])


def test_examination_counts_by_place() -> None:
    """A positive at the first place is met with .68, at the second .61, beyond the tenth not."""
    features = np.zeros((12, len(FEATURE_NAMES)), np.float32)
    labels = np.zeros(12, np.int8)
    labels[[0, 11]] = 1
    examples = make_examples_of(features, labels, np.zeros(12, np.int64))
    scores = np.linspace(1, 0, 12, dtype=np.float32)

    assert places(examples, scores).tolist() == list(range(12))
    assert examined(examples, scores) == pytest.approx(0.68)
    assert examined(examples, -scores) == pytest.approx(0.68)
    scores[[0, 1]] = scores[[1, 0]]
    assert examined(examples, scores) == pytest.approx(0.61)


def test_unknown_models_are_refused() -> None:
    """A name that is none of ours is told from those that are."""
    with pytest.raises(ValueError, match="rank_svm"):
        fit(Recipe("magic", SETTINGS), cut(art_world(lists=30)))
