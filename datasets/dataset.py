"""The value that every loader here makes: three tables, and the folder that they are written to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PIN_SCHEMA = pa.schema(
    [
        ("pin_id", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("topics", pa.list_(pa.string())),
        ("language", pa.string()),
        ("country", pa.string()),
        ("owner_id", pa.string()),
        ("image_url", pa.string()),
        ("creation_time_us", pa.int64()),
    ],
)
SAVE_SCHEMA = pa.schema(
    [
        ("save_id", pa.string()),
        ("board_id", pa.string()),
        ("board_title", pa.string()),
        ("pin_id", pa.string()),
        ("user_id", pa.string()),
        ("save_time_us", pa.int64()),
    ],
)
ACTION_SCHEMA = pa.schema(
    [
        ("action_id", pa.string()),
        ("user_id", pa.string()),
        ("pin_id", pa.string()),
        ("action_type", pa.string()),
        ("action_time_us", pa.int64()),
    ],
)


@dataclass(frozen=True, slots=True)
class Pin:
    """A thing that can be recommended.

    Attributes:
        pin_id: 1 to 128 bytes, no control characters.
        title: What a reader is shown.
        description: A sentence, or "" for none.
        topics: Lower case words, most telling first.
        creation_time_us: When the pin came to be, microseconds since the Unix epoch, or None.
        language: Two letters, or None where the source does not say.
        vector: Any finite direction, or None; all pins of a data set have one or none has.
        country: Two letters, or None.
        owner_id: Who made it, or None.
        image_url: Where its picture is, or a `data:` address that holds it, or None.
        visual_vector: How its picture looks, as `vector` in a space of its own.
    """

    pin_id: str
    title: str
    description: str = ""
    topics: tuple[str, ...] = ()
    creation_time_us: int | None = None
    language: str | None = None
    vector: tuple[float, ...] | None = None
    country: str | None = None
    owner_id: str | None = None
    image_url: str | None = None
    visual_vector: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """A pin put onto a board by a user; time in microseconds since the Unix epoch."""

    save_id: str
    board_id: str
    board_title: str
    pin_id: str
    user_id: str
    save_time_us: int


@dataclass(frozen=True, slots=True)
class Action:
    """Anything else that a user did to a pin; `action_type` in lower case, e.g. `close_up`."""

    action_id: str
    user_id: str
    pin_id: str
    action_type: str
    action_time_us: int


@dataclass(frozen=True, slots=True)
class DataSet:
    """Pins, saves and actions of one origin, in the order in which they are written.

    Attributes:
        name: What it is called on the command line.
        pins: Every pin once.
        saves: A save is also an action, which the import sees to: `actions` does not repeat it.
        actions: All other actions.
    """

    name: str
    pins: Sequence[Pin]
    saves: Sequence[Save]
    actions: Sequence[Action]

    def write(self, folder: Path) -> Path:
        """Write the import folder: `pins.parquet`, `saves.parquet` and `actions.parquet`.

        Args:
            folder: Made if it is not there; the three files are replaced if they are.

        Returns:
            *folder*, so that a call can stand inside another.
        """
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(_pin_table(self.pins), folder / "pins.parquet")
        pq.write_table(_table(self.saves, SAVE_SCHEMA), folder / "saves.parquet")
        pq.write_table(_table(self.actions, ACTION_SCHEMA), folder / "actions.parquet")
        return folder


def _table(values: Sequence[object], schema: pa.Schema) -> pa.Table:
    """One column per field of the schema; a field that the value lacks is null."""
    columns = [[getattr(value, name, None) for value in values] for name in schema.names]
    arrays = [
        pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _pin_table(pins: Sequence[Pin]) -> pa.Table:
    """The pins' table; columns of what few data sets have are there only if a pin has it."""
    table = _table(pins, PIN_SCHEMA)
    for name in ("vector", "visual_vector"):
        values = [getattr(pin, name) for pin in pins]
        if any(value is not None for value in values):
            vectors = pa.array(values, type=pa.list_(pa.float32()))
            table = table.append_column(name, vectors)
    return table
