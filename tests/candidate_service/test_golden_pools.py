"""Generations of the pools published once must open for ever: one folder per format version.

Made by `python -m tests.candidate_service.test_golden_pools FOLDER`; never made again for a version
that was released. A change of a format gets a new folder beside the old one.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from candidate_service import fresh_pool, pin2vec
from candidate_service.candidate import Segment
from candidate_service.fresh_pool import open_fresh
from candidate_service.jobs import build_catalogue, build_fresh, build_popular, train_pin2vec
from candidate_service.pin2vec import open_pin2vec
from candidate_service.sources import popular
from candidate_service.sources.popular import open_lists
from service_runtime.generations import Generation, GenerationStore
from tests.candidate_service.world import (
    DAY_US,
    NOW_US,
    make_context,
    write_actions,
    write_pins,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "candidate_pools"
VERSIONS = sorted(path.name for path in GOLDEN.glob("v*"))
JOBS = (build_catalogue, build_popular, build_fresh, train_pin2vec)


def make_golden(data_root: Path) -> None:
    """Publish one generation of every pool over six pins, one a day older than the next."""
    write_pins(
        data_root,
        [
            {
                "pin_id": f"pin{at}",
                "creation_time_us": NOW_US - (at + 3) * DAY_US,
                "language": ("en", "ja")[at % 2],
                "quality": None if at == 1 else at / 10,
            }
            for at in range(6)
        ],
    )
    write_actions(
        data_root,
        [
            (f"u{user}", f"pin{(user + step) % 6}", "save", NOW_US - (9 - step) * 3_600_000_000)
            for user in range(6)
            for step in range(3)
        ],
    )
    for job in JOBS:
        settings = {"pin2vec_dimension": 4, "pin2vec_list_count": 3, "pin2vec_epoch_count": 2}
        context = make_context(data_root, popular_segment_pin_count_min=2, **settings)
        job.run(context)
        context.close()


def current(version: str, artifact: str, format_version: int) -> Generation:
    """Return the golden generation of an artifact, every checksum checked."""
    store = GenerationStore(GOLDEN / version / "generations")
    generation = store.current(artifact, format_version=format_version)
    assert generation is not None, artifact
    return generation


def test_there_are_golden_generations() -> None:
    """An empty folder would prove nothing."""
    assert VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
class TestGolden:
    def test_fresh(self, version: str) -> None:
        """Four of six pins were young then; what they had is as it was."""
        pins = open_fresh(current(version, fresh_pool.ARTIFACT, fresh_pool.FORMAT_VERSION))

        assert pins.rows.tolist() == [0, 1, 2, 3]
        assert pins.engagements.tolist() == [3.0] * 4
        assert np.isnan(pins.qualities).tolist() == [False, True, False, False]
        assert pins.expected[-1] > pins.expected[0] == 0.0
        assert (pins.as_of_us, pins.stands_still_us) == (NOW_US, None)

    def test_pin2vec(self, version: str) -> None:
        """Vectors and lists are as they were."""
        opened = open_pin2vec(current(version, pin2vec.ARTIFACT, pin2vec.FORMAT_VERSION))

        assert opened.rows.tolist() == [0, 1, 2, 3, 4, 5]
        assert opened.inputs.shape == opened.outputs.shape == (6, 4)
        cosines = opened.inputs @ opened.inputs[0]
        cosines /= np.linalg.norm(opened.inputs, axis=1)
        cosines[0] = -9
        assert opened.neighbours.of(0)[0].tolist() == np.argsort(-cosines)[:3].tolist()
        found, scores = opened.next_saves(np.array([0], np.int32))
        assert len(found) == len(scores) == 3

    def test_popular(self, version: str) -> None:
        """Lists of segments, and what live saves are weighed against."""
        lists = open_lists(current(version, popular.ARTIFACT, popular.FORMAT_VERSION))

        rows, _ = lists.best_for(Segment("ja"))
        assert sorted(rows[:3].tolist()) == [1, 3, 5]
        assert lists.recent_max == pytest.approx(3.0, rel=0.05)
        assert lists.weigh(NOW_US) == pytest.approx(1.0, rel=0.02)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    make_golden(target)
    for made_from in ("catalogue", "events", "spill"):
        shutil.rmtree(target / made_from, ignore_errors=True)
    for lock in target.rglob(".lock"):
        lock.unlink()
