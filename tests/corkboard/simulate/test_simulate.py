"""The made-up world: what is planted can be found again, and it says what it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from corkboard.importing import import_folder
from corkboard.pipeline import Watcher
from corkboard.simulate import MARK_FILE, SIMULATED, is_simulated
from corkboard.simulate.reading import EXAMINATION, examination, expected_saves, read
from corkboard.simulate.traffic import Plan, Sizes, simulate
from corkboard.simulate.world import DAY_US, make_world, pin_name, write_import
from service_runtime.errors import InvalidRequest

SIZES = Sizes(pins=400, users=30, topics=6)
BEGIN_US = 1_760_000_000_000_000


@pytest.fixture(scope="module")
def world() -> Any:
    """A small world."""
    return make_world(SIZES, seed=3)


def test_the_same_seed_gives_the_same_world(world: Any) -> None:
    """Another seed gives another one."""
    again, other = make_world(SIZES, seed=3), make_world(SIZES, seed=4)

    assert world.vectors.tobytes() == again.vectors.tobytes()
    assert world.vectors.tobytes() != other.vectors.tobytes()


def test_people_like_their_own_topics(world: Any) -> None:
    """Chances of a save are far higher within the planted tastes than outside."""
    pins = np.arange(SIZES.pins)
    for user in range(SIZES.users):
        is_liked = world.tastes[user, world.topics] > 0
        chances = world.save_chances(user, pins)
        assert 0 <= chances.min() <= chances.max() <= 0.6
        assert chances[is_liked].mean() > 5 * chances[~is_liked].mean()


def test_places_are_looked_at_as_declared(world: Any) -> None:
    """Of 4,000 lists of one good pin repeated, each place is acted on by its curve."""
    user = 0
    pin = int(np.argmax(world.save_chances(user, np.arange(SIZES.pins))))
    pins = np.full(12, pin)
    rng = np.random.default_rng(0)
    saves = np.zeros(12)
    for _ in range(4000):
        for act in read(world, user, pins, rng):
            saves[act.place] += act.kind == "save"
    chance = world.save_chances(user, pins[:1])[0]

    # five standard errors of a share of 4,000 are at most 0.04
    np.testing.assert_allclose(saves / 4000, chance * examination(12), atol=0.04)
    assert examination(12).tolist() == [*EXAMINATION, EXAMINATION[-1], EXAMINATION[-1]]
    assert expected_saves(world, user, pins) == pytest.approx(chance * examination(12).sum())


def test_what_fits_nobody_is_hidden_now_and_then(world: Any) -> None:
    """Hides go to pins outside the tastes only."""
    user = 1
    pins = np.arange(SIZES.pins)
    bad = pins[world.affinities(user, pins) < 0.2][:10]
    good = pins[world.affinities(user, pins) > 0.7][:10]
    rng = np.random.default_rng(1)

    def kinds(rows: Any) -> set[str]:
        return {act.kind for _ in range(500) for act in read(world, user, rows, rng)}

    assert "hide" in kinds(bad)
    assert "hide" not in kinds(good)
    assert {"save", "click", "long_click"} <= kinds(good)


def test_the_world_can_be_imported(world: Any, tmp_path: Path) -> None:
    """Every row is accepted, and nothing happened after traffic begins."""
    write_import(world, tmp_path / "in", begin_us=BEGIN_US, seed=0)

    import_folder(tmp_path / "in", tmp_path / "root")
    saves = pq.read_table(tmp_path / "in" / "saves.parquet")

    assert pq.read_table(tmp_path / "in" / "pins.parquet").num_rows == SIZES.pins
    times = saves["save_time_us"].to_numpy()
    assert BEGIN_US - 60 * DAY_US <= times.min() <= times.max() < BEGIN_US
    assert set(saves["pin_id"].to_pylist()) <= {pin_name(row) for row in range(SIZES.pins)}


def test_made_up_people_are_never_mixed_with_real_ones(tmp_path: Path) -> None:
    """A data root that holds anything is refused before anything is written."""
    (tmp_path / "catalogue").mkdir()

    with pytest.raises(InvalidRequest, match="not empty"):
        simulate(tmp_path, Plan(SIZES, days=1, end=1.8e9), watcher=Watcher())

    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalogue"]
    assert not is_simulated(tmp_path)


def test_a_simulated_root_says_so(tmp_path: Path) -> None:
    """By a file that whoever reports on it looks at."""
    (tmp_path / MARK_FILE).write_text(SIMULATED)

    assert is_simulated(tmp_path)
    assert "SIMULATION" in SIMULATED
