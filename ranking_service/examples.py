"""
Impressions joined with what users did next: the labelled rows that train and judge a model.

A pin that was shown is a positive if the same user acted on it, strongly enough, within the
horizon after it was shown; a hide or report makes it a negative whatever else happened.  Beside a
query pin that is not enough, or the best-known pins would go with everything: the action must
bear the list's id, or be a save onto the smallest of the user's boards that also holds the query
pin; only where no board holds it does any action count.  Features are the logged ones, never
computed anew.  Nothing that was not known when a list was shown may stand behind
its features: such rows are refused, all of them, with the first one named.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from ranking_service.features import FEATURE_NAMES
from ranking_service.impressions import FEATURE_SET
from ranking_service.query import Surface
from service_runtime.batch.engine import BatchEngine
from service_runtime.job import JobFailed

DEFAULT_STRENGTHS: Final = {
    "save": 1.0,
    "purchase": 1.0,
    "like": 0.8,
    "share": 0.8,
    "comment": 0.7,
    "download": 0.7,
    "long_click": 0.6,
    "add_to_cart": 0.6,
    "click": 0.3,
    "close_up": 0.3,
    "view": 0.1,
}
"""Strength of an action that carries none of its own, as the contract of profile_service says."""

NO_BOARD_PREFIX: Final = "user:"
"""Begins the board id of saves that were imported without a board."""

REJECTIONS: Final = ("hide", "report")
"""Actions that make a shown pin a negative."""

OBJECTIVES: Final = {
    "save": (),
    "click": ("click", "close_up", "long_click"),
    "long_click": ("long_click",),
    "hide": REJECTIONS,
}
"""What a model can be trained for, and the actions that count; `save` is the label of examples."""

WINDOW_SHARE_MIN: Final = 0.25
"""Part of the horizon that must be seen of an example before the validation begins. Guess."""

ACTION_SCHEMA: Final = pa.schema(
    [
        ("action_id", pa.string()),
        ("user_id", pa.string()),
        ("pin_id", pa.string()),
        ("action_type", pa.string()),
        ("action_time_us", pa.int64()),
        ("strength", pa.float32()),
        ("list_id", pa.string()),
        ("board_id", pa.string()),
    ]
)
"""What is read of the action log."""

SHOWN_SCHEMA: Final = pa.schema(
    [
        ("list_id", pa.string()),
        ("position", pa.int32()),
        ("impression_time_us", pa.int64()),
        ("feature_time_us", pa.int64()),
        ("generations_as_of_us", pa.int64()),
        ("user_id", pa.string()),
        ("surface", pa.string()),
        ("query_pin_id", pa.string()),
        ("pin_id", pa.string()),
        ("is_randomised", pa.bool_()),
        ("feature_set", pa.string()),
        ("features", pa.list_(pa.float32())),
    ]
)
"""What is read of the impressions."""


@dataclass(frozen=True, slots=True)
class Examples:
    """
    Labelled rows in order of time, list and position. Arrays are parallel.

    Attributes:
        features: As logged, float32[n, f].
        labels: 1 = the user acted, int8[n].
        times_us: When the list was shown, int64[n].
        lists: The list, int64[n], numbered in order.
        user_parts: A number in [0, 2**16) made from the user's id, int64[n]: splits users evenly.
        positions: Where in the list, int64[n].
        query_keys: Number of the query pin, of the user on the home feed, int64[n].
        pin_keys: `pin_key` of the pin, int64[n].
        outcomes: Whether each of OBJECTIVES came about, int8[n, 4].
        is_randomised: Whether the list was in random order, bool[n].
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    times_us: NDArray[np.int64]
    lists: NDArray[np.int64]
    user_parts: NDArray[np.int64]
    positions: NDArray[np.int64]
    query_keys: NDArray[np.int64]
    pin_keys: NDArray[np.int64]
    outcomes: NDArray[np.int8]
    is_randomised: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of examples."""
        return self.labels.size

    def of_known_users(self) -> "Examples":
        """
        Without home feeds of people of whom nothing was known.

        Those hold what is popular and nothing else: they teach the charts, and how active
        newcomers are.
        """
        features = dict(zip(FEATURE_NAMES, self.features.T, strict=True))
        return self.where((features["is_related"] == 1) | (features["action_count"] > 0))

    def where(self, chosen: NDArray[np.bool_]) -> "Examples":
        """The examples where *chosen*, bool[n]."""
        return Examples(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def of_objective(self, objective: str) -> "Examples":
        """The same examples, labelled by another objective."""
        if objective == "save":
            return self
        return replace(self, labels=self.outcomes[:, list(OBJECTIVES).index(objective)])

    @classmethod
    def joined(cls, parts: "Sequence[Examples]") -> "Examples":
        """Several parts as one, one behind the other."""
        return cls(
            *(
                np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            )
        )


@dataclass(frozen=True, slots=True)
class Labelling:
    """
    How examples are made.

    Attributes:
        as_of_us: Only what happened before this time counts.
        horizon_us: How long after an impression an action counts.
        strength_min: Least strength of an action that makes a positive.
        validation_share: Share of the impressions, the newest, that is kept for judging.
    """

    as_of_us: int
    horizon_us: int
    strength_min: float
    validation_share: float


def open_tables(
    engine: BatchEngine,
    impressions: Sequence[Path],
    actions: Path,
    *,
    surfaces: Sequence[Surface],
    as_of_us: int,
) -> None:
    """
    Name the tables that examples are made from.

    They are `shown` (each impression once), `acted` (actions that can be labels, naming their list
    where it is among the shown ones) and `query_boards` (for each user and pin the smallest board
    that holds it).
    """
    wanted = ", ".join(f"'{surface.name.lower()}'" for surface in surfaces)
    engine.table("impression_files", list(impressions), schema=SHOWN_SCHEMA)
    engine.table("action_files", actions, schema=ACTION_SCHEMA)
    engine.sql(
        f"""
        SELECT * FROM (
          SELECT *, row_number() OVER (
            PARTITION BY list_id, position ORDER BY impression_time_us, pin_id) AS copy_number
          FROM impression_files
          WHERE feature_set = '{FEATURE_SET}' AND surface IN ({wanted})
            AND impression_time_us < {as_of_us}
        ) AS numbered WHERE copy_number = 1
        """,  # noqa: S608  our own constants
        name="shown",
    )
    cases = " ".join(f"WHEN '{kind}' THEN {value}" for kind, value in DEFAULT_STRENGTHS.items())
    engine.sql(
        f"""
        SELECT user_id, pin_id, action_type, action_time_us,
          CASE WHEN list_id IN (SELECT list_id FROM shown) THEN list_id ELSE NULL END AS list_id,
          CASE WHEN board_id LIKE '{NO_BOARD_PREFIX}%' THEN NULL ELSE board_id END AS board_id,
          coalesce(cast(strength AS double), CASE action_type {cases} ELSE 0.0 END) AS strength
        FROM action_files WHERE action_time_us < {as_of_us}
        """,  # noqa: S608  our own constants
        name="acted",
    )
    engine.sql(
        """
        SELECT user_id, pin_id AS query_pin_id, board_id FROM (
          SELECT a.user_id, a.pin_id, a.board_id, row_number() OVER (
            PARTITION BY a.user_id, a.pin_id ORDER BY b.save_count, a.board_id) AS place
          FROM acted AS a JOIN (
            SELECT user_id, board_id, count(*) AS save_count FROM acted
            WHERE action_type = 'save' AND board_id <> '' GROUP BY user_id, board_id
          ) AS b ON b.user_id = a.user_id AND b.board_id = a.board_id
          WHERE a.action_type = 'save'
        ) AS numbered WHERE place = 1
        """,
        name="query_boards",
    )


def validation_start(engine: BatchEngine, share: float) -> int:
    """
    The time from which on impressions are for judging: the newest *share* of them, at least.

    Raises:
        JobFailed: If all impressions are of one moment, so that nothing is left to train on.
    """
    engine.sql(
        "SELECT impression_time_us, count(*) AS row_count FROM shown "
        "GROUP BY impression_time_us ORDER BY impression_time_us",
        name="moments",
    )
    moments = engine.read("moments")
    times = moments["impression_time_us"].to_numpy()
    counts = moments["row_count"].to_numpy()
    if times.size < 2:
        raise JobFailed(
            f"{int(counts.sum())} usable impressions of {times.size} moment(s): one part must be "
            "later than the other",
            hint="replay at two times or more, or wait for more traffic; impressions of other "
            "versions of the features are not usable",
        )
    newer = np.cumsum(counts[::-1])[::-1]
    place = int(np.flatnonzero(newer >= share * counts.sum())[-1])
    return int(times[max(place, 1)])


def read_examples(engine: BatchEngine, labelling: Labelling, *, boundary_us: int) -> Examples:
    """
    Label what was shown and read it.

    For examples before *boundary_us* only actions before it count, so that training knows nothing
    of the time it is judged on. Examples of whose horizon too little is over are left out. An
    action that names one of the lists counts for that list only; one that names none counts for
    every list that showed its user the pin within the horizon. An action told twice counts once.

    Args:
        engine: With the tables of `open_tables`.
        labelling: How.
        boundary_us: Where validation begins.
    """
    horizon, part = labelling.horizon_us, round(labelling.horizon_us * WINDOW_SHARE_MIN)
    rejections = _quoted(REJECTIONS)
    outcomes = ", ".join(
        f"max(CASE WHEN a.action_type IN ({_quoted(kinds)}) THEN 1 ELSE 0 END) AS did_{name}"
        for name, kinds in OBJECTIVES.items()
        if kinds
    )
    told = ", ".join(f"coalesce(o.did_{name}, 0) AS did_{name}" for name in list(OBJECTIVES)[1:])
    engine.sql(
        f"""
        SELECT s.list_id, s.position,
          max(CASE WHEN a.strength >= {labelling.strength_min} AND (
              q.board_id IS NULL OR a.list_id = s.list_id
              OR (a.action_type = 'save' AND a.board_id = q.board_id)
            ) THEN 1 ELSE 0 END) AS is_liked,
          max(CASE WHEN a.action_type IN ({rejections}) THEN 1 ELSE 0 END) AS is_rejected,
          {outcomes}
        FROM shown AS s JOIN acted AS a ON a.user_id = s.user_id AND a.pin_id = s.pin_id
          LEFT JOIN query_boards AS q
            ON q.user_id = s.user_id AND q.query_pin_id = s.query_pin_id
        WHERE a.action_time_us >= s.impression_time_us
          AND a.action_time_us < s.impression_time_us + {horizon}
          AND (s.impression_time_us >= {boundary_us} OR a.action_time_us < {boundary_us})
          AND (a.list_id IS NULL OR a.list_id = s.list_id)
        GROUP BY s.list_id, s.position
        """,  # noqa: S608  our own constants
        name="outcomes",
    )
    engine.sql(
        f"""
        SELECT s.list_id, s.position, s.user_id, s.impression_time_us, s.features, s.pin_id,
          coalesce(s.is_randomised, false) AS is_randomised, {told},
          CASE WHEN s.query_pin_id <> '' THEN concat('pin:', s.query_pin_id)
            ELSE concat('user:', s.user_id) END AS query_key,
          CASE WHEN o.is_liked = 1 AND o.is_rejected = 0 THEN 1 ELSE 0 END AS label
        FROM shown AS s LEFT JOIN outcomes AS o
          ON o.list_id = s.list_id AND o.position = s.position
        WHERE s.user_id <> '' AND ((s.impression_time_us >= {boundary_us}
               AND s.impression_time_us + {horizon} <= {labelling.as_of_us})
           OR s.impression_time_us + {part} <= {boundary_us})
        """,  # noqa: S608  our own constants
        name="examples",
    )
    return _as_arrays(engine.read("examples"))


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def _as_arrays(table: pa.Table) -> Examples:
    order = [(name, "ascending") for name in ("impression_time_us", "list_id", "position")]
    table = table.sort_by(order)
    values = table["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    users = table["user_id"].combine_chunks().dictionary_encode()
    parts = [crc32(word.encode()) % 65_536 for word in users.dictionary.to_pylist()]
    labels = table["label"].to_numpy().astype(np.int8)
    told = [table[f"did_{name}"].to_numpy().astype(np.int8) for name in list(OBJECTIVES)[1:]]
    return Examples(
        features=values.astype(np.float32).reshape(table.num_rows, len(FEATURE_NAMES)),
        labels=labels,
        times_us=table["impression_time_us"].to_numpy(),
        lists=_numbered(table["list_id"]),
        user_parts=np.array([*parts, 0], np.int64)[users.indices.to_numpy()],
        positions=table["position"].to_numpy().astype(np.int64),
        query_keys=_numbered(table["query_key"]),
        pin_keys=_keys(table["pin_id"]),
        outcomes=np.stack([labels, *told], axis=1),
        is_randomised=table["is_randomised"].to_numpy(zero_copy_only=False).astype(np.bool_),
    )


def _numbered(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A number for each distinct word, in order of first appearance, int64[n]."""
    return np.asarray(column.combine_chunks().dictionary_encode().indices.to_numpy(), np.int64)


def _keys(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """`pin_key` of each pin, int64[n]."""
    encoded = column.combine_chunks().dictionary_encode()
    keys = [*(pin_key(pin_id) for pin_id in encoded.dictionary.to_pylist()), 0]
    return np.asarray(np.array(keys, np.int64)[encoded.indices.to_numpy()])


def pin_key(pin_id: str) -> int:
    """The number that examples know a pin by, in [0, 2**63)."""
    return xxhash.xxh3_64_intdigest(pin_id.encode()) >> 1
