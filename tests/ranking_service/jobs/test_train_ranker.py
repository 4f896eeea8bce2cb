"""Training: what it learns, what it refuses, and that it does the same twice."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranking_service.config import RankingConfig
from ranking_service.examples import ACTION_SCHEMA, SHOWN_SCHEMA
from ranking_service.features import FEATURE_NAMES
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.impressions import FEATURE_SET
from ranking_service.jobs import compare_rankers, promote_ranker, train_ranker
from ranking_service.leaks import LeakDetected
from ranking_service.models.calibration import RARE_SHARE
from ranking_service.models.entries import TRAINED_MODELS
from ranking_service.query import Surface
from ranking_service.ranker import Rankers, open_ranker
from service_runtime.errors import InvalidRequest
from service_runtime.generation_store import GenerationStore
from service_runtime.job import JobContext, JobFailed
from tests.ranking_service.worlds import DAY, NOW

SIGNAL = FEATURE_NAMES.index("pixie_score")
LIST_LENGTH = 20


def us(time: Any) -> Any:
    """Seconds to microseconds."""
    return round(time * 1e6)


def make_shown(list_count: Any = 300, seed: int = 0, *, signal: Any = True) -> Any:
    """
    Lists shown over ten days, and saves that follow from one feature, or from nothing.

    The hand-tuned model is misled: its strongest feature says the opposite of what users do.
    """
    rng = np.random.default_rng(seed)
    rows, actions = [], []
    for number in range(list_count):
        time = NOW + number * 10 * DAY / list_count
        features = rng.random((LIST_LENGTH, len(FEATURE_NAMES))).astype(np.float32)
        appeal = 1.0 - features[:, SIGNAL] if signal else rng.random(LIST_LENGTH)
        saved = rng.random(LIST_LENGTH) < 0.5 * (appeal > 0.8)
        user = f"user-{number % 40}"
        for position in range(LIST_LENGTH):
            pin = f"pin-{number}-{position}"
            rows.append(
                {
                    "list_id": f"list-{number:04d}",
                    "position": position,
                    "impression_time_us": us(time),
                    "feature_time_us": us(time),
                    "generations_as_of_us": us(time - DAY),
                    "user_id": user,
                    "surface": "home_feed",
                    "pin_id": pin,
                    "feature_set": FEATURE_SET,
                    "features": features[position],
                }
            )
            if saved[position]:
                actions.append(make_action(user, pin, time + 60))
    return rows, actions


def make_action(user: Any, pin: Any, time: Any, kind: Any = "save", **fields: Any) -> Any:
    """One line of the action log."""
    return {
        "action_id": f"{user}-{pin}-{time}-{kind}",
        "user_id": user,
        "pin_id": pin,
        "action_type": kind,
        "action_time_us": us(time),
        **fields,
    }


def write(root: Any, rows: Any, actions: Any) -> None:
    """Write impressions and actions as exports do."""
    for name, records, schema in (
        ("impressions", rows, SHOWN_SCHEMA),
        ("actions", actions, ACTION_SCHEMA),
    ):
        folder = root / "events" / name / "day=2026-01-01"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(records, schema), folder / "part.parquet")


def train(
    root: Any,
    *,
    force: Any = False,
    seed: int = 0,
    as_of: Any = NOW + 30 * DAY,
    arguments: Any = None,
    **settings: Any,
) -> Any:
    """Run the job and return its report."""
    arguments = {
        "slice": "all",
        "objectives": ["save"],
        "model": "pointwise_gbdt",
        "negatives": "both",
        "without": [],
        "stage": False,
        "search": 0,
    } | (arguments or {})
    settings = {
        "label_horizon_days": 1.0,
        "tree_count_max": 60,
        "learning_rate": 0.1,
        "leaf_row_count_min": 50,
    } | settings
    context = JobContext(
        config=RankingConfig(data_root=root, **settings),
        as_of_us=us(as_of),
        seed=seed,
        arguments=argparse.Namespace(
            impressions=None,
            force=force,
            surfaces=["home_feed", "related_pins"],
            **arguments,
        ),
    )
    try:
        return train_ranker.run(context)
    finally:
        context.close()


def test_a_model_that_orders_better_is_published_and_serves(tmp_path: Path) -> None:
    """From logs to a generation that the service opens and scores with, fast."""
    write(tmp_path, *make_shown())
    store = GenerationStore(tmp_path / "generations")
    rankers = Rankers(store, make_hand_tuned(), feature_names=FEATURE_NAMES)

    report = train(tmp_path)
    rankers.live.poll()

    trained, hand_tuned = report["quality"]["pointwise_gbdt"], report["quality"]["hand_tuned"]
    assert trained["ndcg_at_10"] > 0.7 > hand_tuned["ndcg_at_10"]
    assert trained["auc"] > 0.8
    assert report["fallback_reason"] == ""
    assert rankers.serving(Surface.HOME_FEED).generation == report["generation"]
    assert rankers.serving(Surface.HOME_FEED).ranker.model == "pointwise_gbdt"
    assert rankers.serving(Surface.RELATED_PINS).ranker.model == "hand_tuned"
    quality = rankers.published()[0].manifest.quality
    assert quality["ndcg_at_10"] == trained["ndcg_at_10"]
    assert quality["hand_tuned_ndcg_at_10"] == hand_tuned["ndcg_at_10"]
    light = rankers.serving(Surface.HOME_FEED).ranker.light
    assert (
        light.weights[Surface.RELATED_PINS] == make_hand_tuned().light.weights[Surface.RELATED_PINS]
    )


def test_a_model_that_loses_to_the_serving_one_is_not_published(tmp_path: Path) -> None:
    """Trained without what matters, it is refused by the lists that neither saw; --force helps."""
    write(tmp_path, *make_shown())
    store = GenerationStore(tmp_path / "generations")
    first = train(tmp_path, as_of=NOW + 8 * DAY, label_horizon_days=0.1)
    weak = {"without": ["pixie_score"]}

    with pytest.raises(JobFailed, match="below the serving one's: home_feed -") as caught:
        train(tmp_path, arguments=weak)
    serving = store.current_id("ranker")
    forced = train(tmp_path, arguments=weak, force=True)

    assert first["serving"]["generation"] == ""
    assert caught.value.report["serving"]["generation"] == first["generation"] == serving
    assert store.current_id("ranker") == forced["generation"]


def test_settings_are_searched_on_training_lists_alone(tmp_path: Path) -> None:
    """The first trial is the configuration; a bad one loses; the newer lists have no say."""
    write(tmp_path, *make_shown())
    bad = {"learning_rate": 0.0001, "tree_count_max": 20}

    plain = train(tmp_path, force=True, **bad)
    found = train(tmp_path, force=True, arguments={"search": 6}, **bad)

    first, *others = found["search"]
    assert plain["search"] == []
    assert first["learning_rate"] == 0.0001
    assert max(trial["ndcg_at_10"] for trial in others) > first["ndcg_at_10"]
    name = "pointwise_gbdt"
    assert found["quality"][name]["ndcg_at_10"] > plain["quality"][name]["ndcg_at_10"] + 0.05
    assert found["examples"] == plain["examples"]
    with pytest.raises(InvalidRequest, match="no settings to search"):
        train(tmp_path, arguments={"search": 2, "model": "rank_svm"})


def test_a_staged_model_leaves_the_serving_one_alone(tmp_path: Path) -> None:
    """It goes through the same gates and becomes a generation of its own kind."""
    write(tmp_path, *make_shown())
    store = GenerationStore(tmp_path / "generations")

    staged = train(tmp_path, arguments={"stage": True})

    assert store.current_id("staged_ranker") == staged["generation"]
    assert store.current_id("ranker") is None
    job = JobContext(config=RankingConfig(data_root=tmp_path), as_of_us=us(NOW + 31 * DAY))
    promoted = promote_ranker.run(job)
    assert promoted["staged_generation"] == staged["generation"]
    assert store.current_id("ranker") == promoted["generation"]


def test_the_newest_impressions_never_train(tmp_path: Path) -> None:
    """Every example that judges is later than every example that trains; users do not mix."""
    write(tmp_path, *make_shown())

    report = train(tmp_path)

    assert report["validation_from_us"] == us(NOW + 240 * 10 * DAY / 300)
    assert report["examples"]["training"] <= 240 * LIST_LENGTH
    assert report["examples"]["judging"] == 60 * LIST_LENGTH


def test_a_worse_model_is_not_published_unless_forced(tmp_path: Path) -> None:
    """Where users change their minds the gate stays shut, and --force opens it."""
    rows, _ = make_shown()
    scores = make_hand_tuned().score(np.array([row["features"] for row in rows]))
    order = scores.reshape(-1, LIST_LENGTH).argsort(axis=1)
    actions = []
    for number, places in enumerate(order):
        # First they save what the hand-tuned model puts last, in the end what it puts first.
        for place in places[:3] if number < 240 else places[-3:]:
            row = rows[number * LIST_LENGTH + place]
            time = row["impression_time_us"] / 1e6 + 60
            actions.append(make_action(row["user_id"], row["pin_id"], time))
    write(tmp_path, rows, actions)

    with pytest.raises(JobFailed, match="not published") as caught:
        train(tmp_path)
    assert GenerationStore(tmp_path / "generations").generations("ranker") == []
    assert caught.value.report["quality"]["hand_tuned"]["ndcg_at_10"] > 0

    assert train(tmp_path, force=True)["generation"]


def test_training_twice_gives_the_same_model(tmp_path: Path) -> None:
    """Same logs, same time, same seed: the same bytes; another seed: another model."""
    write(tmp_path, *make_shown(list_count=150))
    generations = [train(tmp_path, seed=seed)["generation"] for seed in (3, 3, 4)]

    root = tmp_path / "generations" / "ranker"
    models = [(root / generation / "model.txt").read_bytes() for generation in generations]

    assert models[0] == models[1] != models[2]


def test_probabilities_are_calibrated_although_positives_weigh_more(tmp_path: Path) -> None:
    """Rare positives are weighted up in training; the bias takes it back in the scores."""
    rows, actions = make_shown(list_count=600)
    write(tmp_path, rows, [action for place, action in enumerate(actions) if place % 2 == 0])
    report = train(tmp_path)
    folder = tmp_path / "generations" / "ranker" / report["generation"]
    ranker = open_ranker(folder, feature_names=FEATURE_NAMES)
    features = np.array([row["features"] for row in rows], np.float32)

    rate = len(actions) / 2 / len(rows)

    assert rate < RARE_SHARE
    # 600 positives: four standard errors are 0.16 of the rate
    assert ranker.score(features).mean() == pytest.approx(rate, rel=0.2)


@pytest.mark.parametrize(
    ("leak", "claim"),
    [
        ("generation", "a generation knows"),
        ("feature", "features were computed after"),
        ("action", "an action on a list is earlier"),
    ],
)
def test_a_planted_leak_is_refused(tmp_path: Path, leak: Any, claim: Any) -> None:
    """One row of six thousand that knows the future stops the training, and is named."""
    rows, actions = make_shown()
    row = rows[777]
    if leak == "generation":
        row["generations_as_of_us"] = row["impression_time_us"] + 1
    elif leak == "feature":
        row["feature_time_us"] = row["impression_time_us"] + 1
    else:
        early = row["impression_time_us"] / 1e6 - 1
        actions.append(make_action(row["user_id"], row["pin_id"], early, list_id=row["list_id"]))
    write(tmp_path, rows, actions)

    with pytest.raises(LeakDetected, match=claim) as caught:
        train(tmp_path, force=True)

    assert row["list_id"] in str(caught.value)
    assert GenerationStore(tmp_path / "generations").generations("ranker") == []


def label_of(root: Any, *, horizon_days: Any = 1.0, boundary: Any = NOW + 5 * DAY) -> Any:
    """Labels by list and position, as the job would see them."""
    from ranking_service.examples import Labelling, open_tables, read_examples
    from ranking_service.leaks import refuse_leaks
    from service_runtime.batch import BatchSettings, open_engine

    engine = open_engine(BatchSettings())
    as_of_us = us(NOW + 30 * DAY)
    open_tables(
        engine,
        [root / "events" / "impressions"],
        root / "events" / "actions",
        surfaces=list(Surface),
        as_of_us=as_of_us,
    )
    refuse_leaks(engine)
    labelling = Labelling(as_of_us, us(horizon_days * DAY), 0.3, 0.2)
    examples = read_examples(engine, labelling, boundary_us=us(boundary))
    engine.close()
    return examples


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], 0),
        ([("save", 1, {})], 1),
        ([("save", 0, {})], 1),
        ([("save", -1, {})], 0),
        ([("save", DAY, {})], 0),
        ([("save", DAY - 1, {})], 1),
        ([("view", 1, {})], 0),
        ([("view", 1, {"strength": 0.9})], 1),
        ([("save", 1, {"strength": 0.2})], 0),
        ([("click", 1, {})], 1),
        ([("unsave", 1, {})], 0),
        ([("save", 1, {}), ("hide", 2, {})], 0),
        ([("hide", 1, {}), ("save", 2, {})], 0),
        ([("save", 1, {}), ("report", DAY + 5, {})], 1),
    ],
)
def test_labels(tmp_path: Path, actions: Any, expected: Any) -> None:
    """Strong enough, in time, by the same user, and not rejected: that is a positive."""
    rows, _ = make_shown(list_count=2)
    row = rows[3]
    time = row["impression_time_us"] / 1e6
    log = [
        make_action(row["user_id"], row["pin_id"], time + delay, kind, **fields)
        for kind, delay, fields in actions
    ]
    log.append(make_action("somebody else", row["pin_id"], time + 1))
    write(tmp_path, rows, log)

    labels = label_of(tmp_path).labels

    assert labels.tolist() == [expected if place == 3 else 0 for place in range(len(rows))]


def test_training_labels_end_where_validation_begins(tmp_path: Path) -> None:
    """What happens after the boundary is no label of an earlier list."""
    rows, _ = make_shown(list_count=2)
    row = rows[3]
    late = make_action(row["user_id"], row["pin_id"], NOW + 4000)
    write(tmp_path, rows, [late])

    assert label_of(tmp_path, boundary=NOW + 5000, horizon_days=0.1).labels.sum() == 1
    assert label_of(tmp_path, boundary=NOW + 3000, horizon_days=0.1).labels.sum() == 0


def test_each_impression_counts_once(tmp_path: Path) -> None:
    """An export that was done twice does not double the examples."""
    rows, actions = make_shown(list_count=4)
    write(tmp_path, rows * 2, actions * 2)

    assert len(label_of(tmp_path)) == len(rows)


def test_impressions_of_other_features_are_left_out(tmp_path: Path) -> None:
    """Rows that another version of the features computed cannot be mixed in."""
    rows, actions = make_shown(list_count=4)
    for row in rows[:LIST_LENGTH]:
        row["feature_set"] = "other"
        row["features"] = [1.0]
    write(tmp_path, rows, actions)

    assert len(label_of(tmp_path)) == len(rows) - LIST_LENGTH


@pytest.mark.parametrize(
    ("query_boards", "action", "expected"),
    [
        (["small", "large"], {"board_id": "small"}, 1),
        (["small", "large"], {"board_id": "large"}, 0),
        (["large"], {"board_id": "large"}, 1),
        (["small"], {}, 0),
        (["small"], {"kind": "click", "board_id": "small"}, 0),
        (["small"], {"kind": "click", "list_id": "list-0000"}, 1),
        (["user:u"], {}, 1),
        ([], {}, 1),
    ],
)
def test_labels_beside_a_query_pin(
    tmp_path: Path, query_boards: Any, action: Any, expected: Any
) -> None:
    """A related pin is one that is saved beside the query pin, or acted on in the list itself."""
    rows, _ = make_shown(list_count=2)
    for row in rows:
        row |= {"surface": "related_pins", "query_pin_id": "query"}
    row = rows[3]
    user = row["user_id"]
    log = [make_action(user, "query", NOW + 9, board_id=board) for board in query_boards]
    log += [make_action(user, f"filler-{n}", NOW + n, board_id="large") for n in range(9)]
    time = row["impression_time_us"] / 1e6 + 1
    kind = action.get("kind", "save")
    others = {name: value for name, value in action.items() if name != "kind"}
    log.append(make_action(user, row["pin_id"], time, kind, **others))
    write(tmp_path, rows, log)

    labels = label_of(tmp_path).labels

    assert labels.tolist() == [expected if place == 3 else 0 for place in range(len(rows))]


@pytest.mark.parametrize("is_scarce", [False, True])
def test_each_surface_has_its_own_gate(tmp_path: Path, is_scarce: Any) -> None:
    """Where there is too little to tell, the hand-tuned model goes on ranking."""
    rows, actions = make_shown(list_count=600)
    related = FEATURE_NAMES.index("is_related")
    for row in rows:
        is_related = int(row["list_id"].removeprefix("list-")) % 2
        row["features"][related] = is_related
        row["surface"] = "related_pins" if is_related else "home_feed"
    if is_scarce:
        on_related = [action for action in actions if int(action["pin_id"].split("-")[1]) % 2]
        kept = [action for action in actions if action not in on_related]
        actions = kept + on_related[::20]
    write(tmp_path, rows, actions)

    report = train(tmp_path)

    served = {name: figures["is_served"] for name, figures in report["surfaces"].items()}
    assert served == {"home_feed": True, "related_pins": not is_scarce}
    generation = GenerationStore(tmp_path / "generations").current("ranker")
    assert generation is not None
    names = ["home_feed"] if is_scarce else ["home_feed", "related_pins"]
    assert generation.manifest.details["surfaces"] == names


@pytest.mark.parametrize("kept", [0, 1])
def test_too_little_to_learn_from_is_refused_with_a_hint(tmp_path: Path, kept: Any) -> None:
    """No impressions at all, or of one moment only, is said in words."""
    rows, actions = make_shown(list_count=4)
    write(tmp_path, rows[: kept * LIST_LENGTH], actions)

    with pytest.raises(JobFailed) as caught:
        train(tmp_path)

    assert caught.value.hint


def test_too_few_positives_are_refused(tmp_path: Path) -> None:
    """A model is not fitted to a handful of saves."""
    rows, actions = make_shown()
    write(tmp_path, rows, actions[:5])

    with pytest.raises(JobFailed, match="positives"):
        train(tmp_path)


@pytest.mark.parametrize(
    "model", ["rank_svm", "session_pairs", "ranknet_gbdt", "logistic", "lambdamart"]
)
def test_every_model_is_trained_and_serves(tmp_path: Path, model: Any) -> None:
    """One job, one interface: each kind beats a misled hand-tuned model and is opened again."""
    write(tmp_path, *make_shown())

    report = train(tmp_path, arguments={"model": model})
    folder = tmp_path / "generations" / "ranker" / report["generation"]
    ranker = open_ranker(folder, feature_names=FEATURE_NAMES)

    assert ranker.model == model
    assert report["quality"][model]["ndcg_at_10"] > 0.55
    assert report["quality"][model]["ndcg_at_10"] > report["quality"]["hand_tuned"]["ndcg_at_10"]
    assert report["fallback_reason"] == ""
    rows = np.random.default_rng(1).random((50, len(FEATURE_NAMES))).astype(np.float32)
    assert np.corrcoef(ranker.logits(rows), rows[:, SIGNAL])[0, 1] < -0.3
    assert ranker.contributions(rows).shape == rows.shape


def test_objectives_are_trained_beside_each_other(tmp_path: Path) -> None:
    """Hides get a model of their own, which serving may weigh against saves."""
    rows, actions = make_shown()
    hides = []
    for row in rows:
        if row["features"][0] > 0.9:
            time = row["impression_time_us"] / 1e6 + 30
            hides.append(make_action(row["user_id"], row["pin_id"], time, "hide"))
    write(tmp_path, rows, actions + hides)

    report = train(tmp_path, arguments={"objectives": ["save", "click", "hide"]})
    folder = tmp_path / "generations" / "ranker" / report["generation"]
    x = np.full((2, len(FEATURE_NAMES)), 0.5, np.float32)
    x[1, 0] = 0.99

    saves = open_ranker(folder, feature_names=FEATURE_NAMES)
    mixed = open_ranker(
        folder, feature_names=FEATURE_NAMES, objective_weights={"hide": -1, "save": 1}
    )

    assert not (folder / "model_click.txt").exists()  # nobody clicked: nothing to learn from
    difference = np.diff(mixed.logits(x))[0]
    assert difference < -0.5
    assert difference < np.diff(saves.logits(x))[0]


def test_what_is_left_out_is_not_looked_at(tmp_path: Path) -> None:
    """Without its family the one telling feature changes nothing."""
    write(tmp_path, *make_shown())

    report = train(tmp_path, arguments={"without": ["context"]}, force=True)
    folder = tmp_path / "generations" / "ranker" / report["generation"]
    ranker = open_ranker(folder, feature_names=FEATURE_NAMES)
    rows = np.random.default_rng(1).random((2, len(FEATURE_NAMES))).astype(np.float32)
    rows[1] = rows[0]
    rows[1, SIGNAL] = 1 - rows[0, SIGNAL]

    assert ranker.logits(rows)[0] == ranker.logits(rows)[1]
    assert report["quality"]["pointwise_gbdt"]["auc"] == pytest.approx(0.5, abs=0.08)


def test_an_action_that_names_a_list_counts_for_that_list_only(tmp_path: Path) -> None:
    """Two lists showed the same pin; the list id says which one earned it; told twice is once."""
    rows, _ = make_shown(list_count=2)
    for row in rows:
        row["user_id"] = "user"
        row["pin_id"] = row["pin_id"].replace("pin-1-", "pin-0-")
        row["impression_time_us"] = row["feature_time_us"] = us(NOW)
        row["generations_as_of_us"] = us(NOW - DAY)
    act = make_action("user", "pin-0-3", NOW + 60, list_id="list-0001")
    write(tmp_path, rows, [act, act, make_action("user", "pin-0-5", NOW + 60)])

    labels = label_of(tmp_path).labels.reshape(2, LIST_LENGTH)

    assert np.flatnonzero(labels[0]).tolist() == [5]
    assert np.flatnonzero(labels[1]).tolist() == [3, 5]


def test_late_actions_are_found_by_the_next_training(tmp_path: Path) -> None:
    """What is told late is a label as soon as it is there, if it happened in time."""
    rows, _ = make_shown(list_count=2)
    row = rows[3]
    late = make_action(row["user_id"], row["pin_id"], row["impression_time_us"] / 1e6 + 50)
    write(tmp_path, rows, [])
    assert label_of(tmp_path).labels.sum() == 0

    write(tmp_path, rows, [late])

    assert label_of(tmp_path).labels.sum() == 1


def test_all_models_are_compared_on_the_same_rows(tmp_path: Path) -> None:
    """Every model, family, kind of negatives, weight and slice has its figures."""
    rows, actions = make_shown(list_count=200)
    for row in rows:
        row["is_randomised"] = int(row["list_id"].removeprefix("list-")) % 5 > 0
    write(tmp_path, rows, actions)
    context = JobContext(
        config=RankingConfig(
            data_root=tmp_path,
            label_horizon_days=1.0,
            tree_count_max=15,
            learning_rate=0.2,
            leaf_row_count_min=50,
        ),
        as_of_us=us(NOW + 30 * DAY),
        seed=0,
        arguments=argparse.Namespace(impressions=None, model="pointwise_gbdt"),
    )

    report = compare_rankers.run(context)
    context.close()

    models = report["models"]
    assert set(models) == {"hand_tuned", *TRAINED_MODELS}
    assert models["pointwise_gbdt"]["ndcg_at_10"] > models["hand_tuned"]["ndcg_at_10"]
    assert models["pointwise_gbdt"]["examined"] > models["hand_tuned"]["examined"]
    lost = report["families"]["none"]["ndcg_at_10"] - report["families"]["context"]["ndcg_at_10"]
    assert lost > 0.1
    assert set(report["negatives"]) == {"none", "neighbours", "popular", "both"}
    assert set(report["slices"]) == {"all", "random", "mixed"}
    assert report["weights"]["automatic"]["calibration_error"] < 0.05
