"""How a made-up reader reads a list: looks at places with falling chance, and acts by taste."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from corkboard.simulate.world import SimulatedWorld

EXAMINATION: Final = (0.68, 0.61, 0.48, 0.34, 0.28, 0.20, 0.11, 0.10, 0.08, 0.06)
"""Chance that a reader looks at each place; beyond the last, that of the last. Declared."""
CLICK_SHARE: Final = 0.5
"""Chance of a click for every chance of a save, beside the save itself."""
LONG_SHARE: Final = 0.4
"""Share of clicks that last."""
HIDE_CHANCE: Final = 0.04
"""Chance that a pin looked at is hidden where it fits no taste at all."""
MISTAKE_CHANCE: Final = 0.01
"""Chance of a click for no reason: the noise."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something a reader did.

    Attributes:
        place: Where in the list, from 0.
        kind: `save`, `click`, `long_click` or `hide`.
    """

    place: int
    kind: str


def examination(count: int) -> NDArray[np.float64]:
    """Chance that each of *count* places is looked at, float64[count]."""
    curve = np.full(count, EXAMINATION[-1])
    known = min(count, len(EXAMINATION))
    curve[:known] = EXAMINATION[:known]
    return curve


def read(
    world: SimulatedWorld, user: int, pins: NDArray[np.int64], rng: np.random.Generator
) -> list[Act]:
    """What a user does with a list, top to bottom.

    Args:
        world: Knows the tastes.
        user: Who reads.
        pins: Rows of the pins, best first, int64[n].
        rng: Draws.
    """
    chances = world.save_chances(user, pins)
    affinities = world.affinities(user, pins)
    looked = rng.random(len(pins)) < examination(len(pins))
    draws = rng.random((len(pins), 4))
    acts = []
    for place in np.flatnonzero(looked).tolist():
        if draws[place, 0] < chances[place]:
            acts.append(Act(place, "save"))
        if draws[place, 1] < CLICK_SHARE * chances[place] + MISTAKE_CHANCE:
            acts.append(Act(place, "long_click" if draws[place, 2] < LONG_SHARE else "click"))
        if affinities[place] < 0.2 and draws[place, 3] < HIDE_CHANCE:
            acts.append(Act(place, "hide"))
    return acts


def expected_saves(world: SimulatedWorld, user: int, pins: NDArray[np.int64]) -> float:
    """Saves that a list is worth on average: the known answer."""
    return float(examination(len(pins)) @ world.save_chances(user, pins))
