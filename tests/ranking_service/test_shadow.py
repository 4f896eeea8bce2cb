"""A staged model beside the serving one: what is compared, what is told, what it can never harm."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from ranking_service.config import RankingConfig
from ranking_service.feature_table import FEATURE_NAMES
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.models.calibration import Calibration
from ranking_service.models.linear import LinearModel
from ranking_service.query import RankQuery, Surface, Viewer
from ranking_service.ranker import (
    RANKER_ARTIFACT,
    RANKER_FORMAT_VERSION,
    SAVE,
    STAGED_ARTIFACT,
    LinearRanker,
    RankerCorrupted,
    Rankers,
    promote,
    write_ranker,
)
from ranking_service.shadow import rank_correlation
from service_runtime.errors import NotFound
from service_runtime.generation_store import GenerationStore
from service_runtime.telemetry import Metrics
from tests.ranking_service.test_recommend import CANDIDATES, PROFILE, ask, names
from tests.ranking_service.worlds import (
    KeptImpressions,
    KeptMemory,
    StillUpstream,
    make_recommender,
    make_shadow,
    make_store,
)

LIMIT = 10
SERVING = {"rank_fusion": 30.0, "log_save_count": 0.2}
OTHER = {"log_board_count": 1.0, "medoid_cosine_max": 2.0}


def linear(weights: Any, *, surfaces: Any = tuple(Surface)) -> LinearRanker:
    """A model by weights of features, by name."""
    row = np.zeros(len(FEATURE_NAMES))
    for name, weight in weights.items():
        row[FEATURE_NAMES.index(name)] = weight
    return LinearRanker(
        "rank_svm",
        LinearModel(row, -3.0, np.zeros(len(FEATURE_NAMES))),
        calibration=Calibration(1.0, 0.0),
        surfaces=frozenset(surfaces),
    )


def publish(store: GenerationStore, ranker: Any, artifact: str) -> str:
    """Publish a model; returns the generation."""
    with store.draft(artifact, format_version=RANKER_FORMAT_VERSION) as draft:
        write_ranker(draft.folder, {SAVE: ranker}, feature_names=FEATURE_NAMES)
        details = {"model": ranker.model}
        return draft.publish(as_of_us=1, quality={"ndcg_at_10": 0.5}, details=details).id


class Stand:
    """A recommender whose every answer a staged model ranks too, in a world of its own."""

    def __init__(self, folder: Path, serving: Any, staged: Any, book: str, **config: Any) -> None:
        self.store = make_store(folder, 60)
        if serving is not None:
            publish(self.store, serving, RANKER_ARTIFACT)
        if staged is not None:
            publish(self.store, staged, STAGED_ARTIFACT)
        self.config = RankingConfig(**{"random_share": 0.0, "shadow_share": 1.0, **config})
        self.metrics = Metrics("ranking_service")
        self.rankers = Rankers(self.store, make_hand_tuned(), feature_names=FEATURE_NAMES)
        self.shadow = make_shadow(self.store, self.rankers, self.config, self.metrics)
        self.recommender = make_recommender(
            self.store,
            self.config,
            StillUpstream(CANDIDATES, PROFILE),
            KeptImpressions(),
            KeptMemory(),
            book,
            self.shadow,
        )

    def figures(self) -> Any:
        """What was seen of the staged model once all is compared."""
        self.shadow.flush()
        staged = self.shadow.staged()
        return None if staged is None else staged[1]


@contextmanager
def opened(
    folder: Path, serving: Any = None, staged: Any = None, book: str = "", **config: Any
) -> Iterator[Stand]:
    """A stand whose thread runs."""
    stand = Stand(folder, serving, staged, book, **config)
    stand.shadow.start()
    try:
        yield stand
    finally:
        stand.shadow.close()


def test_the_same_model_differs_in_nothing(tmp_path: Path) -> None:
    """What serves, staged once more: the same pins in the same places."""
    with opened(tmp_path, linear(SERVING), linear(SERVING)) as stand:
        for number in range(5):
            stand.recommender.recommend(ask(limit=LIMIT, request_id=f"r{number}"))

        assert stand.figures() == {
            "request_count": 5,
            "failed_count": 0,
            "shown_overlap": 1.0,
            "top_changed": 0.0,
            "rank_shift": 0.0,
            "rank_correlation": pytest.approx(1.0),
            "score_difference": 0.0,
        }


@pytest.mark.parametrize("diversity", [0.0, 0.5])
def test_figures_are_those_of_the_two_answers_themselves(tmp_path: Path, diversity: float) -> None:
    """The other model's answer is what it would be if that model served, rules and all."""
    question = ask(limit=LIMIT, diversity=diversity)
    whole = replace(question, limit=48)
    with opened(tmp_path / "a", linear(SERVING), linear(OTHER)) as stand:
        shown = names(stand.recommender.recommend(question))
        figures = stand.figures()
    with opened(tmp_path / "b", linear(OTHER)) as other:
        others = names(other.recommender.recommend(question))
        order = names(other.recommender.recommend(whole)) if not diversity else others
        scores = {pin.pin_id: pin.score for pin in other.recommender.recommend(whole).pins}

    assert figures["request_count"] == 1
    assert figures["shown_overlap"] == len(set(shown) & set(others)) / LIMIT < 1
    assert figures["top_changed"] == float(shown[0] != others[0])
    assert len(scores) == 48
    if not diversity:
        shifts = [abs(order.index(pin_id) - place) for place, pin_id in enumerate(shown)]
        assert figures["rank_shift"] == pytest.approx(np.mean(shifts))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=3, max_size=40))
