"""The columns that an import may have, under which names, and how they are stored.

docs/data-format.md says the same to users; a test holds the two together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Final

import pyarrow as pa

from corkboard.profile.v1.profile_service_pb2 import ActionType

ID_BYTES_MAX: Final = 128
SHORT_ID_BYTES_MAX: Final = 123
"""For ids that get a prefix of five bytes: `save:` before a save id, `user:` before a user id."""
TEXT_BYTES_MAX: Final = 65_536
WORD_BYTES_MAX: Final = 128
DIMENSION_MAX: Final = 4_096
FUTURE_SECONDS_MAX: Final = 300
ATTRIBUTE_COUNT_MAX: Final = 32
ATTRIBUTE_BYTES_MAX: Final = 500
ATTRIBUTE_NAME: Final = r"[a-z][a-z0-9_]{0,63}"
ATTRIBUTES_TYPE: Final = pa.map_(pa.string(), pa.string())
ATTRIBUTE_PREFIX: Final = "attributes."
"""A column `attributes.market` holds the attribute `market` of each pin."""

ACTION_TYPES: Final = tuple(
    name.removeprefix("ACTION_TYPE_").lower() for name, number in ActionType.items() if number
)
"""What a user can do to a pin, as the wire's enum names it."""

ACTION_TYPE_ALIASES: Final = {
    "closeup": "close_up",
    "longclick": "long_click",
    "repin": "save",
    "addtocart": "add_to_cart",
}


class Kind(Enum):
    """What the values of a column are, and so which rules they obey."""

    ID = "id"
    TEXT = "text"
    WORD = "word"
    WORDS = "list of words"
    TIME = "time"
    NUMBER = "number from -1 to 1"
    VECTOR = "vector"
    ACTION_TYPE = "action type"
    SHARE = "number from 0 to 1"
    FLAG = "true or false"
    HASH = "hash"
    ATTRIBUTES = "attributes"
    ATTRIBUTE = "attribute"


