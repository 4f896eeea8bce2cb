"""The worlds of the demo: each is what was asked for and says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from corkboard.cli.demo import DataSetName, load_world
from corkboard.cli.story import STORIES


def test_every_world_has_a_story() -> None:
    """Whatever can be asked for can be told."""
    assert set(STORIES) == {name.value for name in DataSetName}


@pytest.mark.parametrize("name", [DataSetName.OPENMOJI, DataSetName.TINY])
def test_story_is_about_people_and_pins_of_its_world(name: DataSetName, tmp_path: Path) -> None:
    """Its user acted, and its pins are there; nothing is fetched."""
    world = load_world(tmp_path, None, name)
    story = STORIES[name]

    assert world.name == name
    assert story.user_id in {save.user_id for save in world.saves}
    assert {story.query_pin_id, story.saved_pin_id} <= {pin.pin_id for pin in world.pins}
    assert not list(tmp_path.iterdir())


def test_scripted_visitors_are_declared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever starts the demo reads that nobody recorded them, and whose pictures they are."""
    load_world(tmp_path, None, DataSetName.OPENMOJI)
    told = " ".join(capsys.readouterr().out.split())

    assert "are scripted" in told
    assert "CC BY-SA 4.0" in told
