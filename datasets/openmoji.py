"""OpenMoji: 2,465 drawn emoji with titles, tags, designers and days; real pictures, small.

The drawings, titles, tags, designers and days are OpenMoji's, under CC BY-SA 4.0. The file
`openmoji.parquet` holds them with thumbnails of 64 pixels and may be passed on under the same
licence with credit to "OpenMoji, the open-source emoji and icon project". The *visitors are
scripted*: nobody recorded what people keep, so `load` makes up some who keep pictures by themes.
README.md tells all.
"""

import base64
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from datasets.dataset import Action, DataSet, Pin, Save
from datasets.openmoji_pack import SCHEMA

FILE: Final = Path(__file__).with_name("openmoji.parquet")
FILE_SHA256: Final = "0e6fbb8bfd11a44618f5d015e9be9fb2e28e2813259534b253400cf76dc2b2c0"
CREDIT: Final = "OpenMoji, the open-source emoji and icon project; CC BY-SA 4.0"
VISITOR_PREFIX: Final = "scripted-"
VISITOR_COUNT: Final = 240
VISITOR_DAYS: Final = 90
TASTE_SHARE: Final = 0.6
"""Of a theme's pictures, those that one visitor cares for."""
MICROSECONDS: Final = 1_000_000
DAY_US: Final = 86_400 * MICROSECONDS
LOOK_CELLS: Final = 6

THEMES: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(words.split())
    for name, words in {
        "A day at the beach": "beach sea ocean swim sun surf island sand vacation wave shell",
        "Baking": "bread cake cookie pastry bakery pie dessert sweet chocolate cupcake",
        "Birthday party": "birthday party celebration balloon confetti gift present celebrate",
        "Bugs and crawlers": "insect bug spider ant bee butterfly worm snail",
        "Camping": "camping tent campfire forest outdoor hiking mountain climb",
        "Cats": "cat kitten feline",
        "City trips": "building city skyline bridge tower hotel museum",
        "Coffee and tea": "coffee tea cup mug beverage steaming",
        "Computers": "computer laptop keyboard mouse disk software browser desktop",
        "Dogs": "dog puppy canine",
        "Fairy tales": "fairy fantasy magic dragon unicorn wizard elf castle",
        "Feeling down": "sad crying tear disappointed worried unhappy",
        "Feeling great": "happy grin smile laugh joy cheerful",
        "Fruit": "fruit apple berry lemon melon citrus banana",
        "Garden": "flower plant blossom garden tree leaf seedling",
        "Hats and shoes": "hat cap shoe boot clothing sandal",
        "Hearts": "heart love valentine romance kiss",
        "Hospital": "medical medicine doctor hospital health nurse ambulance pill",
        "Japan": "japanese japan sushi bento torii kimono",
        "Money": "money bank dollar currency coin cash",
        "Music": "music musical instrument guitar drum sing song note",
        "Night sky": "moon star night space planet galaxy comet",
        "On the rails": "train railway tram metro station locomotive",
        "On the road": "car automobile bus truck vehicle traffic motorcycle",
        "Rain and snow": "rain snow cloud weather storm umbrella cold",
        "Sea life": "fish whale dolphin octopus shark crab ocean",
        "Sport": "sport ball game athletic player tennis football basketball",
        "Tools": "tool hammer wrench screwdriver saw build",
        "Vegetables": "vegetable salad carrot garlic onion pepper",
        "Writing": "pencil pen write writing paper book notebook",
    }.items()
}
"""What scripted visitors keep: pictures that have one of these tags."""


@dataclass(frozen=True, slots=True)
class Emoji:
    """One drawing as OpenMoji describes it, with its thumbnail (WebP)."""

    hexcode: str
    emoji: str
    title: str
    group: str
    subgroup: str
    tags: tuple[str, ...]
    designer: str
    date: date
    picture: bytes


