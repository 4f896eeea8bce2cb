"""Logged features against features made anew from the exported log: silent, or by name."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranking_service.config import RankingConfig
from ranking_service.features import FEATURE_NAMES
from ranking_service.impressions import encode_record
from ranking_service.jobs import check_skew, export_impressions
from ranking_service.query import Origin, RecommendQuery, RequestContext, Surface, Viewer
from ranking_service.skew_log import RECOMPUTED
from service_runtime.event_log import EventLog
from service_runtime.generation_store import GenerationStore
from service_runtime.job import JobContext, JobFailed
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
    publish_vectors,
    unit_vectors,
)

PINS = 60
LISTS = 12


def context_of(root: Path, **arguments: Any) -> Any:
    """A job's context just after the traffic."""
    given = {"out": None, "impressions": None, "lists": 100} | arguments
    return JobContext(
        config=RankingConfig(data_root=root),
        as_of_us=round((NOW + 1) * 1e6),
        arguments=argparse.Namespace(**given),
    )


def check(root: Path, **arguments: Any) -> Any:
    """Run the job."""
    context = context_of(root, **arguments)
    try:
        return check_skew.run(context)
    finally:
        context.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve answers of the real recommender, logged and exported as in production."""
    store = make_store(tmp_path, PINS)
    rng = np.random.default_rng(3)
    lists = [
        make_list(name, rng.permutation(PINS)[:30].tolist(), rng.integers(0, 3, 30).tolist())
        for name in ("ann", "pixie", "my_own_source")
    ]
    candidates = make_candidates(*lists, make_list("popular", [1, 2, 3]), queried=[4, 5, 6])
    kept = KeptImpressions()
    profile = make_profile([1, 2, 3], acted_pin_ids=(pin_id(9),))
    upstream = StillUpstream(candidates, profile)
    config = RankingConfig(data_root=tmp_path, random_share=0)
    recommender = make_recommender(store, config, upstream, kept, KeptMemory())
    for number in range(LISTS):
        is_related = number % 2 == 1
        recommender.recommend(
            RecommendQuery(
                user_id="ana",
                surface=Surface.RELATED_PINS if is_related else Surface.HOME_FEED,
                query_pin_id=pin_id(20 + number) if is_related else "",
                limit=10,
                excluded_pin_ids=(),
                include_acted_pins=False,
                viewer=Viewer("en", "NL"),
                request_id=f"request-{number}",
                seed=number,
                context=RequestContext(origin=Origin.SEARCH if number % 3 == 0 else Origin.HOME),
            )
        )
    with EventLog(tmp_path / "live" / "impressions" / "main") as log:
        log.append(
            [
                encode_record(answer, features, time=time, as_of_us=as_of_us)
                for answer, features, time, as_of_us in kept.kept
            ]
        )
    context = context_of(tmp_path)
    assert export_impressions.run(context)["answers"] == LISTS
    context.close()
    return tmp_path


def rewrite(root: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change what was exported."""
    (path,) = (root / "events" / "impressions").rglob("*.parquet")
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)


def with_feature(table: pa.Table, name: str, value: float) -> pa.Table:
    """The same table with something added to one feature."""
    rows = np.array(table["features"].to_pylist(), np.float32)
    rows[:, FEATURE_NAMES.index(name)] += value
    column = pa.array(rows.tolist(), pa.list_(pa.float32()))
    return table.set_column(table.column_names.index("features"), "features", column)


def test_what_was_logged_is_what_would_be_logged_again(root: Path) -> None:
    """Every list is compared, and no value of the recomputable columns differs."""
    report = check(root)

    assert report == {
        "lists": LISTS,
        "passed_over": 0,
        "values": LISTS * 10 * len(RECOMPUTED),
        "differing_share": 0.0,
        "features": {},
    }


@pytest.mark.parametrize("name", ["pixie_rank", "behind_cosine", "save_age", "from_search"])
def test_a_feature_that_differs_fails_by_name(root: Path, name: str) -> None:
    """And no other feature is blamed; what the job cannot make anew is not looked at."""
    rewrite(root, lambda table: with_feature(table, name, 0.25))

    with pytest.raises(JobFailed, match=f"{name} 100.0% of 120 rows") as caught:
        check(root)

    assert list(caught.value.report["features"]) == [name]


def test_columns_that_need_what_is_not_logged_are_left_alone(root: Path) -> None:
    """The service itself compares those."""
    rewrite(root, lambda table: with_feature(table, "medoid_cosine_max", 0.25))

    assert check(root)["features"] == {}


def test_lists_of_other_artifacts_are_passed_over(root: Path) -> None:
    """After a swap the lists from before it cannot be made anew, and that is said."""
    publish_vectors(GenerationStore(root / "generations"), unit_vectors(PINS, 16, 99))

    report = check(root)

    assert (report["lists"], report["passed_over"], report["values"]) == (0, LISTS, 0)


def test_rows_told_twice_and_older_lists_beyond_the_limit_do_not_count(root: Path) -> None:
    """The newest lists, each once."""
    rewrite(root, lambda table: pa.concat_tables([table, table]))

    report = check(root, lists=5)

    assert (report["lists"], report["values"]) == (5, 5 * 10 * len(RECOMPUTED))


def test_rows_of_other_features_and_no_rows_at_all_are_no_fault(root: Path, tmp_path: Path) -> None:
    """A log of another version is not compared."""
    other = pa.scalar("other")

    def renamed(table: pa.Table) -> pa.Table:
        column = pa.array([other.as_py()] * table.num_rows)
        return table.set_column(table.column_names.index("feature_set"), "feature_set", column)

    rewrite(root, renamed)

    assert check(root)["lists"] == 0
    assert check(root, impressions=[tmp_path / "nowhere"])["lists"] == 0
