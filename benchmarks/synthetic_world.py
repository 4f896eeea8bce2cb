"""A data root of any size whose shape is declared: topics, Zipf popularity, users of few interests.

It is synthetic and says nothing about the quality of recommendations; it is there to measure speed
and memory at sizes no shipped data set has.

A topic has a centre on the unit sphere; a pin is its topic's centre plus noise; a board draws four
fifths of its pins from one topic and the rest from everywhere, popular pins first (Zipf, exponent
0.7); a user has 1 to 8 topics and a log-normal number of actions (median 100, sigma 1) over the
last 90 days.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

DAY_US = 86_400_000_000
EDGES_AT_ONCE = 5_000_000


@dataclass(frozen=True, slots=True)
class World:
    """How large the world is."""

    pins: int
    boards: int
    edges: int
    users: int
    dimension: int
    topics: int
    seed: int = 7


SMALL = World(pins=50_000, boards=10_000, edges=1_000_000, users=2_000, dimension=64, topics=200)
LARGE = World(
    pins=500_000, boards=500_000, edges=50_000_000, users=20_000, dimension=128, topics=2_000
)
MILLION = World(
    pins=1_000_000, boards=200_000, edges=10_000_000, users=20_000, dimension=128, topics=2_000
)
TINY = World(pins=2_000, boards=400, edges=20_000, users=100, dimension=16, topics=20)
WORLDS = {"tiny": TINY, "small": SMALL, "large": LARGE, "million": MILLION}


def ids(prefix: str, numbers: np.ndarray) -> pa.Array:
    """Readable ids: prefix and number."""
    return pc.binary_join_element_wise(prefix, pc.cast(pa.array(numbers), pa.string()), "")


class Generator:
    """Draws the parts of one world, the same for the same world and seed."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.rng = np.random.default_rng(world.seed)
        self.now_us = int(time.time() // 86_400) * DAY_US
        # Pins of one topic stand next to each other, so that a topic is a range of pins.
        self.topic_of_pin = np.sort(self.rng.integers(0, world.topics, world.pins))
        self.first_pin = np.searchsorted(self.topic_of_pin, np.arange(world.topics + 1))
        self.popularity = self.zipf(world.pins)

    def zipf(self, n: int) -> np.ndarray:
        """Cumulative popularity of n things in random order, exponent 0.7."""
        weight = (np.arange(1, n + 1) + 5.0) ** -0.7
        self.rng.shuffle(weight)
        return np.cumsum(weight) / weight.sum()

    def pins_of_topics(self, topics: np.ndarray) -> np.ndarray:
        """One pin of each given topic, popular ones more often: int64[n]."""
        low = np.where(self.first_pin[topics] > 0, self.popularity[self.first_pin[topics] - 1], 0)
        high = self.popularity[self.first_pin[topics + 1] - 1]
        drawn = np.searchsorted(self.popularity, low + self.rng.random(len(topics)) * (high - low))
        return np.minimum(drawn, self.world.pins - 1)

    def write(self, table: pa.Table, name: str) -> None:
        """Write one Parquet file below the data root."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)

    def pins(self) -> None:
        """Pins with unit vectors around the centre of their topic."""
        w = self.world
        centres = self.rng.standard_normal((w.topics, w.dimension)).astype(np.float32)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        vectors = centres[self.topic_of_pin]
        vectors += self.rng.standard_normal(vectors.shape, np.float32) * (
            0.6 / np.sqrt(w.dimension)
        )
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        n = np.arange(w.pins)
        offsets = pa.array(np.arange(w.pins + 1, dtype=np.int32) * w.dimension)
        columns = {
            "pin_id": ids("p", n),
            "title": ids("Pin ", n),
            "description": pa.nulls(w.pins, pa.string()),
            "topics": pa.ListArray.from_arrays(
                pa.array(np.arange(w.pins + 1, dtype=np.int32)), ids("topic ", self.topic_of_pin)
            ),
            "language": pa.array(np.where(n % 5 == 0, "ja", "en")),
            "country": pa.array(np.where(n % 5 == 0, "JP", "US")),
            "owner_id": ids("o", n % 10_000),
            "image_url": pa.nulls(w.pins, pa.string()),
            "creation_time_us": pa.array(self.now_us - self.rng.integers(1, 900, w.pins) * DAY_US),
            "vector": pa.ListArray.from_arrays(offsets, pa.array(vectors.ravel())),
            "import_seq": pa.array(np.ones(w.pins, np.int64)),
        }
        self.write(pa.table(columns), "catalogue/pins/synthetic.parquet")

    def saves(self) -> None:
        """Edges of the graph, in files of a few million."""
        w = self.world
        board_popularity = self.zipf(w.boards)
        topic_of_board = self.rng.integers(0, w.topics, w.boards)
        for start in range(0, w.edges, EDGES_AT_ONCE):
            n = min(EDGES_AT_ONCE, w.edges - start)
            board = np.searchsorted(board_popularity, self.rng.random(n))
            board = np.minimum(board, w.boards - 1)
            pin = self.pins_of_topics(topic_of_board[board])
            anywhere = self.rng.random(n) < 0.2
            elsewhere = np.searchsorted(self.popularity, self.rng.random(int(anywhere.sum())))
            pin[anywhere] = np.minimum(elsewhere, w.pins - 1)
            columns = {
                "save_id": ids("s", np.arange(start, start + n)),
                "board_id": ids("b", board),
                "pin_id": ids("p", pin),
                "user_id": ids("u", board % w.users),
                "save_time_us": pa.array(self.now_us - self.rng.integers(1, 900, n) * DAY_US),
                "board_title": pa.nulls(n, pa.string()),
                "import_seq": pa.array(np.ones(n, np.int64)),
            }
            self.write(pa.table(columns), f"catalogue/saves/synthetic-{start:012d}.parquet")

    def actions(self) -> None:
        """What the users did in the last 90 days."""
        w = self.world
        counts = np.exp(self.rng.normal(np.log(100), 1.0, w.users)).astype(np.int64).clip(1, 5_000)
        user = np.repeat(np.arange(w.users), counts)
        taste = self.rng.integers(0, w.topics, (w.users, 8))
        width = self.rng.integers(1, 9, w.users)
        pin = self.pins_of_topics(taste[user, self.rng.integers(0, width[user])])
        age_us = (self.rng.random(len(user)) * 89 * DAY_US).astype(np.int64) + 1
        kinds = np.array(["save", "click", "close_up", "long_click"])
        n = len(user)
        columns = {
            "action_id": ids("a", np.arange(n)),
            "user_id": ids("u", user),
            "pin_id": ids("p", pin),
            "action_type": pa.array(kinds[self.rng.integers(0, 4, n)]),
            "action_time_us": pa.array(self.now_us - age_us),
            "strength": pa.nulls(n, pa.float32()),
            "board_id": pa.nulls(n, pa.string()),
            "list_id": pa.nulls(n, pa.string()),
            "log_position": pa.array(np.zeros(n, np.int64)),
        }
        self.write(pa.table(columns), "events/actions/day=1970-01-01/synthetic.parquet")


def build(world: World, folder: Path) -> Path:
    """Write the world's data root below a folder, or take the one that is there."""
    done = folder / "world.txt"
    if done.exists() and done.read_text() == repr(world):
        return folder
    generator = Generator(world, folder)
    generator.pins()
    generator.saves()
    generator.actions()
    done.write_text(repr(world))
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    print(build(WORLDS[options.world], options.folder))
