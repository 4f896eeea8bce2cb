"""Random lives of a site against a model of dictionaries: writes, jobs, restarts, two processes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.candidate_service.live.test_folding import SECOND, Site
from tests.candidate_service.world import NOW_US, write_pins, write_saves

STEPS = 45
PINS = [f"p{at}" for at in range(8)]
SAVES = [f"s{at}" for at in range(8)] + ["a0", "a1"]
BOARDS = ["b", "c", "user:ann"]


@dataclass
class Model:
    """What is true: fields of each pin, board and pin of each save."""

    pins: dict[str, dict[str, Any]] = field(default_factory=dict)
    saves: dict[str, tuple[str, str]] = field(default_factory=dict)

    def mention(self, pin_id: str) -> None:
        """A save makes a pin known."""
        self.pins.setdefault(pin_id, {"title": "", "attributes": {}, "is_removed": False})


class Life:
    """Two processes on one data root, and the model of what they should say."""

    def __init__(self, root: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.root = root
        self.model = Model()
        write_pins(root, [{"pin_id": "p0", "title": "imported"}])
        write_saves(root, [("b", "p0", NOW_US - 1), ("b", "p1", NOW_US - 1)])
        self.model.pins["p0"] = {"title": "imported", "attributes": {}, "is_removed": False}
        self.model.mention("p1")
        self.model.saves = {"a0": ("b", "p0"), "a1": ("b", "p1")}
        self.now_us = NOW_US
        self.sites = [Site(root), Site(root)]
        self.sites[0].build()
        self.sites[1].swap()

    def site(self) -> Site:
        """One of the two, up to date, at the present time."""
        self.now_us += SECOND
        site = self.dice.choice(self.sites)
        site.now_us = self.now_us
        site.journal.follow_others()
        return site

    def write(self) -> None:
        """Set all or some fields of a pin."""
        pin_id, title = self.dice.choice(PINS), self.dice.choice("xyz")
        if self.dice.random() < 0.5:
            self.site().pins({"pin_id": pin_id, "title": title})
            self.model.pins[pin_id] = {"title": title, "attributes": {}, "is_removed": False}
        else:
            self.site().pins({"pin_id": pin_id, "attributes": {"k": title}}, is_whole=False)
            self.model.mention(pin_id)
            self.model.pins[pin_id] |= {"attributes": {"k": title}, "is_removed": False}

    def delete(self) -> None:
        """Remove a pin, if it is there."""
        pin_id = self.dice.choice(PINS)
        self.site().delete(pin_id)
        if pin_id in self.model.pins:
            self.model.pins[pin_id]["is_removed"] = True

    def save(self) -> None:
        """Save a pin, or move a save."""
        save_id, board, pin = (self.dice.choice(one) for one in (SAVES, BOARDS, PINS))
        self.site().saves((save_id, board, pin))
        self.model.mention(pin)
        self.model.saves[save_id] = (board, pin)

    def take_back(self) -> None:
        """Take a save back, if it is there."""
        save_id = self.dice.choice(SAVES)
        self.site().take_back(save_id)
        self.model.saves.pop(save_id, None)

    def run_jobs(self) -> None:
        """Export, perhaps build, perhaps swap, with a write in between."""
        site = self.site()
        site.export()
        self.write()
        if self.dice.random() < 0.7:
            site.build(is_swapped=False)
            self.dice.choice((self.save, self.delete))()
            for one in self.sites:
                if self.dice.random() < 0.7:
                    one.swap()

    def restart(self) -> None:
        """End a process and start it again."""
        at = self.dice.randrange(2)
        self.sites[at].close()
        self.sites[at] = Site(self.root, now_us=self.now_us)

    def check_served(self) -> None:
        """Both processes say of every pin what the model says."""
        for site in self.sites:
            site.journal.follow_others()
            for pin_id in PINS:
                assert site.known(pin_id) == self.model.pins.get(pin_id, {}), pin_id
            known = site.journal.serving.known_saves(SAVES)
            live = site.artifacts.served().live
            standing = {
                name: (save.board_id, live.ids([save.pin_row])[0])
                for name, save in known.items()
                if not save.is_removed
            }
            assert standing == self.model.saves


@pytest.mark.parametrize("seed", range(3))
def test_every_life_ends_as_the_model_says(tmp_path: Path, seed: int) -> None:
    """Served at any time, and in the catalogue after the last jobs: each change once."""
    life = Life(tmp_path, seed)
    deeds = {
        life.write: 6,
        life.delete: 2,
        life.save: 5,
        life.take_back: 3,
        life.run_jobs: 1,
        life.restart: 1,
    }
    for _ in range(STEPS):
        life.dice.choices(list(deeds), list(deeds.values()))[0]()
        if life.dice.random() < 0.3:
            life.check_served()
    life.check_served()

    site = life.site()
    site.export()
    site.build()
    served = site.artifacts.served()
    ids = served.catalogue.ids.ids(np.arange(len(served.catalogue)))
    assert sorted(ids) == sorted(life.model.pins)
    assert served.live.unfolded_count == 0
    life.sites = [site]
    life.check_served()
    expected: dict[str, set[str]] = {}
    for board, pin in life.model.saves.values():
        expected.setdefault(board, set()).add(pin)
    assert site.boards() == expected