_STORED: Final = {
    Kind.ID: pa.string(),
    Kind.TEXT: pa.string(),
    Kind.WORD: pa.string(),
    Kind.WORDS: pa.list_(pa.string()),
    Kind.TIME: pa.int64(),
    Kind.NUMBER: pa.float32(),
    Kind.VECTOR: pa.list_(pa.float32()),
    Kind.ACTION_TYPE: pa.string(),
    Kind.SHARE: pa.float32(),
    Kind.FLAG: pa.bool_(),
    Kind.HASH: pa.int64(),
    Kind.ATTRIBUTES: ATTRIBUTES_TYPE,
    Kind.ATTRIBUTE: pa.string(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """
    One column of a form.

    Attributes:
        name: As it is stored.
        kind: What its values are.
        aliases: Other names that are understood.
        is_required: Whether every row must have a value.
        bytes_max: Longest id.
        may_be_ahead: Whether a time may lie in the future.
        is_one_line: Whether a text must be without control characters; it is trimmed.
    """

    name: str
    kind: Kind
    aliases: tuple[str, ...] = ()
    is_required: bool = False
    bytes_max: int = ID_BYTES_MAX
    may_be_ahead: bool = False
    is_one_line: bool = False

    @property
    def stored_type(self) -> pa.DataType:
        """The Arrow type under which it is stored."""
        return _STORED[self.kind]


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of file: its columns, and of which columns each row needs at least one."""

    name: str
    columns: tuple[Column, ...]
    needs_one_of: tuple[str, ...] = ()

    def schema(self) -> pa.Schema:
        """Columns as they are stored."""
        return pa.schema([(column.name, column.stored_type) for column in self.columns])

    def column_named(self, given: str) -> Column | None:
        """Return the column that a user's name means, None if it means none."""
        wanted = normal_name(given)
        for column in self.columns:
            if wanted == column.name or wanted in column.aliases:
                return column
        is_attribute = wanted.startswith(ATTRIBUTE_PREFIX) and any(
            column.kind is Kind.ATTRIBUTES for column in self.columns
        )
        if is_attribute and re.fullmatch(ATTRIBUTE_NAME, wanted.removeprefix(ATTRIBUTE_PREFIX)):
            return Column(wanted, Kind.ATTRIBUTE)
        return None

    def advice(self, given: str) -> str:
        """Say what an unknown column's name may have meant, "" if nothing is near."""
        names = {name: column.name for column in self.columns for name in _names(column)}
        close = get_close_matches(normal_name(given), [*names], 1, cutoff=0.7)
        return f"did you mean {names[close[0]]}?" if close else ""


def normal_name(given: str) -> str:
    """Return a column name as it is compared: `Pin ID` is `pin_id`."""
    return given.strip().lower().replace(" ", "_").replace("-", "_")


def _names(column: Column) -> tuple[str, ...]:
    return (column.name, *column.aliases)


_PIN: Final = Column("pin_id", Kind.ID, ("pin", "item_id", "item"), is_required=True)
_TIME_ALIASES: Final = ("time", "timestamp", "time_us", "time_ms", "time_s", "created_at")

PINS: Final = Form(
    "pins",
    (
        Column("pin_id", Kind.ID, ("pin", "item_id", "item", "id"), is_required=True),
        Column("title", Kind.TEXT, ("name",)),
        Column("description", Kind.TEXT, ("text", "body")),
        Column("topics", Kind.WORDS, ("topic", "tags", "categories", "category", "genres")),
        Column("language", Kind.WORD, ("lang",)),
        Column("country", Kind.WORD),
        Column("owner_id", Kind.ID, ("owner", "author_id", "creator_id")),
        Column("image_url", Kind.TEXT, ("image",), is_one_line=True),
        Column("creation_time_us", Kind.TIME, ("creation_time", *_TIME_ALIASES)),
        Column("vector", Kind.VECTOR, ("embedding",)),
        Column("text_vector", Kind.VECTOR, ("text_embedding",)),
        Column("visual_vector", Kind.VECTOR, ("visual_embedding", "image_embedding")),
        Column("attributes", Kind.ATTRIBUTES, ("properties",)),
        Column("quality", Kind.SHARE, ("image_quality",)),
        Column("is_hidden", Kind.FLAG, ("hidden",)),
        Column(
            "expiration_time_us",
            Kind.TIME,
            ("expiration_time", "expires_at", "expires"),
            may_be_ahead=True,
        ),
        Column("image_hash", Kind.HASH, ("phash",)),
    ),
)
SAVES: Final = Form(
    "saves",
    (
        Column("save_id", Kind.ID, bytes_max=SHORT_ID_BYTES_MAX),
        Column("board_id", Kind.ID, ("board", "collection_id")),
        _PIN,
        Column("user_id", Kind.ID, ("user", "customer_id")),
        Column("save_time_us", Kind.TIME, ("save_time", "saved_at", *_TIME_ALIASES)),
        Column("board_title", Kind.TEXT, ("board_name",)),
    ),
    needs_one_of=("board_id", "user_id"),
)
ACTIONS: Final = Form(
    "actions",
    (
        Column("action_id", Kind.ID, ("event_id",)),
        Column("user_id", Kind.ID, ("user", "customer_id"), is_required=True),
        _PIN,
        Column(
            "action_type",
            Kind.ACTION_TYPE,
            ("action", "type", "event", "event_type"),
            is_required=True,
        ),
        Column("action_time_us", Kind.TIME, ("action_time", "event_time", *_TIME_ALIASES)),
        Column("strength", Kind.NUMBER, ("weight",)),
        Column("board_id", Kind.ID, ("board", "collection_id")),
        Column("list_id", Kind.ID),
    ),
)
FORMS: Final = {form.name: form for form in (PINS, SAVES, ACTIONS)}

PAIR_NAMES: Final = ("interactions", "pairs")
"""File names of bare user-pin pairs: saves, or actions if they have an action type."""
