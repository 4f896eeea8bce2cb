"""What every batch engine must do, whatever runs it.

An engine's test file subclasses `BatchEngineContract`, supplies `engine`, and adds what is peculiar
to it. The class is not collected by itself: its name does not start with Test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service_runtime.batch import BatchEngine
from service_runtime.errors import InvalidRequest, NotFound

SUMS = pa.schema([("key", pa.string()), ("count", pa.int64()), ("total", pa.int64())])


def sums(batch: pa.RecordBatch) -> pa.Table:
    """Count and add up each list."""
    lists = batch.column("value").to_pylist()
    return pa.table(
        {
            "key": batch.column("key"),
            "count": [len(values) for values in lists],
            "total": [sum(values) for values in lists],
        }
    )


def write(path: Path, **columns: object) -> Path:
    """Write one Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


class BatchEngineContract:
    """Subclass it and give a fixture `engine`."""

    def test_table_reads_files_at_any_depth(self, engine: BatchEngine, tmp_path: Path) -> None:
        """Folders are searched, hidden and unfinished files are passed over."""
        write(tmp_path / "in/a.parquet", x=[1])
        write(tmp_path / "in/deep/b.parquet", x=[2])
        write(tmp_path / "in/.hidden.parquet", x=[3])
        write(tmp_path / "in/_temporary/c.parquet", x=[4])

        engine.table("t", tmp_path / "in")

        assert sorted(engine.read("t")["x"].to_pylist()) == [1, 2]
        assert engine.count("t") == 2

    def test_table_takes_several_paths(self, engine: BatchEngine, tmp_path: Path) -> None:
        """Files and folders may be mixed."""
        one = write(tmp_path / "a.parquet", x=[1])
        write(tmp_path / "in/b.parquet", x=[2])

        engine.table("t", [one, tmp_path / "in"])

        assert sorted(engine.read("t")["x"].to_pylist()) == [1, 2]

    def test_no_file_with_a_schema_is_an_empty_table(
        self, engine: BatchEngine, tmp_path: Path
    ) -> None:
        """A log that nobody wrote yet can be queried."""
        schema = pa.schema([("x", pa.int64()), ("words", pa.list_(pa.string()))])
        engine.table("t", tmp_path / "absent", schema=schema)
        engine.sql("select count(*) as n, sum(x) as total from t", name="u")

        assert engine.count("t") == 0
        assert engine.read("t").schema.names == ["x", "words"]
        assert engine.read("u").to_pylist() == [{"n": 0, "total": None}]

    def test_no_file_without_a_schema_is_refused(self, engine: BatchEngine, tmp_path: Path) -> None:
        """A wrong path is an error, not an empty answer."""
        with pytest.raises(NotFound, match="absent"):
            engine.table("t", tmp_path / "absent")

    def test_schema_fills_casts_and_drops_columns(
        self, engine: BatchEngine, tmp_path: Path
    ) -> None:
        """Files of different ages are read as one table of the wanted columns and types."""
        write(tmp_path / "in/old.parquet", x=pa.array([1], pa.int32()), gone=["a"])
        write(tmp_path / "in/new.parquet", x=pa.array([2], pa.int64()), y=[0.5])
        schema = pa.schema([("y", pa.float32()), ("x", pa.int64()), ("z", pa.string())])

        engine.table("t", tmp_path / "in", schema=schema)

        table = engine.read("t").sort_by("x")
        assert table.to_pylist() == [{"y": None, "x": 1, "z": None}, {"y": 0.5, "x": 2, "z": None}]
        assert table.schema.field("y").type == pa.float32()
        assert table.schema.field("x").type == pa.int64()

    def test_odd_folder_names_are_only_names(self, engine: BatchEngine, tmp_path: Path) -> None:
        """Brackets, stars, quotes and spaces in a path mean nothing but themselves."""
        odd = tmp_path / "it's [1] *x? odd"
        write(odd / "in/a.parquet", x=[1])
        engine.table("t", odd / "in")
        engine.sql("select x from t", out=odd / "out", name="u")

        assert engine.read("u").to_pylist() == [{"x": 1}]

    def test_partition_folders_become_a_column(self, engine: BatchEngine, tmp_path: Path) -> None:
        """`key=value` folders are columns, written and read."""
        engine.register("t", pa.table({"n": [1, 2, 3], "kind": ["a", "b", "a"]}))
        engine.sql("select n, kind from t", out=tmp_path / "out", name="u", partition_by=["kind"])

        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["kind=a", "kind=b"]
        assert engine.read("u").sort_by("n")["kind"].to_pylist() == ["a", "b", "a"]

    def test_sql_writes_and_names(self, engine: BatchEngine, tmp_path: Path) -> None:
        """A result can be a folder of Parquet, a name, or both."""
        engine.register("t", pa.table({"x": [3, 1, 2]}))
        engine.sql("select x, x * 2 as y from t where x > 1", out=tmp_path / "out", name="u")
        engine.sql("select sum(y) as total from u", name="v")

        assert engine.read("v").to_pylist() == [{"total": 10}]
        assert sorted(pq.read_table(tmp_path / "out")["y"].to_pylist()) == [4, 6]

    def test_sql_keeps_an_order_that_was_asked_for(
        self, engine: BatchEngine, tmp_path: Path
    ) -> None:
        """ORDER BY at the top holds in the files."""
        chance = np.random.default_rng(1)
        engine.register("t", pa.table({"x": chance.integers(0, 10**9, 300_000)}))
        engine.sql("select x from t order by x", out=tmp_path / "out")

        found = np.concatenate(
            [pq.read_table(path)["x"].to_numpy() for path in sorted(tmp_path.rglob("*.parquet"))]
        )
        assert len(found) == 300_000
        assert (np.diff(found) >= 0).all()

    def test_output_replaces_what_was_there(self, engine: BatchEngine, tmp_path: Path) -> None:
        """A folder holds the last result only, and nothing temporary is left beside it."""
        engine.register("t", pa.table({"x": [1]}))
        engine.sql("select x, x as k from t", out=tmp_path / "out", partition_by=["k"])
        engine.sql("select x from t", out=tmp_path / "out")

        assert pq.read_table(tmp_path / "out").schema.names == ["x"]
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_a_failed_query_leaves_the_old_output(
        self, engine: BatchEngine, tmp_path: Path
    ) -> None:
        """An error half-way changes nothing that can be seen."""
        engine.register("t", pa.table({"x": ["1", "no number"]}))
        engine.sql("select x from t", out=tmp_path / "out")
        with pytest.raises(Exception, match="no number"):
            engine.sql("select cast(x as bigint) as x from t", out=tmp_path / "out")

        assert pq.read_table(tmp_path / "out").num_rows == 2
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_an_output_may_be_its_own_input(self, engine: BatchEngine, tmp_path: Path) -> None:
        """Rewriting a folder from itself works: the switch comes last."""
        write(tmp_path / "out/a.parquet", x=[1, 2])
        engine.table("t", tmp_path / "out")
        engine.sql("select x + 1 as x from t", out=tmp_path / "out", name="t")

        assert sorted(engine.read("t")["x"].to_pylist()) == [2, 3]

    def test_names_can_be_reused(self, engine: BatchEngine, tmp_path: Path) -> None:
        """A name means what it was given last, whatever it was before."""
        engine.register("t", pa.table({"x": [1]}))
        engine.sql("select 2 as x", name="t")
        engine.register("t", pa.table({"x": [3]}))
        engine.table("t", write(tmp_path / "a.parquet", x=[4]))

        assert engine.read("t").to_pylist() == [{"x": 4}]

    @pytest.mark.parametrize("name", ["", "a b", "a;drop", "1a", 'a"b'])
    def test_odd_names_are_refused(self, engine: BatchEngine, name: str) -> None:
        """A name cannot carry SQL."""
        with pytest.raises(InvalidRequest, match="cannot name a table"):
            engine.register(name, pa.table({"x": [1]}))

    def test_columns_and_stream(self, engine: BatchEngine) -> None:
        """Names of columns in order, and all rows in pieces."""
        engine.register("t", pa.table({"b": np.arange(10_000), "a": np.arange(10_000)}))

        pieces = list(engine.stream("t", batch_rows=1000))

        assert list(engine.columns("t")) == ["b", "a"]
        assert sum(piece.num_rows for piece in pieces) == 10_000
        assert max(piece.num_rows for piece in pieces) <= 2048

    def test_streams_may_interleave_with_other_steps(self, engine: BatchEngine) -> None:
        """While one table is read piece by piece, others can be asked."""
        engine.register("t", pa.table({"x": np.arange(10_000)}))

        counts = [engine.count("t") for _ in engine.stream("t", batch_rows=1000)]

        assert counts == [10_000] * len(counts)
        assert len(counts) > 1

    def test_map_lists_gives_each_group_once(self, engine: BatchEngine, tmp_path: Path) -> None:
        """Groups of any size reach the kernel whole, and progress tells how many."""
        chance = np.random.default_rng(1)
        sizes = np.concatenate((chance.integers(1, 30, 2000), [200_000, 1, 140_000]))
        keys = np.repeat(np.array([f"k{n}" for n in range(len(sizes))]), sizes)
        values = chance.integers(-99, 99, len(keys))
        shuffle = chance.permutation(len(keys))
        engine.register("t", pa.table({"key": keys[shuffle], "value": values[shuffle]}))
        told: list[int] = []

        engine.map_lists(
            "t", "key", ["value"], sums, SUMS, out=tmp_path / "out", name="u", progress=told.append
        )

        found = {row["key"]: row for row in engine.read("u").to_pylist()}
        starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        totals = np.add.reduceat(values, starts)
        assert len(found) == len(sizes) == sum(told) == engine.count("u")
        assert [found[f"k{n}"]["count"] for n in range(len(sizes))] == sizes.tolist()
        assert [found[f"k{n}"]["total"] for n in range(len(sizes))] == totals.tolist()

    def test_map_lists_orders_lists_and_keys(self, engine: BatchEngine, tmp_path: Path) -> None:
        """Keys come sorted; lists in the order of order_by, ties by the columns themselves."""
        engine.register(
            "t",
            pa.table(
                {"key": list("babaab"), "time": [2, 2, 1, 1, 2, 1], "value": [3, 9, 2, 4, 8, 1]}
            ),
        )
        seen: list[dict[str, object]] = []

        def look(batch: pa.RecordBatch) -> pa.Table:
            seen.extend(batch.to_pylist())
            return sums(batch)

        engine.map_lists(
            "t", "key", ["value", "time"], look, SUMS, out=tmp_path / "out", order_by=["time"]
        )

        assert seen == [
            {"key": "a", "value": [4, 8, 9], "time": [1, 2, 2]},
            {"key": "b", "value": [1, 2, 3], "time": [1, 1, 2]},
        ]

    def test_map_lists_gives_the_same_bytes_again(
        self, engine: BatchEngine, tmp_path: Path
    ) -> None:
        """Row order of the input does not show in the output."""
        chance = np.random.default_rng(2)
        keys = np.array([f"k{n}" for n in chance.integers(0, 5000, 200_000)])
        values = chance.integers(0, 99, 200_000)
        tables = []
        for name in ("one", "two"):
            shuffle = chance.permutation(200_000)
            engine.register("t", pa.table({"key": keys[shuffle], "value": values[shuffle]}))
            engine.map_lists("t", "key", ["value"], sums, SUMS, out=tmp_path / name)
            tables.append(pq.read_table(tmp_path / name))

        assert tables[0].equals(tables[1])

    def test_map_lists_leaves_null_keys_out(self, engine: BatchEngine, tmp_path: Path) -> None:
        """A row that belongs to nobody is in no list; null values stay in theirs."""
        engine.register("t", pa.table({"key": ["a", None, "a"], "value": [1, 2, None]}))
        seen: list[object] = []

        def look(batch: pa.RecordBatch) -> pa.Table:
            seen.extend(batch.to_pylist())
            return SUMS.empty_table()

        engine.map_lists("t", "key", ["value"], look, SUMS, out=tmp_path / "out", name="u")

        assert len(seen) == 1
        assert engine.count("u") == 0

    def test_map_lists_of_nothing_is_an_empty_table(
        self, engine: BatchEngine, tmp_path: Path
    ) -> None:
        """No rows: the kernel is not called, the result has its schema."""
        engine.table("t", tmp_path / "absent", schema=pa.schema([("key", pa.string()), ("value", pa.int64())]))  # fmt: skip  # noqa: E501
        engine.map_lists("t", "key", ["value"], sums, SUMS, out=tmp_path / "out", name="u")

        assert engine.read("u").schema.names == SUMS.names
        assert engine.count("u") == 0

    def test_map_lists_casts_to_its_schema(self, engine: BatchEngine, tmp_path: Path) -> None:
        """A kernel may give columns in another order and width."""
        engine.register("t", pa.table({"key": ["a"], "value": [1]}))

        def narrow(batch: pa.RecordBatch) -> pa.Table:
            return pa.table(
                {
                    "total": pa.array([7], pa.int8()),
                    "count": pa.array([1], pa.int32()),
                    "key": batch.column("key").cast(pa.large_string()),
                }
            )

        engine.map_lists("t", "key", ["value"], narrow, SUMS, out=tmp_path / "out", name="u")

        assert engine.read("u").to_pylist() == [{"key": "a", "count": 1, "total": 7}]

    def test_a_failing_kernel_leaves_the_old_output(
        self, engine: BatchEngine, tmp_path: Path
    ) -> None:
        """The kernel's own error comes out; nothing half-written is seen."""
        engine.register("t", pa.table({"key": ["a", "b"], "value": [1, 2]}))
        engine.map_lists("t", "key", ["value"], sums, SUMS, out=tmp_path / "out")

        def fail(batch: pa.RecordBatch) -> pa.Table:
            raise ArithmeticError(batch.num_rows)

        with pytest.raises(ArithmeticError):
            engine.map_lists("t", "key", ["value"], fail, SUMS, out=tmp_path / "out")

        assert pq.read_table(tmp_path / "out").num_rows == 2
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_shards_cover_every_key_once(self, engine: BatchEngine, tmp_path: Path) -> None:
        """Three shards side by side make the same rows as one run; a shard may be run again."""
        keys = [f"k{number % 500}" for number in range(3000)]
        engine.register("t", pa.table({"key": keys, "value": list(range(3000))}))
        engine.map_lists("t", "key", ["value"], sums, SUMS, out=tmp_path / "whole", name="whole")
        for index in (0, 1, 2, 1):
            engine.map_lists(
                "t", "key", ["value"], sums, SUMS, out=tmp_path / "parts", shard=(index, 3)
            )
        engine.table("parts", tmp_path / "parts")

        assert len(list((tmp_path / "parts").glob("*.parquet"))) == 3
        assert engine.read("parts").sort_by("key").equals(engine.read("whole").sort_by("key"))
        with pytest.raises(InvalidRequest, match="shard 3 of 3"):
            engine.map_lists(
                "t", "key", ["value"], sums, SUMS, out=tmp_path / "parts", shard=(3, 3)
            )
