"""The recipe: what is in an answer, in which order, why, and what is said about gaps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking_service.arrange import best_first
from ranking_service.config import RankingConfig
from ranking_service.features import feature_rows, make_context
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.memboost.memory import NO_MEMORY
from ranking_service.pool import merge
from ranking_service.profile import RecentActions, empty_profile
from ranking_service.query import RankQuery, RecommendQuery, RequestContext, Surface, Viewer
from ranking_service.world import Artifacts
from service_runtime.errors import InvalidRequest, NotFound, NotReady
from service_runtime.generation_store import GenerationStore
from tests.ranking_service.worlds import (
    NOW,
    KeptImpressions,
    KeptMemory,
    StillUpstream,
    make_candidates,
    make_list,
    make_profile,
    make_recommender,
    make_store,
    pin_id,
    publish_catalogue,
    publish_vectors,
    unit_vectors,
)

PIN_COUNT = 60
CANDIDATES = make_candidates(
    make_list("ann", range(10, 40), [0, 1, 2] * 10),
    make_list("pixie", range(20, 50), [2, 1, 0] * 10),
    make_list("popular", range(45, 60)),
    queried=[1, 2, 3],
)
PROFILE = make_profile(
    [1, 2, 3, 4],
    acted_pin_ids=tuple(map(pin_id, (1, 2, 3, 25, 46))),
    hidden_pin_ids=(pin_id(46),),
    batch_time=NOW - 3600,
    generation="p1",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: Any) -> Any:
    """A random world."""
    return make_store(tmp_path_factory.mktemp("world"), PIN_COUNT)


def make(
    store: Any,
    *,
    candidates: Any = CANDIDATES,
    profile: Any = PROFILE,
    memory: Any = NO_MEMORY,
    book: str = "",
    **settings: Any,
) -> Any:
    """A recommender over fixed services, with what it asked and logged."""
    upstream, impressions = StillUpstream(candidates, profile), KeptImpressions()
    config = RankingConfig(**{"random_share": 0.0, **settings})
    recommender = make_recommender(store, config, upstream, impressions, KeptMemory(memory), book)
    return recommender, upstream, impressions


def ask(**fields: Any) -> Any:
    """A question for the home feed of somebody."""
    base = RecommendQuery(
        user_id="user",
        surface=Surface.HOME_FEED,
        query_pin_id="",
        limit=20,
        viewer=Viewer("en", "NL"),
        excluded_pin_ids=(),
        include_acted_pins=False,
        seed=7,
        request_id="request",
    )
    return replace(base, **fields)


def names(answer: Any) -> Any:
    """Pins of an answer, best first."""
    return [pin.pin_id for pin in answer.pins]


def test_an_answer_is_ordered_and_within_the_limit(store: Any) -> None:
    """The highest scores come first, no pin twice, not more than asked for."""
    recommender, _, _ = make(store)

    answer = recommender.recommend(ask())

    scores = [pin.score for pin in answer.pins]
    assert len(answer.pins) == 20 == len(set(names(answer)))
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert answer.candidate_count == 48
    assert answer.model == "hand_tuned"


def test_the_order_is_that_of_the_scores_over_the_whole_pool(store: Any) -> None:
    """What is shown is the top of what a full sort of all candidates gives."""
    recommender, _, _ = make(store)
    world = Artifacts(store).world()
    context = make_context(
        world, PROFILE, Viewer("en", "NL"), surface=Surface.HOME_FEED, query_row=-1, now=NOW
    )
    acted = world.catalogue.pin_ids.rows(PROFILE.acted_pin_ids)
    pool = merge(CANDIDATES, excluded_rows=acted)
    scores = make_hand_tuned().score(feature_rows(pool, context)).tolist()

    expected = sorted(zip(scores, pool.rows.tolist(), strict=True), key=lambda pair: -pair[0])

    answer = recommender.recommend(ask(limit=100))
    assert names(answer) == [pin_id(row) for _, row in expected]


def test_acted_and_excluded_pins_are_left_out(store: Any) -> None:
    """By default nothing comes back that the user acted on, nor what the caller excludes."""
    recommender, upstream, _ = make(store)

    answer = recommender.recommend(ask(limit=100, excluded_pin_ids=(pin_id(50), "unheard of")))

    assert not set(names(answer)) & set(map(pin_id, (1, 2, 3, 25, 46, 50)))
    assert upstream.asked[0].excluded_pin_ids == (
        pin_id(50),
        "unheard of",
        *PROFILE.acted_pin_ids,
    )


def test_hidden_pins_never_come_back(store: Any) -> None:
    """Even where acted pins are wanted, hidden ones stay out."""
    recommender, _, _ = make(store)

    shown = set(names(recommender.recommend(ask(limit=100, include_acted_pins=True))))

    assert pin_id(25) in shown
    assert pin_id(46) not in shown


def test_reasons_name_every_source_and_the_pin_behind(store: Any) -> None:
    """Best rank first; the pin behind is the one of the best source that starts from a pin."""
    recommender, _, _ = make(store)

    pins = {pin.pin_id: pin for pin in recommender.recommend(ask(limit=100)).pins}

    both = pins[pin_id(21)]
    assert [(reason.source, reason.rank) for reason in both.sources] == [("pixie", 1), ("ann", 11)]
    assert [reason.query_pin_id for reason in both.sources] == [pin_id(2), pin_id(3)]
    assert both.because_pin_id == pin_id(2)
    assert both.propensity == pytest.approx(0.75)
    popular = pins[pin_id(55)]
    assert (popular.because_pin_id, popular.propensity) == ("", 1.0)
    assert [reason.source for reason in popular.sources] == ["popular"]


def test_home_feed_asks_with_medoids_and_related_pins_with_the_query_pin(store: Any) -> None:
    """The interests choose the candidates of the home feed, the query pin those of related pins."""
    recommender, upstream, _ = make(store)

    recommender.recommend(ask())
    answer = recommender.recommend(
        ask(surface=Surface.RELATED_PINS, query_pin_id=pin_id(30), limit=100)
    )

    home, related = upstream.asked
    assert (home.query_pin_ids, home.medoid_ids) == ((), PROFILE.medoid_ids)
    assert (related.query_pin_ids, related.medoid_ids) == ((pin_id(30),), ())
    assert pin_id(30) not in names(answer)


def test_the_same_request_gives_the_same_answer(store: Any) -> None:
    """Answers can be replayed, name and all; another request has another name."""
    first = make(store)[0].recommend(ask())
    second = make(store)[0].recommend(ask())
    other = make(store)[0].recommend(ask(request_id="other"))

    assert first == second
    assert first.list_id != other.list_id
    assert len(first.list_id) == 32


def test_what_is_shown_is_logged_with_its_features(store: Any) -> None:
    """The log gets the answer itself and, row by row, the features its scores were made from."""
    recommender, _, impressions = make(store)

    answer = recommender.recommend(ask())

    ((logged, features, time, as_of_us),) = impressions.kept
    assert logged is answer
    assert time == NOW
    assert as_of_us == round((NOW - 86_400) * 1e6)
    scores = make_hand_tuned().score(features)
    assert scores.tolist() == [pin.score for pin in answer.pins]


def test_an_unknown_query_pin_is_named(store: Any) -> None:
    """Related pins of a pin that neither we nor candidate_service know are refused."""
    recommender, _, impressions = make(store)

    with pytest.raises(NotFound, match="nobody-knows") as caught:
        recommender.recommend(ask(surface=Surface.RELATED_PINS, query_pin_id="nobody-knows"))

    assert caught.value.field == "query_pin_id"
    assert impressions.kept == []


@pytest.mark.parametrize("limit", [0, 501])
def test_a_limit_out_of_range_is_refused(store: Any, limit: Any) -> None:
    """The ceiling holds also where no wire checked it."""
    with pytest.raises(InvalidRequest, match="limit"):
        make(store)[0].recommend(ask(limit=limit))


def test_gaps_are_named(tmp_path: Path) -> None:
    """A missing profile or source, and vectors of another numbering, stand in the answer."""
    gapped = make_store(tmp_path, PIN_COUNT)
    publish_vectors(gapped, unit_vectors(PIN_COUNT, 8), id_space="another")
    candidates = replace(CANDIDATES, missing=(("source:ann", "late"),))
    profile = empty_profile(missing_reason="away")

    answer = make(gapped, candidates=candidates, profile=profile)[0].recommend(ask())

    assert dict(answer.missing) == {
        "profile": "away",
        "source:ann": "late",
        "pin_vectors": "it numbers pins otherwise than the catalogue",
    }
    assert answer.pins
    assert "pin_vectors" not in answer.generations


def test_generations_and_profile_age_are_told(store: Any) -> None:
    """Whoever wonders about an answer can find what it was made from."""
    candidates = replace(CANDIDATES, generations=(("source:ann", "a1"),))

    answer = make(store, candidates=candidates)[0].recommend(ask())

    assert set(answer.generations) == {
        "catalogue",
        "pin_vectors",
        "pin_statistics",
        "profiles",
        "source:ann",
    }
    assert answer.generations["profiles"] == "p1"
    assert answer.profile_age == 3600
    assert answer.missing == ()
    assert not answer.is_cold_start


def test_a_user_nobody_knows_gets_a_cold_start_answer(store: Any) -> None:
    """Popular pins, marked so."""
    popular = make_candidates(make_list("popular", range(10)))

    answer = make(store, candidates=popular, profile=empty_profile())[0].recommend(ask())

    assert answer.is_cold_start
    assert len(answer.pins) == 10
    assert answer.profile_age is None


def test_without_a_catalogue_nothing_can_be_said(tmp_path: Path) -> None:
    """The error says what to build."""
    with pytest.raises(NotReady, match="catalogue") as caught:
        make(GenerationStore(tmp_path))[0].recommend(ask())

    assert "build" in caught.value.hint


def test_a_big_pool_is_cut_before_it_is_scored(store: Any) -> None:
    """Features and scores are spent on the most promising candidates only."""
    answer = make(store, pool_size_max=10)[0].recommend(ask(limit=50))

    assert answer.candidate_count == 10 == len(answer.pins)


def test_own_pins_and_those_of_excluded_owners_are_left_out(tmp_path: Path) -> None:
    """Nobody is shown what they made themselves, nor what a blocked owner made."""
    owners = [None, *(["user", "blocked", "other"] * 20)[:59]]
    owned = GenerationStore(tmp_path)
    publish_catalogue(owned, PIN_COUNT, columns={"owner_id": owners})

    recommender, upstream, _ = make(owned, profile=empty_profile())
    answer = recommender.recommend(ask(limit=100, excluded_owner_ids=("blocked", "user")))

    assert answer.pins
    assert {owners[int(name.split("-")[1])] for name in names(answer)} == {"other"}
    assert upstream.asked[0].excluded_owner_ids == ("user", "blocked")


def test_recent_actions_lead_with_kind_and_time(store: Any) -> None:
    """The pins of the last day's newest actions are asked for, each once, as what they were."""
    recent = RecentActions(
        (pin_id(9), pin_id(9), pin_id(8), pin_id(7)),
        ("save", "click", "long_click", "save"),
        np.array([NOW - 5, NOW - 9, NOW - 60, NOW - 90_000]),
    )
    profile = replace(PROFILE, recent_actions=recent, declared_pin_ids=(pin_id(4),))
    recommender, upstream, _ = make(store, profile=profile, recent_interest_count_max=5)

    recommender.recommend(ask(context=RequestContext(queries=("red shoes", "hats"))))
    recommender.recommend(ask(surface=Surface.RELATED_PINS, query_pin_id=pin_id(30)))

    home, related = upstream.asked
    assert home.recent.pin_ids == (pin_id(9), pin_id(8))
    assert home.recent.kinds == ("save", "long_click")
    assert home.session_pin_ids == (pin_id(9), pin_id(8), pin_id(7)) == related.session_pin_ids
    assert (home.declared_pin_ids, home.query_text) == ((pin_id(4),), "red shoes")
    assert (len(related.recent), related.declared_pin_ids, related.query_text) == (0, (), "")


