"""Whatever is sent to a service, it says what is wrong with it and goes on.

Three kinds of input for every method of the contract: random bytes, valid messages with bytes
changed, and messages whose fields hold the values at which programs break (NaN, huge and negative
numbers, control characters, long texts, repeated ids, ids that exist).  No answer may be UNKNOWN
or INTERNAL, no process may end, and memory stays where it was.

CORKBOARD_FUZZ_COUNT sets the inputs for each method (default 150); a failing input is printed with
its seed.
"""

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from corkboard.candidate.v1 import candidate_service_pb2
from corkboard.profile.v1 import profile_service_pb2
from corkboard.ranking.v1 import ranking_service_pb2
from corkboard.stack import Stack
from service_runtime.grpc_client import open_channel
from tests.integration.world import copy_of_root, make_stack

COUNT = int(os.environ.get("CORKBOARD_FUZZ_COUNT", "150"))
GROWTH_BYTES_MAX = 192 * 1024 * 1024
"""Caches and arenas fill up; a leak of a request's size for each request would be far more."""
FORBIDDEN = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
FILES = {
    "profile_service": profile_service_pb2.DESCRIPTOR,
    "candidate_service": candidate_service_pb2.DESCRIPTOR,
    "ranking_service": ranking_service_pb2.DESCRIPTOR,
}
METHODS = [
    (service, method)
    for service, file in FILES.items()
    for described in file.services_by_name.values()
    for method in described.methods
]
TEXTS = (
    "", "a", "ana", "typography-1", "typography-2", "../../etc/passwd", "\x00", "a\nb", "x" * 129,
    "é" * 64, "ß\u202e", "'; drop table pins; --", "x" * 70_000, 'language = "en"', "((((((((",
    'NOT NOT topics : "a"', "__import__('os')", "$market", "home_feed", "save", "ann", "pixie",
)  # fmt: skip
INTEGERS = (0, 1, 2, 3, 7, 25, 500, 501, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, -1)
FLOATS = (0.0, 1.0, -1.0, 0.5, 1e-45, 1e9, 3e38, float("nan"), float("inf"), float("-inf"))
_KINDS = FieldDescriptor
_INTEGER_BITS = {
    _KINDS.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _KINDS.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _KINDS.CPPTYPE_UINT32: (0, 2**32 - 1),
    _KINDS.CPPTYPE_UINT64: (0, 2**64 - 1),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Three services that nobody else uses."""
    with make_stack(copy_of_root(tmp_path_factory.mktemp("fuzz"))) as stack:
        yield stack


def random_message(descriptor: Descriptor, rng: random.Random, depth: int = 0) -> Message:
    """A message whose fields are set, or not, to values at which programs break."""
    message: Message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if rng.random() < (0.35 if depth else 0.25):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(message, field, rng)
        elif field.is_repeated:
            for _ in range(rng.choice((0, 1, 2, 5))):
                _append(message, field, rng, depth)
        elif field.message_type is not None:
            if depth < 3:
                child = random_message(field.message_type, rng, depth + 1)
                getattr(message, field.name).CopyFrom(child)
        else:
            setattr(message, field.name, _scalar(field, rng))
    return message


def _append(message: Message, field: FieldDescriptor, rng: random.Random, depth: int) -> None:
    values = getattr(message, field.name)
    if field.message_type is None:
        values.append(_scalar(field, rng))
    elif depth < 3:
        values.append(random_message(field.message_type, rng, depth + 1))


def _fill_map(message: Message, field: FieldDescriptor, rng: random.Random) -> None:
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    for _ in range(rng.choice((0, 1, 3))):
        if value.message_type is None:
            getattr(message, field.name)[_scalar(key, rng)] = _scalar(value, rng)


def _scalar(field: FieldDescriptor, rng: random.Random) -> Any:
    kind = field.cpp_type
    if kind == _KINDS.CPPTYPE_STRING:
        text = rng.choice(TEXTS)
        return text.encode() if field.type == _KINDS.TYPE_BYTES else text
    if kind == _KINDS.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind == _KINDS.CPPTYPE_ENUM:
        return rng.choice([*(value.number for value in field.enum_type.values), 999])
    if kind in {_KINDS.CPPTYPE_FLOAT, _KINDS.CPPTYPE_DOUBLE}:
        return rng.choice(FLOATS)
    low, high = _INTEGER_BITS[kind]
    return rng.choice([number for number in INTEGERS if low <= number <= high])


def random_bytes(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Bytes that may be no message at all."""
    del descriptor
    return rng.randbytes(rng.choice((0, 1, 2, 7, 64, 4096)))


def mutated(descriptor: Descriptor, rng: random.Random) -> bytes:
    """A message with a few bytes changed, cut or doubled."""
    content = bytearray(random_message(descriptor, rng).SerializeToString())
    for _ in range(rng.choice((1, 2, 8))):
        if not content:
            break
        at = rng.randrange(len(content))
        action = rng.randrange(3)
        if action == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            del content[at : at + rng.randrange(1, 9)]
        else:
            content[at:at] = content[at : at + rng.randrange(1, 9)]
    return bytes(content)


def broken_values(descriptor: Descriptor, rng: random.Random) -> bytes:
    """A readable message with breaking values."""
    return random_message(descriptor, rng).SerializeToString()


KINDS: tuple[Callable[[Descriptor, random.Random], bytes], ...] = (
    random_bytes,
    mutated,
    broken_values,
    broken_values,
)


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def attempts(method: MethodDescriptor, count: int) -> Iterator[tuple[str, bytes]]:
    """Inputs for a method, each with the words that make it again."""
    for number in range(count):
        seed = f"{method.full_name} {number}"
        rng = random.Random(seed)
        yield seed, rng.choice(KINDS)(method.input_type, rng)


def _status(call: Any, content: bytes) -> tuple[grpc.StatusCode, str]:
    """How a call ends."""
    try:
        call(content, timeout=20)
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


@pytest.mark.timeout(900 + COUNT)
@pytest.mark.parametrize("service", FILES)
def test_no_input_is_answered_with_a_crash(stack: Stack, service: str) -> None:
    """Every answer is a result or says what is wrong; the process goes on, as large as before."""
    methods = [method for at, method in METHODS if at == service]
    running = stack.children[service].process
    identity = partial(bytes)
    with open_channel(stack.targets[service], attempts_max=1) as channel:
        calls = [
            channel.unary_unary(
                f"/{method.containing_service.full_name}/{method.name}", identity, identity
            )
            for method in methods
        ]
        before = 0
        for round_count in (COUNT // 3, COUNT):  # the first round fills what is filled once
            for method, call in zip(methods, calls, strict=True):
                for seed, content in attempts(method, round_count):
                    code, details = _status(call, content)
                    assert code not in FORBIDDEN, (seed, details)
            before = before or resident_bytes(running.pid)
        after = resident_bytes(running.pid)

    assert running.poll() is None
    assert after - before < GROWTH_BYTES_MAX
