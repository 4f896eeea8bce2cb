"""Made-up pins and people: topics as directions, people with two or three planted tastes each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

LANGUAGES: Final = ("en", "ja")
COUNTRIES: Final = ("US", "JP")
DIMENSION: Final = 32
WORDS_PER_TOPIC: Final = 25
DAY_US: Final = 86_400_000_000
HISTORY_DAYS: Final = 60


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the world is.

    Attributes:
        pins: 10 to 1,000,000.
        users: 1 to 1,000,000.
        topics: 2 to 1,000.
    """

    pins: int = 2_000
    users: int = 200
    topics: int = 12


@dataclass(frozen=True, slots=True)
class SimulatedWorld:
    """Everything that is planted, and therefore known.

    Attributes:
        vectors: Direction of each pin, unit length, float32[p, d].
        topics: Topic of each pin, int64[p].
        qualities: How good each pin is whatever one likes, float64[p], mean 0.
        languages: Language of each pin, places in LANGUAGES, int64[p].
        centres: Direction of each topic, float32[t, d].
        tastes: Weight of each topic for each user, float64[u, t], 0 for most.
        user_languages: Places in LANGUAGES, int64[u].
    """

    vectors: NDArray[np.float32]
    topics: NDArray[np.int64]
    qualities: NDArray[np.float64]
    languages: NDArray[np.int64]
    centres: NDArray[np.float32]
    tastes: NDArray[np.float64]
    user_languages: NDArray[np.int64]

    def affinities(self, user: int, pins: NDArray[np.int64]) -> NDArray[np.float64]:
        """How well pins fit a user's best-fitting taste, about -0.3 to 1, float64[n]."""
        liked = np.flatnonzero(self.tastes[user])
        cosines = self.vectors[pins] @ self.centres[liked].T
        fit = (cosines * (0.6 + 0.4 * self.tastes[user, liked])).max(axis=1)
        foreign = self.languages[pins] != self.user_languages[user]
        return np.asarray(fit - 0.25 * foreign, np.float64)

    def save_chances(self, user: int, pins: NDArray[np.int64]) -> NDArray[np.float64]:
        """Chance that the user saves each pin if they look at it: the known answer, float64[n]."""
        logits = 9.0 * (self.affinities(user, pins) - 0.62) + 0.6 * self.qualities[pins]
        return np.asarray(0.6 / (1.0 + np.exp(-logits)))


def make_world(sizes: Sizes, seed: int) -> SimulatedWorld:
    """A world; the same sizes and seed give the same one."""
    rng = np.random.default_rng(seed)
    centres = _unit(rng.standard_normal((sizes.topics, DIMENSION)))
    topics = rng.choice(sizes.topics, sizes.pins, p=rng.dirichlet(np.full(sizes.topics, 3.0)))
    noise = 0.11 * rng.standard_normal((sizes.pins, DIMENSION))
    tastes = np.zeros((sizes.users, sizes.topics))
    for user in range(sizes.users):
        count = min(int(rng.integers(2, 4)), sizes.topics)
        liked = rng.choice(sizes.topics, count, replace=False)
        tastes[user, liked] = rng.dirichlet(np.full(count, 2.0))
    tastes /= np.maximum(tastes.max(axis=1, keepdims=True), 1e-9)
    return SimulatedWorld(
        vectors=_unit(centres[topics] + noise),
        topics=topics,
        qualities=rng.standard_normal(sizes.pins),
        languages=(rng.random(sizes.pins) < 0.25).astype(np.int64),
        centres=centres,
        tastes=tastes,
        user_languages=(rng.random(sizes.users) < 0.25).astype(np.int64),
    )


def write_import(world: SimulatedWorld, folder: Path, *, begin_us: int, seed: int) -> None:
    """Write what `corkboard import` reads: all pins, and what people saved before *begin_us*.

    Args:
        world: The world.
        folder: Made if it is not there.
        begin_us: When the simulated traffic begins, microseconds since 1970.
        seed: Of the history.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    count = len(world.topics)
    words = rng.integers(0, WORDS_PER_TOPIC, (count, 4))
    titles = [
        " ".join(f"t{topic}w{word}" for word in row)
        for topic, row in zip(world.topics.tolist(), words.tolist(), strict=True)
    ]
    ages = rng.integers(1, 400, count) * DAY_US
    pins = {
        "pin_id": [pin_name(row) for row in range(count)],
        "title": titles,
        "topics": [[f"topic-{topic}"] for topic in world.topics.tolist()],
        "language": [LANGUAGES[place] for place in world.languages.tolist()],
        "country": [COUNTRIES[place] for place in world.languages.tolist()],
        "owner_id": [f"owner-{row % 97}" for row in range(count)],
        "creation_time_us": begin_us - ages,
        "vector": list(world.vectors),
    }
    pq.write_table(pa.table(pins), folder / "pins.parquet")
    popularity = np.exp(0.8 * world.qualities)
    saves: dict[str, list[object]] = {
        name: [] for name in ("board_id", "pin_id", "user_id", "save_time_us")
    }
    everything = np.arange(count)
    for user in range(len(world.tastes)):
        weights = popularity * np.exp(8.0 * world.affinities(user, everything))
        number = int(np.clip(rng.lognormal(3.0, 0.6), 6, min(150, count // 4)))
        chosen = rng.choice(count, number, replace=False, p=weights / weights.sum())
        times = begin_us - rng.integers(1, HISTORY_DAYS * DAY_US, number)
        for pin, time_us in zip(chosen.tolist(), times.tolist(), strict=True):
            saves["board_id"].append(board_name(user, int(world.topics[pin])))
            saves["pin_id"].append(pin_name(pin))
            saves["user_id"].append(user_name(user))
            saves["save_time_us"].append(time_us)
    pq.write_table(pa.table(saves), folder / "saves.parquet")


def pin_name(row: int) -> str:
    """Id of a pin."""
    return f"pin-{row:06d}"


def user_name(user: int) -> str:
    """Id of a user."""
    return f"user-{user:06d}"


def board_name(user: int, topic: int) -> str:
    """Id of the board on which a user keeps a topic."""
    return f"board-{user:06d}-{topic}"


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