def test_the_viewer_is_where_the_profile_says_unless_told(store: Any) -> None:
    """A request that says nothing of language gets the user's own."""
    recommender, upstream, _ = make(store, profile=replace(PROFILE, language="ja", country="JP"))

    recommender.recommend(ask(viewer=Viewer("", "NL")))

    assert upstream.asked[0].viewer == Viewer("ja", "NL")


def rank_ask(*rows: Any, query_row: Any = None) -> Any:
    """A question about given pins."""
    return RankQuery(
        user_id="user",
        query_pin_id="" if query_row is None else pin_id(query_row),
        pin_ids=tuple(map(pin_id, rows)),
        viewer=Viewer(),
        request_id="request",
    )


def test_ranking_given_pins_orders_all_known_ones(store: Any) -> None:
    """Every known pin comes back once, best first; unknown ones are named; nothing is logged."""
    recommender, upstream, impressions = make(store)

    answer = recommender.rank(rank_ask(9, 5, 999, 30, 25))

    scores = [pin.score for pin in answer.pins]
    assert sorted(names(answer)) == sorted(map(pin_id, (9, 5, 30, 25)))
    assert scores == sorted(scores, reverse=True)
    assert answer.unknown_pin_ids == (pin_id(999),)
    assert (upstream.asked, impressions.kept) == ([], [])


