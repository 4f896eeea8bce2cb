"""RetrieveCandidates: each source alone, all of them together, and what is neither source nor call.

Times of one caller are taken in this process, over the same questions: three of twenty medoids
drawn by importance, 200 excluded pins, a viewer's language. The union is the handler of the call
(decode, ask, unite, encode); its CPU time is compared with that of the bare kernels: the searches
of `ann` and the walks of `pixie` without what surrounds them, and the other sources as they are.
Then the service runs as a process of its own and is asked over gRPC by several callers.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in the server

import argparse
import cProfile
import json
import pstats
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
from synthetic_world import WORLDS, World, build

from candidate_service.artifacts import Artifacts
from candidate_service.candidate import CandidateQuery, Stop
from candidate_service.candidate_encoding import decode_limits, decode_pins, decode_query
from candidate_service.config import CandidateConfig
from candidate_service.filters import Allowed, Filters
from candidate_service.graph_access import walker_of
from candidate_service.retrieval import EnabledSource, Retrieval
from candidate_service.server import (
    build_parts,
    build_sources,
    call_limits,
    live_parts,
    open_journal,
)
from candidate_service.servicer import CandidateServicer
from candidate_service.source_registry import SourceContext, load_plugins
from candidate_service.vector_index import ARTIFACT, FORMAT_VERSIONS, open_index
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from corkboard.pipeline import STEPS, Order, run_steps
from service_runtime.errors import NotReady
from service_runtime.generations import GenerationStore
from service_runtime.telemetry import Metrics

CACHE = Path(".cache/benchmarks")
MEDOID_COUNT = 20
EXCLUDED_COUNT = 200
WARM_UP_COUNT = 20
CALLER_COUNTS = (1, 4)


def prepare(world: World, root: Path, *, jobs: bool) -> None:
    """Make the data, and what the service's jobs make of it where it is missing."""
    build(world, root)
    if not jobs:
        return
    store = GenerationStore(root / "generations")
    ours = [step for step in STEPS if step.module.startswith("candidate_service.jobs.build")]
    ours = [step for step in ours if step.name != "build_content_vectors"]  # there are none
    ours += [step for step in STEPS if step.name in {"learn_vectors", "train_pin2vec"}]
    missing = [
        step
        for step in STEPS
        if step in ours and step.makes and any(store.current(made) is None for made in step.makes)
    ]
    for result in run_steps(missing, Order(root, as_of=time.time(), process_count=1)):
        print(f"  {result.step.name}: {result.outcome}, {result.seconds:.0f} s", file=sys.stderr)


