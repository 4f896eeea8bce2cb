"""Every pin that can be recommended: its row, its id, and what was imported about it.

Rows only ever grow: a new generation keeps each pin at the row it had, so whatever holds row
numbers stays right under any newer catalogue of the same *id space* (a random name given at the
first build and carried on).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service_runtime.errors import Corrupted
from service_runtime.generations import Draft, Generation
from service_runtime.id_table import IdTable

ARTIFACT: Final = "catalogue"
FORMAT_VERSION: Final = 1
IDS_FOLDER: Final = "pin_ids"
PINS_FILE: Final = "pins.arrow"
PINS_SCHEMA: Final = pa.schema(
    [
        ("title", pa.large_string()),
        ("description", pa.large_string()),
        ("topics", pa.large_list(pa.large_string())),
        ("language", pa.large_string()),
        ("country", pa.large_string()),
        ("owner_id", pa.large_string()),
        ("image_url", pa.large_string()),
        ("creation_time_us", pa.int64()),
    ]
)
"""What is kept of each pin, nulls where nothing was imported; one record batch, row aligned."""

_HINT: Final = "build it again: python -m candidate_service.jobs.build_catalogue"


class Catalogue:
    """One opened generation; read-only, safe from any number of threads.

    Attributes:
        ids: Pin ids to rows and back.
        pins: What is known of each row, columns of `PINS_SCHEMA`, mapped from the file.
        id_space: Name of the row space; artifacts of another one do not fit.
    """

    def __init__(self, ids: IdTable, pins: pa.Table, id_space: str) -> None:
        """Take parts that belong together; use `open_catalogue`."""
        self.ids = ids
        self.pins = pins
        self.id_space = id_space

    def __len__(self) -> int:
        """Return the number of pins."""
        return len(self.ids)

    def known_of(self, rows: NDArray[np.int32]) -> pa.Table:
        """Return what is known of some rows, in their order; a row of -1 gives nulls."""
        return self.pins.take(pa.array(rows, mask=rows < 0))


def write_catalogue(draft: Draft, ids: IdTable, pins: pa.Table) -> None:
    """Write the attributes of all pins; the ids were written below `IDS_FOLDER` when extended.

    Args:
        draft: Generation in the making.
        ids: Its id table.
        pins: Columns of `PINS_SCHEMA`, one row for each id, in the order of rows.
    """
    assert len(ids) == pins.num_rows
    table = pins.select(PINS_SCHEMA.names).cast(PINS_SCHEMA).combine_chunks()
    with (
        pa.OSFile(str(draft.path(PINS_FILE)), "wb") as file,
        pa.ipc.new_file(file, PINS_SCHEMA) as writer,
    ):
        writer.write_table(table)


def open_catalogue(generation: Generation) -> Catalogue:
    """Map a generation.

    Raises:
        Corrupted: Its parts do not fit each other.
    """
    ids = IdTable.open(generation.path / IDS_FOLDER)
    pins = _mapped(generation.file(PINS_FILE))
    details: dict[str, Any] = dict(generation.manifest.details)
    counts = {len(ids), pins.num_rows, details.get("pin_count")}
    if len(counts) != 1 or not details.get("id_space"):
        raise Corrupted(
            f"catalogue {generation.id}: {len(ids)} ids, {pins.num_rows} pins, details {details}",
            hint=_HINT,
        )
    return Catalogue(ids, pins, str(details["id_space"]))


def _mapped(path: Path) -> pa.Table:
    try:
        pins = pa.ipc.open_file(pa.memory_map(str(path), "r")).read_all()
    except (OSError, pa.ArrowInvalid) as fault:
        raise Corrupted(f"{path} cannot be read: {fault}", hint=_HINT) from fault
    if pins.schema != PINS_SCHEMA:
        raise Corrupted(f"{path} has the columns {pins.schema.names}", hint=_HINT)
    return pins
