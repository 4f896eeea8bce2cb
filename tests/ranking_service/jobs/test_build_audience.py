"""Who a pin is for: counted, expected, and read again by the features."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranking_service.config import RankingConfig
from ranking_service.features import FEATURE_NAMES, feature_rows, make_context
from ranking_service.jobs import build_audience
from ranking_service.pool import pool_of
from ranking_service.profile import NOBODY
from ranking_service.query import Surface, Viewer
from ranking_service.world import Artifacts
from service_runtime.generation_store import GenerationStore
from service_runtime.job import JobContext
from tests.ranking_service.worlds import NOW, publish_catalogue

AS_OF = round(NOW * 1e6)


def build(root: Any) -> Any:
    """Run the job."""
    context = JobContext(
        config=RankingConfig(data_root=root),
        as_of_us=AS_OF,
        seed=0,
        arguments=argparse.Namespace(),
    )
    try:
        return build_audience.run(context)
    finally:
        context.close()


def write(root: Any, name: str, rows: Any) -> None:
    """Write a table of the event log."""
    folder = root / "events" / name
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "part.parquet")


def act(user: str, pin: int, kind: str = "save", time: Any = AS_OF - 5) -> Any:
    """One action."""
    return {
        "user_id": user,
        "pin_id": f"pin-{pin}",
        "action_type": kind,
        "action_time_us": time,
    }


@pytest.fixture
def root(tmp_path: Path) -> Any:
    """
    Pins 0 to 3 Japanese, 4 to 7 Dutch, 8 without a language but loved by readers of Japanese.

    One user says to be Dutch though all they saved is Japanese.
    """
    store = GenerationStore(tmp_path / "generations")
    publish_catalogue(store, 9, columns={"language": ["ja"] * 4 + ["nl"] * 4 + [None]})
    actions = [act(f"ja-{n}", pin) for n in range(10) for pin in (0, 1, 2, 3, 8)]
    actions += [act(f"nl-{n}", pin) for n in range(10) for pin in (4, 5, 6, 7)]
    actions += [act("told", pin) for pin in (0, 1)]
    actions += [act("nl-0", 8, "hide"), act("nl-1", 8, time=AS_OF)]  # neither counts
    write(tmp_path, "actions", actions)
    write(
        tmp_path,
        "users",
        [{"user_id": "told", "language": "nl", "country": "", "segment": "women"}],
    )
    return tmp_path


def test_lifts_are_actions_over_expected_ones(root: Any) -> None:
    """By hand: pin 8 was saved by ten readers of Japanese, who do 50 of all 92 actions."""
    report = build(root)
    generation = GenerationStore(root / "generations").current("audience")
    assert generation is not None
    lifts = np.load(generation.file("lifts.npy"))
    columns = {name: at for at, name in enumerate(report["groups"])}

    assert set(columns) == {"language:ja", "language:nl", "segment:women"}
    expected = np.log((10 + 5) / (10 * 50 / 92 + 5))
    assert lifts[8, columns["language:ja"]] == pytest.approx(expected, rel=1e-6)
    assert lifts[8, columns["language:nl"]] == pytest.approx(
        np.log(5 / (10 * 42 / 92 + 5)), rel=1e-6
    )
    assert lifts[4, columns["segment:women"]] == 0


def test_features_read_it(root: Any) -> None:
    """The viewer's own groups fill the columns; an unknown group says nothing."""
    build(root)
    world = Artifacts(GenerationStore(root / "generations")).world()

    def column(viewer: Any) -> Any:
        context = make_context(
            world, NOBODY, viewer, surface=Surface.HOME_FEED, query_row=-1, now=NOW
        )
        rows = feature_rows(pool_of(np.arange(9, dtype=np.int32)), context)
        return rows[:, FEATURE_NAMES.index("audience_language")]

    assert column(Viewer("ja"))[8] > 0.3
    assert column(Viewer("nl"))[8] < -0.3
    assert column(Viewer("xx")).tolist() == [0.0] * 9
    assert "audience" in world.generations


def test_a_catalogue_without_actions_has_no_audience(tmp_path: Path) -> None:
    """Nothing is counted, nothing breaks."""
    publish_catalogue(GenerationStore(tmp_path / "generations"), 3)

    assert build(tmp_path)["groups"] == []
