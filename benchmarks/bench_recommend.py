"""RecommendPins end to end: the wire, the workers, the stages, the tail, three processes and one.

Worlds: the demo's data if it was built, and the synthetic worlds of `synthetic_world.py` (built
once below `.cache/benchmarks/`). A ranker of 300 trees and 31 leaves, trained on noise, stands in
where none was trained, so that scoring costs what it costs in production.

Load comes from h2load (nghttp2) where it is installed, which costs a call a few microseconds; its
answers are checked beside it by a client that reads them.
"""

import argparse
import json
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightgbm
import numpy as np
import pyarrow.parquet as pq
from one_process import OneProcess
from synthetic_world import WORLDS, build

from corkboard.client import Client
from corkboard.pipeline import STEPS, Order, Outcome, run_steps
from corkboard.ranking.v1.ranking_service_pb2 import RecommendPinsRequest
from corkboard.stack import Stack
from ranking_service.features import FEATURE_NAMES
from ranking_service.ranker import (
    RANKER_ARTIFACT,
    RANKER_FORMAT_VERSION,
    GbdtRanker,
    open_ranker,
    write_ranker,
)
from service_runtime.errors import Corrupted
from service_runtime.generations import GenerationStore

CACHE = Path(".cache/benchmarks")
USERS = 200
LIMIT = 25  # the default of a request
ROUNDS = 5


def prepare(name: str) -> Path:
    """A data root with every artifact of a world."""
    root = CACHE / name
    build(WORLDS[name], root)
    store = GenerationStore(root / "generations")
    missing = [s for s in STEPS if any(store.current(a) is None for a in s.makes)]
    begin = time.monotonic()
    results = run_steps(missing, Order(root, as_of=time.time(), process_count=1))
    for result in results:
        memory = result.report.get("peak_memory_bytes", 0)
        print(f"  {result.step.name}: {result.seconds:.0f} s, {memory}", file=sys.stderr)
        assert result.outcome is Outcome.DONE, result.reason
    print(f"  {name}: jobs took {time.monotonic() - begin:.0f} s", file=sys.stderr)
    if not has_ranker(store):
        publish_noise_ranker(store)
    return root


def has_ranker(store: GenerationStore) -> bool:
    """Whether there is a model for the features of this build; one for others would be refused."""
    generation = store.current(RANKER_ARTIFACT)
    if generation is None:
        return False
    try:
        open_ranker(generation.path, feature_names=FEATURE_NAMES)
    except Corrupted:
        return False
    return True


def publish_noise_ranker(store: GenerationStore) -> None:
    """A model of the size that is allowed, with nothing learned."""
    rng = np.random.default_rng(0)
    rows = rng.random((20_000, len(FEATURE_NAMES)), np.float32)
    labels = (rows[:, :8].sum(axis=1) + rng.normal(0, 1, len(rows)) > 4).astype(int)
    parameters = {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 2}
    booster = lightgbm.train(parameters, lightgbm.Dataset(rows, labels), 300)
    with store.draft(RANKER_ARTIFACT, format_version=RANKER_FORMAT_VERSION) as draft:
        text = booster.model_to_string()
        write_ranker(draft.folder, {"save": GbdtRanker(text)}, feature_names=FEATURE_NAMES)
        draft.publish(
            as_of_us=1, inputs={}, counts={}, quality={}, details={"model": "pointwise_gbdt"}
        )


def requests(root: Path) -> list[RecommendPinsRequest]:
    """One request for each of some users who acted."""
    files = sorted((root / "events/actions").rglob("*.parquet"))
    users = sorted(set(pq.read_table(files[-1], columns=["user_id"])["user_id"].to_pylist()))
    chosen = np.random.default_rng(1).permutation(users)[:USERS]
    return [RecommendPinsRequest(user_id=u, limit=LIMIT, seed=n + 1) for n, u in enumerate(chosen)]


def cpu_ms(call: Callable[..., object], asked: Sequence[object]) -> float:
    """Median CPU milliseconds of this process a call, over rounds of all requests."""
    figures = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for request in asked:
            call(request)
        figures.append((time.process_time() - start) / len(asked) * 1e3)
    return statistics.median(figures)


