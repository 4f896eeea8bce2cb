"""Why a pin is where it is, and why another one is not there."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking_service.explanations import Absence
from ranking_service.memboost.curves import POSITION_COUNT, RankCurves
from ranking_service.memboost.memory import Memboost
from ranking_service.pin_keys import key_of, keys_of
from ranking_service.query import PinFilter, Surface
from service_runtime.generation_store import GenerationStore
from tests.ranking_service.memboost.test_table import table_of
from tests.ranking_service.test_recommend import CANDIDATES, PROFILE, ask, make, names
from tests.ranking_service.worlds import (
    make_candidates,
    make_list,
    make_store,
    pin_id,
    publish_catalogue,
)

PIN_COUNT = 60
QUERY = pin_id(30)
RELATED = ask(surface=Surface.RELATED_PINS, query_pin_id=QUERY, limit=20)


@pytest.fixture(scope="module")
def store(tmp_path_factory: Any) -> Any:
    """A random world."""
    return make_store(tmp_path_factory.mktemp("world"), PIN_COUNT)


def memory_of(*rows: int, actions: int = 30) -> Memboost:
    """Pins that were shown 40 times under the query pin and saved so often."""
    shown = [
        (f"l{i}", "ann", QUERY, pin_id(row), "ios", place, i)
        for i in range(40)
        for place, row in enumerate(rows)
    ]
    acts = [(f"l{i}", "ann", pin_id(row), "save", i) for i in range(actions) for row in rows]
    rates = np.full((2, 3, POSITION_COUNT, 4), 0.05)
    return Memboost((table_of(shown, acts, RankCurves(rates, np.zeros(2, np.bool_))),))


def test_an_explanation_adds_up(store: Any) -> None:
    """Model, Memboost and the score that is shown; the features; the rules that moved a pin."""
    memory = memory_of(21, actions=30)
    recommender, _, impressions = make(store, memory=memory, memboost_gain=1.0)

    answer = recommender.recommend(replace(RELATED, is_explained=True, limit=100))

    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    for pin in answer.pins:
        told = pin.explanation
        assert told.contributions
        assert abs(told.contributions[0].contribution) >= abs(told.contributions[-1].contribution)
        final = logit(told.model_score) + told.memboost.boost
        assert logit(pin.score) == pytest.approx(final, abs=1e-2)
    (boosted,) = (pin for pin in answer.pins if pin.pin_id == pin_id(21))
    score = boosted.explanation.memboost
    assert (score.impression_count, score.action_count) == (40, pytest.approx(30.0))
    assert score.score == pytest.approx(np.log(31 / (score.expected_action_count + 1)), abs=1e-5)
    assert not score.is_inserted
    others = [p.explanation.memboost.score for p in answer.pins if p.pin_id != pin_id(21)]
    assert not any(others)
    assert impressions.kept[0][0].pins[0].explanation is None, "explanations are not logged"
    assert [pin.memboost for pin in impressions.kept[0][0].pins] == [
        pin.explanation.memboost.score for pin in answer.pins
    ]


def test_without_being_asked_nothing_is_explained(store: Any) -> None:
    """Explanations cost time."""
    answer = make(store)[0].recommend(RELATED)

    assert {pin.explanation for pin in answer.pins} == {None}


def test_a_lost_winner_is_put_back_and_says_so(store: Any) -> None:
    """A pin that no source proposes any more, but that people kept saving here."""
    recommender, upstream, _ = make(store, memory=memory_of(5, 6))

    answer = recommender.recommend(replace(RELATED, is_explained=True, limit=100))
    upstream.hidden = frozenset({pin_id(6)})
    without = recommender.recommend(replace(RELATED, limit=100))
    home = recommender.recommend(ask(limit=100))
    filtered = recommender.recommend(replace(RELATED, limit=100, filter=PinFilter("x = 1")))

    pins = {pin.pin_id: pin for pin in answer.pins}
    assert {pin_id(5), pin_id(6)} <= pins.keys()
    assert [reason.source for reason in pins[pin_id(5)].sources] == ["memboost"]
    assert pins[pin_id(5)].explanation.memboost.is_inserted
    assert pin_id(5) in names(without)
    assert pin_id(6) not in names(without), "what may not be shown is not put back"
    assert not {pin_id(5), pin_id(6)} & set(names(home))
    assert not {pin_id(5), pin_id(6)} & set(names(filtered))


def test_an_excluded_winner_stays_out(store: Any) -> None:
    """What the user acted on or the request excludes does not come back by being remembered."""
    recommender, _, _ = make(store, memory=memory_of(1, 5))

    answer = recommender.recommend(replace(RELATED, limit=100, excluded_pin_ids=(pin_id(5),)))

    assert not {pin_id(1), pin_id(5)} & set(names(answer))


def explain(store: Any, row: int, request: Any = RELATED, **settings: Any) -> Any:
    """Why a pin is, or is not, in an answer."""
    return make(store, **settings)[0].explain(request, pin_id(row))[0]


def test_a_pin_of_the_answer_is_explained_at_its_place(store: Any) -> None:
    """The same score and sources as in the answer."""
    recommender, _, impressions = make(store)
    shown = recommender.recommend(RELATED).pins[3]
    logged = len(impressions.kept)

    explanation, answer = recommender.explain(RELATED, shown.pin_id)

    assert (explanation.absence, explanation.position) == (Absence.NONE, 3)
    assert explanation.pin.sources == shown.sources
    assert explanation.pin.score == pytest.approx(shown.score)
    assert explanation.pin.explanation.contributions
    assert answer.candidate_count > 20
    assert len(impressions.kept) == logged, "an explanation is no impression"


def test_every_way_of_being_absent_is_named(store: Any) -> None:
    """Unknown, not proposed, excluded for several reasons, cut, beyond the limit."""
    recommender, upstream, _ = make(store)
    last = names(recommender.recommend(replace(RELATED, limit=100)))[-1]

    unknown = recommender.explain(RELATED, "nobody knows")[0]
    beyond = recommender.explain(RELATED, last)[0]
    not_proposed = explain(store, 5)
    acted = explain(store, 25)
    hidden_by_user = explain(store, 46)
    asked = explain(store, 12, replace(RELATED, excluded_pin_ids=(pin_id(12),)))
    itself = explain(store, 30)
    cut = explain(store, 59, pool_size_max=5)
    upstream.hidden = frozenset({pin_id(5)})
    removed = recommender.explain(RELATED, pin_id(5))[0]

    assert (unknown.absence, unknown.position) == (Absence.UNKNOWN_PIN, -1)
    assert beyond.absence == Absence.BEYOND_LIMIT
    assert beyond.position >= 20
    assert not_proposed.absence == Absence.NOT_PROPOSED
    assert "ann, pixie, popular" in not_proposed.detail
    assert not_proposed.pin.explanation.contributions, "it is scored all the same"
    assert (acted.absence, "acted" in acted.detail) == (Absence.EXCLUDED, True)
    assert (hidden_by_user.absence, "hid" in hidden_by_user.detail) == (Absence.EXCLUDED, True)
    assert (asked.absence, "request" in asked.detail) == (Absence.EXCLUDED, True)
    assert (itself.absence, "query pin" in itself.detail) == (Absence.EXCLUDED, True)
    assert (cut.absence, "pool_size_max" in cut.detail) == (Absence.CUT_BY_COARSE_SCORE, True)
    own_light, least_light = map(float, re.findall(r"-?\d+\.\d+", cut.detail))
    assert own_light <= least_light, cut.detail
    assert (removed.absence, "deleted" in removed.detail) == (Absence.EXCLUDED, True)


def test_owners_and_filters_are_named(tmp_path: Path) -> None:
    """Whose pin it is, or that the filter held it back."""
    owners = [None, *(["user", "blocked", "other"] * 20)[:59]]
    owned = GenerationStore(tmp_path)
    publish_catalogue(owned, PIN_COUNT, columns={"owner_id": owners})
    request = ask(limit=100, excluded_owner_ids=("blocked",))
    lists = make_candidates(make_list("popular", range(1, 20)))
    recommender, _, _ = make(owned, candidates=lists, profile=replace(PROFILE, acted_pin_ids=()))

    own = recommender.explain(request, pin_id(1))[0]
    blocked = recommender.explain(request, pin_id(2))[0]

    assert (own.absence, own.detail) == (Absence.EXCLUDED, "it is the user's own")
    assert blocked.detail == "its owner 'blocked' is excluded"

    class Filtering:
        """Proposes a pin only where no filter is asked."""

        def __init__(self, inner: Any) -> None:
            self.profile, self.showable = inner.profile, inner.showable

        def candidates(self, ask_: Any, world: Any) -> Any:
            del world
            return CANDIDATES if ask_.filter.is_empty else make_candidates(make_list("ann", [9]))

    recommender, upstream, _ = make(owned)
    recommender._upstream = recommender._gatherer._upstream = Filtering(upstream)
    filtered = recommender.explain(ask(filter=PinFilter("a = 1")), pin_id(21))[0]
    assert (filtered.absence, "filter" in filtered.detail) == (Absence.EXCLUDED, True)


def test_keys_are_those_of_the_catalogue(store: Any) -> None:
    """A pin's key is its id's key wherever it is made; ids are found again by it."""
    world = make(store)[0]._artifacts.world()
    rows = np.arange(PIN_COUNT, dtype=np.int32)

    assert np.array_equal(world.pin_keys(rows), keys_of([pin_id(row) for row in range(PIN_COUNT)]))
    assert np.array_equal(world.catalogue.rows_of_keys(world.pin_keys(rows)), rows)
    strange = np.array([key_of("nobody knows"), 0], np.uint64)
    assert world.catalogue.rows_of_keys(strange).tolist() == [-1, -1]
