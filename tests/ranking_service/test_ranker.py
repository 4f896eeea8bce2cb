"""GbdtRanker against LightGBM itself and against trees walked by hand."""

import json
import warnings
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service.light_score import RANK_FUSION, light_of
from ranking_service.models.calibration import Calibration
from ranking_service.models.linear import LinearModel
from ranking_service.query import Surface
from ranking_service.ranker import (
    GbdtRanker,
    HandTuned,
    HandTunedRanker,
    LinearRanker,
    ObjectiveRanker,
    RankerCorrupted,
    open_ranker,
    write_ranker,
)
from tests.naive.trees import forest_score

SPECIAL_VALUES = [0.0, -0.0, 1e-35, -1e-35, 1e-36, 1e-45, 3e38, -3e38, np.inf, -np.inf, 1.5]


def make_world(seed: int, *, n: Any = 400, f: Any = 5) -> Any:
    """Rows with ties, constants and specials, and a label that depends on them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, f)).astype(np.float32)
    x[:, 1] = np.round(x[:, 1])
    x[:, 2] = (x[:, 2] > 0.8) * 2.5
    x[:, 3] *= np.float32(10.0) ** rng.integers(-38, 37, n).astype(np.float32)
    y = (x[:, 0] + np.sin(3 * x[:, 1]) + x[:, 2] * rng.random(n) > 0.4).astype(int)
    return x, y


def train(x: Any, y: Any, trees: Any = 12, **parameters: Any) -> Any:
    """A small booster with one thread, quiet."""
    settings_ = {"objective": "binary", "num_threads": 1, "verbose": -1, "min_data_in_leaf": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        categories = parameters.pop("categorical_feature", "auto")
        rows = lightgbm.Dataset(x, y, categorical_feature=categories)
        return lightgbm.train(settings_ | parameters, rows, trees)


def with_specials(x: Any, rng: Any) -> Any:
    """The rows with a fifth of the values replaced by ones that break scorers."""
    replaced = rng.random(x.shape) < 0.2
    return np.where(replaced, rng.choice(SPECIAL_VALUES, x.shape), x).astype(np.float32)


def on_thresholds(booster: Any, x: Any, rng: Any) -> Any:
    """Rows whose values are the model's own thresholds, rounded to float32 either way."""
    lines = booster.model_to_string().splitlines()
    words = " ".join(line[10:] for line in lines if line.startswith("threshold=")).split()
    thresholds = np.array(words, np.float64).astype(np.float32)
    if not thresholds.size:
        return x
    picked = rng.choice(thresholds, x.shape)
    return np.nextafter(picked, rng.choice([-np.inf, np.inf], x.shape).astype(np.float32))


def write_trees(folder: Any, text: Any, names: Any, **fields: Any) -> None:
    """Write a model of saves alone."""
    write_ranker(folder, {"save": GbdtRanker(text, **fields)}, feature_names=names)


def assert_equal_to_lightgbm(ranker: Any, booster: Any, x: Any) -> None:
    """The raw scores are the same bytes."""
    assert ranker.raw_scores(x).tobytes() == booster.predict(x, raw_score=True).tobytes()


