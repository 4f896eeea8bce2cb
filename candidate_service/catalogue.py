"""Every pin that can be recommended: its row, its id, and what was imported about it.

Rows only ever grow: a new generation keeps each pin at the row it had, so whatever holds row
numbers stays right under any newer catalogue of the same *id space* (a random name given at the
first build and carried on).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service_runtime.errors import Corrupted
from service_runtime.generations import Draft, Generation
from service_runtime.id_table import IdTable

ARTIFACT: Final = "catalogue"
FORMAT_VERSION: Final = 2
READABLE_VERSIONS: Final = frozenset({1, 2})
"""Version 1 ends with `creation_time_us`; of what came later it knows nothing."""
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
        ("attributes", pa.map_(pa.large_string(), pa.large_string())),
        ("quality", pa.float32()),
        ("is_hidden", pa.bool_()),
        ("is_deleted", pa.bool_()),
        ("expiration_time_us", pa.int64()),
        ("image_hash", pa.uint64()),
    ]
)
"""What is kept of each pin, nulls where nothing was imported; one record batch, row aligned."""
_COLUMN_COUNTS: Final = {1: 8, 2: len(PINS_SCHEMA)}

_HINT: Final = "build it again: python -m candidate_service.jobs.build_catalogue"


class Catalogue:
    """One opened generation; read-only, safe from any number of threads.

    Attributes:
        ids: Pin ids to rows and back.
        pins: What is known of each row, columns of `PINS_SCHEMA`, mapped from the file.
        id_space: Name of the row space; artifacts of another one do not fit.
        live_positions: Up to which position of each live log, by its name, changes are in here.
        dimensions: Of the imported `vector`, `text_vector` and `visual_vector`; none where no pin
            has one.
    """

    def __init__(
        self,
        ids: IdTable,
        pins: pa.Table,
        id_space: str,
        *,
        live_positions: Mapping[str, int] | None = None,
        dimensions: Mapping[str, int] | None = None,
    ) -> None:
        """Take parts that belong together; use `open_catalogue`."""
        self.ids = ids
        self.pins = pins
        self.id_space = id_space
        self.live_positions = dict(live_positions or {})
        self.dimensions = dict(dimensions or {})

    def __len__(self) -> int:
        """Return the number of pins, deleted ones included: they keep their rows."""
        return len(self.ids)

    def known_of(self, rows: NDArray[np.int32], *, columns: Sequence[str] = ()) -> pa.Table:
        """Return what is known of some rows, in their order; a row of -1 gives nulls.

        Args:
            rows: Of the catalogue, or -1.
            columns: Which of `PINS_SCHEMA`, () = all: their values are copied.
        """
        pins = self.pins.select(columns) if columns else self.pins
        return pins.take(pa.array(rows, mask=rows < 0))

    def lineage(self) -> dict[str, Any]:
        """Return what every artifact in this row space says in its manifest's details.

        `id_space`: whose rows these are. `live_positions`: what was changed in the service after
        them may be missing in the artifact, so the segment of live changes must have it.
        """
        return {"id_space": self.id_space, "live_positions": self.live_positions}

    def deleted(self) -> NDArray[np.bool_]:
        """Return which pins are deleted, bool[n]: jobs leave them out of what can be proposed."""
        return _flags(self.pins, "is_deleted")

    def not_proposed(self, now_us: int) -> NDArray[np.bool_]:
        """Return which pins are deleted, hidden, or expired at a time, bool[n]."""
        gone = self.deleted() | _flags(self.pins, "is_hidden")
        expires = self.pins.column("expiration_time_us")
        if expires.null_count < len(self):
            gone |= _whole(pc.fill_null(pc.less_equal(expires, now_us), False))
        return gone


def inherited_lineage(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an artifact that is made of another one takes over from that one's details."""
    return {
        "id_space": details["id_space"],
        "live_positions": details.get("live_positions", {}),
    }


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
    pins = _mapped(generation.file(PINS_FILE), generation.manifest.format_version)
    details: dict[str, Any] = dict(generation.manifest.details)
    counts = {len(ids), pins.num_rows, details.get("pin_count")}
    if len(counts) != 1 or not details.get("id_space"):
        raise Corrupted(
            f"catalogue {generation.id}: {len(ids)} ids, {pins.num_rows} pins, details {details}",
            hint=_HINT,
        )
    return Catalogue(
        ids,
        pins,
        str(details["id_space"]),
        live_positions=details.get("live_positions"),
        dimensions=details.get("dimensions"),
    )


def _mapped(path: Path, format_version: int) -> pa.Table:
    try:
        pins = pa.ipc.open_file(pa.memory_map(str(path), "r")).read_all()
    except (OSError, pa.ArrowInvalid) as fault:
        raise Corrupted(f"{path} cannot be read: {fault}", hint=_HINT) from fault
    expected = list(PINS_SCHEMA)[: _COLUMN_COUNTS[format_version]]
    if list(pins.schema) != expected:
        raise Corrupted(f"{path} has the columns {pins.schema.names}", hint=_HINT)
    for field in list(PINS_SCHEMA)[len(expected) :]:
        pins = pins.append_column(field, pa.nulls(pins.num_rows, field.type))
    return pins


def _flags(pins: pa.Table, name: str) -> NDArray[np.bool_]:
    column = pins.column(name)
    if column.null_count == len(column):
        return np.zeros(len(column), np.bool_)
    return _whole(pc.fill_null(column, False))


def _whole(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.array(column.to_numpy(zero_copy_only=False), np.bool_)