def test_the_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    """With ties, as SciPy has it; 1 where a side has one value only."""
    first, second = np.array(pairs, float).T
    is_flat = len(set(first)) == 1 or len(set(second)) == 1

    wanted = 1.0 if is_flat else spearmanr(first, second).statistic
    assert rank_correlation(first, second) == pytest.approx(wanted)


def test_answers_do_not_change_by_what_is_staged(tmp_path: Path) -> None:
    """Pins, scores and reasons are the same with and without a staged model."""
    with opened(tmp_path / "a", linear(SERVING), linear(OTHER)) as stand:
        shadowed = stand.recommender.recommend(ask())
    with opened(tmp_path / "b", linear(SERVING)) as plain:
        alone = plain.recommender.recommend(ask())

    assert shadowed.pins == alone.pins


def test_only_a_share_of_the_answers_is_compared(tmp_path: Path) -> None:
    """About as many as the setting says: 100 of 400, five deviations allowed."""
    with opened(tmp_path, None, linear(OTHER), shadow_share=0.25) as stand:
        for number in range(400):
            stand.recommender.recommend(ask(limit=3, request_id=f"r{number}"))

        assert abs(stand.figures()["request_count"] - 100) < 45


def test_what_cannot_be_compared_is_left_out(tmp_path: Path) -> None:
    """Random answers, models of an experiment, surfaces that the staged model does not rank."""
    book = '[scenarios.home_feed]\nmodel = "hand_tuned"\n'
    with opened(tmp_path / "a", None, linear(OTHER), random_share=1.0) as stand:
        stand.recommender.recommend(ask())
        assert stand.figures()["request_count"] == 0
    with opened(tmp_path / "b", None, linear(OTHER), book) as stand:
        stand.recommender.recommend(ask())
        assert stand.figures()["request_count"] == 0
    related = linear(OTHER, surfaces=[Surface.RELATED_PINS])
    with opened(tmp_path / "c", None, related) as stand:
        stand.recommender.recommend(ask())
        assert stand.figures()["request_count"] == 0


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_model_that_gives_no_scores_is_counted_and_harms_nothing(tmp_path: Path) -> None:
    """A weight that overflows: every answer is as without it, and the failures are told."""
    broken = linear({"log_save_count": 1e308, "log_board_count": -1e308})
    with opened(tmp_path, linear(SERVING), broken) as stand:
        answers = [stand.recommender.recommend(ask(request_id=f"r{n}")) for n in range(3)]
        figures = stand.figures()
        page = stand.metrics.text()

    assert all(len(answer.pins) == 20 and not answer.missing for answer in answers)
    assert figures == {"request_count": 0, "failed_count": 3}
    assert 'shadow_answers_total{outcome="failed"} 3.0' in page


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_serving_model_that_gives_no_scores_is_replaced_and_named(tmp_path: Path) -> None:
    """The hand-tuned one ranks that request, in both verbs, and the answer says why."""
    broken = linear({"log_save_count": 1e308, "log_board_count": -1e308})
    with opened(tmp_path / "a", broken) as stand, opened(tmp_path / "b") as plain:
        answer = stand.recommender.recommend(ask())
        wanted = plain.recommender.recommend(ask())
        given = RankQuery("user", "", tuple(names(wanted)), Viewer("en", "NL"), "request")
        ranked = stand.recommender.rank(given)

    assert names(answer) == names(wanted)
    assert answer.model == ranked.model == "hand_tuned"
    assert "ranker" not in answer.generations
    assert dict(answer.missing)["ranker"] == dict(ranked.missing)["ranker"]
    assert "no finite numbers" in dict(answer.missing)["ranker"]