class Service:
    """The service's parts in this process, its sources those that have their artifacts."""

    def __init__(self, root: Path) -> None:
        """Open everything and compile what is compiled."""
        self.config = CandidateConfig(data_root=root, retrieval_deadline_ms=60_000)
        self.artifacts = Artifacts(GenerationStore(root / "generations"))
        metrics = Metrics("candidate_service")
        plugins = load_plugins(self.config.sources)
        enabled = build_sources(plugins, SourceContext(self.config, self.artifacts, metrics))
        ready = [one for one in enabled if is_ready(one)]
        self.retrieval = Retrieval(
            ready, thread_count=4, stuck_count_max=2, grace_s=1.0, clock=time.monotonic
        )
        filters = Filters({}, mask_count_max=8)
        self.journal = open_journal(self.config, self.artifacts, live_parts(plugins, filters))
        parts = build_parts(
            self.config, self.artifacts, self.retrieval, self.journal, filters, metrics
        )
        self.limits = call_limits(self.config)
        self.servicer = CandidateServicer(parts, self.limits)
        self.artifacts.follow(self.journal)

    def query(self, request: wire.RetrieveCandidatesRequest) -> CandidateQuery:
        """Decode a question as the handler does."""
        live = self.artifacts.served().live
        queried = decode_pins(request, live, self.limits, time.time_ns() // 1000)
        return decode_query(request, live, queried, Allowed(), Stop.never())

    def call(self, request: wire.RetrieveCandidatesRequest) -> wire.RetrieveCandidatesResponse:
        """Answer as the handler does, the wire left out."""
        return self.servicer.RetrieveCandidates(request, NoContext())  # type: ignore[arg-type]


class NoContext:
    """A call that nobody gives up."""

    def add_callback(self, _: Callable[[], None]) -> bool:
        """Take the callback, and never call it."""
        return True


def is_ready(enabled: EnabledSource) -> bool:
    """Say whether a source has its artifacts."""
    try:
        enabled.generations()
    except NotReady:
        return False
    return True


def questions(service: Service, count: int) -> list[wire.RetrieveCandidatesRequest]:
    """Return so many readers' questions: clusters of the topics of the synthetic world."""
    rng = np.random.default_rng(5)
    catalogue = service.artifacts.catalogue()
    pins = len(catalogue)
    asked = []
    for seed in range(count):
        medoids = catalogue.ids.ids(rng.choice(pins, min(MEDOID_COUNT, pins), replace=False))
        weights = rng.exponential(1.0, len(medoids)) + 0.01
        excluded = catalogue.ids.ids(rng.integers(0, pins, EXCLUDED_COUNT))
        asked.append(
            wire.RetrieveCandidatesRequest(
                medoids=[
                    wire.QueryPin(pin_id=pin_id, weight=weight)
                    for pin_id, weight in zip(medoids, weights.tolist(), strict=True)
                ],
                viewer=wire.Viewer(language="en", country="US"),
                excluded_pin_ids=sorted(set(excluded)),
                session_pin_ids=medoids[:5],
                seed=seed,
            )
        )
    return asked


class Times:
    """Wall and CPU times of the calls of one kind, microseconds."""

    def __init__(self) -> None:
        """Start without any."""
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def take(self, call: Callable[[], object], cpu_clock: Callable[[], int]) -> object:
        """Make a call and note how long it took."""
        begin, cpu = time.perf_counter_ns(), cpu_clock()
        result = call()
        self.cpu.append((cpu_clock() - cpu) / 1000)
        self.wall.append((time.perf_counter_ns() - begin) / 1000)
        return result

    def row(self) -> str:
        """Return p50 and p99 of the wall time, mean CPU, and calls a core can make in a second."""
        p50, p99 = np.percentile(self.wall, [50, 99])
        cpu = statistics.mean(self.cpu)
        return f"{p50:,.0f} | {p99:,.0f} | {cpu:,.0f} | {1e6 / cpu:,.0f}"


def kernels(service: Service) -> dict[str, Callable[[CandidateQuery], object]]:
    """Return what each source cannot do without, by its name."""
    bare: dict[str, Callable[[CandidateQuery], object]] = {}
    walker = walker_of(service.artifacts, service.config)
    index = service.artifacts.add(ARTIFACT, FORMAT_VERSIONS, open_index)
    for name, enabled in service.retrieval.sources.items():
        if name == "ann":
            bare[name] = lambda q: index().nearest(index().vectors[q.query_rows], 192)
        elif name == "pixie":
            bare[name] = lambda q: walker().visits(q)
        else:
            source, limit = enabled.source, enabled.candidate_count
            bare[name] = lambda q, source=source, limit=limit: source.retrieve(q, limit)
    return bare


def source_lines(
    service: Service, asked: Sequence[wire.RetrieveCandidatesRequest], *, round_count: int
) -> tuple[list[str], float, float]:
    """Ask each source alone, and the union; return the table and the CPU of kernels and union."""
    queries = [service.query(request) for request in asked]
    bare = kernels(service)
    alone = {name: Times() for name in bare}
    kernel = {name: Times() for name in bare}
    union = Times()
    counts: dict[str, list[int]] = {name: [] for name in bare}
    for request, query in zip(asked[:WARM_UP_COUNT], queries, strict=False):
        service.call(request)
        for run in bare.values():
            run(query)
    for number in range(round_count):
        part = slice(number, None, round_count)
        for name, enabled in service.retrieval.sources.items():
            for query in queries[part]:
                found = alone[name].take(
                    lambda e=enabled, q=query: e.source.retrieve(q, e.candidate_count),
                    time.thread_time_ns,
                )
                counts[name].append(len(found))  # type: ignore[arg-type]
            for query in queries[part]:
                kernel[name].take(lambda r=bare[name], q=query: r(q), time.thread_time_ns)
        for request in asked[part]:
            union.take(lambda r=request: service.call(r), time.process_time_ns)
    lines = [
        "| one caller, in process | candidates | p50 us | p99 us | CPU us | QPS per core |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {statistics.mean(counts[name]):.0f} | {times.row()} |"
            for name, times in alone.items()
        ),
        (
            f"| all together (the handler) | {sum(map(statistics.mean, counts.values())):.0f} "
            f"| {union.row()} |"
        ),
    ]
    kernel_cpu = sum(statistics.mean(times.cpu) for times in kernel.values())
    source_cpu = sum(statistics.mean(times.cpu) for times in alone.values())
    union_cpu = statistics.mean(union.cpu)
    lines += [
        "",
        "| CPU us a call | | against the bare kernels |",
        "| --- | --- | --- |",
        f"| bare kernels, added up | {kernel_cpu:,.0f} | 1.00x |",
        f"| sources, added up | {source_cpu:,.0f} | {source_cpu / kernel_cpu:.2f}x |",
        f"| the handler with all sources | {union_cpu:,.0f} | **{union_cpu / kernel_cpu:.2f}x** |",
    ]
    return lines, kernel_cpu, union_cpu


def glue_lines(service: Service, asked: Sequence[wire.RetrieveCandidatesRequest]) -> list[str]:
    """Time what is not a source: reading the bytes, decoding, encoding, writing the bytes."""
    known = service.retrieval.sources
    answers = [service.call(request) for request in asked]
    received = [request.SerializeToString() for request in asked]
    sent = [answer.SerializeToString() for answer in answers]
    steps: dict[str, Callable[[int], object]] = {
        "parse the request": lambda at: wire.RetrieveCandidatesRequest.FromString(received[at]),
        "decode": lambda at: (service.query(asked[at]), decode_limits(asked[at], known)),
        "serialise the answer": lambda at: answers[at].SerializeToString(),
    }
    lines = ["| outside the sources | CPU us |", "| --- | --- |"]
    for name, step in steps.items():
        times = Times()
        for at in range(len(asked)):
            times.take(lambda step=step, at=at: step(at), time.thread_time_ns)
        lines.append(f"| {name} | {statistics.median(times.cpu):.0f} |")
    lines.append(f"| bytes: request, answer | {len(received[0]):,}, {len(sent[0]):,} |")
    return lines


