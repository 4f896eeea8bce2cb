"""What was imported, as tables for the batch engine: pins, saves and actions before a time.

The columns are described in docs/data-format.md. A column that older files lack is null. Rows that
were exported from the live log have a `live_time_us`; they count as younger than the import whose
`import_seq` they bear, and older than the next one.
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
        ("text_vector", pa.list_(pa.float32())),
        ("visual_vector", pa.list_(pa.float32())),
        ("attributes", pa.map_(pa.string(), pa.string())),
        ("quality", pa.float32()),
        ("is_hidden", pa.bool_()),
        ("is_deleted", pa.bool_()),
        ("expiration_time_us", pa.int64()),
        ("image_hash", pa.int64()),
        ("import_seq", pa.int64()),
        ("live_time_us", pa.int64()),
    ]
)
"""`image_hash` holds the 64 bits of the hash as a signed number; `numpy.int64.view("uint64")`."""
VECTOR_COLUMNS: Final = ("vector", "text_vector", "visual_vector")
SAVES: Final = pa.schema(
    [
        ("save_id", pa.string()),
        ("board_id", pa.string()),
        ("pin_id", pa.string()),
        ("user_id", pa.string()),
        ("save_time_us", pa.int64()),
        ("board_title", pa.string()),
        ("is_deleted", pa.bool_()),
        ("import_seq", pa.int64()),
        ("live_time_us", pa.int64()),
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
    """Name `pins`: the newest row of each pin that existed before *as_of_us* and is not deleted.

    A pin without a creation time counts as old; of a change in the service it counts when it was
    made. `all_pins` has the deleted ones as well.
    """
    engine.table("pin_rows", data_root / "catalogue" / "pins", schema=PINS)
    kept = ", ".join(PINS.names)
    engine.sql(
        f"select {kept} from ("
        f"select {kept}, row_number() over (partition by pin_id order by import_seq desc, "
        "coalesce(live_time_us, -1) desc, title, image_url, creation_time_us"
        ") as newness from pin_rows "
        f"where {_is_earlier('creation_time_us', as_of_us)}"
        ") numbered where newness = 1",
        name="all_pins",
    )
    engine.sql("select * from all_pins where not coalesce(is_deleted, false)", name="pins")


def open_saves(engine: BatchEngine, data_root: Path, as_of_us: int) -> None:
    """Name `saves`: each pin on a board once, with its newest save before *as_of_us*.

    A save without a time counts as old; its `save_time_us` is null. Saves that were taken back do
    not count. `single_saves` has every save with its id; `board_titles` the newest title of boards
    that have one.
    """
    engine.table("all_save_rows", data_root / "catalogue" / "saves", schema=SAVES)
    is_earlier = _is_earlier("save_time_us", as_of_us)
    engine.sql(f"select * from all_save_rows where {is_earlier}", name="save_rows")
    _open_single_saves(engine)
    engine.sql(
        "select board_id, pin_id, max(user_id) as user_id, max(save_time_us) as save_time_us, "
        "count(distinct save_id) as save_count from single_saves group by board_id, pin_id",
        name="saves",
    )
    engine.sql(
        "select board_id, board_title from (select board_id, board_title, row_number() over ("
        "partition by board_id order by import_seq desc, coalesce(live_time_us, -1) desc, "
        "save_time_us desc, board_title) as newness "
        "from single_saves where board_title <> '') numbered where newness = 1",
        name="board_titles",
    )


def _is_earlier(column: str, as_of_us: int) -> str:
    """Return SQL for what was known before a time; of a change, when it was made decides."""
    return (
        f"case when live_time_us is null then {column} is null or {column} < {as_of_us} "
        f"else live_time_us < {as_of_us} end"
    )


def _open_single_saves(engine: BatchEngine) -> None:
    """Name `single_saves`: saves as imported, changed by the newest live row of each."""
    kept = ", ".join(name for name in SAVES.names if name != "is_deleted")
    engine.sql(
        f"select {kept}, is_deleted from (select {kept}, is_deleted, row_number() over ("
        "partition by save_id order by import_seq desc, live_time_us desc) as newness "
        "from save_rows where live_time_us is not null) numbered where newness = 1",
        name="live_saves",
    )
    engine.sql(
        "select save_id, max(import_seq) as import_seq from save_rows where live_time_us is null "
        "and save_id in (select save_id from live_saves) group by save_id",
        name="imported_again",
    )
    of_import = ", ".join(f"rows_.{name}" for name in kept.split(", "))
    of_live = ", ".join(f"live.{name}" for name in kept.split(", "))
    engine.sql(
        f"select {of_import} from save_rows rows_ "
        "left join live_saves live on rows_.save_id = live.save_id "
        "where rows_.live_time_us is null "
        "and (live.save_id is null or rows_.import_seq > live.import_seq) "
        f"union all select {of_live} from live_saves live "
        "left join imported_again again on again.save_id = live.save_id "
        "where not coalesce(live.is_deleted, false) "
        "and (again.import_seq is null or again.import_seq <= live.import_seq)",
        name="single_saves",
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
