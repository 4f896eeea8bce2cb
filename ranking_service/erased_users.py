"""
Who was erased and when: a log of keys, not of names, that every export honours.

A row of a user is erased if it is from before the erasure; the same user may come back afterwards.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ranking_service.pin_keys import keys_of_arrow
from service_runtime.ended_logs import read_all
from service_runtime.files import sync_path


def erased_root(data_root: Path) -> Path:
    """Where the logs are, one folder a process."""
    return data_root / "live" / "erased_users"


def encode_erasure(user_key: int, time_us: int) -> bytes:
    """An erasure as a record of the log."""
    return orjson.dumps({"user": user_key, "time_us": time_us})


def read_erased(data_root: Path) -> dict[int, int]:
    """Up to when each erased user is forgotten, microseconds since the epoch, by user key."""
    erased: dict[int, int] = {}
    for payload in read_all(erased_root(data_root)):
        told = orjson.loads(payload)
        user, time_us = int(told["user"]), int(told["time_us"])
        erased[user] = max(time_us, erased.get(user, 0))
    return erased


def is_erased(table: pa.Table, erased: Mapping[int, int]) -> NDArray[np.bool_]:
    """
    Which rows are of erased users, bool[n].

    Args:
        table: With `user_id` and `impression_time_us`.
        erased: Up to when each erased user is forgotten, by user key.
    """
    if not erased or not table.num_rows:
        return np.zeros(table.num_rows, np.bool_)
    keys = np.array(sorted(erased), np.uint64)
    times = np.array([erased[int(key)] for key in keys], np.int64)
    users = keys_of_arrow(table["user_id"])
    places = np.minimum(np.searchsorted(keys, users), keys.size - 1)
    shown = table["impression_time_us"].to_numpy()
    return np.asarray((keys[places] == users) & (shown <= times[places]))


def without_erased(table: pa.Table, erased: Mapping[int, int]) -> pa.Table:
    """The rows of all others."""
    gone = is_erased(table, erased)
    return table.filter(pa.array(~gone)) if gone.any() else table


def rewrite_without(folder: Path, erased: Mapping[int, int]) -> int:
    """
    Rewrite every Parquet file below a folder that holds rows of erased users.

    Returns:
        How many rows went.
    """
    removed = 0
    for path in sorted(folder.glob("day=*/*.parquet")) if erased else ():
        columns = pq.read_table(path, columns=["user_id", "impression_time_us"], partitioning=None)
        gone = is_erased(columns, erased)
        if not gone.any():
            continue
        table = pq.read_table(path, partitioning=None).filter(pa.array(~gone))
        unfinished = path.with_name(f".{path.name}.writing")
        pq.write_table(table, unfinished, compression="zstd")
        sync_path(unfinished)
        unfinished.rename(path)
        removed += int(gone.sum())
    return removed


def rows_of_user(folder: Path, user_key: int) -> int:
    """Rows of a user in the Parquet files below a folder."""
    count = 0
    for path in folder.glob("day=*/*.parquet"):
        users = pq.read_table(path, columns=["user_id"], partitioning=None)["user_id"]
        count += int((keys_of_arrow(users) == np.uint64(user_key)).sum())
    return count
