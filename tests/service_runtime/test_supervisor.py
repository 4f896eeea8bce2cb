"""Several processes on one port: real ones, killed and counted."""

import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service_runtime.errors import CorkboardError
from service_runtime.grpc_client import call
from tests.service_runtime.echo import Echo, connected
from tests.service_runtime.test_grpc_server import EchoProcess, events, wait_for


def start(processes: int = 2, **environment: str) -> tuple[EchoProcess, dict[str, Any]]:
    """An echo service of several processes, and its ready line."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        page = str(free.getsockname()[1])
    echo = EchoProcess(
        ECHO_SERVICE_PROCESSES=str(processes), ECHO_SERVICE_METRICS_PORT=page, **environment
    )
    return echo, echo.ready()


def children(pid: int) -> set[int]:
    """The processes that a process started and that live."""
    found = set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return {child for child in found if is_alive(child)}


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def samples(port: int) -> dict[tuple[str, str], float]:
    """The metrics page: (name, process) to value, summed over other labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        families = text_string_to_metric_families(page.read().decode())
        found: dict[tuple[str, str], float] = {}
        for family in families:
            for sample in family.samples:
                key = (sample.name, sample.labels.get("process", ""))
                found[key] = found.get(key, 0.0) + sample.value
    return found


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return once something is the case."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


def ask(port: int, *, connections: int, attempts_max: int = 3) -> list[str]:
    """One call over each of some new connections; what failed."""
    failures = []
    for _ in range(connections):
        try:
            with connected(port, attempts_max=attempts_max) as method:
                call(method, Echo(text="x"), timeout_s=30)
        except CorkboardError as error:
            failures.append(str(error))
    return failures


def test_processes_share_a_port_a_page_and_an_end() -> None:
    """Calls reach both, one page shows both, SIGTERM ends both with exit code 0."""
    echo, ready = start()
    failures = ask(ready["port"], connections=40)
    found = samples(ready["metrics_port"])
    workers = children(echo.process.pid)
    echo.process.send_signal(signal.SIGTERM)
    code, lines = echo.end_logged()

    calls = [found["echo_service_requests_total", number] for number in "12"]
    assert (ready["service"], ready["processes"]) == ("echo_service", 2)
    assert failures == []
    assert sum(calls) == 40
    assert min(calls) > 0
    assert found["echo_service_processes_ready", ""] == 2
    assert code == 0
    assert len(workers) == 2
    assert not any(map(is_alive, workers))
    assert events(lines).count("server.stopped") == 2


def test_killed_process_is_noticed_and_replaced() -> None:
    """Kill -9 of one: from then on calls go to the other, and soon there are two again."""
    echo, ready = start()
    before = children(echo.process.pid)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not is_alive(victim))  # who connects while it dies is reset
    failures = ask(ready["port"], connections=40)
    wait_until(lambda: samples(ready["metrics_port"])["echo_service_processes_ready", ""] == 2)
    after = children(echo.process.pid)
    found = samples(ready["metrics_port"])
    failures += ask(ready["port"], connections=40)
    echo.process.send_signal(signal.SIGTERM)
    code, lines = echo.end_logged()

    (told,) = [line for line in lines if line["event"] == "supervisor.process_ended"]
    assert failures == []
    assert len(after) == 2
    assert victim not in after
    assert len(after & before) == 1
    assert found["echo_service_process_restarts_total", ""] == 1
    assert (told["exit_code"], told["level"]) == (-signal.SIGKILL, "error")
    assert code == 0


def test_processes_are_renewed_one_after_the_other() -> None:
    """SIGHUP replaces both while calls go on: none fails, and no moment has none that serves."""
    echo, ready = start(ECHO_SERVICE_DRAIN_WAIT_SECONDS="0.1")
    before = children(echo.process.pid)
    failures = []
    serving_counts = []
    echo.process.send_signal(signal.SIGHUP)
    while children(echo.process.pid) & before or len(children(echo.process.pid)) < 2:
        failures += ask(ready["port"], connections=3)
        serving_counts.append(samples(ready["metrics_port"])["echo_service_processes_ready", ""])
    failures += ask(ready["port"], connections=20)
    echo.process.send_signal(signal.SIGTERM)
    code, lines = echo.end_logged()

    assert failures == []
    assert min(serving_counts) == 1
    assert events(lines).count("supervisor.renews_process") == 2
    assert "supervisor.process_ended" not in events(lines)
    assert code == 0


def test_process_that_hangs_is_killed_and_replaced() -> None:
    """SIGSTOP of one: it keeps its connections, so it must go; then all are answered again."""
    echo, ready = start(ECHO_SERVICE_SILENT_SECONDS_MAX="2")
    before = children(echo.process.pid)
    victim = min(before)
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: not is_alive(victim))
    wait_until(lambda: samples(ready["metrics_port"])["echo_service_processes_ready", ""] == 2)
    after = children(echo.process.pid)
    found = samples(ready["metrics_port"])
    failures = ask(ready["port"], connections=40)
    time.sleep(3)  # longer than the silence that is borne: who answers stays
    steady = children(echo.process.pid)
    echo.process.send_signal(signal.SIGTERM)
    code, lines = echo.end_logged()

    (told,) = [line for line in lines if line["event"] == "supervisor.process_stuck"]
    assert failures == []
    assert len(after & before) == 1
    assert steady == after
    assert found["echo_service_process_restarts_total", ""] == 1
    assert (told["pid"], told["level"]) == (victim, "error")
    assert told["reason"] == "it answers no more"
    assert code == 0


