"""What happens beyond saturation: goodput, waits of those let in, how fast the rest is refused.

    python benchmarks/bench_overload.py                  # RecommendPins on the small world
    python benchmarks/bench_overload.py --method GetProfile   # costs little more than a refusal
    python benchmarks/bench_overload.py --quick

The saturating rate is the most calls a second that are served, with some in flight or with twice
as many coming as that lets through. Then calls come at 1, 2 and 3 times that rate whether or not
earlier ones were answered, with a deadline each, from several h2load processes (Debian:
nghttp2-client) with a body each. h2load does not see gRPC's statuses: how many calls were served
and refused is read from the service's own metrics, and of its latencies the slowest are those of
the calls let in (a refusal does not wait for anything). A probe beside it, a real client, checks
both.
"""

import argparse
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from bench_recommend import prepare, requests
from prometheus_client.parser import text_string_to_metric_families

from corkboard.profile.v1.profile_service_pb2 import GetProfileRequest
from corkboard.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from corkboard.ranking.v1.ranking_service_pb2_grpc import RankingServiceStub
from corkboard.stack import SERVICES, Stack

CALLERS = 4
"""h2load processes, one connection and one body each."""
IN_FLIGHT = (8, 16, 32, 64)
"""Calls in flight while the saturating rate is looked for."""
PROBES_PER_SECOND = 20
METHODS = {"RecommendPins": "ranking_service", "GetProfile": "profile_service"}
PATHS = {
    "RecommendPins": "corkboard.ranking.v1.RankingService/RecommendPins",
    "GetProfile": "corkboard.profile.v1.ProfileService/GetProfile",
}


@dataclass
class Probe:
    """A real client that asks now and then and reads its answers."""

    ask: Callable[[], object]
    codes: Counter[str] = field(default_factory=Counter)
    served_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    has_hint: bool = True

    def run(self, seconds: float) -> None:
        """Ask at a steady rate."""
        end = time.monotonic() + seconds
        while (start := time.monotonic()) < end:
            try:
                self.ask()
            except grpc.RpcError as error:
                call: grpc.Call = error  # type: ignore[assignment]
                self.codes[call.code().name] += 1
                if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    self.refused_ms.append((time.monotonic() - start) * 1e3)
                    trailers = dict(call.trailing_metadata() or ())
                    self.has_hint &= b"RetryInfo" in bytes(trailers["grpc-status-details-bin"])
            else:
                self.codes["OK"] += 1
                self.served_ms.append((time.monotonic() - start) * 1e3)
            time.sleep(max(0.0, start + 1 / PROBES_PER_SECOND - time.monotonic()))


@dataclass
class Load:
    """What one load did.

    Attributes:
        offered: Calls a second that came.
        ended: Calls a second by status, as the service counted them.
        latencies: Of all calls, milliseconds, ascending.
        probe: What a real client saw meanwhile; None = there was none.
    """

    offered: float
    ended: dict[str, float]
    latencies: list[float]
    probe: Probe | None = None

    def accepted(self) -> list[float]:
        """Latencies of the calls let in: the slowest, as many as were served."""
        share = self.ended.get("OK", 0.0) / max(1e-9, sum(self.ended.values()))
        return self.latencies[len(self.latencies) - round(share * len(self.latencies)) :]


