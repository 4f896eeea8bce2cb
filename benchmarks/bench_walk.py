"""Pixie walks: interleaved walkers against a serial walk, threads, early stop; speed and overlap.

All variants of a table run in turns in one process, each with seeds of its own (so that none warms
the caches for another); figures are medians of CPU time of the calling thread, but for the table of
threads, which is wall time. A step is pin → board → pin, counted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

sys.path.insert(0, str(Path(__file__).parents[1]))

from candidate_service import kernels
from candidate_service.candidate import CandidateQuery, Segment, Stop
from candidate_service.graph import PinBoardGraph, build_graph
from candidate_service.live.segment import LiveChanges, LiveSave, LiveSegment
from candidate_service.live_graph import LiveGraph
from candidate_service.pair_kernels import compress_edges, hash_pair
from candidate_service.sources.pixie import PixieSource
from candidate_service.walk import PixieSettings, Walker, first_best

QUERY_PINS = 5
STEPS = 200_000
RESTART = 0.05
BATCH = 100
"""Saves that are taken in together."""
Edges = tuple[Any, Any]


@njit(cache=True, nogil=True, error_model="numpy")
def draw_edges(
    pin_count: int, board_count: int, edge_count: int, communities: int, loyalty: float, seed: int
) -> tuple[Any, Any]:
    """
    Draw edges between pins and boards of skewed popularity; every pin and board has one.

    With *communities* > 1 a pin belongs to one and *loyalty* of its edges stay in it.
    """
    pins, boards = np.empty(edge_count, np.int32), np.empty(edge_count, np.int32)
    for e in range(edge_count):
        chance = hash_pair(e, 0, seed) / 2.0**64, hash_pair(e, 1, seed) / 2.0**64
        pin = int(pin_count * chance[0] ** 3.3) * 2_654_435_761 % pin_count
        board = int(board_count * chance[1] ** 3.3) * 2_654_435_761 % board_count
        if e < pin_count:
            pin = e
        elif e < pin_count + board_count:
            board = e - pin_count
        if communities > 1 and hash_pair(e, 2, seed) / 2.0**64 < loyalty:
            board += (pin - board) % communities
            board -= communities if board >= board_count else 0
        pins[e], boards[e] = pin, board
    return pins, boards


@njit(cache=True, nogil=True, error_model="numpy")
def serial_walk(
    pin_edges: Edges,
    board_edges: Edges,
    queries: Any,
    steps: int,
    restart: Any,
    seed: Any,
    counters: Any,
    touched: Any,
    stamp: int,
) -> int:
    """One walker, one step after the other, dense counters: the same walk without the tricks."""
    pin_offsets, pin_boards = pin_edges
    board_offsets, board_pins = board_edges
    state, low, end = np.uint64(seed), np.uint64(0xFFFF_FFFF), 0
    for q in range(len(queries)):
        home = np.uint64(queries[q])
        pin, base = home, np.int64(stamp + q) << 32
        for _ in range(steps):
            state += np.uint64(0x9E37_79B9_7F4A_7C15)
            z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
            z ^= z >> np.uint64(31)
            begin = np.uint64(pin_offsets[pin])
            degree = np.uint64(pin_offsets[pin + np.uint64(1)]) - begin
            board = np.uint64(pin_boards[begin + (((z & low) * degree) >> np.uint64(32))])
            begin = np.uint64(board_offsets[board])
            degree = np.uint64(board_offsets[board + np.uint64(1)]) - begin
            product = (z >> np.uint64(32)) * degree
            pin = np.uint64(board_pins[begin + (product >> np.uint64(32))])
            count = counters[pin]
            if count < base:
                counters[pin] = base + 1
                touched[end] = pin
                end += 1
            else:
                counters[pin] = count + 1
            if (product & low) < restart:
                pin = home
    return end


def make_graph(
    pin_count: int, board_count: int, edge_count: int, communities: int = 1
) -> PinBoardGraph:
    """Draw a graph; not sorted by neighbour, as the walk does not care."""
    pins, boards = draw_edges(pin_count, board_count, edge_count, communities, 0.9, 1)
    both = []
    for sources, targets, count in ((pins, boards, pin_count), (boards, pins, board_count)):
        offsets, neighbours = compress_edges(sources, targets, count)
        # Copied, as only memory that numpy allocates itself has large pages.
        both.append((offsets.astype(np.int32), neighbours.copy()))
    return PinBoardGraph((both[0], both[1]))


def in_turns(
    variants: dict[str, Callable[[int], object]], repeats: int, graph: PinBoardGraph
) -> dict[str, float]:
    """Median CPU seconds of each variant; every call gets a query of its own."""
    for call in variants.values():
        call(0)
        call(1)
    samples: dict[str, list[float]] = {name: [] for name in variants}
    number = 1
    order = list(variants)
    for turn in range(repeats):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            number += 1
            query_of(graph, number)
            start = time.thread_time()
            variants[name](number)
            samples[name].append(time.thread_time() - start)
    return {name: float(np.median(times)) for name, times in samples.items()}


@cache
def query_of(graph: PinBoardGraph, number: int) -> CandidateQuery:
    """Five query pins, drawn as saves are: popular ones more often; made before the clock runs."""
    rng = np.random.default_rng(number)
    rows = np.unique(graph.board_edges[1][rng.integers(0, graph.edge_count, 40)])
    rows = rng.permutation(rows)[:QUERY_PINS].astype(np.int32)
    return CandidateQuery(rows, np.ones(len(rows), np.float32), number, Segment(), Stop.never())


def kernel_variant(graph: PinBoardGraph, walker_count: int, steps: int) -> Callable[[int], object]:
    """The kernel alone: each query pin gets the same share of the steps."""
    rounds = steps // QUERY_PINS // walker_count
    walker = Walker(graph, PixieSettings(step_count=STEPS, walker_count=walker_count))
    query = query_of(graph, 1)
    walker.visits(query)
    scratch = walker._idle[0]  # noqa: SLF001  the benchmark looks inside

    def run(number: int) -> None:
        query = query_of(graph, number)
        for row in query.query_rows.tolist():
            scratch.tally[:] = 0
            kernels.walk(
                graph.pin_edges,
                graph.board_edges,
                None,
                None,
                None,
                np.uint64(RESTART * 2**32),
                row,
                np.uint64(number),
                (0, rounds),
                (0, 2**40),
                scratch.next_epoch(),
                scratch.table,
                scratch.touched,
                scratch.lanes,
                scratch.tally,
            )

    return run


def serial_variant(graph: PinBoardGraph, steps: int) -> Callable[[int], object]:
    """The serial walk with the same budget."""
    counters, touched = np.zeros(graph.pin_count, np.int64), np.empty(STEPS + 64, np.int64)

    def run(number: int) -> None:
        serial_walk(
            graph.pin_edges,
            graph.board_edges,
            query_of(graph, number).query_rows,
            steps // QUERY_PINS,
            np.uint64(RESTART * 2**32),
            np.uint64(number),
            counters,
            touched,
            1 + number * QUERY_PINS,
        )

    return run


def compare_walks(name: str, graph: PinBoardGraph, repeats: int, steps: int) -> None:
    """Print steps per second of each variant, as ratios of the serial walk."""
    variants = {"serial, dense counters": serial_variant(graph, steps)}
    for count in (1, 8, 32, 64, 128):
        variants[f"interleaved, K = {count}"] = kernel_variant(graph, count, steps)
    seconds = in_turns(variants, repeats, graph)
    base = seconds["serial, dense counters"]
    for variant, value in seconds.items():
        print(f"| {name} | {variant} | {steps / value / 1e6:.1f} | {base / value:.2f} |")


def compare_requests(name: str, graph: PinBoardGraph, repeats: int, steps: int) -> None:
    """Print the cost of whole queries: budgets, walks, tallies united, best 400."""
    variants = {}
    for restart in (RESTART, 0.5):
        walker = Walker(
            graph, PixieSettings(step_count=steps, restart=restart, early_stop_visit_count=0)
        )
        source = PixieSource(lambda walker=walker: walker)  # type: ignore[misc]
        variants[f"restart {restart}"] = lambda number, source=source: source.retrieve(
            query_of(graph, number), 400
        )
    for variant, value in in_turns(variants, repeats, graph).items():
        print(f"| {name} | {variant} | {value * 1e3:.2f} |")


def busy_seconds() -> float:
    """CPU seconds that the whole machine has worked so far."""
    ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(ticks[i]) for i in (0, 1, 2, 5, 6)) / os.sysconf("SC_CLK_TCK")


def compare_threads(name: str, graph: PinBoardGraph, repeats: int, steps: int) -> None:
    """Print the throughput of two threads over that of one, from samples with the cores to us."""
    walker = Walker(graph, PixieSettings(step_count=steps, early_stop_visit_count=0))
    source = PixieSource(lambda: walker)
    samples: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    with ThreadPoolExecutor(2) as pool:
        for turn in range(4 * repeats):
            queries = [query_of(graph, 100 * (turn % 5) + i) for i in range(20)]
            for threads in (1, 2):
                parts = [queries[i::threads] for i in range(threads)]
                busy, own, start = busy_seconds(), time.process_time(), time.perf_counter()
                list(pool.map(lambda part: [source.retrieve(q, 400) for q in part], parts))
                wall = time.perf_counter() - start
                others = busy_seconds() - busy - (time.process_time() - own)
                samples[threads].append((max(0.0, others) / wall, wall))
    share, wall = {}, {}
    for threads, taken in samples.items():
        quietest = sorted(taken)[: max(3, len(taken) // 5)]
        share[threads] = max(others for others, _ in quietest)
        wall[threads] = float(np.median([seconds for _, seconds in quietest]))
    print(
        f"| {name} | {20 / wall[1]:.0f} | {20 / wall[2]:.0f} | {wall[1] / wall[2]:.2f} "
        f"| {max(share.values()):.2f} |"
    )


def compare_early_stops(graph: PinBoardGraph, repeats: int, steps: int) -> None:
    """Print steps saved by early stop and the overlap of the best 100 with the full walk's."""
    chosen = {"another seed": (0, 1)} | {
        f"n_p = {pins}, n_v = {visits}": (visits, pins)
        for pins, visits in ((500, 4), (1000, 4), (2000, 4), (2000, 6))
    }
    full = Walker(graph, PixieSettings(step_count=steps, early_stop_visit_count=0))
    hubs = np.argsort(-np.diff(graph.pin_edges[0]))[: max(10, graph.pin_count // 100)]
    for variant, (visits, pins) in chosen.items():
        settings = PixieSettings(
            step_count=steps, early_stop_visit_count=visits, early_stop_pin_count=pins
        )
        walker = Walker(graph, settings)
        shares, overlaps, spared = [], [], []
        for number in range(4 * repeats):
            rows = np.random.default_rng(number).choice(hubs, 1).astype(np.int32)
            one = np.ones(1, np.float32)
            query = CandidateQuery(rows, one, number, Segment(), Stop.never())
            other = CandidateQuery(rows, one, number + 10_000, Segment(), Stop.never())
            start = time.thread_time()
            long = full.visits(query)
            middle = time.thread_time()
            short = walker.visits(other)
            spared.append((time.thread_time() - middle) / (middle - start))
            heads = [set(v.rows[first_best(v.scores, 100)].tolist()) for v in (long, short)]
            overlaps.append(len(heads[0] & heads[1]) / max(1, len(heads[0])))
            shares.append(short.step_count / long.step_count)
        figures = f"{np.mean(shares):.2f} | {np.median(spared):.2f} | {np.mean(overlaps):.3f}"
        print(f"| {variant} | {figures} |")


def compare_bias(size: tuple[int, int, int], repeats: int, steps: int) -> None:
    """Print cost and share of visits in the viewer's language, with and without the bias."""
    pins, boards = draw_edges(*size, 10, 0.9, 1)
    pairs = np.unique(pins.astype(np.int64) << 32 | boards)
    languages = (np.arange(size[0]) % 10 % 3).astype(np.int16)
    graph = build_graph(
        (pairs >> 32).astype(np.int32),
        (pairs & 0xFFFF_FFFF).astype(np.int32),
        pin_count=size[0],
        board_count=size[1],
        pin_languages=languages,
        languages=("en", "nl", "ja"),
    )
    shares: dict[str, list[float]] = {}
    variants = {}
    for bias in (0.0, 0.5, 0.9):
        walker = Walker(graph, PixieSettings(step_count=steps, bias=bias, early_stop_visit_count=0))

        def run(number: int, walker: Walker = walker, name: str = f"{bias}") -> None:
            query = replace(query_of(graph, number), segment=Segment(language="ja"))
            visits = walker.visits(query)
            share = visits.scores[languages[visits.rows] == 2].sum() / visits.scores.sum()
            shares.setdefault(name, []).append(share)

        variants[f"{bias}"] = run
    for name, seconds in in_turns(variants, repeats, graph).items():
        print(f"| {name} | {np.mean(shares[name]):.2f} | {seconds * 1e3:.2f} |")


def compare_live(name: str, graph: PinBoardGraph, repeats: int, change_count: int) -> None:
    """Print the cost of walks beside live saves, and of taking saves in."""
    settings = PixieSettings(step_count=STEPS, early_stop_visit_count=0)
    graph.board_ids = _Names()  # type: ignore[assignment]  as much of an id table as is asked
    walker, rng = Walker(graph, settings), np.random.default_rng(4)
    pins = rng.integers(0, graph.pin_count, change_count)
    boards = graph.pin_edges[1][rng.integers(0, graph.edge_count, change_count)]
    variants: dict[str, Callable[[int], object]] = {
        "nothing live": lambda number: walker.visits(query_of(graph, number))
    }
    for count in (1, change_count):
        live = LiveGraph()
        live.apply(LiveChanges(saves=[_save(0, int(pins[0]), int(boards[0]))]))
        live.edges(graph)
        start = time.thread_time()
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            saves = [_save(at, int(pins[at]), int(boards[at])) for at in numbers]
            live.apply(LiveChanges(saves=saves))
        seconds = time.thread_time() - start
        segment = _OnlyLive(live)
        variants[f"{count:,} live saves ({seconds / count * 1e6:.0f} us each to take in)"] = (
            lambda number, segment=segment: walker.visits(
                replace(query_of(graph, number), live=segment)
            )
        )
    times = in_turns(variants, repeats, graph)
    for variant, value in times.items():
        ratio = value / times["nothing live"]
        print(f"| {name} | {variant} | {value * 1e3:.2f} | {ratio:.2f} |")


def _save(number: int, pin: int, board: int) -> LiveSave:
    return LiveSave(f"s{number}", f"b{board}", pin)


class _Names:
    """Board row 7 is called `b7`."""

    def rows(self, ids: list[str]) -> Any:
        """Return the rows."""
        return np.array([int(name[1:]) for name in ids], np.int32)


class _OnlyLive(LiveSegment):
    """A segment of nothing but live saves."""

    def __init__(self, part: LiveGraph) -> None:
        super().__init__(None, [part])
        self._change_count = 1


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny graphs, to see that it works")
    quick = parser.parse_args().quick
    repeats, steps = (3, 10_000) if quick else (11, STEPS)
    sizes = {"50 k pins, 1 M edges": (50_000, 10_000, 1_000_000)}
    if quick:
        sizes = {"tiny": (500, 100, 5_000)}
    else:
        sizes["5 M pins, 50 M edges"] = (5_000_000, 1_000_000, 50_000_000)
    graphs = {name: make_graph(*size) for name, size in sizes.items()}

    print("## Pixie walks\n")
    print(f"{QUERY_PINS} query pins, {steps} steps in all, restart {RESTART}, counted; CPU time.\n")
    print("| graph | walk | M steps/s | x serial |\n| --- | --- | --- | --- |")
    for name, graph in graphs.items():
        compare_walks(name, graph, repeats, steps)
    print("\nThe same as a whole query (budgets, walks, united tallies, best 400).\n")
    print("| graph | restart | CPU ms |\n| --- | --- | --- |")
    for name, graph in graphs.items():
        compare_requests(name, graph, repeats, steps)
    print(f"\nThreads, whole queries (wall time, {os.cpu_count()} cores).\n")
    print("| graph | queries/s, 1 thread | 2 threads | ratio | cores used by others |")
    print("| --- | --- | --- | --- | --- |")
    for name, graph in graphs.items():
        compare_threads(name, graph, repeats, steps)
    print(f"\nLive saves on boards drawn by size, taken in {BATCH} at a time; whole walks.\n")
    print("| graph | live | CPU ms | x nothing live |\n| --- | --- | --- | --- |")
    for name, graph in graphs.items():
        compare_live(name, graph, repeats, 200 if quick else 20_000)
    print("\nEarly stop, one query pin of the top percent, graph with 100 communities.\n")
    print("| early stop | steps | CPU time | overlap of the best 100 |\n| --- | --- | --- | --- |")
    first = next(iter(sizes.values()))
    compare_early_stops(make_graph(*first, communities=10 if quick else 100), repeats, steps)
    print("\nBias to the viewer's language (3 in 10 pins), 10 communities of one language each.\n")
    print("| bias | visits in the language | CPU ms |\n| --- | --- | --- |")
    compare_bias(first, repeats, steps)


if __name__ == "__main__":
    main()