def load(*, today: date, seed: int = 0) -> DataSet:
    """Make pins, boards of the designers, and scripted visitors.

    Args:
        today: Days are shifted so that the newest drawing was made, and the last visitor came, on
            the day before.
        seed: Of the visitors' chance: same seed, same day, same data.
    """
    emoji = read()
    shift = today - timedelta(days=1) - max(one.date for one in emoji)
    saves = list(designers_saves(emoji, shift))
    visited, actions = visits(emoji, today=today, rng=np.random.default_rng(seed))
    return DataSet("openmoji", [to_pin(one, shift) for one in emoji], [*saves, *visited], actions)


def read(file: Path = FILE) -> list[Emoji]:
    """Return all drawings in the order of the file, which is Unicode's."""
    table = pq.read_table(file, schema=SCHEMA)
    return [Emoji(**{**row, "tags": tuple(row["tags"])}) for row in table.to_pylist()]


def to_pin(emoji: Emoji, shift: timedelta) -> Pin:
    """Turn a drawing into a pin; its picture stands in `image_url` as a `data:` address."""
    group, subgroup = _words(emoji.group), _words(emoji.subgroup)
    return Pin(
        pin_id=emoji.hexcode,
        title=emoji.title,
        description=f"{emoji.emoji} {subgroup}, drawn by {emoji.designer} in {emoji.date.year}",
        topics=tuple(dict.fromkeys((subgroup, group, *emoji.tags)))[:64],
        creation_time_us=_noon_us(emoji.date + shift),
        language="en",
        country=country_of(emoji),
        owner_id=slug(emoji.designer),
        image_url=data_url(emoji.picture),
        visual_vector=look(emoji.picture),
    )


def country_of(emoji: Emoji) -> str | None:
    """Return the country whose flag it is, None for other pictures."""
    letters = [int(part, 16) - 0x1F1E6 for part in emoji.hexcode.split("-")]
    is_flag = len(letters) == 2 and all(0 <= letter < 26 for letter in letters)
    return "".join(chr(ord("A") + letter) for letter in letters) if is_flag else None


def look(picture: bytes) -> tuple[float, ...]:
    """Return how a thumbnail looks, 108 numbers: the mean colour of 6 x 6 cells, white being zero.

    A stand-in for the layer of a vision net: where which colour is, and nothing of what it means.
    """
    with Image.open(io.BytesIO(picture)) as opened:
        cells = opened.convert("RGB").resize((LOOK_CELLS, LOOK_CELLS), Image.Resampling.BOX)
    ink = 1.0 - np.asarray(cells, np.float32) / 255.0
    if not ink.any():
        ink[:] = 1.0  # an all-white picture has a direction too
    return tuple(ink.reshape(-1).tolist())


def designers_saves(emoji: Sequence[Emoji], shift: timedelta) -> Iterator[Save]:
    """Give each drawing to its designer's board for its subgroup, on the day it was made."""
    for one in emoji:
        designer = slug(one.designer)
        yield Save(
            save_id=f"made-{one.hexcode}",
            board_id=f"{designer}/{one.subgroup}",
            board_title=_words(one.subgroup).capitalize(),
            pin_id=one.hexcode,
            user_id=designer,
            save_time_us=_noon_us(one.date + shift),
        )


def visits(
    emoji: Sequence[Emoji], *, today: date, rng: np.random.Generator
) -> tuple[list[Save], list[Action]]:
    """Script visitors: each cares for some themes, keeps part of their pictures, hides others.

    Nobody did this. A visitor has two to four themes of `THEMES`, likes `TASTE_SHARE` of the
    pictures of each, comes on some evenings of the last `VISITOR_DAYS` days, and on an evening
    looks at pictures of one theme: liked ones are kept on the theme's board or clicked, a few of
    the others looked at, and now and then a picture of no theme of theirs is hidden.
    """
    script = _Script(emoji, today, rng)
    for number in range(VISITOR_COUNT):
        script.visit(f"{VISITOR_PREFIX}{number:03}")
    return script.saves, script.actions


