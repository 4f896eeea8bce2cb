"""
What the storage of service_runtime does in a second, beside the obvious way of doing it.

    python benchmarks/bench_storage.py            # about a minute
    python benchmarks/bench_storage.py --quick    # a few seconds, figures rough

Ids: batches of 1,000 random ids of a million, each batch new to the caches, against a dict and a
list of the same ids; rounds are interleaved and the median counts. Groups: rows into lists in a
given order, against DuckDB's ordered list aggregate, CPU seconds. Log: appends of one record of
1 KB, with and without sync. Checks: verified bytes a second, warm.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from service_runtime.batch.duckdb_engine import DuckDbEngine
from service_runtime.event_log import EventLog
from service_runtime.generations import GenerationStore
from service_runtime.id_table import IdTable

BATCH = 1_000


def main() -> None:
    """Run all parts and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip  # noqa: E501
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    print("## Storage of service_runtime\n")
    with tempfile.TemporaryDirectory() as folder:
        bench_ids(Path(folder), 50_000 if quick else 1_000_000, 20 if quick else 300)
        bench_groups(Path(folder), 100_000 if quick else 5_000_000)
        bench_log(Path(folder), 200 if quick else 5_000)
        bench_checks(Path(folder), 1 << (22 if quick else 29))


def bench_ids(folder: Path, count: int, rounds: int) -> None:
    """Look-ups in both directions against dict and list."""
    ids = [f"pin-{number * 7919 % 1_000_000_007:x}-{number % 97}" for number in range(count)]
    start = time.perf_counter()
    table = IdTable.build(ids, folder / "ids")
    built = time.perf_counter() - start
    rows_of = {name: row for row, name in enumerate(ids)}
    chance = np.random.default_rng(1)
    batches = [chance.integers(0, count, BATCH).astype(np.int32) for _ in range(rounds)]
    # As they come off the wire: strings of their own, beside one another in memory.
    names = [[ids[row].encode().decode() for row in batch] for batch in batches]
    unknown = [[name + "?" for name in batch] for batch in names]
    agree = all(
        np.array_equal(table.rows(batch), rows)
        for batch, rows in zip(names[:5], batches, strict=False)
    )
    print(f"Ids: {count:,}, built in {built:.2f} s, answers agree: {agree}; {BATCH:,} at a time.\n")
    print("| look-up | table us | dict or list us | ratio |\n|---|---|---|---|")
    for label, ours, theirs, inputs in (
        ("ids to rows, known", table.rows, lambda b: [rows_of.get(n, -1) for n in b], names),
        ("ids to rows, unknown", table.rows, lambda b: [rows_of.get(n, -1) for n in b], unknown),
        ("rows to ids", table.ids, lambda b: [ids[row] for row in b.tolist()], batches),
    ):
        mine, other = interleaved(ours, theirs, inputs)
        print(f"| {label} | {mine * 1e6:.0f} | {other * 1e6:.0f} | {other / mine:.1f}× |")


def interleaved(
    ours: Callable[[Any], object], theirs: Callable[[Any], object], inputs: Sequence[Any]
) -> tuple[float, float]:
    """Median seconds of both on the same inputs, in turns: each meets every second input first."""
    times: tuple[list[float], list[float]] = ([], [])
    half = len(inputs) // 2
    for index in range(half):
        for side, function in enumerate((ours, theirs)):
            value = inputs[(index + side * half) % len(inputs)]
            start = time.perf_counter()
            function(value)
            times[side].append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def bench_groups(folder: Path, count: int) -> None:
    """`map_lists` against an ordered list aggregate in SQL."""
    chance = np.random.default_rng(1)
    keys = np.char.add("user-", chance.integers(0, count // 100, count).astype(str))
    rows = {"key": keys, "a": chance.integers(0, 10**6, count), "b": chance.integers(0, 10**9, count)}  # fmt: skip  # noqa: E501
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    schema = pa.schema([("key", pa.string()), ("n", pa.int64())])

    def sizes(batch: pa.RecordBatch) -> pa.Table:
        lengths = np.diff(batch.column("a").offsets.to_numpy()).astype(np.int64)
        return pa.table({"key": batch.column("key"), "n": lengths})

    with DuckDbEngine(2, "4GB", folder / "spill") as engine:
        engine.table("t", folder / "rows.parquet")
        start = time.process_time()
        engine.map_lists("t", "key", ["a", "b"], sizes, schema, out=folder / "o", order_by=["b"])
        ours = time.process_time() - start
        engine.sql(
            "select key, list(a order by b) as a, list(b order by b) as b from t group by key",
            name="lists",
        )
        start = time.process_time()
        for batch in engine.stream("lists", batch_rows=8192):
            sizes(batch)
        theirs = time.process_time() - start
    print("\n| what | ours | beside it | ratio |\n|---|---|---|---|")
    print(
        f"| {count:,} rows into {count // 100:,} groups of two ordered lists | {ours:.2f} CPU s | "
        f"{theirs:.2f} CPU s (SQL list aggregate) | {theirs / ours:.1f}× |"
    )


def bench_log(folder: Path, count: int) -> None:
    """Appends a second."""
    payload = bytes(1024)
    with EventLog(folder / "log") as log:
        start = time.perf_counter()
        for _ in range(count):
            log.append([payload])
        plain = (time.perf_counter() - start) / count
        synced_count = max(count // 50, 10)
        start = time.perf_counter()
        for _ in range(synced_count):
            log.append([payload])
            log.sync()
        synced = (time.perf_counter() - start) / synced_count
        start = time.perf_counter()
        read_count = sum(1 for _ in log.read())
        read = (time.perf_counter() - start) / read_count
    print(
        f"| event log, 1 KB | append {plain * 1e6:.1f} us, read {read * 1e6:.1f} us | "
        f"with sync {synced * 1e6:.0f} us | |"
    )


def bench_checks(folder: Path, size: int) -> None:
    """Publish and verify a large file."""
    store = GenerationStore(folder / "generations")
    with store.draft("big", format_version=1) as draft:
        draft.path("data.bin").write_bytes(np.random.default_rng(1).bytes(size))
        start = time.perf_counter()
        draft.publish(as_of_us=0)
        published = time.perf_counter() - start
    start = time.perf_counter()
    store.current("big")
    verified = time.perf_counter() - start
    print(
        f"| generation of {size / 1e6:,.0f} MB | publish {published:.2f} s | verify "
        f"{verified:.2f} s = {size / verified / 1e9:.1f} GB/s | |"
    )


if __name__ == "__main__":
    main()
