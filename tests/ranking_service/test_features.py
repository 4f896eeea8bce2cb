"""The features: their values in a world that can be checked by hand, and their promises."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service.catalogue import STATISTIC_COUNTS
from ranking_service.features import FEATURE_NAMES, FEATURES, feature_rows, make_context
from ranking_service.pool import merge, pool_of
from ranking_service.profile import NOBODY
from ranking_service.query import Surface, Viewer
from ranking_service.world import Artifacts
from service_runtime.generation_store import GenerationStore
from tests.ranking_service.worlds import (
    DAY,
    NOW,
    make_candidates,
    make_list,
    make_profile,
    make_world,
    publish_catalogue,
    publish_statistics,
    publish_vectors,
)

NOTHING = np.empty(0, np.int32)
NO_VIEWER = Viewer()


@pytest.fixture(scope="module")
def world(tmp_path_factory: Any) -> Any:
    """A random world of 60 pins."""
    return make_world(tmp_path_factory.mktemp("world"), 60)


def context_of(
    world: Any, profile: Any = NOBODY, *, viewer: Any = NO_VIEWER, query_row: Any = -1
) -> Any:
    """A context at the fixed time."""
    surface = Surface.RELATED_PINS if query_row >= 0 else Surface.HOME_FEED
    return make_context(world, profile, viewer, surface=surface, query_row=query_row, now=NOW)


def column(rows: Any, name: Any) -> Any:
    """One feature of all candidates."""
    return rows[:, FEATURE_NAMES.index(name)].tolist()


def random_pool(seed: int) -> Any:
    """A pool of three lists started from three pins."""
    rng = np.random.default_rng(seed)
    lists = [
        make_list(source, rng.permutation(60)[:25].tolist(), rng.integers(0, 3, 25).tolist())
        for source in ("ann", "pixie", "board_cooccurrence")
    ]
    queried = rng.permutation(60)[:3].tolist()
    candidates = make_candidates(*lists, make_list("popular", [1, 2, 3]), queried=queried)
    return merge(candidates, excluded_rows=NOTHING), queried


@given(seed=st.integers(0, 2**32 - 1), is_related=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_row_does_not_depend_on_the_rest_of_the_pool(
    world: Any, seed: int, is_related: Any
) -> None:
    """A candidate has the same features to the bit in a big pool, in a small one and alone."""
    pool, queried = random_pool(seed)
    viewer = Viewer("en", "NL")
    context = context_of(
        world, make_profile(queried), viewer=viewer, query_row=7 if is_related else -1
    )
    rng = np.random.default_rng(seed)
    some = np.flatnonzero(rng.random(len(pool)) < 0.3)

    together = feature_rows(pool, context)

    assert np.isfinite(together).all()
    assert feature_rows(pool.take(some), context).tobytes() == together[some].tobytes()
    for place in some[:5]:
        one = np.array([place])
        assert feature_rows(pool.take(one), context).tobytes() == together[place].tobytes()


def test_feature_names_are_distinct_and_described() -> None:
    """The table of features is fit for a README and for a model."""
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    assert all(feature.family and feature.unit and feature.meaning for feature in FEATURES)


def test_source_features_are_ranks_and_scores_beside_the_top(world: Any) -> None:
    """Each named source gives its reciprocal rank and relative score, absent ones 0."""
    candidates = make_candidates(
        make_list("ann", [3, 4]), make_list("pixie", [4, 5]), make_list("strange", [4])
    )
    rows = feature_rows(merge(candidates, excluded_rows=NOTHING), context_of(world))

    assert column(rows, "ann_rank") == [1.0, 0.5, 0.0]
    assert column(rows, "ann_score") == [1.0, 0.5, 0.0]
    assert column(rows, "pixie_rank") == [0.0, 1.0, 0.5]
    assert column(rows, "popular_rank") == [0.0, 0.0, 0.0]
    assert column(rows, "source_count") == [1.0, 3.0, 1.0]
    np.testing.assert_allclose(
        column(rows, "rank_fusion"), [1.0, 60 / 61 + 2.0, 60 / 61], rtol=1e-6
    )


def test_profile_features_are_cosines(tmp_path: Path) -> None:
    """In a plane with pins at known angles every cosine can be read off."""
    store = GenerationStore(tmp_path / "generations")
    publish_catalogue(store, 5)
    angles = np.radians([0.0, 90.0, 60.0, 180.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    publish_vectors(store, np.vstack([vectors, [0.0, 0.0]]))
    publish_statistics(store, 5)
    world = Artifacts(store).world()
    profile = make_profile([0, 1])  # importances 2 and 1
    candidates = make_candidates(make_list("ann", [2, 3, 4], [0, 1, 1]), queried=[1, 0])

    pool = merge(candidates, excluded_rows=NOTHING)
    rows = feature_rows(pool, context_of(world, profile, query_row=3))

    root = np.sqrt(3) / 2
    for name, expected in {
        "behind_cosine": [root, -1.0, 0.0],
        "medoid_cosine_max": [root, 0.0, 0.0],
        "medoid_cosine_mean": [2 / 3 * 0.5 + root / 3, -2 / 3, 0.0],
        "medoid_importance": [1 / 3, 1 / 3, 2 / 3],
        "query_cosine": [-0.5, 1.0, 0.0],
        "has_vector": [1.0, 1.0, 0.0],
        "interest_count": [np.log(3)] * 3,
        "action_count": [np.log(11)] * 3,
    }.items():
        # cos(90 degrees) is 6e-17 in float64 and sums are float32
        np.testing.assert_allclose(column(rows, name), expected, atol=1e-6, err_msg=name)


def test_history_freshness_locale_and_topics(tmp_path: Path) -> None:
    """Counts are logs, ages are days, matches are signs, topics are cosines; unknown is neutral."""
    store = GenerationStore(tmp_path / "generations")
    publish_catalogue(
        store,
        4,
        columns={
            "language": ["en", "ja", None, ""],
            "country": ["NL", "JP", "JP", None],
            "topics": [["art", "food"], ["art"], [], None],
            "creation_time_us": [
                int((NOW - 3 * DAY) * 1e6),
                int((NOW - 8 * DAY) * 1e6),
                None,
                int((NOW + DAY) * 1e6),
            ],
        },
    )
    publish_statistics(
        store,
        3,  # older than the newest pin
        columns={
            "save_count": [0, 9, 99],
            "newest_save_time_us": [0, (NOW - DAY) * 1e6, NOW * 1e6],
        },
    )
    world = Artifacts(store).world()
    context = context_of(world, make_profile([1]), viewer=Viewer("ja", "JP"), query_row=0)

    rows = feature_rows(pool_of(np.arange(4, dtype=np.int32)), context)

    for name, expected in {
        "log_save_count": [0, np.log(10), np.log(100), 0],
        "save_age": [np.log(3651), np.log(2), 0, np.log(3651)],
        "pin_age": [np.log(4), np.log(9), -1, 0],
        "is_fresh": [1, 0, 0, 1],
        "language_match": [-1, 1, 0, 0],
        "country_match": [-1, 1, 1, 0],
        "topic_profile": [np.sqrt(0.5), 1, 0, 0],
        "topic_query": [1, np.sqrt(0.5), 0, 0],
        "is_related": [1, 1, 1, 1],
        "has_vector": [0, 0, 0, 0],
    }.items():
        np.testing.assert_allclose(column(rows, name), expected, atol=1e-6, err_msg=name)
    assert world.missing == (("pin_vectors", "there is no usable generation"),)


def test_every_statistic_has_its_column(tmp_path: Path) -> None:
    """Each count of the statistics lands in the column of its own name."""
    store = GenerationStore(tmp_path / "generations")
    publish_catalogue(store, 1)
    counts = {name: [float(place + 1)] for place, name in enumerate(STATISTIC_COUNTS)}
    publish_statistics(store, 1, columns=counts)

    rows = feature_rows(pool_of(np.zeros(1, np.int32)), context_of(Artifacts(store).world()))

    for place, name in enumerate(STATISTIC_COUNTS):
        assert column(rows, f"log_{name}")[0] == pytest.approx(np.log(place + 2), rel=1e-6)


def test_medoids_unknown_to_the_catalogue_are_passed_over(world: Any) -> None:
    """A medoid whose pin is gone takes no share of the importance."""
    known = context_of(world, make_profile([4]))
    profile = make_profile([4, 999])

    context = context_of(world, profile)

    assert context.medoid_rows.tolist() == [4]
    assert context.importances.tolist() == known.importances.tolist() == [1.0]


def test_no_candidates_have_no_rows(world: Any) -> None:
    """An empty pool gives an empty matrix of the right width."""
    rows = feature_rows(pool_of(NOTHING), context_of(world, make_profile([1, 2]), query_row=3))

    assert rows.shape == (0, len(FEATURE_NAMES))
