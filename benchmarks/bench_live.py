"""Live changes: durable writes a second, time until they are seen, swaps of generations under load.

Swaps: a server process on a synthetic world answers at a fixed rate while pins are upserted; all
artifacts are switched to another generation of the same data and back, and the answers of the
seconds after each switch are compared with those of quiet seconds. Nothing is built meanwhile.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc
import numpy as np
from synthetic_world import WORLDS, build

from candidate_service.live.journal import JournalSettings, LiveJournal
from candidate_service.live.transaction import PinChange
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from corkboard.pipeline import Order, Outcome, choose_steps, run_steps
from service_runtime.event_log import EventLog
from service_runtime.files import write_synced
from service_runtime.generations import GenerationStore

CACHE = Path(".cache/benchmarks")
BUILT = (
    "build_catalogue",
    "build_graph",
    "build_board_cooccurrence",
    "learn_vectors",
    "build_vector_index",
    "build_popular",
)
ARTIFACTS = (
    "catalogue",
    "save_index",
    "pin_vectors",
    "vector_index",
    "graph",
    "board_cooccurrence",
    "popular",
    "pin_statistics",
)
SOURCES = '["ann", "board_cooccurrence", "pixie", "popular"]'
RATE = 80  # calls a second, about a third of what two busy cores can do
CALLERS = 4
WINDOW_S = 4.0
DIMENSION_LIVE = 64


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    world: str
    writes: int
    live_pins: int
    swaps: int
    window_s: float
    seen: int


FULL = Size("small", 2000, 20_000, 5, WINDOW_S, 100)
QUICK = Size("tiny", 60, 100, 1, 0.6, 5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    size = QUICK if parser.parse_args().quick else FULL
    with tempfile.TemporaryDirectory(prefix="corkboard-bench-live-") as scratch:
        print("## Live changes\n")
        print(commits(Path(scratch) / "commits", size))
        root = prepare(size.world, Path(scratch) / "root")
        with served(root) as stub:
            print(visibility(stub, root, size))
            print(swaps(stub, root, size))


def commits(folder: Path, size: Size) -> str:
    """Durable upserts a second, with callers sharing syncs, against a sync for each."""
    lines = [
        "### Durable upserts a second (one pin a call, in process)\n",
        "| callers | a sync for each | shared syncs | ratio |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for callers in (1, 4, 16, 64):
        alone = per_second(callers, size.writes // 4, synced_writer(folder / f"alone-{callers}"))
        journal = open_journal(folder / f"shared-{callers}")
        shared = per_second(callers, size.writes, journal_writer(journal))
        journal.close()
        lines.append(f"| {callers} | {alone:,.0f} | {shared:,.0f} | **{shared / alone:.1f}×** |")
    return "\n".join(lines) + "\n"


def synced_writer(folder: Path) -> Callable[[int], None]:
    """A write that waits for its own sync, as without group commit."""
    log, lock = EventLog(folder), threading.Lock()

    def write(number: int) -> None:
        with lock:
            log.append([b'{"t":0,"p":"pin %d","f":{"title":"a title of usual length"}}' % number])
            log.sync()

    return write


def open_journal(folder: Path) -> LiveJournal:
    """A journal of its own."""
    return LiveJournal(
        JournalSettings(
            folder=folder,
            log_name="0",
            exported={},
            poll_seconds=1,
            clock_us=lambda: time.time_ns() // 1000,
        )
    )


def journal_writer(journal: LiveJournal) -> Callable[[int], None]:
    """A write through the journal: decided, logged, synced, visible."""

    def write(number: int) -> None:
        change = PinChange(f"pin {number}", {"title": "a title of usual length"})
        journal.commit(lambda open_: open_.upsert_pins([change]))

    return write


def per_second(callers: int, count: int, write: Callable[[int], None]) -> float:
    """How many writes so many callers get done in a second."""
    each = max(1, count // callers)

    def work(caller: int) -> None:
        for at in range(each):
            write(caller * each + at)

    threads = [threading.Thread(target=work, args=(caller,)) for caller in range(callers)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return callers * each / (time.perf_counter() - started)


def prepare(name: str, root: Path) -> Path:
    """A data root with two generations of everything, in a copy that may be written to."""
    cached = CACHE / f"live-{name}"
    if not (cached / "done").exists():
        shutil.rmtree(cached, ignore_errors=True)
        build(WORLDS[name], cached)
        for _ in range(2):
            results = run_steps(
                choose_steps(only=BUILT), Order(cached, as_of=time.time(), process_count=2)
            )
            bad = [one for one in results if one.outcome is Outcome.FAILED]
            assert not bad, bad
        (cached / "done").touch()
    shutil.copytree(cached / "generations", root / "generations")
    return root


@contextmanager
def served(root: Path) -> Iterator[wire_grpc.CandidateServiceStub]:
    """A server process on a data root, and a client of it."""
    settings = {
        "data_root": root,
        "port": 0,
        "metrics_port": 0,
        "log_level": "error",
        "sources": SOURCES,
        "generation_poll_seconds": 0.25,
        "drain_wait_seconds": 0,
    }
    arguments = [part for name in settings for part in ("--set", f"{name}={settings[name]}")]
    process = subprocess.Popen(
        [sys.executable, "-m", "candidate_service", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield wire_grpc.CandidateServiceStub(channel)
    finally:
        process.terminate()
        process.wait()


def visibility(stub: wire_grpc.CandidateServiceStub, root: Path, size: Size) -> str:
    """Time from sending an upsert to seeing the pin, here and in another process."""
    acknowledged, proposed, elsewhere = [], [], []
    with served(root) as other:
        for number in range(size.seen):
            name = f"seen {number}"
            started = time.perf_counter()
            upsert(stub, [name], number)
            acknowledged.append(time.perf_counter() - started)
            wait_until(lambda name=name: is_proposed(stub, name))
            proposed.append(time.perf_counter() - started)
            wait_until(lambda name=name: is_known(other, name))
            elsewhere.append(time.perf_counter() - started)
    rows = (
        ("acknowledged: durable", acknowledged),
        ("proposed by `ann` of the same process", proposed),
        ("known in another process (polls every 200 ms)", elsewhere),
    )
    lines = [
        "### From sending UpsertPins to, in ms\n",
        "| | p50 | p99 | most |",
        "| --- | ---: | ---: | ---: |",
    ]
    for label, seconds in rows:
        p50, p99, most = quantiles(seconds)
        lines.append(f"| {label} | {p50:.1f} | {p99:.1f} | {most:.1f} |")
    return "\n".join(lines) + "\n"


def wait_until(is_so: Callable[[], bool]) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline, "was not seen within 30 s"
        time.sleep(0.001)


def upsert(stub: wire_grpc.CandidateServiceStub, names: Sequence[str], seed: int) -> None:
    """Write pins with vectors."""
    dimension = len(vector_of(stub, "p0"))
    vectors = np.random.default_rng(seed).normal(size=(len(names), dimension))
    pins = [
        wire.PinRecord(pin_id=name, title=f"live {name}", vector=vector)
        for name, vector in zip(names, vectors.tolist(), strict=True)
    ]
    answer = stub.UpsertPins(wire.UpsertPinsRequest(pins=pins), timeout=60)
    assert set(answer.codes) <= {wire.ITEM_CODE_WRITTEN, wire.ITEM_CODE_UNCHANGED}


_vectors: dict[str, list[float]] = {}


def vector_of(stub: wire_grpc.CandidateServiceStub, name: str) -> list[float]:
    """The vector of a pin."""
    if name not in _vectors:
        request = wire.GetPinsRequest(pin_ids=[name], with_vectors=True)
        _vectors[name] = list(stub.GetPins(request, timeout=10).pins[0].vector)
    return _vectors[name]


def is_proposed(stub: wire_grpc.CandidateServiceStub, name: str) -> bool:
    """Whether a pin can be a query pin of `ann` and so has its vector in the live index."""
    request = wire.RetrieveCandidatesRequest(
        query_pins=[wire.QueryPin(pin_id=name, weight=1)],
        sources=[wire.SourceQuota(source="ann", candidate_count=10)],
    )
    try:
        answer = stub.RetrieveCandidates(request, timeout=10)
    except grpc.RpcError:
        return False
    return bool(answer.lists[0].pin_indexes)


def is_known(stub: wire_grpc.CandidateServiceStub, name: str) -> bool:
    """Whether a process knows a pin."""
    return bool(stub.GetPins(wire.GetPinsRequest(pin_ids=[name]), timeout=10).pins[0].is_known)


class Load:
    """Calls at a fixed rate from a few threads, each with its time and what came of it."""

    def __init__(self, stub: wire_grpc.CandidateServiceStub, pin_count: int) -> None:
        self.calls: list[tuple[float, float, bool]] = []
        self._stub = stub
        self._pin_count = pin_count
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(caller,)) for caller in range(CALLERS)
        ]
        self._threads.append(threading.Thread(target=self._write))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _work(self, caller: int) -> None:
        rng = np.random.default_rng(caller)
        due = time.monotonic() + caller / RATE
        while not self._stopped.is_set():
            due += CALLERS / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            pins = rng.integers(0, self._pin_count, 3)
            request = wire.RetrieveCandidatesRequest(
                query_pins=[wire.QueryPin(pin_id=f"p{pin}", weight=1) for pin in pins],
                seed=int(rng.integers(1 << 30)),
            )
            started = time.monotonic()
            try:
                answer = self._stub.RetrieveCandidates(request, timeout=5)
                is_whole = all(one.status == wire.SOURCE_STATUS_OK for one in answer.lists)
            except grpc.RpcError:
                is_whole = False
            self.calls.append((started, time.monotonic() - started, is_whole))

    def _write(self) -> None:
        number = 0
        while not self._stopped.wait(0.05):
            number += 1
            upsert(self._stub, [f"during {number}"], number)

    def during(self, windows: Sequence[tuple[float, float]]) -> tuple[list[float], int]:
        """Seconds of the calls begun in some windows, and how many were refused or not whole."""
        found = [
            (seconds, is_whole)
            for at, seconds, is_whole in self.calls
            if any(begin <= at < end for begin, end in windows)
        ]
        return [seconds for seconds, _ in found], sum(not is_whole for _, is_whole in found)


def swaps(stub: wire_grpc.CandidateServiceStub, root: Path, size: Size) -> str:
    """Answers while all artifacts change to another generation, against quiet seconds."""
    for start in range(0, size.live_pins, 1000):
        names = [f"live {at}" for at in range(start, min(start + 1000, size.live_pins))]
        upsert(stub, names, start)
    store = GenerationStore(root / "generations")
    known = {name: store.generations(name)[-2:] for name in ARTIFACTS}
    quiet, changing, took = [], [], []
    with Load(stub, WORLDS[size.world].pins) as load:
        time.sleep(size.window_s)
        for swap in range(size.swaps):
            begin = time.monotonic()
            time.sleep(size.window_s)
            quiet.append((begin, time.monotonic()))
            begin = time.monotonic()
            for name in ARTIFACTS:
                wanted = known[name][swap % 2]
                write_synced(root / "generations" / name / "CURRENT", f"{wanted}\n".encode())
            newest = known["catalogue"][swap % 2]
            wait_until(lambda newest=newest: generation_of(stub) == newest)
            took.append(time.monotonic() - begin)
            time.sleep(max(0.0, size.window_s - took[-1]))
            changing.append((begin, time.monotonic()))
    return swap_table(load, quiet, changing, took, size)


def generation_of(stub: wire_grpc.CandidateServiceStub) -> str:
    """The catalogue that serves."""
    time.sleep(0.2)  # asking costs what a call costs
    listed = stub.ListSources(wire.ListSourcesRequest(), timeout=10)
    return str(listed.catalogue_generation)


def swap_table(
    load: Load,
    quiet: Sequence[tuple[float, float]],
    changing: Sequence[tuple[float, float]],
    took: Sequence[float],
    size: Size,
) -> str:
    """Quiet seconds and those after a switch, side by side."""
    title = f"at {RATE} calls a second and 20 upserts a second, while {len(ARTIFACTS)} artifacts"
    lines = [
        f"### RetrieveCandidates {title} change\n",
        "| | calls | p50 ms | p99 ms | most ms | failed or not whole |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    figures = []
    for label, windows in (("quiet", quiet), ("switching", changing)):
        seconds, bad = load.during(windows)
        p50, p99, most = quantiles(seconds)
        figures.append((p50, p99, most))
        lines.append(f"| {label} | {len(seconds)} | {p50:.1f} | {p99:.1f} | {most:.1f} | {bad} |")
    ratios = " | ".join(
        f"**{after / before:.2f}×**" for before, after in zip(*figures, strict=True)
    )
    lines.append(f"| ratio | | {ratios} | |")
    lines.append(
        f"\n{size.swaps} switches over {size.live_pins:,} live pins, {size.window_s:g} s each; "
        "from the switch of the first file to the catalogue in service "
        f"{statistics.median(took):.1f} s (replay of the changes, in the background)."
    )
    return "\n".join(lines)


def quantiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, 99th percentile and largest, in ms."""
    if not seconds:
        return (0.0, 0.0, 0.0)
    p50, p99 = np.percentile(seconds, (50, 99)) * 1000
    return float(p50), float(p99), max(seconds) * 1000


if __name__ == "__main__":
    main()