def served_lines(
    root: Path, names: Sequence[str], asked: Sequence[wire.RetrieveCandidatesRequest]
) -> list[str]:
    """Ask a server process over gRPC; its own CPU time tells calls a core can answer."""
    environment = {
        **os.environ,
        "CANDIDATE_SERVICE_DATA_ROOT": str(root),
        "CANDIDATE_SERVICE_PORT": "0",
        "CANDIDATE_SERVICE_METRICS_PORT": "0",
        "CANDIDATE_SERVICE_SOURCES": json.dumps(list(names)),
        "CANDIDATE_SERVICE_RETRIEVAL_DEADLINE_MS": "60000",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "candidate_service"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    lines = [
        (
            "| over gRPC, one server process | p50 us | p99 us | calls a second | server CPU us "
            "| QPS per core |"
        ),
        "| --- | --- | --- | --- | --- | --- |",
    ]
    try:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = wire_grpc.CandidateServiceStub(channel)
            for request in asked[:WARM_UP_COUNT]:
                stub.RetrieveCandidates(request, timeout=120)
            lines += [
                f"| {count} callers | {_load(stub, asked, count, process.pid)} |"
                for count in CALLER_COUNTS
            ]
        memory = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    finally:
        process.terminate()
        process.wait(60)
    return [*lines, "", *memory_lines(memory, root)]


def _load(
    stub: wire_grpc.CandidateServiceStub,
    asked: Sequence[wire.RetrieveCandidatesRequest],
    caller_count: int,
    pid: int,
) -> str:
    def ask(request: wire.RetrieveCandidatesRequest) -> float:
        begin = time.perf_counter_ns()
        stub.RetrieveCandidates(request, timeout=120)
        return (time.perf_counter_ns() - begin) / 1000

    cpu, begin = _cpu_seconds(pid), time.perf_counter()
    with ThreadPoolExecutor(caller_count) as pool:
        took = list(pool.map(ask, asked))
    seconds, cpu = time.perf_counter() - begin, _cpu_seconds(pid) - cpu
    p50, p99 = np.percentile(took, [50, 99])
    each = cpu / len(asked)
    return (
        f"{p50:,.0f} | {p99:,.0f} | {len(asked) / seconds:,.0f} | {each * 1e6:,.0f} "
        f"| {1 / max(each, 1e-9):,.0f}"
    )


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_lines(rollup: str, root: Path) -> list[str]:
    """Return what the server holds in memory, its own and mapped, and the artifacts on disk."""
    sizes = {
        line.split(":")[0]: int(line.split()[1]) / 1024
        for line in rollup.splitlines()
        if line.endswith(" kB")
    }
    own = sizes["Private_Dirty"]
    lines = [
        "| memory of the server | MB |",
        "| --- | --- |",
        f"| resident | {sizes['Rss']:,.0f} |",
        f"| of it its own (not mapped files) | {own:,.0f} |",
    ]
    store = GenerationStore(root / "generations")
    for folder in sorted((root / "generations").iterdir()):
        current = store.current(folder.name)
        if current is not None:
            size = sum(path.stat().st_size for path in current.path.rglob("*") if path.is_file())
            lines.append(f"| on disk: {folder.name} | {size / 2**20:,.1f} |")
    return lines


def profiled(service: Service, asked: Sequence[wire.RetrieveCandidatesRequest]) -> None:
    """Print on stderr where the caller's thread spends its time."""
    profile = cProfile.Profile()
    profile.enable()
    for request in asked:
        service.call(request)
    profile.disable()
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny world, to see that it works")
    parser.add_argument("--no-jobs", action="store_true", help="take the artifacts that are there")
    parser.add_argument("--profile", action="store_true", help="print a profile on stderr too")
    parser.add_argument("--questions", type=int, default=600, help="how many are asked")
    options = parser.parse_args()
    name, count = ("tiny", 40) if options.quick else ("million", options.questions)
    root = CACHE / name
    prepare(WORLDS[name], root, jobs=not options.no_jobs)
    service = Service(root)
    asked = questions(service, count)
    table, _, _ = source_lines(service, asked, round_count=1 if options.quick else 6)
    pins, names = len(service.artifacts.catalogue()), list(service.retrieval.sources)
    glue = glue_lines(service, asked[:50])
    if options.profile:
        profiled(service, asked[:200])
    service.retrieval.close()
    service.journal.close()
    print(f"## RetrieveCandidates at {pins:,} pins (candidate_service)\n")
    print("\n\n".join(["\n".join(table), "\n".join(glue)]), flush=True)
    print("\n" + "\n".join(served_lines(root, names, asked)))


if __name__ == "__main__":
    main()