def counts(metrics_port: int, service: str, method: str) -> dict[str, float]:
    """Calls of a method that ended so far, by status."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=30) as page:
        text = page.read().decode()
    return {
        sample.labels["code"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"{service}_requests_total" and sample.labels["method"] == method
    }


class Bench:
    """A running service and the ways of loading it."""

    def __init__(
        self, stack: Stack, metrics_port: int, method: str, bodies: list[bytes], deadline_s: float
    ) -> None:
        self.service = METHODS[method]
        self.method = method
        self.metrics_port = metrics_port
        self.deadline_s = deadline_s
        self.target = stack.targets[self.service]
        self.folder = Path(tempfile.mkdtemp(prefix="overload-"))
        for number, body in enumerate(bodies[:CALLERS]):
            framed = b"\0" + struct.pack(">I", len(body)) + body
            (self.folder / f"{number}.bin").write_bytes(framed)

    def load(
        self,
        seconds: float,
        *,
        rate: float = 0.0,
        in_flight: int = 1000,
        probe: Probe | None = None,
    ) -> Load:
        """Call for some seconds: at a rate, or (rate 0) with so many calls in flight."""
        before = counts(self.metrics_port, self.service, self.method)
        prober = threading.Thread(target=probe.run, args=(seconds,)) if probe else None
        processes = [self._start(n, seconds, rate, in_flight) for n in range(CALLERS)]
        if prober:
            prober.start()
        for process in processes:
            assert process.wait(seconds + 60) == 0
        if prober:
            prober.join()
        after = counts(self.metrics_port, self.service, self.method)
        ended = {code: (n - before.get(code, 0)) / seconds for code, n in after.items()}
        logs = [self.folder / f"{n}.log" for n in range(CALLERS)]
        rows = [line.split("\t") for log in logs for line in log.read_text().splitlines()]
        latencies = sorted(float(row[2]) / 1e3 for row in rows)
        return Load(rate or sum(ended.values()), ended, latencies, probe)

    def _start(
        self, number: int, seconds: float, rate: float, in_flight: int
    ) -> "subprocess.Popen[bytes]":
        log = self.folder / f"{number}.log"
        log.unlink(missing_ok=True)
        command = ["h2load", "-c", "1", "-t", "1", "-m", str(max(1, in_flight // CALLERS))]
        command += ["-D", f"{round(seconds * 1e3)}ms", "--log-file", str(log)]
        command += ["-d", str(self.folder / f"{number}.bin")]
        if rate:
            command += ["--rps", f"{rate / CALLERS:.3f}"]
        for header in ("content-type: application/grpc", "te: trailers"):
            command += ["-H", header]
        command += ["-H", f"grpc-timeout: {round(self.deadline_s * 1e3)}m"]
        command.append(f"http://{self.target}/{PATHS[self.method]}")
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def row(name: str, load: Load, peak: float, deadline_s: float) -> str:
    """One line of the table."""
    probe = load.probe
    assert probe is not None
    good = load.ended.get("OK", 0.0)
    refused = load.ended.get("RESOURCE_EXHAUSTED", 0.0)
    others = sum(load.ended.values()) - good - refused
    accepted = load.accepted()
    p99 = float(np.percentile(accepted, 99)) if accepted else float("nan")
    no = f"{np.median(probe.refused_ms):.1f}" if probe.refused_ms else "-"
    verdict = "yes" if p99 <= deadline_s * 1e3 else "**no**"
    total = max(1e-9, sum(load.ended.values()))
    return (
        f"| {name} | {load.offered:.0f} | {good:.0f} | {good / peak:.2f} | {refused / total:.0%} | "
        f"{others / total:.1%} | {p99:.0f} ({verdict}) | {no} | {dict(probe.codes)} |"
    )


def measure(root: Path, method: str, *, seconds: float, deadline_s: float) -> list[str]:
    """The Markdown of one method."""
    asked = requests(root)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        metrics_port = free.getsockname()[1]
    service = METHODS[method]
    quiet = ("log_level=error", "queue_count_max=1000")
    settings = dict.fromkeys(SERVICES, quiet)
    settings[service] = (*quiet, f"metrics_port={metrics_port}")
    with (
        Stack(data_root=root, settings=settings) as stack,
        grpc.insecure_channel(stack.targets[service]) as channel,
    ):
        if method == "RecommendPins":
            bodies = [request.SerializeToString() for request in asked]
            stub = RankingServiceStub(channel)
            ask = lambda: stub.RecommendPins(asked[0], timeout=deadline_s)  # noqa: E731
        else:
            users = [GetProfileRequest(user_id=request.user_id) for request in asked]
            bodies = [request.SerializeToString() for request in users]
            profile = ProfileServiceStub(channel)
            ask = lambda: profile.GetProfile(users[0], timeout=deadline_s)  # noqa: E731
        bench = Bench(stack, metrics_port, method, bodies, deadline_s)
        bench.load(seconds / 3, in_flight=8)  # warm
        served = {f"{n} in flight": bench.load(seconds, in_flight=n).ended["OK"] for n in IN_FLIGHT}
        too_many = 2 * max(served.values())
        flood = bench.load(seconds, rate=too_many, probe=Probe(ask))
        served[f"{too_many:.0f} a second"] = flood.ended["OK"]
        peak = max(served.values())
        loads = {
            f"{times}×": bench.load(seconds, rate=times * peak, probe=Probe(ask))
            for times in (1, 2, 3)
        }
    searched = ", ".join(f"{load}: {rate:.0f}/s" for load, rate in served.items())
    best = max(peak, *(load.ended.get("OK", 0.0) for load in loads.values()))
    hints = all(load.probe.has_hint for load in loads.values() if load.probe)
    return [
        f"### {method}, deadline {deadline_s:g} s",
        "",
        f"Served with {searched}. Saturating: {peak:.0f}/s. Refusals carry RetryInfo: {hints}.",
        "",
        (
            "| load | calls/s | served/s | of the peak | refused | other ends | p99 of those let "
            "in, ms (within the deadline) | a client's refusal, ms | probe |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
        *(row(name, load, best, deadline_s) for name, load in loads.items()),
        "",
    ]


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the tiny world, a second a load")
    parser.add_argument("--world", default="small")
    parser.add_argument("--method", choices=list(METHODS), action="append")
    parser.add_argument("--deadline", type=float, default=0.5, help="of each call, seconds")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    options = parser.parse_args()
    print("## Overload\n")
    if not shutil.which("h2load"):
        print("| h2load is not installed (Debian: nghttp2-client) |\n|---|")
        return
    root = prepare("tiny" if options.quick else options.world)
    for method in options.method or list(METHODS)[: 1 if options.quick else None]:
        seconds = 1.0 if options.quick else options.seconds
        print("\n".join(measure(root, method, seconds=seconds, deadline_s=options.deadline)))


if __name__ == "__main__":
    main()
