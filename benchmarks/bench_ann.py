"""Nearest neighbours: the index against a full scan, number types, filters, the cache, threads.

Times of searches are CPU times of the calling thread, so that other work on the machine shows
little; waiting (adds, threads) is wall time, in interleaved rounds of which the median counts.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a scan is one thread's work, as in the server

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from candidate_service.candidate import SharedMask
from candidate_service.index_settings import NUMBERS, IndexSettings
from candidate_service.neighbours import FilterPlan, NeighbourCache, Neighbours, over_fetched
from candidate_service.vector_index import LiveVectorIndex, VectorIndex, build_index, open_index
from candidate_service.vector_recall import recall_against
from service_runtime.generations import GenerationStore

DEPTH = 100
FILTERED_DEPTH = 192  # 133 for each of three medoids, and some spare
ADDS_PER_S = 200

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.float64]) -> Vectors:
    """Scale rows to unit length."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def spread(rng: np.random.Generator, count: int, dimension: int) -> Vectors:
    """Vectors of few underlying directions, as learned ones are."""
    latent = rng.standard_normal((count, 24)) @ rng.standard_normal((24, dimension))
    return unit(latent + 0.5 * rng.standard_normal((count, dimension)))


def clustered(rng: np.random.Generator, count: int, dimension: int) -> Vectors:
    """Tight groups of equal distance: the hardest kind for a graph."""
    centres = rng.standard_normal((count // 50, dimension))
    return unit(
        np.repeat(centres, 50, axis=0)[:count] + 0.7 * rng.standard_normal((count, dimension))
    )


def cpu_us(call: Callable[[Vectors], object], queries: Vectors) -> float:
    """Median CPU time of a call over the queries, microseconds."""
    times = []
    for query in queries:
        started = time.thread_time_ns()
        call(query)
        times.append(time.thread_time_ns() - started)
    return median(times) / 1000


def blas_scan(vectors: Vectors, query: Vectors) -> NDArray[np.intp]:
    """The baseline: one product, a partial sort, a sort."""
    cosines = vectors @ query
    best = np.argpartition(-cosines, DEPTH)[:DEPTH]
    return best[np.argsort(-cosines[best])]


def build(
    vectors: Vectors, folder: Path, number_type: str = "bf16"
) -> tuple[VectorIndex, int, float]:
    """Build the graph; also give its search effort and the CPU seconds it took."""
    settings = IndexSettings(exact_count_max=0, number_type=number_type)
    started = time.process_time()
    path = folder / f"{id(vectors)}.usearch"
    report = build_index(
        vectors, path, settings, rng=np.random.default_rng(1), advance=lambda _: None
    )
    seconds = time.process_time() - started
    index = VectorIndex(
        vectors, path=path, expansion_search=report.expansion_search, number_type=number_type
    )
    return index, report.expansion_search, seconds


def search_lines(folder: Path, *, count: int, dimension: int, query_count: int) -> list[str]:
    """Compare searching the graph with scanning, on both kinds of data."""
    columns = (
        f"{count:,} x {dimension}, recall@{DEPTH}", "effort", "recall", "graph us", "BLAS scan us",
        "our scan us", "graph against BLAS scan", "build CPU s", "MB",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for make in (spread, clustered):
        rng = np.random.default_rng(7)
        vectors = make(rng, count, dimension)
        index, effort, seconds = build(vectors, folder)
        scan = VectorIndex(vectors, path=None)
        queries = vectors[rng.choice(count, query_count, replace=False)]
        hits = [
            len({*index.nearest(query[None], DEPTH)[0][0].tolist()} & {*blas_scan(vectors, query)})
            for query in queries
        ]
        graph_us = cpu_us(lambda q, index=index: index.nearest(q[None], DEPTH), queries)
        blas_us = cpu_us(lambda q, vectors=vectors: blas_scan(vectors, q), queries[:50])
        scan_us = cpu_us(lambda q, scan=scan: scan.nearest(q[None], DEPTH), queries[:50])
        megabytes = (folder / f"{id(vectors)}.usearch").stat().st_size / 1e6
        recall = np.mean(hits) / DEPTH
        lines.append(
            f"| {make.__name__} | {effort} | {recall:.3f} | {graph_us:.0f} | {blas_us:.0f} "
            f"| {scan_us:.0f} | **{blas_us / graph_us:.1f}x** | {seconds:.0f} | {megabytes:.0f} |"
        )
    return lines


def number_lines(folder: Path, *, count: int, dimension: int, query_count: int) -> list[str]:
    """Compare how the graph keeps numbers: effort for the same recall, time, build, size."""
    lines = [
        (
            f"| {count:,} x {dimension}, recall@{DEPTH} | effort | recall | search us "
            "| against bf16 | build CPU s | MB |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    rng = np.random.default_rng(7)
    vectors = spread(rng, count, dimension)
    queries = vectors[rng.choice(count, query_count, replace=False)]
    truths = [blas_scan(vectors, query) for query in queries]
    reference = 0.0
    for number_type in NUMBERS:
        index, effort, seconds = build(vectors, folder, number_type)
        hits = [
            len({*index.nearest(query[None], DEPTH)[0][0].tolist()} & {*truth.tolist()})
            for query, truth in zip(queries, truths, strict=True)
        ]
        took = cpu_us(lambda q, index=index: index.nearest(q[None], DEPTH), queries)
        reference = reference or took
        megabytes = (folder / f"{id(vectors)}.usearch").stat().st_size / 1e6
        lines.append(
            f"| {number_type} | {effort} | {np.mean(hits) / DEPTH:.3f} | {took:.0f} "
            f"| {took / reference:.2f}x | {seconds:.0f} | {megabytes:.0f} |"
        )
    return lines


def filter_lines(index: VectorIndex, *, query_count: int) -> list[str]:
    """Search under filters: our choice, each way alone, and a graph that does not know of them."""
    vectors = index.vectors
    count = len(vectors)
    rng = np.random.default_rng(11)
    queries = vectors[rng.choice(count, query_count, replace=False)]
    direction = vectors @ vectors[rng.integers(count)]
    lines = [
        (
            f"| {count:,} pins, {FILTERED_DEPTH} wanted | recall: dropped afterwards "
            "| recall: ours | ours us | fetched us | scanned us | ours against the better way |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for ratio, is_corner in ((0.5, False), (0.1, False), (0.01, False), (0.1, True)):
        mask = rng.random(count) < ratio
        if is_corner:
            mask = direction >= np.quantile(direction, 1 - ratio)
        cache, plan = NeighbourCache(index, 0), FilterPlan(index, mask)
        shared = SharedMask(ratio, mask)
        ways: dict[str, Callable[[Vectors], list[Neighbours]]] = {
            "ours": lambda q, c=cache, s=shared: c.search(q[None], FILTERED_DEPTH, s),
            "fetched": lambda q, p=plan: over_fetched(index, q[None], FILTERED_DEPTH, p),
            "scanned": lambda q, p=plan: index.nearest_among(q[None], p.rows, FILTERED_DEPTH),
        }
        found: dict[str, list[float]] = {"ours": [], "plain": []}
        for query in queries:
            truth = ways["scanned"](query)[0][1]
            found["ours"].append(recall_against(ways["ours"](query)[0][1], truth))
            rows, cosines = index.nearest(query[None], FILTERED_DEPTH)[0]
            found["plain"].append(recall_against(cosines[mask[rows]], truth))
        times = {name: cpu_us(way, queries[:100]) for name, way in ways.items()}
        better = min(times["fetched"], times["scanned"])
        name = f"{ratio:.0%}{' in a corner' if is_corner else ''}"
        lines.append(
            f"| {name} | {np.mean(found['plain']):.3f} | **{np.mean(found['ours']):.3f}** "
            f"| {times['ours']:.0f} | {times['fetched']:.0f} | {times['scanned']:.0f} "
            f"| {times['ours'] / better:.2f}x |"
        )
    return lines


def skew_lines(index: VectorIndex, *, question_count: int, sizes: tuple[int, ...]) -> list[str]:
    """Ask for medoids as they are asked for: few of them often (Zipf, exponent 0.8)."""
    count = len(index.vectors)
    rng = np.random.default_rng(13)
    weights = (np.arange(1, count + 1) + 5.0) ** -0.8
    order = rng.permutation(count)
    asked = order[rng.choice(count, question_count, p=weights / weights.sum())].astype(np.int32)
    lines = [
        (
            f"| lists kept, {question_count:,} questions, {count:,} medoids | hit rate "
            "| us a question | against none kept |"
        ),
        "| --- | --- | --- | --- |",
    ]
    without = 0.0
    for size in sizes:
        cache = NeighbourCache(index, size)
        started = time.thread_time()
        for row in asked:
            cache.nearest(row.reshape(1), 192)
        took = (time.thread_time() - started) / question_count * 1e6
        without = without or took
        lines.append(
            f"| {size:,} | {cache.hit_ratio:.3f} | {took:.0f} | {without / took:.1f}x less |"
        )
    return lines


def small_lines(folder: Path, *, dimension: int, counts: tuple[int, ...]) -> list[str]:
    """Show from which size on a graph pays: three query pins, as in a request."""
    lines = [
        f"| pins x {dimension}, 3 queries of {DEPTH} | graph us | scan us | graph against scan |",
        "| --- | --- | --- | --- |",
    ]
    for count, make in [(count, make) for count in counts for make in (spread, clustered)]:
        rng = np.random.default_rng(7)
        vectors = make(rng, count, dimension)
        index, _, _ = build(vectors, folder)
        scan = VectorIndex(vectors, path=None)
        triples = vectors[rng.choice(count, (60, 3))]
        graph_us = cpu_us(lambda q, index=index: index.nearest(q, DEPTH), triples)
        scan_us = cpu_us(lambda q, scan=scan: scan.nearest(q, DEPTH), triples)
        lines.append(
            f"| {make.__name__} {count:,} | {graph_us:.0f} | {scan_us:.0f} "
            f"| {scan_us / graph_us:.1f}x |"
        )
    return lines


def waits(live: LiveVectorIndex, queries: Vectors, seconds: float) -> list[float]:
    """Search for some time at a steady pace, and return how long each search took, seconds."""
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        started = time.perf_counter()
        live.nearest(queries[len(times) % len(queries)], DEPTH)
        times.append(time.perf_counter() - started)
    return times


def adding(live: LiveVectorIndex, vectors: Vectors, first_row: int, stop: threading.Event) -> None:
    """Add rows one at a time, so many a second, until told to stop."""
    row = first_row
    due = time.perf_counter()
    while not stop.is_set():
        live.add(row, vectors[row % len(vectors)])
        row += 1
        due += 1 / ADDS_PER_S
        time.sleep(max(0.0, due - time.perf_counter()))


def add_lines(*, count: int, dimension: int, round_count: int, seconds: float) -> list[str]:
    """Compare searches with and without adds going on."""
    rng = np.random.default_rng(3)
    vectors = spread(rng, count, dimension)
    live = LiveVectorIndex(dimension, settings=IndexSettings(), expansion_search=128)
    for row, vector in enumerate(vectors):
        live.add(row, vector)
    queries = vectors[rng.choice(count, 500)]
    alone: list[NDArray[np.float64]] = []
    beside: list[NDArray[np.float64]] = []
    for number in range(round_count):
        alone.append(np.percentile(waits(live, queries, seconds), [50, 99]))
        stop = threading.Event()
        adder = threading.Thread(
            target=adding, args=(live, vectors, count + number * 100_000, stop)
        )
        adder.start()
        beside.append(np.percentile(waits(live, queries, seconds), [50, 99]))
        stop.set()
        adder.join()
    ratio = median(b[1] / a[1] for a, b in zip(alone, beside, strict=True))
    quiet, busy = np.median(alone, axis=0) * 1e6, np.median(beside, axis=0) * 1e6
    return [
        f"| {count:,} x {dimension}, one index | p50 us | p99 us |",
        "| --- | --- | --- |",
        f"| searches alone | {quiet[0]:.0f} | {quiet[1]:.0f} |",
        f"| with {ADDS_PER_S} adds a second | {busy[0]:.0f} | {busy[1]:.0f} |",
        f"| p99 with adds against alone (median of {round_count} rounds) | | **{ratio:.2f}x** |",
    ]


def thread_lines(folder: Path, *, count: int, dimension: int, round_count: int) -> list[str]:
    """Show what a view a thread is for: one shared index serialises its callers."""
    vectors = spread(np.random.default_rng(5), count, dimension)
    index, _, _ = build(vectors, folder)
    shared = index._view()  # noqa: SLF001  the trap itself
    queries = vectors[:400]
    ways: dict[str, Callable[[Vectors], object]] = {
        "one view a thread (ours)": lambda query: index.nearest(query[None], DEPTH),
        "one index for all": lambda query: shared.search(query, DEPTH, threads=1),
    }

    def rate(search: Callable[[Vectors], object], threads: int) -> float:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(search, queries[:50]))
            started = time.perf_counter()
            for part in [
                pool.submit(lambda: [search(query) for query in queries]) for _ in range(threads)
            ]:
                part.result()
        return threads * len(queries) / (time.perf_counter() - started)

    lines = ["| two threads against one | searches a second |", "| --- | --- |"]
    for name, search in ways.items():
        gain = median(rate(search, 2) / rate(search, 1) for _ in range(round_count))
        lines.append(f"| {name} | {gain:.2f}x |")
    return lines


def large_index(folder: Path, data_root: Path | None, *, quick: bool) -> VectorIndex:
    """Build the graph for filters and cache, or take that of a data root."""
    if data_root is None:
        count, dimension = (2_000, 32) if quick else (200_000, 128)
        return build(spread(np.random.default_rng(17), count, dimension), folder)[0]
    published = GenerationStore(data_root / "generations").current("vector_index")
    assert published is not None
    return open_index(published)


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--tables", nargs="*", help="search small numbers filters cache …")
    parser.add_argument("--data-root", type=Path, help="whose index `filters` takes")
    parser.add_argument("--filtered", type=int, default=100, help="questions under each filter")
    options = parser.parse_args()
    quick = options.quick
    print("## Nearest neighbours (candidate_service)\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = (2_000, 32) if quick else (100_000, 256)
        small = (500,) if quick else (10_000, 20_000, 50_000)
        count, dimension = (500, 32) if quick else (50_000, 128)
        rounds, queries = (1, 20) if quick else (7, 300)
        makers: dict[str, Callable[[], list[list[str]]]] = {
            "search": lambda: [
                search_lines(folder, count=size[0], dimension=size[1], query_count=queries)
            ],
            "small": lambda: [small_lines(folder, dimension=dimension, counts=small)],
            "numbers": lambda: [
                number_lines(folder, count=count, dimension=dimension, query_count=queries)
            ],
            "filters": lambda: [
                filter_lines(
                    large_index(folder, options.data_root, quick=quick),
                    query_count=10 if quick else options.filtered,
                )
            ],
            "cache": lambda: [
                skew_lines(
                    large_index(folder, options.data_root, quick=quick),
                    question_count=200 if quick else 10_000,
                    sizes=(0, 20, 200) if quick else (0, 1_000, 10_000, 100_000),
                )
            ],
            "adds": lambda: [
                add_lines(
                    count=count,
                    dimension=dimension,
                    round_count=rounds,
                    seconds=0.1 if quick else 2.0,
                )
            ],
            "threads": lambda: [
                thread_lines(folder, count=count, dimension=dimension, round_count=rounds)
            ],
        }
        chosen = options.tables or list(makers)
        tables = [table for name in chosen for table in makers[name]()]
    print("\n\n".join("\n".join(table) for table in tables))


if __name__ == "__main__":
    main()
