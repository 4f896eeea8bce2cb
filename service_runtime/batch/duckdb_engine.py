"""The embedded batch engine: DuckDB in this process, spilling to disk, kernels on a thread pool.

The only file that imports duckdb, and its traps: 2.0 renamed the Arrow methods, extensions would be
downloaded at run time (switched off), a connection belongs to one thread, and ordered list
aggregates sort every list column on its own and do not spill well; therefore `map_lists` lets
DuckDB sort the rows (which does spill) and cuts the groups out of the sorted stream itself: 5M rows
in 50,000 groups with two columns take 1.9 s of CPU, ordered list aggregates 5.8 s.
"""

# ruff: noqa: S608  queries are put together from checked names and quoted paths, never from data

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from service_runtime.batch.engine import Advance, Kernel, PathOrPaths
from service_runtime.batch.grouping import group_rows
from service_runtime.config import core_count
from service_runtime.errors import InvalidRequest, NotFound

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_READ_ROWS: Final = 65_536
_SPILL_PREFIX: Final = "batch-spill-"
_OWNER: Final = ".owner"


class DuckDbEngine:
    """See `BatchEngine`; use it as a context or close it."""

    def __init__(
        self, threads: int = 0, memory_limit: str = "", spill_folder: Path | None = None
    ) -> None:
        """Open an empty database in memory; the arguments are those of `BatchSettings`."""
        self.threads = threads or core_count()
        self._spill, self._spill_owner = _own_spill_folder(spill_folder)
        self._connection = duckdb.connect(":memory:")
        for setting, value in (
            ("threads", str(self.threads)),
            ("memory_limit", f"'{memory_limit or _half_of_memory()}'"),
            ("temp_directory", _quoted(self._spill)),
            ("preserve_insertion_order", "false"),
            ("autoinstall_known_extensions", "false"),
            ("autoload_known_extensions", "false"),
            ("enable_progress_bar", "false"),
        ):
            self._run(f"set {setting} = {value}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def table(
        self, name: str, path_or_paths: PathOrPaths, *, schema: pa.Schema | None = None
    ) -> None:
        """Name Parquet files as a table."""
        files = _parquet_files(path_or_paths)
        if files:
            listed = ", ".join(_quoted(file) for file in files)
            scan = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = true)"
            present = set(self._described(f"select * from {scan}"))
        elif schema is None:
            raise NotFound(f"there are no Parquet files for {name} in {path_or_paths}")
        else:
            scan, present = "(select 1) nothing where false", set()
        chosen = "*"
        if schema is not None:
            types = self._types_of(schema)
            chosen = ", ".join(
                f"cast({column if field in present else 'null'} as {kind}) as {column}"
                for field, kind in types.items()
                for column in [_column(field)]
            )
        self._view(name, f"select {chosen} from {scan}")

    def register(self, name: str, table: pa.Table) -> None:
        """Name an Arrow table of this process as a table."""
        _checked(name)
        self._connection.register("registered_now", table)
        try:
            self._drop(name)
            self._run(f"create table {_column(name)} as select * from registered_now")
        finally:
            self._connection.unregister("registered_now")

    def sql(
        self,
        query: str,
        *,
        out: Path | str | None = None,
        name: str | None = None,
        partition_by: Sequence[str] = (),
    ) -> None:
        """Run a query; write it, name it, or both."""
        if out is None:
            if name is None or partition_by:
                raise InvalidRequest("a query needs a name or a folder to go to")
            self._view(name, query)
            return
        with _Replacement(Path(out)) as folder:
            options = "format parquet, compression zstd"
            target = folder / "part-0.parquet"
            if partition_by:
                columns = ", ".join(_column(column) for column in partition_by)
                options += f", partition_by ({columns})"
                target = folder
            self._run(f"copy ({query}) to {_quoted(target)} ({options})")
        if name is not None:
            self._name_result(name, Path(out), query)

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
        """Group a table by a key and run a kernel over the groups."""
        part = "part-0.parquet"
        condition = f"{_column(key)} is not null"
        if shard is not None:
            index, count = shard
            if not 0 <= index < count:
                raise InvalidRequest(f"shard {index} of {count} does not exist")
            part = f"part-{index:05d}-of-{count:05d}.parquet"
            condition += f" and hash({_column(key)}) % {count} = {index}"
        order = list(dict.fromkeys((key, *order_by, *columns)))
        query = (
            f"select {', '.join(map(_column, (key, *columns)))} from {_column(source)} "
            f"where {condition} order by {', '.join(map(_column, order))}"
        )
        groups = group_rows(self._batches(query, _READ_ROWS), key, columns)
        with _Replacement(Path(out), part if shard is not None else None) as folder:
            self._write_mapped(groups, kernel, schema, folder / part, progress)
        if name is not None:
            self.table(name, out, schema=schema)

    def read(self, name: str) -> pa.Table:
        """Return a table as Arrow."""
        return self._connection.sql(f"select * from {_column(name)}").to_arrow_table()

    def stream(self, name: str, *, batch_rows: int = _READ_ROWS) -> Iterator[pa.RecordBatch]:
        """Return a table piece by piece."""
        return self._batches(f"select * from {_column(name)}", batch_rows)

    def count(self, name: str) -> int:
        """Return the number of rows of a table."""
        return int(self._run(f"select count(*) from {_column(name)}")[0][0])

    def columns(self, name: str) -> Mapping[str, str]:
        """Return the names and types of a table's columns."""
        return self._described(f"select * from {_column(name)}")

    def close(self) -> None:
        """Close the database and remove what it spilled."""
        self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)
        if self._spill_owner >= 0:
            os.close(self._spill_owner)
            self._spill_owner = -1

    def _batches(self, query: str, batch_rows: int) -> Iterator[pa.RecordBatch]:
        cursor = self._connection.cursor()  # its own result, so that steps may interleave
        try:
            yield from cursor.sql(query).to_arrow_reader(batch_rows)
        finally:
            cursor.close()

    def _write_mapped(
        self,
        groups: Iterator[pa.RecordBatch],
        kernel: Kernel,
        schema: pa.Schema,
        path: Path,
        progress: Advance | None,
    ) -> None:
        """Run the kernel in threads and write its results in the order of the batches."""
        waiting: deque[tuple[int, Future[pa.Table | pa.RecordBatch]]] = deque()
        with (
            pq.ParquetWriter(path, schema, compression="zstd") as writer,
            ThreadPoolExecutor(self.threads, thread_name_prefix="batch-kernel") as pool,
        ):

            def write_oldest() -> None:
                group_count, result = waiting.popleft()
                _append(writer, result.result(), schema)
                if progress is not None:
                    progress(group_count)

            try:
                for batch in groups:
                    waiting.append((batch.num_rows, pool.submit(kernel, batch)))
                    if len(waiting) > 2 * self.threads:
                        write_oldest()
                while waiting:
                    write_oldest()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _name_result(self, name: str, out: Path, query: str) -> None:
        if _parquet_files(out):
            self.table(name, out)
        else:  # a partitioned result without rows has no files
            self._view(name, f"select * from ({query}) nothing where false")

    def _view(self, name: str, query: str) -> None:
        _checked(name)
        self._drop(name)
        self._run(f"create view {_column(name)} as {query}")

    def _drop(self, name: str) -> None:
        """Forget what has a name: a view, or a table that was registered."""
        kinds = self._run(
            "select table_type from information_schema.tables where table_name = ?", [name]
        )
        for (kind,) in kinds:
            self._run(f"drop {'view' if kind == 'VIEW' else 'table'} {_column(name)}")

    def _run(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute and fetch all: an unfinished result would block the connection."""
        rows: list[tuple[Any, ...]] = self._connection.execute(query, list(values)).fetchall()
        return rows

    def _described(self, query: str) -> dict[str, str]:
        return {str(row[0]): str(row[1]) for row in self._run(f"describe {query}")}

    def _types_of(self, schema: pa.Schema) -> dict[str, str]:
        """Return DuckDB's name for the type of each field."""
        sample = schema.empty_table()
        self._connection.register("schema_sample", sample)
        try:
            return self._described("select * from schema_sample")
        finally:
            self._connection.unregister("schema_sample")


class _Replacement:
    """
    A temporary folder that takes the place of another once all is written, or nothing happens.

    With *part*, only that file of the folder is replaced, so that shards can write side by side.
    """

    def __init__(self, target: Path, part: str | None = None) -> None:
        self._target = target
        self._part = part

    def __enter__(self) -> Path:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{self._target.name}.{os.getpid()}-"
        self._temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=self._target.parent))
        self._temporary.chmod(0o755)
        return self._temporary

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._switch()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _switch(self) -> None:
        if self._part is not None:
            self._target.mkdir(exist_ok=True)
            (self._temporary / self._part).replace(self._target / self._part)
            return
        old = self._temporary.with_name(self._temporary.name + ".old")
        with suppress(FileNotFoundError):
            self._target.rename(old)
        self._temporary.rename(self._target)
        shutil.rmtree(old, ignore_errors=True)