@given(
    seed=st.integers(0, 2**32 - 1),
    leaves=st.integers(2, 64),
    rate=st.floats(0.01, 1.0),
    trees=st.integers(1, 20),
    row_count=st.integers(1, 70),
    use_missing=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_scores_equal_lightgbm_to_the_bit(
    seed: int, leaves: Any, rate: Any, trees: Any, row_count: Any, use_missing: Any
) -> None:
    """Any numeric model of up to 64 leaves, any float32 rows but NaN, scores the same bytes."""
    x, y = make_world(seed)
    booster = train(x, y, trees, num_leaves=leaves, learning_rate=rate, use_missing=use_missing)
    ranker = GbdtRanker(booster.model_to_string())
    rng = np.random.default_rng(seed)
    rows = x[:row_count]

    assert ranker.fallback_reason == ""
    for variant in (rows, with_specials(rows, rng), on_thresholds(booster, rows, rng)):
        assert_equal_to_lightgbm(ranker, booster, np.ascontiguousarray(variant))


def test_scores_equal_trees_walked_by_hand() -> None:
    """The fast scorer, LightGBM and a walk node by node agree."""
    x, y = make_world(3)
    booster = train(x, y, 15, num_leaves=31)
    rows = with_specials(x[:60], np.random.default_rng(4))

    expected = [forest_score(booster.dump_model(), row.tolist()) for row in rows]

    assert GbdtRanker(booster.model_to_string()).raw_scores(rows).tolist() == expected


def test_a_model_without_splits_scores_its_constant() -> None:
    """Trees of one leaf are taken."""
    x, y = make_world(5)
    booster = train(x, y, 3, min_data_in_leaf=10_000)

    ranker = GbdtRanker(booster.model_to_string())

    assert ranker.fallback_reason == ""
    assert_equal_to_lightgbm(ranker, booster, x)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"categorical_feature": [1], "min_data_per_group": 1}, "categor"),
        ({"zero_as_missing": True}, "zero as missing"),
        ({"num_leaves": 65, "min_data_in_leaf": 1}, "65 leaves"),
        ({"linear_tree": True}, "linear"),
        ({"objective": "multiclass", "num_class": 2}, "classes"),
        (
            {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.7},
            "averaged",
        ),
    ],
)
def test_a_model_that_the_fast_scorer_cannot_take_is_left_to_lightgbm(
    parameters: Any, reason: Any
) -> None:
    """Each such model is recognised, named, and still scored as LightGBM does."""
    x, y = make_world(6, n=900)
    x[:, 1] = np.abs(x[:, 1])
    x[:, 3] = np.clip(x[:, 3], -5, 5)
    y ^= x[:, 1].astype(int) % 2
    booster = train(x, y, 4, **parameters)

    ranker = GbdtRanker(booster.model_to_string())

    assert reason in ranker.fallback_reason
    assert_equal_to_lightgbm(ranker, booster, x[:50])


@pytest.mark.parametrize("use_missing", [True, False])
def test_rows_with_nan_are_left_to_lightgbm(use_missing: Any) -> None:
    """NaN follows LightGBM's own rules, whatever the model's missing type."""
    x, y = make_world(8)
    x[::7, 0] = np.nan
    booster = train(x, y, 8, use_missing=use_missing)

    ranker = GbdtRanker(booster.model_to_string())

    assert_equal_to_lightgbm(ranker, booster, x)
    clean = np.ascontiguousarray(x[1:7])
    assert_equal_to_lightgbm(ranker, booster, clean)


def test_scores_are_the_probabilities_of_lightgbm() -> None:
    """`score` is what `predict` gives, rounded to float32."""
    x, y = make_world(9)
    booster = train(x, y, 20, sigmoid=1.7)

    scores = GbdtRanker(booster.model_to_string()).score(x)

    # one rounding of exp apart at the most
    np.testing.assert_allclose(scores, booster.predict(x), rtol=3e-7)


def test_no_rows_give_no_scores() -> None:
    """An empty pool is scored without complaint, fast or not."""
    x, y = make_world(10)
    for parameters in ({}, {"zero_as_missing": True}):
        ranker = GbdtRanker(train(x, y, 2, **parameters).model_to_string())
        assert ranker.score(np.empty((0, 5), np.float32)).shape == (0,)


def test_rows_of_another_width_are_refused() -> None:
    """A wrong number of features is an error, never a read beyond the row."""
    x, y = make_world(11)
    ranker = GbdtRanker(train(x, y, 2).model_to_string())

    with pytest.raises(ValueError, match=r"wanted \[n, 5\]"):
        ranker.score(np.zeros((3, 4), np.float32))


def test_open_reads_what_write_wrote(tmp_path: Path) -> None:
    """A generation's folder gives the same scores as the model it was written from."""
    x, y = make_world(12)
    booster = train(x, y, 5)
    names = [f"feature_{i}" for i in range(5)]
    write_trees(tmp_path, booster.model_to_string(), names)

    ranker = open_ranker(tmp_path, feature_names=names)

    assert_equal_to_lightgbm(ranker, booster, x)


