"""Whatever is sent to a service, it says what is wrong with it and goes on.

Inputs for every method of the contract: valid requests with one to three fields changed within the
contract (half of all), fields at which programs break, bytes changed, random bytes; then requests
at every ceiling of the contract and of the server, and metadata that nobody sends. No answer may
be UNKNOWN or INTERNAL, no process may end, memory stays where it was, and of each method's inputs
a good part must be answered with OK: what is refused at the door tests the door only.

CORKBOARD_FUZZ_COUNT sets how many inputs a cheap method gets. An input that fails is printed.
"""

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from corkboard.candidate.v1 import candidate_service_pb2
from corkboard.profile.v1 import profile_service_pb2
from corkboard.ranking.v1 import ranking_service_pb2
from corkboard.stack import Stack
from service_runtime.grpc_client import open_channel
from tests.fault.fuzz_words import make_grower, settings
from tests.fault.messages import at_ceiling, ceilings, padded, together
from tests.fault.mutations import Mutator, strange_metadata
from tests.fault.processes import start
from tests.fault.rounds import log_seed
from tests.integration.world import copy_of_root, make_stack

COUNT: Final = int(os.environ.get("CORKBOARD_FUZZ_COUNT", "3500"))
DEAR: Final = {
    "RetrieveCandidates": 0.3,
    "RecommendPins": 0.15,
    "BatchRecommendPins": 0.03,
    "ExplainPin": 0.15,
    "RankPins": 0.2,
    "UpsertSaves": 0.1,
    "ResetMemboost": 0.05,
    "EraseUser": 0.02,
    "GetErasure": 0.02,
    "ListSources": 0.2,
    "ListModels": 0.2,
    "GetExperiment": 0.2,
}
"""Share of COUNT for methods that cost much or take next to nothing; the others get all of it."""
OK_SHARE_MIN: Final = {"GetExperiment": 0.1}
"""Least share of inputs that are answered; others: a third."""
IN_FLIGHT: Final = 8
CORPUS_COUNT: Final = 64
TURN: Final = 25
"""Inputs of a method before it is the next one's turn."""
GROWTH_BYTES_MAX: Final = 8 * 1024 * 1024
LIVE_CHANGE_BYTES: Final = 4096
"""What candidate_service may keep of a change of pins or saves, until the next catalogue."""
REQUEST_BYTES_MAX: Final = {
    "profile_service": 16 * 1024 * 1024,
    "candidate_service": 4 * 1024 * 1024,
    "ranking_service": 4 * 1024 * 1024,
}
METADATA_BYTES_MAX: Final = 16 * 1024
PLAIN: Final = {
    "profile_service": "GetProfile",
    "candidate_service": "GetPins",
    "ranking_service": "GetMemboost",
}
"""A method of each service that costs little."""
TOKEN: Final = "a token of a reader"  # noqa: S105  of this test
ACCESS: Final = f"""
[callers.reader]
tokens_sha256 = ["{hashlib.sha256(TOKEN.encode()).hexdigest()}"]
roles = ["reader"]
"""
CALL_SECONDS: Final = 120
FORBIDDEN: Final = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.CANCELLED,
}
EXHAUSTED: Final = grpc.StatusCode.RESOURCE_EXHAUSTED
FILES: Final = {
    "profile_service": profile_service_pb2.DESCRIPTOR,
    "candidate_service": candidate_service_pb2.DESCRIPTOR,
    "ranking_service": ranking_service_pb2.DESCRIPTOR,
}
GROWER: Final = make_grower()


def methods_of(service: str) -> list[MethodDescriptor]:
    """The methods of a service of ours."""
    found = FILES[service].services_by_name.values()
    return [method for described in found for method in described.methods]


@pytest.fixture(scope="module")
def crashes() -> list[str]:
    """The log lines of crashed calls so far."""
    return []


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, crashes: list[str]) -> Iterator[Stack]:
    """Three services that nobody else uses."""
    folder = tmp_path_factory.mktemp("fuzz")

    def note(_: str, line: str) -> None:
        if "call.crashed" in line:
            crashes.append(line)

    known = settings(folder)
    with make_stack(copy_of_root(folder), settings=known, on_line=note) as stack:
        yield stack


