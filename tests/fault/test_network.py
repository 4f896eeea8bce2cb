"""The network between the services parts, resets, stalls and heals; answers come in time."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from corkboard.answers import Recommendations
from corkboard.client import Client
from corkboard.stack import Stack
from service_runtime.errors import Unavailable
from tests.fault.proxy import Network, Proxy, proxies
from tests.fault.rounds import log_seed
from tests.integration.world import copy_of_root, make_stack

DEADLINE_S = 3.0
LATE_S = 2.0
"""How long after its deadline a call may end on a machine that others use as well."""
HEALING_SECONDS_MAX = 60.0
SETTINGS = [
    "deadline_seconds=5",
    "profile_budget_ms=600",
    "candidate_budget_ms=1500",
    "own_reserve_ms=50",
]


@dataclass
class Connected:
    """A stack whose ranking_service reaches the others through networks that can be broken."""

    stack: Stack
    client: Client
    profile: Proxy
    candidate: Proxy


@pytest.fixture(scope="module")
def connected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connected]:
    """Three services and two networks."""
    with proxies(2, log_seed("stalls")) as (profile, candidate):
        settings = {
            "candidate_service": ["retrieval_deadline_ms=1400"],
            "ranking_service": [
                *SETTINGS,
                f"profile_target={profile.target}",
                f"candidate_target={candidate.target}",
            ],
        }
        stack = make_stack(copy_of_root(tmp_path_factory.mktemp("net")), settings=settings)
        with stack, stack.client() as client:
            profile.upstream = stack.targets["profile_service"]
            candidate.upstream = stack.targets["candidate_service"]
            yield Connected(stack, client, profile, candidate)


def ask(client: Client) -> tuple[Recommendations | None, float]:
    """Ask for recommendations; None if the service said UNAVAILABLE. And how long it took."""
    begin = time.monotonic()
    try:
        answer = client.recommend("ana", limit=10, deadline_s=DEADLINE_S)
    except Unavailable:
        return None, time.monotonic() - begin
    return answer, time.monotonic() - begin


def heal(connected: Connected) -> None:
    """Make both networks whole and wait until answers are, without restarting anything."""
    connected.profile.become(Network.WHOLE)
    connected.candidate.become(Network.WHOLE)
    deadline = time.monotonic() + HEALING_SECONDS_MAX
    while (answer := ask(connected.client)[0]) is None or answer.degradations:
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)


@pytest.mark.parametrize("network", [Network.PARTED, Network.RESETTING])
def test_answers_go_on_without_profile_service(connected: Connected, network: Network) -> None:
    """Popular pins, marked degraded, in time; whole again when the network is."""
    heal(connected)
    connected.profile.become(network)
    asked = [ask(connected.client) for _ in range(5)]
    heal(connected)

    for answer, seconds in asked:
        assert answer is not None
        assert len(answer.pins) == 10
        assert "profile" in {part.part for part in answer.degradations}
        assert seconds < DEADLINE_S + LATE_S


@pytest.mark.parametrize("network", [Network.PARTED, Network.RESETTING])
def test_last_lists_are_answered_without_candidate_service(
    connected: Connected, network: Network
) -> None:
    """What was answered lately, marked degraded, in time; whole again when the network is."""
    heal(connected)
    connected.candidate.become(network)
    asked = [ask(connected.client) for _ in range(5)]
    heal(connected)

    for answer, seconds in asked:
        assert answer is not None
        assert answer.pins
        assert "candidates" in {part.part for part in answer.degradations}
        assert seconds < DEADLINE_S + LATE_S


def test_parted_from_both_is_answered_or_refused_in_time(connected: Connected) -> None:
    """Never a hang, never an internal error."""
    heal(connected)
    for proxy in (connected.profile, connected.candidate):
        proxy.become(Network.PARTED)
    asked = [ask(connected.client) for _ in range(3)]
    heal(connected)

    for answer, seconds in asked:
        if answer is not None:
            assert {"profile", "candidates"} <= {part.part for part in answer.degradations}
        assert seconds < DEADLINE_S + LATE_S


def test_stalls_break_no_call(connected: Connected) -> None:
    """Bytes that come late make answers late, or poorer and marked so; none is lost."""
    heal(connected)
    for proxy in (connected.profile, connected.candidate):
        proxy.become(Network.STALLING)
    asked = [ask(connected.client) for _ in range(40)]
    heal(connected)

    assert all(answer is not None and answer.pins for answer, _ in asked)
    assert all(seconds < DEADLINE_S + LATE_S for _, seconds in asked)


def test_lost_packets_break_no_call(tmp_path: Path) -> None:
    """One packet in twenty is lost between all three services and the caller; nobody notices."""
    root = copy_of_root(tmp_path)
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "iptables", "ip"))):
        pytest.skip("losing packets needs root, unshare (util-linux), iptables and iproute2")
    apart = ["unshare", "--net"]
    tried = subprocess.run([*apart, "iptables", "-L", "-n"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no network namespace with iptables here: {tried.stderr.decode().strip()}")
    command = [*apart, sys.executable, "-m", "tests.fault.lossy_network", str(root), "0.05", "40"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])

    assert told["lost"] > 0
    assert told["errors"] == []
    assert told["pins"] == [10] * 40
