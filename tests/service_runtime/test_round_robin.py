"""Three replicas behind a headless name: calls are spread, and the end of one fails none."""

import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import grpc
import pytest

from service_runtime.grpc_client import open_channel
from tests.service_runtime.echo import Echo, echo_method
from tests.service_runtime.name_server import NameServer, serving_names
from tests.service_runtime.test_grpc_server import EchoProcess

ADDRESSES = ["127.0.0.11", "127.0.0.12", "127.0.0.13"]


def start(address: str, port: int) -> EchoProcess:
    """A replica that serves."""
    echo = EchoProcess(
        ECHO_SERVICE_DRAIN_WAIT_SECONDS="0.3",
        # Whoever came back is found when the name is asked anew, at the latest when connections to
        # the others come to their age.
        ECHO_SERVICE_CONNECTION_AGE_SECONDS_MAX="15",
        ECHO_SERVICE_HOST=address,
        ECHO_SERVICE_PORT=str(port),
    )
    echo.ready()
    return echo


@contextmanager
def replicas() -> Iterator[tuple[dict[str, EchoProcess], NameServer, grpc.Channel, int]]:
    """Three processes on one port of three addresses, their name, and a channel to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with ExitStack() as stack:
        names = stack.enter_context(serving_names(ADDRESSES))
        processes: dict[str, EchoProcess] = {}
        stack.callback(lambda: [echo.process.kill() for echo in processes.values()])
        for address in ADDRESSES:
            processes[address] = start(address, port)
        target = f"dns://127.0.0.1:{names.port}/echo-headless.test:{port}"
        yield processes, names, stack.enter_context(open_channel(target)), port


def ask(channel: grpc.Channel, count: int) -> tuple[Counter[str], list[str]]:
    """Calls one after the other: how many each address answered, and what failed."""
    method = echo_method(channel)
    answered: Counter[str] = Counter()
    failures = []
    for _ in range(count):
        try:
            answer = method(Echo(text="host"), timeout=30)
        except grpc.RpcError as error:
            failures.append(str(error))
        else:
            answered[answer.text] += 1
    return answered, failures


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_one_of_three_replicas_stops_and_no_caller_notices(number: signal.Signals) -> None:
    """Spread over three; then over two, with no error between; then over three again."""
    with replicas() as (processes, names, channel, port):
        ask(channel, 30)
        before, failures = ask(channel, 300)
        victim = ADDRESSES[1]
        processes[victim].process.send_signal(number)
        during, more = ask(channel, 300)
        failures += more
        processes[victim].process.wait(60)
        names.addresses = [address for address in ADDRESSES if address != victim]
        after, more = ask(channel, 100)
        failures += more
        processes[victim] = start(victim, port)
        names.addresses = ADDRESSES
        deadline = time.monotonic() + 60
        again: Counter[str] = Counter()
        while victim not in again and time.monotonic() < deadline:
            again, more = ask(channel, 30)
            failures += more
            time.sleep(0.1)

    assert failures == []
    assert {address: before[address] for address in ADDRESSES} == dict.fromkeys(ADDRESSES, 100)
    assert set(during) <= set(ADDRESSES)
    assert set(after) == set(ADDRESSES) - {victim}
    assert victim in again, "the replica that came back was never called"