class Flood:
    """
    Sends inputs, several at a time, and remembers how they ended.

    Attributes:
        codes: How often each method was answered with which status.
        faults: Inputs that were answered as none may be.
        request_ids: What answers that were not refused by gRPC itself named themselves.
    """

    def __init__(self, target: str, forbidden: Iterable[grpc.StatusCode] = FORBIDDEN) -> None:
        self.codes: Counter[tuple[str, grpc.StatusCode]] = Counter()
        self.faults: list[tuple[str, str, str]] = []
        self.request_ids: set[str] = set()
        self._forbidden = frozenset(forbidden)
        self._free = threading.Semaphore(IN_FLIGHT)
        self._channel = open_channel(target, attempts_max=1, message_bytes_max=64 << 20)
        self._calls: dict[str, Any] = {}

    def send(self, method: MethodDescriptor, content: bytes, **options: Any) -> None:
        """Send an input as soon as fewer than so many are under way."""
        name = method.name
        path = f"/{method.containing_service.full_name}/{name}"
        call = self._calls.get(path) or self._channel.unary_unary(path, bytes, bytes)
        self._calls[path] = call

        def note(ended: Any) -> None:
            code = ended.code()
            self.codes[name, code] += 1
            if code in self._forbidden:
                told = f"{code}: {ended.details()}"
                self.faults.append((path, told, f"{content[:2000].hex()} {options}"))
            if options:
                self.request_ids |= {v for k, v in ended.trailing_metadata() if k == "x-request-id"}
            self._free.release()

        self._free.acquire()
        call.future(content, timeout=CALL_SECONDS, **options).add_done_callback(note)

    def settle(self) -> None:
        """Wait until none is under way."""
        for _ in range(IN_FLIGHT):
            self._free.acquire()
        self._free.release(IN_FLIGHT)

    def close(self) -> None:
        """Hang up."""
        self.settle()
        self._channel.close()

    def ok_count(self, name: str) -> int:
        """How many inputs of a method were answered."""
        return self.codes[name, grpc.StatusCode.OK]


