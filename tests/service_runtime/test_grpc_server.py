"""The life of a server: in this process, and as a process of its own with real signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service_runtime import grpc_server
from service_runtime.errors import BindFailed, NotReady, Unavailable
from service_runtime.grpc_client import call, open_channel
from tests.service_runtime.echo import (
    SERVICE,
    Behavior,
    Echo,
    Gate,
    connected,
    echo_method,
    make_server,
    same,
    serving,
)

ROOT = Path(__file__).parents[2]


def health_of(port: int, service: str) -> str:
    """What the health service says about a service; the status's name if it refuses."""
    with open_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
        except grpc.RpcError as error:
            return str(error.code().name)  # type: ignore[attr-defined]  it is a Call
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def test_health_follows_the_life_of_a_server() -> None:
    """NOT_SERVING while warming up, SERVING after, for each service and for the whole."""
    during: list[str] = []

    def warm_up() -> None:
        during.extend(health_of(server.port, name) for name in ("", SERVICE))

    server = make_server(warm_up=warm_up)
    port = server.start()
    after = [health_of(port, name) for name in ("", SERVICE, "no.such.Service")]
    server.stop(0)

    assert during == ["NOT_SERVING", "NOT_SERVING"]
    assert after == ["SERVING", "SERVING", "NOT_FOUND"]


def test_health_can_be_watched_through_the_end() -> None:
    """A watcher sees SERVING, then NOT_SERVING as soon as the server means to stop."""
    with serving() as (server, _), open_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=30)
        first = next(watch).status
        stopping = threading.Thread(target=server.stop, args=(5,))
        stopping.start()
        second = next(watch).status
        watch.cancel()
        stopping.join()

    statuses = health_pb2.HealthCheckResponse
    assert (first, second) == (statuses.SERVING, statuses.NOT_SERVING)