@contextmanager
def one_process_server(root: Path, workers: int) -> Iterator[int]:
    """The port of RecommendPins served from one process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("one_process.py")), str(root)]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.communicate("\n", timeout=30)


def load(
    port: int, asked: list[RecommendPinsRequest], *, in_flight: int, calls: int
) -> dict[str, float]:
    """Calls a second and latency percentiles, with several bodies one after the other."""
    latencies: list[float] = []
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        for number, request in enumerate(asked[:ROUNDS]):
            body = request.SerializeToString()
            path = Path(folder) / f"{number}.bin"
            path.write_bytes(b"\0" + struct.pack(">I", len(body)) + body)
            log = Path(folder) / f"{number}.log"
            url = f"http://127.0.0.1:{port}/corkboard.ranking.v1.RankingService/RecommendPins"
            command = ["h2load", "-n", str(calls), "-c", "1", "-m", str(in_flight), "-d", str(path)]
            command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
            start = time.monotonic()
            subprocess.run([*command, "--log-file", str(log), url], capture_output=True, check=True)
            rates.append(calls / (time.monotonic() - start))
            rows = [line.split("\t") for line in log.read_text().splitlines()]
            latencies += [float(row[2]) / 1e3 for row in rows[calls // 10 :]]
    return {
        "qps": statistics.median(rates),
        "p50": float(np.percentile(latencies, 50)),
        "p99": float(np.percentile(latencies, 99)),
    }


def check_answers(port: int, asked: list[RecommendPinsRequest]) -> None:
    """Answers over the wire are real answers, in good health."""
    with Client(ranking=f"127.0.0.1:{port}") as client:
        for request in asked[:ROUNDS]:
            answer = client.recommend(request.user_id, limit=LIMIT, with_titles=False)
            assert len(answer.pins) == LIMIT, request.user_id


def sequential_ms(target: str, asked: list[RecommendPinsRequest]) -> tuple[float, float]:
    """p50 and p99 milliseconds of calls one after the other through the Python client."""
    took = []
    with Client(ranking=target) as client:
        for request in asked * 2:
            start = time.perf_counter()
            client.recommend(request.user_id, limit=LIMIT, seed=request.seed, with_titles=False)
            took.append((time.perf_counter() - start) * 1e3)
    took = took[len(asked) :]
    return float(np.percentile(took, 50)), float(np.percentile(took, 99))


def stage_rows(services: OneProcess, asked: list[RecommendPinsRequest]) -> list[tuple[str, float]]:
    """CPU milliseconds of each stage, each asked alone with the real inputs of the calls."""
    servicer = services.methods["RecommendPins"].__self__
    recommender = servicer._recommender  # noqa: SLF001
    upstream = recommender._upstream._stubs  # noqa: SLF001
    seen: dict[str, list[object]] = {"GetProfile": [], "RetrieveCandidates": []}

    def recording(name: str, behaviour: Callable[..., object]) -> Callable[..., object]:
        def call(request: object, **rest: object) -> object:
            seen[name].append(request)
            return behaviour(request, **rest)

        return call

    profile, candidate = upstream.profile.GetProfile, upstream.candidate.RetrieveCandidates
    upstream.profile.GetProfile = recording("GetProfile", profile)
    upstream.candidate.RetrieveCandidates = recording("RetrieveCandidates", candidate)
    for request in asked:
        services.recommend(request)
    upstream.profile.GetProfile = profile
    answers = [candidate(request) for request in seen["RetrieveCandidates"]]
    canned = {id(r): a for r, a in zip(asked, answers, strict=True)}
    profiles = {id(r): profile(q) for r, q in zip(asked, seen["GetProfile"], strict=True)}
    current: list[RecommendPinsRequest] = []

    def rest(request: RecommendPinsRequest) -> object:
        current[:] = [request]
        return services.recommend(request)

    stages = [
        ("profile_service", cpu_ms(profile, seen["GetProfile"])),
        ("candidate_service", cpu_ms(candidate, seen["RetrieveCandidates"])),
    ]
    upstream.profile.GetProfile = lambda *_, **__: profiles[id(current[0])]
    upstream.candidate.RetrieveCandidates = lambda *_, **__: canned[id(current[0])]
    stages.append(("ranking_service", cpu_ms(rest, asked)))
    upstream.profile.GetProfile, upstream.candidate.RetrieveCandidates = profile, candidate
    return stages


def measure(name: str, root: Path, *, calls: int) -> list[str]:
    """The Markdown of one world."""
    asked = requests(root)
    services = OneProcess(root)
    for request in asked:
        services.recommend(request)
    in_process = cpu_ms(services.recommend, asked)
    begin = time.perf_counter()
    for request in asked[:ROUNDS] * 20:
        services.recommend(request)
    in_process_rate = 20 * ROUNDS / (time.perf_counter() - begin)
    stages = stage_rows(services, asked)
    services.close()
    lines = [
        f"### {name}",
        "",
        "| what | figure | goal |",
        "|---|---|---|",
        *(f"| CPU of stage {stage} | {ms:.2f} ms | |" for stage, ms in stages),
        (
            f"| CPU a call, in process | {in_process:.2f} ms = "
            f"{in_process / sum(ms for _, ms in stages):.2f}× its stages | ≤ 1.25× |"
        ),
    ]
    if shutil.which("h2load"):
        lines += wire_rows(root, asked, in_process_rate, calls=calls)
    else:
        lines.append("| through gRPC | h2load is not installed (Debian: nghttp2-client) | |")
    lines += three_process_rows(root, asked)
    return [*lines, ""]


def wire_rows(
    root: Path, asked: list[RecommendPinsRequest], in_process_rate: float, *, calls: int
) -> list[str]:
    """What the wire costs in one process; what a second worker gives in the production layout."""
    with one_process_server(root, 1) as port:
        check_answers(port, asked)
        alone = load(port, asked, in_flight=8, calls=calls)
    figures = {}
    for workers, in_flight in ((1, 8), (2, 8), (2, 2)):
        with Stack(data_root=root, settings=quiet(workers)) as stack:
            port = stack.children["ranking_service"].port
            check_answers(port, asked)
            figures[workers, in_flight] = load(port, asked, in_flight=in_flight, calls=calls)
    one, two, pair = figures[1, 8], figures[2, 8], figures[2, 2]
    return [
        f"| in-process loop | {in_process_rate:.0f} calls/s | |",
        (
            f"| one process through gRPC, 1 worker, 8 in flight | {alone['qps']:.0f} calls/s = "
            f"{alone['qps'] / in_process_rate:.2f}× the loop | ≥ 0.9× |"
        ),
        (
            f"| three processes, 2 workers each, 8 in flight | {two['qps']:.0f} calls/s = "
            f"{two['qps'] / one['qps']:.2f}× 1 worker each ({one['qps']:.0f}) | ≥ 1.55× |"
        ),
        (
            f"| three processes, 2 workers each, 2 in flight | p50 {pair['p50']:.1f} ms, "
            f"p99 {pair['p99']:.1f} ms = {pair['p99'] / pair['p50']:.1f}× | ≤ 3× |"
        ),
    ]


def three_process_rows(root: Path, asked: list[RecommendPinsRequest]) -> list[str]:
    """The production layout against one process, one call after the other; and its memory."""
    with one_process_server(root, 2) as port:
        alone, _ = sequential_ms(f"127.0.0.1:{port}", asked)
    begin = time.monotonic()
    with Stack(data_root=root, settings=quiet()) as stack:
        started = time.monotonic() - begin
        p50, p99 = sequential_ms(stack.targets["ranking_service"], asked)
        memory = {name: resident_mib(child.process.pid) for name, child in stack.children.items()}
    return [
        (
            f"| three processes, one call at a time | p50 {p50:.1f} ms, p99 {p99:.1f} ms = "
            f"{p50 / alone:.2f}× one process ({alone:.1f} ms) | ≤ 1.3× |"
        ),
        f"| start of all three to SERVING, warm caches | {started:.1f} s | |",
        *(
            f"| memory of {service} after {2 * len(asked)} calls | {anonymous:.0f} MiB own, "
            f"{mapped:.0f} MiB mapped files | |"
            for service, (anonymous, mapped) in memory.items()
        ),
    ]


def quiet(workers: int = 0) -> dict[str, tuple[str, ...]]:
    """Settings that keep log and metrics out of the way; 0 workers = as many as cores."""
    settings = ("log_level=warning", "metrics_port=0", f"worker_count={workers}")
    return dict.fromkeys(("profile_service", "candidate_service", "ranking_service"), settings)


def resident_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process, MiB: its own, and pages of mapped files."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    anonymous = int(fields["RssAnon"].split()[0]) + int(fields["RssShmem"].split()[0])
    return anonymous / 1024, int(fields["RssFile"].split()[0]) / 1024


def main() -> None:
    """Measure the worlds that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the tiny world only")
    parser.add_argument("--world", choices=[*WORLDS, "demo"], action="append")
    options = parser.parse_args()
    demo = Path("corkboard-data/demo")
    names = options.world or (
        ["tiny"] if options.quick else [*(["demo"] if demo.exists() else []), "small", "large"]
    )
    lines = ["## RecommendPins, end to end", ""]
    for name in names:
        root = demo if name == "demo" else prepare(name)
        world = "" if name == "demo" else f": {json.dumps(describe(name))}"
        lines += measure(f"{name}{world}", root, calls=40 if options.quick else 400)
    print("\n".join(lines))


def describe(name: str) -> dict[str, int]:
    """Sizes of a synthetic world."""
    world = WORLDS[name]
    return {
        field: getattr(world, field) for field in ("pins", "boards", "edges", "users", "dimension")
    }


if __name__ == "__main__":
    main()