def own_bytes(pid: int) -> int:
    """Memory of a process that no file stands behind."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(found) * 1024


def live_change_count(stack: Stack) -> int:
    """How many changes candidate_service keeps in memory."""
    with stack.client() as client:
        return client.catalogue().live_change_count


def wanted(method: MethodDescriptor) -> int:
    """How many inputs a method gets."""
    return max(50, round(COUNT * DEAR.get(method.name, 1.0)))


@pytest.mark.timeout(900 + COUNT)
@pytest.mark.parametrize("service", FILES)
def test_no_input_is_answered_with_a_crash(stack: Stack, crashes: list[str], service: str) -> None:
    """Every answer is a result or says what is wrong; the process goes on, as large as before."""
    dice = log_seed(f"fuzz of {service}")
    running = stack.children[service].process
    mutators = {}
    for method in methods_of(service):
        corpus = [
            GROWER.request(method.input_type, dice).SerializeToString() for _ in range(CORPUS_COUNT)
        ]
        mutators[method.full_name] = Mutator(method.input_type, corpus, GROWER)
    left = {method: wanted(method) for method in methods_of(service)}
    half = sum(left.values()) // 2
    before = changes = 0
    flood = Flood(stack.targets[service], FORBIDDEN | {EXHAUSTED})
    while left:
        for method in list(left):
            turn = min(TURN, left[method])
            for _ in range(turn):
                flood.send(method, mutators[method.full_name].input(dice))
            left[method] -= turn
            if not left[method]:
                del left[method]
        if not before and sum(left.values()) < half:
            flood.settle()
            before, changes = own_bytes(running.pid), live_change_count(stack)
    flood.close()
    after, changes = own_bytes(running.pid), live_change_count(stack) - changes

    assert (flood.faults, crashes) == ([], [])
    assert running.poll() is None
    for method in methods_of(service):
        floor = OK_SHARE_MIN.get(method.name, 1 / 3) * wanted(method)
        assert flood.ok_count(method.name) >= floor, (method.name, flood.codes)
    assert after - before < GROWTH_BYTES_MAX + changes * LIVE_CHANGE_BYTES


@pytest.mark.timeout(900)
@pytest.mark.parametrize("service", FILES)
def test_requests_at_the_ceilings_are_answered(
    stack: Stack, crashes: list[str], service: str
) -> None:
    """Each list, map and text as large as the contract allows, alone and together; bytes beyond."""
    dice = log_seed(f"ceilings of {service}")
    size = REQUEST_BYTES_MAX[service]
    flood = Flood(stack.targets[service])
    for method in methods_of(service):
        ways = list(ceilings(method.input_type))
        large = [at_ceiling(GROWER, method.input_type, way, dice) for way in ways]
        large.append(together(GROWER, method.input_type, ways, dice, size))
        contents = [message.SerializeToString() for message in large]
        for content in contents:
            if len(content) <= size:
                flood.send(method, content)
        flood.send(method, padded(contents[-1], size))
    flood.settle()
    within = Counter(flood.codes)
    for method in methods_of(service):
        flood.send(method, padded(b"", size + 1))
    flood.close()
    beyond = flood.codes - within

    assert (flood.faults, crashes) == ([], [])
    assert stack.children[service].process.poll() is None
    assert within.total() > beyond.total() * 2
    oks = sum(number for (_, code), number in within.items() if code is grpc.StatusCode.OK)
    assert oks >= within.total() / 3, within
    assert {code for _, code in beyond} == {EXHAUSTED}


@pytest.mark.parametrize("service", FILES)
def test_metadata_that_nobody_sends_changes_nothing(
    stack: Stack, crashes: list[str], service: str
) -> None:
    """What is too much is refused; all else is answered, under a request id that is printable."""
    dice = log_seed(f"metadata of {service}")
    method = {method.name: method for method in methods_of(service)}[PLAIN[service]]
    content = GROWER.least(method.input_type, dice).SerializeToString()
    cases = strange_metadata(dice)
    flood = Flood(stack.targets[service])
    for metadata in cases:
        flood.send(method, content, metadata=metadata)
    flood.settle()
    within = Counter(flood.codes)
    for key in ("x-request-id", "traceparent", "authorization", "anything", "trace-bin"):
        value = dice.randbytes(METADATA_BYTES_MAX) if key.endswith("-bin") else "x" * 20_000
        flood.send(method, content, metadata=((key, value),))
    flood.close()

    assert (flood.faults, crashes) == ([], [])
    assert within == {(method.name, grpc.StatusCode.OK): len(cases)}
    assert flood.codes - within == {(method.name, EXHAUSTED): 5}
    assert all(0 < len(told) <= 128 and told.isprintable() for told in flood.request_ids)


def test_strange_credentials_open_nothing(tmp_path: Path) -> None:
    """Where access is limited and traces are kept, the same metadata is refused cleanly."""
    access = tmp_path / "access.toml"
    access.write_text(ACCESS)
    settings = {"access_file": access, "trace_endpoint": "http://127.0.0.1:1"}
    (tmp_path / "root").mkdir()
    victim = start("profile_service", tmp_path / "root", **settings)
    method = {method.name: method for method in methods_of("profile_service")}["GetProfile"]
    dice = log_seed("credentials")
    content = GROWER.least(method.input_type, dice).SerializeToString()
    cases = strange_metadata(dice)
    flood = Flood(f"127.0.0.1:{victim.port}")
    for metadata in cases:
        flood.send(method, content, metadata=metadata)
    flood.settle()
    refused = Counter(flood.codes)
    flood.send(method, content, metadata=(("authorization", f"Bearer {TOKEN}"),))
    flood.close()
    victim.kill()

    assert flood.faults == []
    assert "call.crashed" not in victim.said()
    assert refused == {(method.name, grpc.StatusCode.UNAUTHENTICATED): len(cases)}
    assert flood.ok_count(method.name) == 1