def test_open_refuses_a_model_of_several_classes(tmp_path: Path) -> None:
    """A ranker gives one score a row."""
    x, y = make_world(14)
    names = [f"feature_{i}" for i in range(5)]
    text = train(x, y, 2, objective="multiclass", num_class=2).model_to_string()
    write_trees(tmp_path, text, names)

    with pytest.raises(RankerCorrupted, match="2 scores"):
        open_ranker(tmp_path, feature_names=names)


def test_a_model_remembers_what_it_was_boosted_from(tmp_path: Path) -> None:
    """Trees, base and bias add up to the logit, also after writing and opening."""
    x, y = make_world(15)
    names = ["a", "b", "c", "d", "is_related"]
    x[:, 4] = np.arange(len(x)) % 2
    x[:, 3] = 0
    weights = {Surface.HOME_FEED: {"a": 2.0}, Surface.RELATED_PINS: {"b": -1.0}}
    booster = train(x, y, 3)
    base = HandTuned(weights, names, bias=0.0)
    calibration = Calibration(1.0, 0.25)
    write_trees(tmp_path, booster.model_to_string(), names, calibration=calibration, base=base)

    ranker = open_ranker(tmp_path, feature_names=names)

    assert_equal_to_lightgbm(ranker, booster, x)
    linear = np.where(x[:, 4] == 1, -x[:, 1].astype(float), 2.0 * x[:, 0].astype(float))
    expected = booster.predict(x, raw_score=True) + 0.25 + linear
    np.testing.assert_allclose(ranker.logits(x), expected, rtol=1e-12)


@pytest.mark.parametrize("damage", ["names", "order", "no_model", "garbage", "no_json", "columns"])
def test_open_refuses_damage(tmp_path: Path, damage: Any) -> None:
    """A folder that cannot be used names itself and says what to do."""
    x, y = make_world(13)
    names = [f"feature_{i}" for i in range(5)]
    write_trees(tmp_path, train(x, y, 2).model_to_string(), names)
    if damage == "names":
        names = [*names[:4], "other"]
    elif damage == "order":
        names = names[::-1]
    elif damage == "no_model":
        (tmp_path / "model.txt").unlink()
    elif damage == "garbage":
        (tmp_path / "model.txt").write_text("no model at all")
    elif damage == "no_json":
        (tmp_path / "features.json").write_text("{")
    else:
        names = names[:4]
        (tmp_path / "features.json").write_text(json.dumps({"model": "m", "names": names}))

    with pytest.raises(RankerCorrupted) as caught:
        open_ranker(tmp_path, feature_names=names)

    assert "train_ranker" in caught.value.hint


def test_hand_tuned_scores_are_the_logistic_of_the_weighted_sum() -> None:
    """Named weights meet their columns; other columns do not matter."""
    ranker = HandTunedRanker({"b": 2.0, "c": -1.0}, ["a", "b", "c"], bias=0.5)
    rows = np.array([[9, 1, 3], [0, 0, 0], [0, 900, 0]], np.float32)

    expected = 1 / (1 + np.exp(-np.array([-0.5, 0.5, 1800.5])))

    np.testing.assert_allclose(ranker.score(rows), expected, rtol=1e-6)


def test_hand_tuned_refuses_weights_of_unknown_features() -> None:
    """A typo in a weight's name is found at start."""
    with pytest.raises(ValueError, match="misspelt"):
        HandTunedRanker({"misspelt": 1.0}, ["a"])


def linear(weights: Any, *, bias: Any = 0.0, slope: Any = 1.0, model: Any = "rank_svm") -> Any:
    """A linear model with these weights."""
    summed = LinearModel(np.array(weights, float), bias, np.zeros(len(weights)))
    return LinearRanker(model, summed, calibration=Calibration(slope, 0.5), memboost_gain=0.7)