def test_a_given_pin_is_explained_by_the_nearest_medoid_or_the_query_pin(store: Any) -> None:
    """A medoid explains itself best; with a query pin it is the query pin."""
    recommender, _, _ = make(store)

    alone = {pin.pin_id: pin for pin in recommender.rank(rank_ask(2, 30)).pins}
    related = recommender.rank(rank_ask(2, 30, query_row=8))

    assert alone[pin_id(2)].because_pin_id == pin_id(2)
    assert {pin.because_pin_id for pin in related.pins} == {pin_id(8)}


def test_best_first_keeps_the_order_of_equal_scores() -> None:
    """Ties are not left to chance."""
    scores = np.array([0.1, 0.5, 0.5, 0.9, 0.1], np.float32)

    assert best_first(scores).tolist() == [3, 1, 2, 0, 4]


def test_what_the_user_just_did_is_asked_for_and_shows(store: Any) -> None:
    """A new interest is a query pin of the home feed, and what goes with it comes up front."""
    profile = make_profile(
        [1, 2, 3], online_times=np.array([0.0, NOW - 60, NOW - 2 * 86_400]), generation="p1"
    )
    candidates = make_candidates(
        make_list("popular", range(10, 40)),
        make_list("ann", [55, 56], [1, 1]),
        queried=[1, 2],
    )
    candidates = replace(candidates, is_medoid=np.array([True, False]))
    recommender, upstream, _ = make(store, candidates=candidates, profile=profile)

    answer = recommender.recommend(ask(limit=5))
    recommender.recommend(ask(surface=Surface.RELATED_PINS, query_pin_id=pin_id(9)))

    home, related = upstream.asked
    assert (home.query_pin_ids, home.recent.pin_ids) == ((), (pin_id(2),))
    assert related.query_pin_ids == (pin_id(9),)
    near = [pin for pin in answer.pins if pin.because_pin_id == pin_id(2)]
    assert len(near) == 2
    assert pin_id(55) in names(answer)[:2] or pin_id(56) in names(answer)[:2]
