"""What every batch engine promises: common SQL, and grouped lists through Arrow kernels.

Jobs are written once against this promise. Inputs and outputs are folders of Parquet files, so a
job's steps are also its checkpoints. The SQL is the part that engines agree on: aggregates,
`row_number` / `lead` / `sum` over a written-out window, `union all` with aliases in every branch,
explicit `cast`, `exp`, integer `%`, GROUP BY column names. Not in it: ASOF joins, IGNORE NULLS,
named windows, GROUP BY ALL, an order of rows that no ORDER BY asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

Kernel = Callable[[pa.RecordBatch], pa.Table | pa.RecordBatch]
"""Grouped lists in, rows out. Runs in several threads at once: pure, without the GIL at best."""

Advance = Callable[[int], object]
"""Told how many groups were finished since the last time."""

PathOrPaths = Path | str | Sequence[Path | str]


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """
    How an engine may use the machine.

    Attributes:
        engine: Which engine; `duckdb` runs in this process.
        threads: Most threads at once; 0 = the cores this process may use.
        memory_limit: Most memory before it spills to disk, such as `4GB`; empty = half of what the
            machine (or its container) has.
        spill_folder: Where it spills; None = a folder in the system's temporary folder.
    """

    engine: str = "duckdb"
    threads: int = 0
    memory_limit: str = ""
    spill_folder: Path | None = None


class BatchEngine(Protocol):
    """Runs the heavy steps of jobs. One thread at a time may call it."""

    threads: int

    def table(
        self, name: str, path_or_paths: PathOrPaths, *, schema: pa.Schema | None = None
    ) -> None:
        """
        Name Parquet files as a table.

        Args:
            name: Letters, digits and `_`; replaces what had the name.
            path_or_paths: Files, or folders that are searched to any depth; names that start with
                `.` or `_` are passed over; folders `key=value` add a column. The list is taken now.
            schema: Columns wanted, in order, cast to these types; a column that some or all files
                lack is null there, others are dropped. With it, no file at all is an empty table.

        Raises:
            NotFound: If there is no file and no schema.
        """

    def register(self, name: str, table: pa.Table) -> None:
        """Name an Arrow table of this process as a table; for small ones."""

    def sql(
        self,
        query: str,
        *,
        out: Path | str | None = None,
        name: str | None = None,
        partition_by: Sequence[str] = (),
    ) -> None:
        """
        Run a query in the common SQL.

        Args:
            query: One SELECT.
            out: Folder that is replaced by the result's Parquet files once all is written; without
                it the query runs whenever *name* is read.
            name: Name of the result for later steps.
            partition_by: Columns that become folders `key=value` of *out*.
        """

    def map_lists(
        self,
        source: str,
        key: str,
        columns: Sequence[str],
        kernel: Kernel,
        schema: pa.Schema,
        *,
        out: Path | str,
        name: str | None = None,
        progress: Advance | None = None,
        order_by: Sequence[str] = (),
        shard: tuple[int, int] | None = None,
    ) -> None:
        """
        Group a table by a key and run a kernel over the groups.

        Args:
            source: Name of a table.
            key: Column to group by; rows where it is null are left out.
            columns: Columns whose values of a group become a list, all in the same order.
            kernel: Takes batches of whole groups, sorted by key: the key and one list column for
                each of *columns*; gives rows of *schema*. No group is split over batches.
            schema: Of the result.
            out: Folder that is replaced by the result's Parquet files once all is written.
            name: Name of the result for later steps.
            progress: Told how many groups were finished.
            order_by: Columns of *source* that order each list; rows equal in them are ordered by
                *columns*, so that the same rows always give the same lists.
            shard: (i, n): only the i-th of n disjoint parts of the keys, 0 <= i < n, written to its
                own file beside those of other parts.
        """

    def read(self, name: str) -> pa.Table:
        """Return a table as Arrow."""

    def stream(self, name: str, *, batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Return a table piece by piece, each of at most about *batch_rows* rows."""

    def count(self, name: str) -> int:
        """Return the number of rows of a table."""

    def columns(self, name: str) -> Mapping[str, str]:
        """Return the names and the engine's types of a table's columns."""

    def close(self) -> None:
        """Give memory and spilled files back; nothing may be asked afterwards."""