class _Script:
    """Writes down what visitors do, one after another."""

    def __init__(self, emoji: Sequence[Emoji], today: date, rng: np.random.Generator) -> None:
        self.saves: list[Save] = []
        self.actions: list[Action] = []
        self._rng = rng
        self._hexcodes = [one.hexcode for one in emoji]
        self._of_theme = {name: _with_tags(emoji, words) for name, words in THEMES.items()}
        self._midnight_us = _noon_us(today) - DAY_US // 2

    def visit(self, user_id: str) -> None:
        """Script all evenings of one visitor."""
        rng, names = self._rng, list(self._of_theme)
        themes = rng.choice(len(names), rng.integers(2, 5), replace=False)
        cared_for = np.concatenate([self._of_theme[names[theme]] for theme in themes])
        liked = {names[theme]: self._liked(names[theme]) for theme in themes}
        kept: set[tuple[str, int]] = set()
        evenings = np.sort(rng.choice(VISITOR_DAYS, rng.integers(4, 13), replace=False))[::-1]
        for days_ago in evenings.tolist():
            theme = names[int(rng.choice(themes))]
            minutes = int(rng.integers(18 * 60, 22 * 60))
            now_us = self._midnight_us - (days_ago + 1) * DAY_US + minutes * 60 * MICROSECONDS
            seen = rng.permutation(self._of_theme[theme])[:15]
            for place, pin in enumerate(seen.tolist()):
                time_us = now_us + place * 20 * MICROSECONDS
                self._look_at(user_id, theme, pin, liked[theme], kept, time_us)
            stranger = int(rng.integers(len(self._hexcodes)))
            if rng.random() < 0.3 and stranger not in cared_for:
                self._act(user_id, stranger, "hide", now_us + 900 * MICROSECONDS)

    def _liked(self, theme: str) -> set[int]:
        pins = self._of_theme[theme]
        chosen = self._rng.permutation(pins)[: int(np.ceil(len(pins) * TASTE_SHARE))]
        return set(chosen.tolist())

    def _look_at(
        self,
        user_id: str,
        theme: str,
        pin: int,
        liked: set[int],
        kept: set[tuple[str, int]],
        time_us: int,
    ) -> None:
        chance = self._rng.random()
        if pin not in liked:
            if chance < 0.2:
                self._act(user_id, pin, "close_up", time_us)
        elif chance < 0.5 and (theme, pin) not in kept:
            kept.add((theme, pin))
            self._save(user_id, theme, pin, time_us)
        elif chance < 0.8:
            self._act(user_id, pin, "click", time_us)

    def _save(self, user_id: str, theme: str, pin: int, time_us: int) -> None:
        save_id = f"scripted-save-{len(self.saves):06}"
        board_id, hexcode = f"{user_id}/{slug(theme)}", self._hexcodes[pin]
        self.saves.append(Save(save_id, board_id, theme, hexcode, user_id, time_us))

    def _act(self, user_id: str, pin: int, action_type: str, time_us: int) -> None:
        action_id = f"scripted-action-{len(self.actions):06}"
        hexcode = self._hexcodes[pin]
        self.actions.append(Action(action_id, user_id, hexcode, action_type, time_us))


def slug(name: str) -> str:
    """Return a name as an id: `Emily Jäger` is `emily-jager`."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore")
    return "-".join(plain.decode().lower().split()) or "unknown"


def data_url(picture: bytes) -> str:
    """Return a WebP file as an address that holds it."""
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def _with_tags(emoji: Sequence[Emoji], words: frozenset[str]) -> NDArray[np.int64]:
    """Return the places of drawings that have one of some words as a tag."""
    return np.array([at for at, one in enumerate(emoji) if words.intersection(one.tags)])


def _words(name: str) -> str:
    return name.replace("-", " ")


def _noon_us(day: date) -> int:
    noon = datetime.combine(day, time(12), UTC)
    return round(noon.timestamp() * MICROSECONDS)