def test_two_servers_in_one_process_have_their_own_health() -> None:
    """Ending one server does not break watches of the other."""
    with serving() as (server, _):
        other = make_server()
        other.start()
        other.stop(0)
        with open_channel(f"127.0.0.1:{server.port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=10)
            status = next(watch).status
            watch.cancel()

    assert status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_what_is_served() -> None:
    """Tools find the services without our .proto files."""
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with serving() as (server, _), open_channel(f"127.0.0.1:{server.port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=30)

    names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health", "grpc.channelz.v1.Channelz"} <= names


def test_open_reflection_streams_do_not_starve_calls_or_probes() -> None:
    """Streams that somebody forgot to close hold none of the threads that matter."""
    never = threading.Event()

    def endless() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        never.wait(30)

    with (
        serving(worker_count=1) as (server, method),
        open_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        streams = [stub.ServerReflectionInfo(endless(), timeout=30)]
        next(streams[0])  # the first alone: of those that follow some wait for a thread
        streams += [stub.ServerReflectionInfo(endless(), timeout=30) for _ in range(5)]
        answer = call(method, Echo(text="x"), timeout_s=10)
        health = health_of(server.port, SERVICE)
        never.set()
        for stream in streams:
            stream.cancel()

    assert (answer.text, health) == ("x", "SERVING")


def test_channelz_shows_the_server() -> None:
    """Whoever is paged can look at sockets and call counts."""
    with serving() as (server, method), open_channel(f"127.0.0.1:{server.port}") as channel:
        call(method, Echo(text="x"), timeout_s=30)
        stub = channelz_pb2_grpc.ChannelzStub(channel)
        servers = stub.GetServers(channelz_pb2.GetServersRequest(), timeout=30).server

    assert any(shown.data.calls_succeeded >= 1 for shown in servers)


def test_stopping_lets_running_calls_finish_before_closing() -> None:
    """A call that runs when the server is stopped gets its answer; stores are closed after it."""
    gate, events = Gate(), []

    def behavior(request: Any, context: grpc.ServicerContext) -> Any:
        answer = gate(request, context)
        events.append("answered")
        return answer

    with serving(behavior, close=lambda: events.append("closed")) as (server, method):
        running = method.future(Echo(text="x"), timeout=30)
        gate.wait_entered()
        stopping = threading.Thread(target=server.stop, args=(30,))
        stopping.start()
        with pytest.raises(Unavailable):
            _call_until_refused(server.port)
        gate.open()
        answer = running.result()
        stopping.join()

    assert answer.text == "x"
    assert events == ["answered", "closed"]


def test_stopping_twice_closes_once() -> None:
    """Stopping is safe to repeat."""
    closed: list[str] = []
    server = make_server(close=lambda: closed.append("closed"))
    server.start()

    assert [server.stop(0), server.stop(0)] == [True, True]
    assert closed == ["closed"]


def test_call_that_never_ends_keeps_the_stores_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a store under a running call could damage memory: it is left open, and told."""
    monkeypatch.setattr(grpc_server, "STUCK_SECONDS_MAX", 0.2)
    gate, closed = Gate(), []
    server = make_server(gate, close=lambda: closed.append("closed"))
    server.start()

    with connected(server.port) as method:
        held = method.future(Echo(text="x"), timeout=30)
        gate.wait_entered()
        is_clean = server.stop(0)
        gate.open()
        assert held.code() is not grpc.StatusCode.OK

    assert not is_clean
    assert closed == []


def test_failed_warm_up_closes_and_tells() -> None:
    """What warm-up raises ends the start, after everything was closed and the port freed."""
    closed: list[str] = []

    def warm_up() -> None:
        raise NotReady("no shelf")

    server = make_server(warm_up=warm_up, close=lambda: closed.append("closed"))
    with pytest.raises(NotReady, match="no shelf"):
        server.start()

    assert closed == ["closed"]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def test_taken_port_is_told() -> None:
    """Two servers cannot share a port by accident."""
    with serving() as (server, _):
        second = make_server(port=server.port)
        with pytest.raises(BindFailed, match=f"echo cannot listen on 127.0.0.1:{server.port}"):
            second.start()


def test_address_of_another_machine_is_told() -> None:
    """An address that is not ours cannot be listened on."""
    with pytest.raises(BindFailed, match=r"cannot listen on 192\.0\.2\.1:"):
        make_server(host="192.0.2.1").start()


def test_ports_can_be_shared_on_purpose() -> None:
    """With reuse_port several servers listen on one port."""
    with serving(reuse_port=True) as (server, _):
        second = make_server(reuse_port=True, port=server.port)
        port = second.start()
        second.stop(0)

    assert port == server.port


def test_a_shared_port_balances_connections_not_calls() -> None:
    """All calls of one channel land on one of the servers: why workers are threads, not ports."""
    answered: list[str] = []

    def named(name: str) -> Behavior:
        def behavior(request: Any, _: grpc.ServicerContext) -> Any:
            answered.append(name)
            return request

        return behavior

    with serving(named("first"), reuse_port=True) as (server, _):
        second = make_server(named("second"), reuse_port=True, port=server.port)
        second.start()
        with connected(server.port) as method:
            for _ in range(50):
                call(method, Echo(text="x"), timeout_s=30)
        second.stop(0)

    assert len(answered) == 50
    assert len(set(answered)) == 1


def test_metrics_page_is_served(free_port: int) -> None:
    """The page of a server shows its calls."""
    with serving(metrics_port=free_port) as (server, method):
        call(method, Echo(text="x"), timeout_s=30)
        page = _page(server.metrics_port)

    assert 'echo_requests_total{code="OK",method="Echo"} 1.0' in page


def test_own_interceptors_run_before_ours() -> None:
    """A service can add an interceptor; it sees every call."""
    seen: list[str] = []

    class Noting(grpc.ServerInterceptor):  # type: ignore[misc]  published as Any
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            seen.append(details.method)
            return continuation(details)

    with serving(same, interceptors=[Noting()]) as (_, method):
        call(method, Echo(text="x"), timeout_s=30)

    assert seen == [f"/{SERVICE}/Echo"]


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _call_until_refused(port: int) -> None:
    """New connections are refused once a server drains."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with connected(port, attempts_max=1) as method:
            # Either no connection, or one that is let through and told to go away.
            call(method, Echo(text="x"), timeout_s=0.2)


def _page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        return str(page.read().decode())


class EchoProcess:
    """The echo service as a process of its own."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        # A file, not a pipe: a pipe that nobody empties stops the process at its 65,536th byte.
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115  closed in end
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.service_runtime.echo_process", *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "ECHO_SERVICE_DRAIN_WAIT_SECONDS": "0"} | environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ready(self) -> dict[str, Any]:
        """Its ready line."""
        assert self.process.stdout is not None
        line: dict[str, Any] = json.loads(self.process.stdout.readline())
        return line

    def end(self) -> tuple[int, str, list[str]]:
        """Exit code, stdout and lines of stderr, once it has ended; a test fails if it does not."""
        try:
            out, _ = self.process.communicate(timeout=60)
        finally:
            self.process.kill()
        with self._log as log:
            log.seek(0)
            return self.process.returncode, out, log.read().splitlines()

    def end_logged(self) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and log lines, once it has ended."""
        code, _, lines = self.end()
        return code, [json.loads(line) for line in lines if line.startswith("{")]


def events(lines: list[dict[str, Any]]) -> list[str]:
    """The names of the events."""
    return [line["event"] for line in lines]


def wait_for(path: Path) -> None:
    """Return once a file is there."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_answers_and_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Ready line on stdout; after the signal the running call is answered, then exit 0."""
    entered, closed = tmp_path / "entered", tmp_path / "closed"
    echo = EchoProcess(
        ECHO_SERVICE_HOLD_SECONDS="0.5",
        ECHO_SERVICE_ENTERED_PATH=str(entered),
        ECHO_SERVICE_CLOSED_PATH=str(closed),
    )
    ready = echo.ready()
    with connected(ready["port"]) as method:
        held = method.future(Echo(text="hold"), timeout=30)
        wait_for(entered)
        echo.process.send_signal(number)
        answer = held.result()
    code, lines = echo.end_logged()

    assert (ready["event"], ready["service"]) == ("ready", "echo_service")
    assert answer.text == "hold"
    assert code == 0
    assert closed.exists()
    assert events(lines)[-3:] == ["server.stop_asked", "call.finished", "server.stopped"]


def test_second_signal_cuts_the_drain(tmp_path: Path) -> None:
    """Who asks twice wants it now: running calls are cancelled, stores are closed, exit 0."""
    entered, closed = tmp_path / "entered", tmp_path / "closed"
    echo = EchoProcess(
        ECHO_SERVICE_HOLD_SECONDS="2",
        ECHO_SERVICE_ENTERED_PATH=str(entered),
        ECHO_SERVICE_CLOSED_PATH=str(closed),
        ECHO_SERVICE_DRAIN_SECONDS="600",
        ECHO_SERVICE_DRAIN_WAIT_SECONDS="300",
    )
    port = echo.ready()["port"]
    with connected(port, attempts_max=1) as method:
        held = method.future(Echo(text="hold"), timeout=60)
        wait_for(entered)
        echo.process.send_signal(signal.SIGTERM)
        while health_of(port, "") == "SERVING":
            time.sleep(0.01)
        echo.process.send_signal(signal.SIGTERM)
        code_of_call = held.code()
    code, _ = echo.end_logged()

    assert code_of_call is not grpc.StatusCode.OK
    assert code == 0
    assert closed.exists()


def test_third_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    """Who asks three times gets it without tidying up: exit 128 + the signal's number."""
    entered, closed = tmp_path / "entered", tmp_path / "closed"
    echo = EchoProcess(
        ECHO_SERVICE_HOLD_SECONDS="60",
        ECHO_SERVICE_ENTERED_PATH=str(entered),
        ECHO_SERVICE_CLOSED_PATH=str(closed),
        ECHO_SERVICE_DRAIN_SECONDS="600",
        ECHO_SERVICE_DRAIN_WAIT_SECONDS="300",
    )
    port = echo.ready()["port"]
    with connected(port, attempts_max=1) as method:
        held = method.future(Echo(text="hold"), timeout=60)
        wait_for(entered)
        echo.process.send_signal(signal.SIGTERM)
        while health_of(port, "") == "SERVING":
            time.sleep(0.01)
        echo.process.send_signal(signal.SIGTERM)
        assert held.code() is not grpc.StatusCode.OK
        echo.process.send_signal(signal.SIGTERM)
        code, _, _ = echo.end()

    assert code == 128 + signal.SIGTERM
    assert not closed.exists()


def test_signal_during_warm_up_ends_the_process(tmp_path: Path) -> None:
    """A process asked to stop before it is ready does not warm up first."""
    closed = tmp_path / "closed"
    echo = EchoProcess(ECHO_SERVICE_WARM_UP="slow", ECHO_SERVICE_CLOSED_PATH=str(closed))
    assert echo.process.stdout is not None
    assert echo.process.stdout.readline() == "warming up\n"

    echo.process.send_signal(signal.SIGTERM)
    code, lines = echo.end_logged()

    assert code == 0
    assert closed.exists()
    assert events(lines)[-1] == "server.stopped_before_ready"


@pytest.mark.parametrize(
    ("warm_up", "error", "hint"),
    [
        ("not_ready", "there is no shelf", "run the job build_shelf"),
        ("crash", "ZeroDivisionError: by nothing", ""),
    ],
)
def test_failed_warm_up_ends_the_process(warm_up: str, error: str, hint: str) -> None:
    """Exit code 1, no ready line, and a log line that says what to do."""
    echo = EchoProcess(ECHO_SERVICE_WARM_UP=warm_up)

    code, lines = echo.end_logged()

    assert code == 1
    assert (lines[-1]["event"], lines[-1]["error"]) == ("server.start_failed", error)
    assert lines[-1].get("hint", "") == hint
    assert "server.became_ready" not in events(lines)


def test_taken_port_ends_the_process() -> None:
    """Exit code 1 and the address in the log."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        code, lines = EchoProcess(ECHO_SERVICE_PORT=str(port)).end_logged()

    assert code == 1
    assert lines[-1]["error"] == f"echo_service cannot listen on 127.0.0.1:{port}"
    assert "set another host or port" in lines[-1]["hint"]


def test_bad_config_ends_the_process_with_all_faults() -> None:
    """Exit code 2; every fault on a line of its own, for people."""
    echo = EchoProcess("--set", "host=", ECHO_SERVICE_PORT="x", ECHO_SERVICE_PROT="1")
    code, out, lines = echo.end()

    assert (code, out) == (2, "")
    assert lines[0] == "echo_service: 3 faults in the settings:"
    for name in ("--set host", "ECHO_SERVICE_PORT", "ECHO_SERVICE_PROT"):
        assert any(name in line for line in lines[1:4])


def test_missing_config_file_ends_the_process(tmp_path: Path) -> None:
    """Exit code 2 and the file's name."""
    echo = EchoProcess("--config", str(tmp_path / "nowhere.toml"))
    code, _, lines = echo.end()

    assert code == 2
    assert any("nowhere.toml: cannot be read" in line for line in lines)


def test_process_prints_its_config(tmp_path: Path) -> None:
    """--print-config gives the file that, handed in, means the same."""
    printed = EchoProcess("--set", "port=4711", "--print-config").end()[1]
    path = tmp_path / "echo.toml"
    path.write_text(printed)
    again = EchoProcess("--config", str(path), "--print-config").end()[1]

    assert tomllib.loads(printed)["port"] == 4711
    assert tomllib.loads(again) == tomllib.loads(printed) | {"drain_wait_seconds": 0.0}


def test_nobody_reading_the_ready_line_is_no_error() -> None:
    """A process whose stdout is closed serves all the same and ends with 0."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    echo = EchoProcess(ECHO_SERVICE_PORT=str(port))
    assert echo.process.stdout is not None
    echo.process.stdout.close()
    with connected(port) as method:
        answer = call(method, Echo(text="x"), timeout_s=60, wait_for_ready=True)
    echo.process.send_signal(signal.SIGTERM)
    echo.process.stdout = None
    code, _ = echo.end_logged()

    assert answer.text == "x"
    assert code == 0


def test_log_key_is_used_or_the_process_does_not_start(tmp_path: Path) -> None:
    """Set and absent is a mistake that nobody would see in the log; the settings can be shown."""
    setting = ("--set", f"log_key_file={tmp_path / 'absent'}")

    code, _, lines = EchoProcess(*setting).end()
    shown, text, _ = EchoProcess(*setting, "--print-config").end()

    assert code == 2
    assert "cannot read the log key" in "\n".join(lines)
    assert shown == 0
    assert "log_key_file = " in text


def test_log_pipe_that_nobody_empties_stops_no_call() -> None:
    """A parent that forgot to read stderr does not stop the service when the pipe is full."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.service_runtime.echo_process"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    port = json.loads(process.stdout.readline())["port"]
    with connected(port) as method:
        for _ in range(1000):
            call(method, Echo(text="x"), timeout_s=30)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=60)

    assert process.returncode == 0
    assert 40_000 < len(log) < 200_000  # the pipe's capacity, of about 250,000 bytes


def test_calls_survive_a_restart_of_one_of_two_servers() -> None:
    """Drain: with two servers behind one channel, stopping one fails no call."""
    one, two = EchoProcess(), EchoProcess()
    target = f"ipv4:127.0.0.1:{one.ready()['port']},127.0.0.1:{two.ready()['port']}"
    failures: list[str] = []
    with open_channel(target) as channel:
        method = echo_method(channel)
        call(method, Echo(text="x"), timeout_s=30, wait_for_ready=True)
        for number in range(400):
            if number == 100:
                one.process.send_signal(signal.SIGTERM)
            try:
                call(method, Echo(text="x"), timeout_s=30)
            except Exception as error:  # noqa: BLE001  any failure fails the claim
                failures.append(str(error))
    two.process.send_signal(signal.SIGTERM)

    assert failures == []
    assert (one.end()[0], two.end()[0]) == (0, 0)
