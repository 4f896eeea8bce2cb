"""The hand-made world is what its docstring says."""

import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from datasets import tiny

AS_OF = datetime(2026, 5, 1, tzinfo=UTC)


def test_tiny_has_sixty_pins_twelve_people_and_a_board_for_each_interest_of_each() -> None:
    """The counts that other tests lean on."""
    world = tiny.load(as_of=AS_OF)

    assert len(world.pins) == 60
    assert len({pin.pin_id for pin in world.pins}) == 60
    assert len({save.user_id for save in world.saves}) == 12
    assert len({save.board_id for save in world.saves}) == sum(map(len, tiny.BOARDS.values()))


def test_tiny_saves_name_only_known_pins_and_each_once_per_board() -> None:
    """No save points into the void and none is repeated."""
    world = tiny.load(as_of=AS_OF)
    known = {pin.pin_id for pin in world.pins}

    assert {save.pin_id for save in world.saves} <= known
    assert {action.pin_id for action in world.actions} <= known
    assert max(Counter((save.board_id, save.pin_id) for save in world.saves).values()) == 1


def test_tiny_lies_wholly_before_its_as_of() -> None:
    """Nothing is in the future, everything but olga's is within 41 days."""
    world = tiny.load(as_of=AS_OF)
    end_us = int(AS_OF.timestamp()) * 1_000_000
    ages = {
        save.user_id: (end_us - save.save_time_us) / tiny.DAY_US
        for save in sorted(world.saves, key=lambda save: -save.save_time_us)
    }

    assert min(ages.values()) > 0
    assert max(age for user_id, age in ages.items() if user_id != "olga") <= 41
    assert ages["olga"] > 90


def test_tiny_vectors_are_unit_and_separate_the_interests() -> None:
    """Within an interest cosines are above 0.6, across below 0.4."""
    world = tiny.load(as_of=AS_OF, with_vectors=True)
    vectors = {pin.pin_id: pin.vector for pin in world.pins}

    for first, left in vectors.items():
        assert left is not None
        assert math.isclose(math.hypot(*left), 1.0, abs_tol=1e-6)
        for second, right in vectors.items():
            assert right is not None
            cosine = sum(a * b for a, b in zip(left, right, strict=True))
            if first.split("-")[0] == second.split("-")[0]:
                assert cosine > 0.6
            else:
                assert cosine < 0.4


def test_tiny_gives_the_same_files_for_the_same_arguments(tmp_path: Path) -> None:
    """Two writes are equal table by table."""
    for name in ("a", "b"):
        tiny.load(as_of=AS_OF, with_vectors=True).write(tmp_path / name)

    for file in ("pins.parquet", "saves.parquet", "actions.parquet"):
        assert pq.read_table(tmp_path / "a" / file).equals(pq.read_table(tmp_path / "b" / file))


def test_tiny_without_vectors_has_no_vector_column(tmp_path: Path) -> None:
    """A column of nulls would say that vectors were forgotten rather than absent."""
    folder = tiny.load(as_of=AS_OF).write(tmp_path)

    assert "vector" not in pq.read_schema(folder / "pins.parquet").names
