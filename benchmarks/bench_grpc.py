"""
What our interceptor costs: CPU of an echo server, dressed by service_runtime against bare gRPC.

    python benchmarks/bench_grpc.py            # about a minute
    python benchmarks/bench_grpc.py --quick    # a few seconds, figures rough

Each server is a process of its own with one worker; this process keeps some calls in flight. CPU is
user + system time of the server process by the kernel's accounts, a call. Short rounds of all
servers are interleaved and each is compared with the bare one of its round; the median counts, so
that load by others hits all alike (it still blurs the ratio: trust a quiet machine). The request
has a constraint, so protovalidate has something to do; log lines go to a file that is thrown away.
Target: dressed at most 1.7 times bare.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from buf.validate import validate_pb2
from service_runtime.config import ServiceConfig
from service_runtime.grpc_client import open_channel
from service_runtime.grpc_server import Server
from service_runtime.telemetry import configure_logging

METHOD = "/bench.v1.EchoService/Echo"
VARIANTS = {
    "bare": "gRPC alone",
    "dressed": "request id, deadline, constraints, metrics, log line",
    "dressed, no log": "the same at log level warning",
}
RATIO_MAX = 1.7


def echo_class() -> Any:
    """A message with a string of 1 to 128 bytes, made at run time."""
    file = descriptor_pb2.FileDescriptorProto(
        name="bench/v1/echo.proto",
        package="bench.v1",
        syntax="proto3",
        dependency=["buf/validate/validate.proto"],
    )
    field = file.message_type.add(name="Echo").field.add(name="text", number=1, type=9, label=1)
    rules = field.options.Extensions[validate_pb2.field]
    rules.string.min_bytes, rules.string.max_bytes = 1, 128
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.v1.Echo"))


def add_echo(server: grpc.Server) -> None:
    """Register the echo method."""
    echo = echo_class()
    handler = grpc.unary_unary_rpc_method_handler(
        lambda request, _: request, echo.FromString, echo.SerializeToString
    )
    server.add_registered_method_handlers("bench.v1.EchoService", {"Echo": handler})
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.v1.EchoService", {"Echo": handler}),)
    )


def serve(variant: str, worker_count: int) -> None:
    """Be one of the servers until stdin ends; the port is printed on the first line of stdout."""
    if variant == "bare":
        bare = grpc.server(futures.ThreadPoolExecutor(worker_count))
        add_echo(bare)
        port = bare.add_insecure_port("127.0.0.1:0")
        bare.start()
    else:
        configure_logging("warning" if "no log" in variant else "info", "bench")
        config = ServiceConfig(worker_count=worker_count)
        dressed = Server(config, name="bench", add_services=add_echo, service_names=[])
        port = dressed.start()  # the name keeps it alive
    print(port, flush=True)
    sys.stdin.read()
    os._exit(0)


def run_calls(port: int, call_count: int, in_flight: int) -> float:
    """Make calls from this process; seconds taken."""
    echo = echo_class()
    channel = open_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
    method = channel.unary_unary(METHOD, echo.SerializeToString, echo.FromString)
    request, slots = echo(text="x" * 50), threading.Semaphore(in_flight)
    method(request, timeout=10)
    started = time.perf_counter()
    for _ in range(call_count):
        slots.acquire()
        method.future(request, timeout=10).add_done_callback(lambda _: slots.release())
    for _ in range(in_flight):
        slots.acquire()
    seconds = time.perf_counter() - started
    channel.close()
    return seconds


def port_of(server: "subprocess.Popen[str]") -> int:
    """What the server printed first."""
    assert server.stdout is not None
    return int(server.stdout.readline())


def cpu_seconds(pid: int) -> float:
    """User + system time of a process so far, by the scheduler's account of each thread."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


class Figures(NamedTuple):
    """What was measured of one server, medians over rounds."""

    microseconds: float
    """CPU of a call."""
    ratio: float
    """The same, over the bare server's of the same round."""
    rate: float
    """Calls a second."""


def measure(worker_count: int, call_count: int, rounds: int, in_flight: int) -> dict[str, Figures]:
    """The figures of each variant."""
    script = [sys.executable, __file__, "--workers", str(worker_count)]
    cpu: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    rate: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    servers = {}
    with tempfile.TemporaryFile() as log:
        for variant in VARIANTS:
            servers[variant] = subprocess.Popen(
                [*script, "--serve", variant],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        ports = {variant: port_of(server) for variant, server in servers.items()}
        for number in range(rounds + 1):
            for variant, server in servers.items():
                before = cpu_seconds(server.pid)
                seconds = run_calls(ports[variant], call_count, in_flight)
                if number:  # the first round warms up
                    cpu[variant].append((cpu_seconds(server.pid) - before) / call_count * 1e6)
                    rate[variant].append(call_count / seconds)
        for server in servers.values():
            server.communicate()
    return {
        variant: Figures(
            microseconds=statistics.median(cpu[variant]),
            ratio=statistics.median(
                ours / bare for ours, bare in zip(cpu[variant], cpu["bare"], strict=True)
            ),
            rate=statistics.median(rate[variant]),
        )
        for variant in VARIANTS
    }


def main() -> None:
    """Measure and print a table; the last line is the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--quick", action="store_true", help="small, rough")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--serve", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.workers)
    call_count, rounds = (300, 3) if options.quick else (800, 25)
    figures = measure(options.workers, call_count, rounds, options.in_flight)
    ratio = figures["dressed"].ratio
    print("## gRPC: what our interceptor costs\n")
    print(
        f"Echo, {options.workers} worker, {options.in_flight} calls in flight, medians of {rounds} "
        f"interleaved rounds of {call_count} calls; CPU of the server process.\n"
    )
    print("| server | CPU us/call | x bare | calls/s |\n| --- | --- | --- | --- |")
    for variant, found in figures.items():
        print(
            f"| {variant}: {VARIANTS[variant]} | {found.microseconds:.0f} | {found.ratio:.2f} "
            f"| {found.rate:.0f} |"
        )
    verdict = "too small a run to judge" if options.quick else "met"
    if ratio > RATIO_MAX and not options.quick:
        verdict = "**missed**"
    print(f"\nDressed / bare = {ratio:.2f} (target: at most {RATIO_MAX}): {verdict}.")


if __name__ == "__main__":
    main()
