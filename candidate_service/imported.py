"""What was imported, as tables for the batch engine: pins, saves and actions before a time.

The columns are described in docs/data-format.md. A column that older files lack is null.
"""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa

from service_runtime.batch import BatchEngine

PINS: Final = pa.schema(
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
        ("vector", pa.list_(pa.float32())),
        ("import_seq", pa.int64()),
    ]
)
SAVES: Final = pa.schema(
    [
        ("save_id", pa.string()),
        ("board_id", pa.string()),
        ("pin_id", pa.string()),
        ("user_id", pa.string()),
        ("save_time_us", pa.int64()),
        ("import_seq", pa.int64()),
    ]
)
ACTIONS: Final = pa.schema(
    [
        ("action_id", pa.string()),
        ("user_id", pa.string()),
        ("pin_id", pa.string()),
        ("action_type", pa.string()),
        ("action_time_us", pa.int64()),
        ("strength", pa.float32()),
    ]
)


def open_pins(engine: BatchEngine, data_root: Path, as_of_us: int) -> None:
    """Name `pins`: what was last imported about each pin that existed before *as_of_us*.

    A pin without a creation time counts as old.
    """
    engine.table("pin_rows", data_root / "catalogue" / "pins", schema=PINS)
    kept = ", ".join(PINS.names)
    engine.sql(
        f"select {kept} from ("
        f"select {kept}, row_number() over ("
        "partition by pin_id order by import_seq desc, title, image_url, creation_time_us"
        ") as newness from pin_rows "
        f"where creation_time_us is null or creation_time_us < {as_of_us}"
        ") numbered where newness = 1",
        name="pins",
    )


def open_saves(engine: BatchEngine, data_root: Path, as_of_us: int) -> None:
    """Name `saves`: each pin on a board once, with its newest save before *as_of_us*.

    A save without a time counts as old; its `save_time_us` is null.
    """
    engine.table("save_rows", data_root / "catalogue" / "saves", schema=SAVES)
    engine.sql(
        "select board_id, pin_id, max(user_id) as user_id, max(save_time_us) as save_time_us, "
        "count(distinct save_id) as save_count from save_rows "
        f"where save_time_us is null or save_time_us < {as_of_us} "
        "group by board_id, pin_id",
        name="saves",
    )


def open_actions(engine: BatchEngine, data_root: Path, as_of_us: int) -> None:
    """Name `actions`: each action before *as_of_us* once."""
    engine.table("action_rows", data_root / "events" / "actions", schema=ACTIONS)
    engine.sql(
        "select action_id, max(user_id) as user_id, max(pin_id) as pin_id, "
        "max(action_type) as action_type, max(action_time_us) as action_time_us, "
        "max(strength) as strength from action_rows "
        f"where action_time_us < {as_of_us} group by action_id",
        name="actions",
    )