def test_a_linear_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Weights, calibration, surfaces and gain come back; the score is the logistic of the sum."""
    names = ["a", "b", "c"]
    write_ranker(tmp_path, {"save": linear([1.0, 0.0, -2.0], slope=0.5)}, feature_names=names)

    ranker = open_ranker(tmp_path, feature_names=names)
    rows = np.array([[1, 9, 0], [0, 9, 1]], np.float32)

    assert ranker.logits(rows).tolist() == [1.0, -0.5]
    assert (ranker.model, ranker.memboost_gain) == ("rank_svm", 0.7)
    assert ranker.contributions(rows).tolist() == [[0.5, 0.0, 0.0], [0.0, 0.0, -1.0]]


def test_the_light_score_comes_with_the_model(tmp_path: Path) -> None:
    """As it was written; a model from before there was one is chosen for by rank fusion."""
    light = light_of(dict.fromkeys(Surface, {"pixie_rank": 0.25}), bias=-1.0)  # noqa: RUF024
    write_ranker(tmp_path, {"save": linear([1.0])}, feature_names=["a"], light=light)
    path = tmp_path / "features.json"
    described = json.loads(path.read_text())

    assert open_ranker(tmp_path, feature_names=["a"]).light == light
    path.write_text(json.dumps({k: v for k, v in described.items() if k != "light"}))
    assert open_ranker(tmp_path, feature_names=["a"]).light == RANK_FUSION


@pytest.mark.parametrize(
    "weights", [{"query_cosine": 1.0}, {"pixie_rank": float("nan")}, {"pixie_rank": "much"}]
)
def test_a_damaged_light_score_is_refused(tmp_path: Path, weights: Any) -> None:
    """What cannot be added up is found when the model is opened."""
    write_ranker(tmp_path, {"save": linear([1.0])}, feature_names=["a"])
    path = tmp_path / "features.json"
    described = json.loads(path.read_text())
    described["light"]["home_feed"]["weights"] = weights
    path.write_text(json.dumps(described))

    with pytest.raises(RankerCorrupted):
        open_ranker(tmp_path, feature_names=["a"])


@pytest.mark.parametrize("damage", ["short", "nan", "kind"])
def test_a_damaged_linear_model_is_refused(tmp_path: Path, damage: Any) -> None:
    """Weights that do not fit or are no numbers never score."""
    names = ["a", "b"]
    write_ranker(tmp_path, {"save": linear([1.0, 2.0])}, feature_names=names)
    path = tmp_path / ("features.json" if damage == "kind" else "model.json")
    text = path.read_text()
    changes = {"short": ("1.0, 2.0", "1.0"), "nan": ("2.0]", "NaN]"), "kind": ("linear", "magic")}
    path.write_text(text.replace(*changes[damage], 1))

    with pytest.raises(RankerCorrupted):
        open_ranker(tmp_path, feature_names=names)


def test_contributions_add_up_to_the_difference_from_the_average() -> None:
    """What the features added, plus what every row has, is the logit."""
    x, y = make_world(21)
    x[:, 3] = np.clip(x[:, 3], -3, 3)
    ranker = GbdtRanker(train(x, y, 10).model_to_string(), calibration=Calibration(2.0, 1.0))

    rest = ranker.logits(x) - ranker.contributions(x).sum(axis=1)

    # TreeSHAP and the trees sum in another order
    np.testing.assert_allclose(rest, rest[0], atol=1e-9)


def test_objectives_are_weighed_at_serving(tmp_path: Path) -> None:
    """One folder, two objectives: the weights of serving say what a score is worth."""
    names = ["a", "b"]
    trained = {"save": linear([4.0, 0.0]), "hide": linear([0.0, 4.0])}
    write_ranker(tmp_path, trained, feature_names=names)
    rows = np.array([[1, 0], [1, 1], [0, 0]], np.float32)

    def order(weights: Any) -> Any:
        ranker = open_ranker(tmp_path, feature_names=names, objective_weights=weights)
        return (-ranker.score(rows)).argsort(kind="stable").tolist()

    assert order(None) == order({"save": 1.0}) == [0, 1, 2]
    assert order({"save": 1.0, "hide": -2.0}) == [0, 2, 1]
    with pytest.raises(RankerCorrupted, match="no objective"):
        order({"save": 1.0, "click": 1.0})


def test_objectives_need_a_weight_above_zero() -> None:
    """A score that nothing can raise is refused."""
    with pytest.raises(ValueError, match="above 0"):
        ObjectiveRanker({"save": linear([1.0])}, {"save": -1.0})
