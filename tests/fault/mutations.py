"""What is done to valid requests: fields and bytes changed, by chance."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from service_runtime.validation import violations
from tests.fault.messages import BITS, Grower, is_map

TEXTS: Final = (
    "", "a", "ana", "typography-1", "../../etc/passwd", "\x00", "a\nb", "x" * 128, "x" * 129,
    "é" * 64, "ß\u202e", "'; drop table pins; --", "x" * 70_000, 'language = "en"', "((((((((",
    'NOT NOT topics : "a"', "__import__('os')", "$market", "home_feed", "save", "ann", "pixie",
    "%s%n", "\ufeff", "\U0001f600", "e\u0301", "\u0661", "-0", "1e999", "nan", "null", "{}", '"',
)  # fmt: skip
INTEGERS: Final = (0, 1, 2, 3, 7, 25, 500, 501, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1,
                   -1, -(2**31), -(2**63), 253_402_300_800, 999_999_999, 1_000_000_000)  # fmt: skip
FLOATS: Final = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e9, 3e38, float("nan"), float("inf"), -1e300)
BYTES: Final = (
    b"",
    b"\x00",
    b"\xff" * 64,
    b"\x0b" * 100_000,  # groups in groups
    b"\x0a\xff\xff\xff\xff\x07",  # a length beyond the end
    b"\x08" + b"\xff" * 9 + b"\x01",  # the longest number
    b"\x08" + b"\xff" * 20,  # a number that does not end
    b"\x0a\x02\xc3\x28",  # no UTF-8
)
HEADERS: Final = {
    "x-request-id": ("", " ", "x" * 128, "x" * 129, "x" * 9000, '{"a": 1}', "../../x", "%s%n", "~"),
    "traceparent": (
        "", "00", "00-", "x" * 9000, "ff-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "0" * 32 + "-" + "b" * 16 + "-01", "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "A" * 32 + "-" + "B" * 16 + "-ff", "00-" + "a" * 32 + "-" + "b" * 16 + "-01-more",
    ),
    "tracestate": ("", "=", "a=" + "b" * 9000),
    "authorization": ("", "Bearer", "Bearer ", "bearer  x", "Basic eDp5", "Bearer " + "x" * 9000,
                      "Bearer Bearer", "Bearer %00"),
    "x-forwarded-client-cert": ("", ";", "URI=", 'URI="spiffe://a', "URI=" + "a" * 9000),
    "grpc-previous-rpc-attempts": ("-1", "x", "9" * 40),
    "accept-encoding": ("gzip", ""),
    "cookie": ("a=b; " * 1000,),
}  # fmt: skip
"""Metadata that callers may send, each key with values that nobody sends."""
_KINDS = FieldDescriptor


class Mutator:
    """
    Makes inputs for one method out of valid requests.

    Args:
        descriptor: Of the method's request.
        corpus: Valid requests, serialised; at least one.
        grower: Makes values that keep the rules.
    """

    def __init__(self, descriptor: Descriptor, corpus: Sequence[bytes], grower: Grower) -> None:
        self._class = GetMessageClass(descriptor)
        self._corpus = corpus
        self._grower = grower
        self._kinds: tuple[Callable[[random.Random], bytes], ...] = (
            *(self.valid,) * 4,
            *(self.with_hurt_fields,) * 2,
            self.with_hurt_bytes,
            random_bytes,
        )

    def input(self, rng: random.Random) -> bytes:
        """The next input: half of them keep the contract."""
        return rng.choice(self._kinds)(rng)

    def valid(self, rng: random.Random) -> bytes:
        """A request of the corpus with one to three fields changed, within the contract."""
        content = rng.choice(self._corpus)
        for fraction in (0.5, 0.0):
            message = self._class.FromString(content)
            for _ in range(rng.randint(1, 3)):
                self._change(message, rng, fraction)
            if not violations(message):
                return message.SerializeToString()
        return content

    def with_hurt_fields(self, rng: random.Random) -> bytes:
        """A request of the corpus with one to three fields at values at which programs break."""
        message = self._class.FromString(rng.choice(self._corpus))
        for _ in range(rng.randint(1, 3)):
            self._change(message, rng, 1.0)
        return message.SerializeToString()

    def with_hurt_bytes(self, rng: random.Random) -> bytes:
        """A request of the corpus with one to three bytes or runs of bytes changed."""
        content = bytearray(rng.choice(self._corpus))
        for _ in range(rng.randint(1, 3)):
            if not content:
                break
            at, run = rng.randrange(len(content)), rng.randrange(1, 9)
            action = rng.randrange(4)
            if action == 0:
                content[at] ^= 1 << rng.randrange(8)
            elif action == 1:
                content[at] = rng.choice((0, 1, 127, 128, 255))
            elif action == 2:
                del content[at : at + run]
            else:
                content[at:at] = content[at : at + run]
        return bytes(content)

    def _change(self, message: Message, rng: random.Random, broken_share: float) -> None:
        """Change one field somewhere in a message; to a breaking value so often."""
        descriptor = message.DESCRIPTOR
        if not descriptor.fields:
            return
        field: FieldDescriptor = rng.choice(descriptor.fields)
        inner = _inside(message, field, rng)
        if inner is not None and rng.random() < 0.7:
            self._change(inner, rng, broken_share)
        elif rng.random() < 0.15:
            message.ClearField(field.name)
        elif rng.random() >= broken_share:
            self._grower.fill(message, field, rng)
        elif field.is_repeated and not is_map(field):
            self._break_list(message, field, rng)
        elif field.message_type is not None:
            _break_map(message, field, rng)
        else:
            setattr(message, field.name, _breaking(field, rng))

    def _break_list(self, message: Message, field: FieldDescriptor, rng: random.Random) -> None:
        """An item more, fewer, twice, or a breaking one."""
        values: Any = getattr(message, field.name)
        action = rng.randrange(3)
        if action == 0 and len(values):
            del values[rng.randrange(len(values))]
        elif action == 1 and len(values):
            values.extend([values[0]] * rng.choice((1, 3, 40)))
        elif field.message_type is None:
            values.append(_breaking(field, rng))
        else:
            values.append(GetMessageClass(field.message_type)())


def _inside(message: Message, field: FieldDescriptor, rng: random.Random) -> Message | None:
    """A message that stands in a field; None where there is none."""
    if field.message_type is None or is_map(field):
        return None
    value: Any = getattr(message, field.name)
    if not field.is_repeated:
        return value if message.HasField(field.name) else None
    return rng.choice(value) if len(value) else None


def _break_map(message: Message, field: FieldDescriptor, rng: random.Random) -> None:
    """Breaking pairs in a map, or a message that is given and empty."""
    if not is_map(field):
        getattr(message, field.name).SetInParent()
        return
    entry = field.message_type.fields_by_name
    for _ in range(rng.choice((1, 3))):
        key = _breaking(entry["key"], rng)
        getattr(message, field.name)[key] = _breaking(entry["value"], rng)


def _breaking(field: FieldDescriptor, rng: random.Random) -> Any:
    """A value at which programs break."""
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
    low, high = BITS[kind]
    return rng.choice([number for number in INTEGERS if low <= number <= high])


def random_bytes(rng: random.Random) -> bytes:
    """Bytes that may be no message at all."""
    if rng.random() < 0.1:
        return rng.choice(BYTES)
    return rng.randbytes(rng.choice((0, 1, 2, 7, 64, 4096)))


def strange_metadata(rng: random.Random) -> list[tuple[tuple[str, str | bytes], ...]]:
    """Metadata of calls, below the server's bound: odd values, twice, many, bytes."""
    found: list[tuple[tuple[str, str | bytes], ...]] = []
    for key, values in HEADERS.items():
        found += [((key, value),) for value in values]
        found += [((key, value), (key, values[0])) for value in values if len(value) < 4000]
    for size in (0, 1, 100, 4000):
        found += [
            ((key, rng.randbytes(size)),) for key in ("x-bin", "grpc-trace-bin", "x-request-id-bin")
        ]
    found.append(tuple((f"key-{number}", "v") for number in range(200)))
    found.append(tuple(("x-request-id", str(number)) for number in range(200)))
    return found