def test_a_full_queue_leaves_answers_out(tmp_path: Path) -> None:
    """Nobody waits for the staged model: what does not fit is counted."""
    stand = Stand(tmp_path, None, linear(OTHER), "", shadow_queue_count_max=2)
    for number in range(5):  # nobody takes anything out: the thread was not started
        stand.recommender.recommend(ask(request_id=f"r{number}"))

    assert 'shadow_answers_total{outcome="queue_full"} 3.0' in stand.metrics.text()


def test_promoting_makes_the_staged_model_serve_and_ends_the_comparison(tmp_path: Path) -> None:
    """Answers are the staged model's afterwards; rolling back brings the old ones again."""
    with opened(tmp_path, linear(SERVING), linear(OTHER)) as stand:
        before = names(stand.recommender.recommend(ask()))
        staged = stand.store.current(STAGED_ARTIFACT)
        generation = promote(stand.store, feature_names=FEATURE_NAMES)
        stand.rankers.live.poll()
        stand.recommender._models._rankers.live.poll()
        after = names(stand.recommender.recommend(ask(request_id="after")))
        count = stand.figures()["request_count"]
        stand.store.roll_back(RANKER_ARTIFACT)
        stand.rankers.live.poll()
        stand.recommender._models._rankers.live.poll()
        again = names(stand.recommender.recommend(ask()))

    assert staged is not None
    assert generation.manifest.inputs == {STAGED_ARTIFACT: staged.id}
    assert generation.manifest.quality == staged.manifest.quality
    assert before != after
    assert before == again
    assert count == 1


def test_an_experiment_may_name_a_staged_model(tmp_path: Path) -> None:
    """Its answers are those that it would give if it served, and say which model made them."""
    with opened(tmp_path / "a", linear(OTHER)) as other:
        wanted = names(other.recommender.recommend(ask()))
    store = make_store(tmp_path / "b", 60)
    generation = publish(store, linear(OTHER), STAGED_ARTIFACT)
    book = f'[scenarios.home_feed]\nmodel = "{generation}"\n'
    recommender = make_recommender(
        store,
        RankingConfig(random_share=0.0),
        StillUpstream(CANDIDATES, PROFILE),
        KeptImpressions(),
        KeptMemory(),
        book,
    )
    answer = recommender.recommend(ask())

    assert names(answer) == wanted
    assert answer.generations["ranker"] == generation


def test_a_newer_staged_model_starts_from_nothing(tmp_path: Path) -> None:
    """Figures are of one generation, never of two together."""
    with opened(tmp_path, linear(SERVING), linear(OTHER)) as stand:
        stand.recommender.recommend(ask())
        assert stand.figures()["request_count"] == 1
        publish(stand.store, linear(SERVING), STAGED_ARTIFACT)
        stand.shadow.live.poll()
        assert stand.figures() == {"request_count": 0, "failed_count": 0}
        stand.recommender.recommend(ask())
        assert stand.figures()["shown_overlap"] == 1.0


def test_nothing_can_be_promoted_but_a_good_model(tmp_path: Path) -> None:
    """Nothing staged, or a model for other features: refused, and what serves stays."""
    store = GenerationStore(tmp_path)
    with pytest.raises(NotFound, match="no model is staged"):
        promote(store, feature_names=FEATURE_NAMES)
    publish(store, linear(SERVING), RANKER_ARTIFACT)
    serving = store.current_id(RANKER_ARTIFACT)
    publish(store, linear(OTHER), STAGED_ARTIFACT)

    with pytest.raises(RankerCorrupted, match="other features"):
        promote(store, feature_names=FEATURE_NAMES[:-1])
    assert store.current_id(RANKER_ARTIFACT) == serving