def _append(writer: pq.ParquetWriter, result: pa.Table | pa.RecordBatch, schema: pa.Schema) -> None:
    table = pa.Table.from_batches([result]) if isinstance(result, pa.RecordBatch) else result
    if not table.schema.equals(schema):
        table = table.select(schema.names).cast(schema)
    if table.num_rows:
        writer.write_table(table)


def _parquet_files(path_or_paths: PathOrPaths) -> list[Path]:
    """Return the Parquet files at or below paths, sorted, without hidden ones."""
    paths = [path_or_paths] if isinstance(path_or_paths, str | Path) else list(path_or_paths)
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_file():
            files.append(path)
        files += [
            file
            for file in sorted(path.rglob("*.parquet"))
            if file.is_file() and not _is_hidden(file.relative_to(path))
        ]
    return files


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _checked(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} cannot name a table: letters, digits and _ only")


def _column(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(path: Path | str) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _own_spill_folder(parent: Path | None) -> tuple[Path, int]:
    """Make a folder that is ours as long as we live, and remove those whose owners are dead."""
    parent = Path(tempfile.gettempdir() if parent is None else parent)
    parent.mkdir(parents=True, exist_ok=True)
    for other in parent.glob(f"{_SPILL_PREFIX}*"):
        if not _is_in_use(other):
            shutil.rmtree(other, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_SPILL_PREFIX, dir=parent))
    owner = os.open(folder / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(owner, fcntl.LOCK_EX)
    return folder, owner


def _is_in_use(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / _OWNER, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # just being made, or not ours to judge
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _half_of_memory() -> str:
    """Return half of what the machine or the container has, as DuckDB writes it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return f"{total // 2 // 1024**2}MiB"
