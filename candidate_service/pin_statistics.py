"""What people did with each pin, in numbers, row aligned: features for ranking."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from candidate_service.action_types import STRENGTHS
from service_runtime.generations import Draft

ARTIFACT: Final = "pin_statistics"
FORMAT_VERSION: Final = 1
STATISTICS_FILE: Final = "statistics.arrow"
DECAYED: Final = tuple(f"decayed_{action_type}" for action_type in STRENGTHS)
SCHEMA: Final = pa.schema(
    [
        *((name, pa.float32()) for name in ("save_count", "board_count", "user_count")),
        *((name, pa.float32()) for name in DECAYED),
        ("popularity", pa.float32()),
        ("newest_save_time_us", pa.int64()),
        ("newest_action_time_us", pa.int64()),
    ]
)
"""One record batch, no nulls; counts are 0 and times 0 where nothing happened. README.md."""


def write_statistics(draft: Draft, statistics: pa.Table) -> None:
    """Write the columns of `SCHEMA`, one row for each row of the catalogue."""
    table = statistics.select(SCHEMA.names).cast(SCHEMA).combine_chunks()
    with (
        pa.OSFile(str(draft.path(STATISTICS_FILE)), "wb") as file,
        pa.ipc.new_file(file, SCHEMA) as writer,
    ):
        writer.write_table(table)
