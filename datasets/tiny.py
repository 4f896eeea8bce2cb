"""A hand-made world of six interests, small enough to know by heart, for tests and offline demos.

Sixty pins, twelve people, some twenty boards.  Everything follows from the tables below, so the
same arguments give the same bytes.  People differ on purpose: `ana` has three interests, `noor` one
action, `olga` only actions of long ago, `max` hides what others save.

Written for this project; Apache-2.0 as the rest of it.
"""

import math
from datetime import UTC, datetime

from datasets.dataset import Action, DataSet, Pin, Save

VECTOR_DIMENSION = 16
DAY_US = 86_400 * 1_000_000

# Interest → titles; the pin of the n-th title is `<interest>-<n>`, n from 1.
PINS = {
    "cooking": (
        "Sourdough with a dark crust",
        "Miso soup in ten minutes",
        "Lentil stew with lemon",
        "Hand-rolled tagliatelle",
        "Pickled red onions",
        "Plum cake from one bowl",
        "Black bean tacos",
        "Roast squash with sage",
        "Green curry paste from scratch",
        "Bread and butter pudding",
    ),
    "hiking": (
        "Ridge walk above the tree line",
        "Packing list for three days",
        "Breaking in leather boots",
        "Reading a contour map",
        "Huts along the northern traverse",
        "Fording a river safely",
        "Trail mix that does not melt",
        "Sunrise from a bivouac",
        "Blister care on the way",
        "Waterfalls of the gorge path",
    ),
    "typography": (
        "Ink traps and why they work",
        "A specimen of wood type",
        "Pairing a serif with a grotesque",
        "Drawing the letter S",
        "Old-style figures in tables",
        "Posters of the Swiss school",
        "Hot metal: setting a line",
        "Kerning by eye",
        "Neon signs of the old town",
        "A typeface for maps",
    ),
    "aquariums": (
        "Planted tank without carbon dioxide",
        "Cherry shrimp for beginners",
        "Cycling a new filter",
        "Driftwood and moss arrangement",
        "Neon tetras in a shoal",
        "Low light plants that thrive",
        "A nano reef on the desk",
        "Snails that clean the glass",
        "Quiet pumps compared",
        "Blackwater biotope with leaves",
    ),
    "woodworking": (
        "Dovetails with a hand saw",
        "Sharpening chisels on water stones",
        "A bench from reclaimed oak",
        "Steam-bent coat hooks",
        "Spoon carving from green birch",
        "Oil finish in three coats",
        "A box joint jig",
        "Restoring a wooden plane",
        "Shaker peg rail",
        "Marking gauge to make oneself",
    ),
    "pottery": (
        "Centring clay on the wheel",
        "Ash glaze test tiles",
        "Pinch pots for children",
        "Trimming a foot ring",
        "Raku in the garden",
        "Slip trailing on plates",
        "A teapot spout that does not drip",
        "Coil-built planters",
        "Wax resist patterns",
        "Kiln gods and other luck",
    ),
}
INTERESTS = tuple(PINS)

# Person → interest → how many of its pins they saved, most loved interest first.
BOARDS = {
    "ana": {"cooking": 7, "hiking": 5, "typography": 4},
    "ben": {"hiking": 8, "woodworking": 5},
    "chloe": {"typography": 8, "pottery": 4},
    "dario": {"aquariums": 8, "cooking": 3},
    "emre": {"woodworking": 8, "pottery": 6},
    "fatima": {"cooking": 8, "pottery": 5},
    "gus": {"hiking": 6, "aquariums": 5},
    "hana": {"pottery": 8, "typography": 5},
    "ivan": {"woodworking": 7, "hiking": 4},
    "max": {"aquariums": 6, "woodworking": 4},
    "noor": {"cooking": 1},
    "olga": {"typography": 6},
}
OLD_DAYS = {"olga": 200}
# Looks without a save, and hides: (person, pin, kind).
OTHER_ACTIONS = (
    ("ana", "pottery-1", "close_up"),
    ("ana", "cooking-10", "click"),
    ("ben", "hiking-10", "long_click"),
    ("chloe", "cooking-2", "click"),
    ("dario", "hiking-1", "close_up"),
    ("gus", "aquariums-9", "click"),
    ("max", "cooking-1", "hide"),
    ("max", "pottery-5", "hide"),
)


def load(*, as_of: datetime | None = None, with_vectors: bool = False) -> DataSet:
    """The tiny world as it stands at *as_of*.

    Args:
        as_of: Actions lie in the 41 days before it (but olga's); default: 2026-01-31, noon UTC.
        with_vectors: Whether pins carry a vector, float32[16]; else saves must teach them.
    """
    end_us = int((as_of or datetime(2026, 1, 31, 12, tzinfo=UTC)).timestamp()) * 1_000_000
    pins = [
        Pin(
            pin_id=f"{interest}-{number}",
            title=title,
            description=f"{title}: an idea for {interest}.",
            topics=(interest,),
            creation_time_us=end_us - 300 * DAY_US,
            language="en",
            vector=_vector(INTERESTS.index(interest), number) if with_vectors else None,
        )
        for interest, titles in PINS.items()
        for number, title in enumerate(titles, start=1)
    ]
    saves = _saves(end_us)
    actions = [
        Action(f"{user_id}-{pin_id}-{kind}", user_id, pin_id, kind, end_us - 2 * DAY_US + n)
        for n, (user_id, pin_id, kind) in enumerate(OTHER_ACTIONS)
    ]
    return DataSet("tiny", pins, saves, actions)


def _saves(end_us: int) -> list[Save]:
    """Each person's saves: per board a run of neighbouring pins that starts at their own place."""
    saves = []
    for person, (user_id, boards) in enumerate(BOARDS.items()):
        for interest, count in boards.items():
            titles = PINS[interest]
            for step in range(count):
                number = (person * 3 + step) % len(titles) + 1
                age_days = OLD_DAYS.get(user_id, 1 + (step * 5 + person) % 40)
                saves.append(
                    Save(
                        save_id=f"{user_id}-{interest}-{number}",
                        board_id=f"{user_id}-{interest}",
                        board_title=interest.capitalize(),
                        pin_id=f"{interest}-{number}",
                        user_id=user_id,
                        save_time_us=end_us - age_days * DAY_US + step,
                    ),
                )
    return sorted(saves, key=lambda save: (save.save_time_us, save.save_id))


def _vector(interest: int, number: int) -> tuple[float, ...]:
    """A unit vector near the interest's own axis: cosine about 0.85 within, below 0.15 across."""
    vector = [0.0] * VECTOR_DIMENSION
    vector[interest] = 1.0
    for axis in range(len(INTERESTS), VECTOR_DIMENSION):
        vector[axis] = 0.15 * math.cos(number * (axis + 1) + interest)
    norm = math.sqrt(sum(value * value for value in vector))
    return tuple(value / norm for value in vector)