def test_renewal_goes_on_past_a_process_that_does_not_become_ready(tmp_path: Path) -> None:
    """One stuck in its warm-up is killed and started anew, and then the next one's turn comes."""
    hang = tmp_path / "hang"
    echo, ready = start(
        ECHO_SERVICE_HANG_PATH=str(hang),
        ECHO_SERVICE_START_SECONDS_MAX="10",
        ECHO_SERVICE_DRAIN_WAIT_SECONDS="0.1",
    )
    before = children(echo.process.pid)
    hang.touch()
    echo.process.send_signal(signal.SIGHUP)
    restarts = ("echo_service_process_restarts_total", "")
    wait_until(lambda: samples(ready["metrics_port"])[restarts] >= 1)
    failures = ask(ready["port"], connections=10)
    hang.unlink()
    wait_until(lambda: not children(echo.process.pid) & before)
    wait_until(lambda: samples(ready["metrics_port"])["echo_service_processes_ready", ""] == 2)
    echo.process.send_signal(signal.SIGTERM)
    code, lines = echo.end_logged()

    told = [line for line in lines if line["event"] == "supervisor.process_stuck"]
    assert failures == []
    assert {line["reason"] for line in told} == {"it did not become ready"}
    assert events(lines).count("supervisor.renews_process") == 2
    assert code == 0


def test_process_that_hangs_from_the_first_is_started_anew(tmp_path: Path) -> None:
    """It said nothing of why, so the next may do better; all are ready once it does."""
    hang = tmp_path / "hang"
    hang.touch()
    echo = EchoProcess(
        ECHO_SERVICE_PROCESSES="2",
        ECHO_SERVICE_HANG_PATH=str(hang),
        ECHO_SERVICE_START_SECONDS_MAX="10",
    )
    wait_until(lambda: len(children(echo.process.pid)) == 2)
    first = children(echo.process.pid)
    wait_until(lambda: not children(echo.process.pid) & first)
    hang.unlink()
    ready = echo.ready()
    failures = ask(ready["port"], connections=5)
    echo.process.send_signal(signal.SIGTERM)
    code, _ = echo.end_logged()

    assert failures == []
    assert code == 0


def test_process_that_does_not_end_is_ended() -> None:
    """Neither a renewal nor the end waits for one that stands still, even where none is asked."""
    echo, _ = start(
        ECHO_SERVICE_SILENT_SECONDS_MAX="0",
        ECHO_SERVICE_DRAIN_WAIT_SECONDS="0.1",
        ECHO_SERVICE_DRAIN_SECONDS="0.1",
    )
    victim = min(children(echo.process.pid))
    os.kill(victim, signal.SIGSTOP)
    echo.process.send_signal(signal.SIGTERM)
    code, lines = echo.end_logged()

    (told,) = [line for line in lines if line["event"] == "supervisor.process_stuck"]
    assert (told["pid"], told["reason"]) == (victim, "it did not end")
    assert not is_alive(victim)
    assert code == 128 + signal.SIGKILL


def test_running_calls_are_answered_before_the_end(tmp_path: Path) -> None:
    """The drain of each process is waited for."""
    entered = tmp_path / "entered"
    echo, ready = start(ECHO_SERVICE_HOLD_SECONDS="0.5", ECHO_SERVICE_ENTERED_PATH=str(entered))
    with connected(ready["port"]) as method:
        held = method.future(Echo(text="hold"), timeout=30)
        wait_for(entered)
        echo.process.send_signal(signal.SIGTERM)
        answer = held.result()
    code, _ = echo.end_logged()

    assert answer.text == "hold"
    assert code == 0


def test_processes_end_when_their_supervisor_is_killed() -> None:
    """Nobody is left behind to hold the port."""
    echo, ready = start()
    workers = children(echo.process.pid)
    echo.process.kill()
    wait_until(lambda: not any(map(is_alive, workers)))
    echo.end()

    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", ready["port"])) != 0


@pytest.mark.parametrize("warm_up", ["not_ready", "crash_2"])
def test_service_that_cannot_start_ends_as_its_process_did(warm_up: str) -> None:
    """No endless tries where nothing has ever worked, not even if only one of two fails."""
    echo = EchoProcess(ECHO_SERVICE_PROCESSES="2", ECHO_SERVICE_WARM_UP=warm_up)
    code, out, lines = echo.end()
    told = [json.loads(line)["event"] for line in lines if line.startswith("{")]

    assert code == 1
    assert "ready" not in out
    assert "supervisor.start_failed" in told


def test_taken_port_is_told_at_once() -> None:
    """A port that somebody else listens on is refused, though ours would share theirs."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        echo = EchoProcess(ECHO_SERVICE_PROCESSES="2", ECHO_SERVICE_PORT=str(port))
        code, lines = echo.end_logged()

    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in lines[-1]["error"]
