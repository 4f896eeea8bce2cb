"""Requests as the contract allows them: grown from its rules, and filled up to its ceilings.

What stands in a field is a word that means something in the world served where there is one, so
that a request gets beyond the checks and into the code.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from buf.validate import validate_pb2
from service_runtime.validation import violations

DAY: Final = 86_400
ITEMS: Final = 4
"""Most items of a list that is not at its ceiling."""
TRIES: Final = 200

_KINDS = FieldDescriptor
BITS = {
    _KINDS.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _KINDS.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _KINDS.CPPTYPE_UINT32: (0, 2**32 - 1),
    _KINDS.CPPTYPE_UINT64: (0, 2**64 - 1),
}
"""The least and the largest of each kind of whole number."""
_RULE_OF = {
    _KINDS.TYPE_FLOAT: "float",
    _KINDS.TYPE_DOUBLE: "double",
    _KINDS.TYPE_UINT32: "uint32",
    _KINDS.TYPE_UINT64: "uint64",
    _KINDS.TYPE_INT32: "int32",
    _KINDS.TYPE_INT64: "int64",
}


@cache
def rules_of(field: FieldDescriptor) -> Any:
    """What the contract says of a field."""
    return field.GetOptions().Extensions[validate_pb2.field]


def is_map(field: FieldDescriptor) -> bool:
    """Whether a field holds pairs."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def item_rules(field: FieldDescriptor) -> Any:
    """What the contract says of a value of a field, or of each item of a list."""
    return rules_of(field).repeated.items if field.is_repeated else rules_of(field)


def fits(rules: Any, text: str) -> bool:
    """Whether a text keeps the rules for texts."""
    size = len(text.encode())
    if size < rules.min_bytes or (rules.HasField("max_bytes") and size > rules.max_bytes):
        return False
    return not rules.pattern or re.search(rules.pattern, text) is not None


class Grower:
    """
    Makes valid requests.

    Args:
        words: Texts that mean something, by the name of the field or its full name.
        pairs: Maps that mean something, by the name of the field.
        shares: How often a field that may be left out is given, by name; others: *share*.
        now: Unix seconds around which times lie.
        share: See shares.
    """

    def __init__(
        self,
        words: Mapping[str, Sequence[str]],
        *,
        pairs: Mapping[str, Sequence[Mapping[str, str]]],
        shares: Mapping[str, float],
        now: float,
        share: float = 0.35,
    ) -> None:
        self._words = words
        self._pairs = pairs
        self._shares = shares
        self._share = share
        self._now = now

    def request(self, descriptor: Descriptor, rng: random.Random) -> Message:
        """A request that keeps all rules of the contract."""
        for _ in range(TRIES):
            message = self.message(descriptor, rng)
            if not violations(message):
                return message
        raise AssertionError(f"no valid {descriptor.full_name} was found: {violations(message)}")

    def least(self, descriptor: Descriptor, rng: random.Random) -> Message:
        """A small valid request: what must be given, and little else."""
        for share in (0.0, 0.1, 0.2, 0.4):
            bare = Grower(self._words, pairs=self._pairs, shares={}, now=self._now, share=share)
            for _ in range(TRIES):
                message = bare.message(descriptor, rng)
                if not violations(message):
                    return message
        raise AssertionError(f"no small valid {descriptor.full_name} was found")

    def message(self, descriptor: Descriptor, rng: random.Random) -> Message:
        """A message each of whose fields keeps its rules."""
        if descriptor.full_name.startswith("google.protobuf."):
            return self._well_known(descriptor, rng)
        message: Message = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            needed = _is_needed(field)
            if needed or rng.random() < self._shares.get(field.name, self._share):
                self.fill(message, field, rng)
        return message

    def fill(self, message: Message, field: FieldDescriptor, rng: random.Random) -> None:
        """Give a field a value that keeps its rules; a list gets a few items."""
        if is_map(field):
            pairs = getattr(message, field.name)
            pairs.clear()
            known = self._pairs.get(field.name, ({},))
            for key, value in rng.choice(known).items():
                pairs[key] = value
        elif field.is_repeated:
            low = rules_of(field).repeated.min_items
            count = rng.randint(low, max(low, ITEMS))
            self.fill_list(message, field, count, rng)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(self.message(field.message_type, rng))
        else:
            setattr(message, field.name, self.scalar(field, rng))

    def fill_list(
        self, message: Message, field: FieldDescriptor, count: int, rng: random.Random
    ) -> None:
        """Give a list so many items, none twice where the contract wants that."""
        if field.message_type is not None:
            items = [self.message(field.message_type, rng) for _ in range(count)]
        else:
            items = [self.scalar(field, rng) for _ in range(count)]
        if rules_of(field).repeated.unique:
            items = list(dict.fromkeys(items))
        message.ClearField(field.name)
        getattr(message, field.name).extend(items)

    def scalar(self, field: FieldDescriptor, rng: random.Random) -> Any:
        """One value that keeps the rules of its field."""
        rules, kind = item_rules(field), field.cpp_type
        if field.type == _KINDS.TYPE_BYTES:
            return rng.randbytes(rng.choice((0, 1, 100)))
        if kind == _KINDS.CPPTYPE_STRING:
            return self._text(field, rules.string, rng)
        if kind == _KINDS.CPPTYPE_BOOL:
            return rng.random() < 0.5
        if kind == _KINDS.CPPTYPE_ENUM:
            known = [value.number for value in field.enum_type.values]
            return rng.choice([number for number in known if number not in rules.enum.not_in])
        if kind in BITS:
            low, high = _bounds(field, rules, *BITS[kind])
            return rng.choice((low, min(high, 1), rng.randint(low, min(high, 100)), high))
        low, high = _bounds(field, rules, -1.0, 1.0)
        return rng.choice((low, high, rng.uniform(low, high)))

    def _text(self, field: FieldDescriptor, rules: Any, rng: random.Random) -> str:
        known = self._words.get(field.full_name) or self._words.get(field.name) or ("", "a")
        text = rng.choice(known)
        if fits(rules, text):
            return text
        return "a" * max(1, rules.min_bytes)

    def _well_known(self, descriptor: Descriptor, rng: random.Random) -> Message:
        if descriptor.full_name == Timestamp.DESCRIPTOR.full_name:
            return Timestamp(seconds=int(self._now) - rng.randrange(20 * DAY))
        if descriptor.full_name == Duration.DESCRIPTOR.full_name:
            return Duration(seconds=rng.choice((0, 1, DAY, 30 * DAY)))
        assert descriptor.full_name == FieldMask.DESCRIPTOR.full_name, descriptor.full_name
        known = self._words["paths"]
        return FieldMask(paths=rng.sample(list(known), rng.randint(1, 3)))


def _is_needed(field: FieldDescriptor) -> bool:
    """Whether a message without the field breaks a rule."""
    rules = rules_of(field)
    if rules.required or rules.repeated.min_items or rules.string.min_bytes:
        return True
    return 0 in rules.enum.not_in or rules.float.HasField("gt")


def _bounds(field: FieldDescriptor, rules: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Least and greatest value of a number."""
    told = getattr(rules, _RULE_OF.get(field.type, "float"))
    if told.HasField("gte"):
        low = told.gte
    elif told.HasField("gt"):
        low = 0.5
    if told.HasField("lte"):
        high = told.lte
    return low, high


Way = tuple[FieldDescriptor, ...]


def ceilings(descriptor: Descriptor, way: Way = ()) -> Iterator[Way]:
    """The ways to every text, list and map of a request that the contract bounds."""
    for field in descriptor.fields:
        rules = rules_of(field)
        here = (*way, field)
        if (
            rules.repeated.HasField("max_items")
            or rules.map.HasField("max_pairs")
            or item_rules(field).string.HasField("max_bytes")
            or rules.bytes.HasField("max_len")
        ):
            yield here
        of_ours = field.message_type is not None and not is_map(field)
        if of_ours and field.message_type.full_name.startswith("corkboard.") and len(way) < 3:
            yield from ceilings(field.message_type, here)


def at_ceiling(grower: Grower, descriptor: Descriptor, way: Way, rng: random.Random) -> Message:
    """A valid request in which one field is as large as the contract allows."""
    message = grower.least(descriptor, rng)
    owner = message
    for step in way[:-1]:
        if not step.is_repeated:
            owner = getattr(owner, step.name)
            if not owner.ByteSize():
                owner.CopyFrom(grower.message(step.message_type, rng))
            continue
        if not len(getattr(owner, step.name)):
            getattr(owner, step.name).append(grower.message(step.message_type, rng))
        owner = getattr(owner, step.name)[0]
    _fill_up(grower, owner, way[-1], rng)
    return message


def together(
    grower: Grower, descriptor: Descriptor, ways: Sequence[Way], rng: random.Random, size: int
) -> Message:
    """A request in which all fields of the outermost message are at their ceilings that fit."""
    message = grower.least(descriptor, rng)
    for way in ways:
        more: Message = GetMessageClass(descriptor)()
        more.CopyFrom(message)
        if len(way) == 1:
            _fill_up(grower, more, way[0], rng)
        if more.ByteSize() <= size:
            message = more
    return message


def _fill_up(grower: Grower, owner: Message, field: FieldDescriptor, rng: random.Random) -> None:
    rules = rules_of(field)
    if is_map(field):
        for number in range(rules.map.max_pairs):
            name = f"k{number}".ljust(rules.map.keys.string.max_bytes, "x")
            getattr(owner, field.name)[name] = "v" * rules.map.values.string.max_bytes
    elif field.is_repeated and field.message_type is not None:
        grower.fill_list(owner, field, rules.repeated.max_items, rng)
    elif field.is_repeated:
        grower.fill_list(owner, field, ITEMS, rng)
        values = getattr(owner, field.name)
        count = rules.repeated.max_items - len(values)
        values.extend(_long_items(field, count))
    elif field.type == _KINDS.TYPE_BYTES:
        setattr(owner, field.name, bytes(rules.bytes.max_len))
    else:
        setattr(owner, field.name, "x" * rules.string.max_bytes)


def _long_items(field: FieldDescriptor, count: int) -> list[Any]:
    """Items that are all different and, where they are texts, as long as may be."""
    if field.cpp_type != _KINDS.CPPTYPE_STRING:
        return [float(number) for number in range(count)]
    size = rules_of(field).repeated.items.string.max_bytes
    return [str(number).rjust(size, "i") for number in range(count)]


def padded(content: bytes, size: int) -> bytes:
    """The same message with an unknown field, so that it has so many bytes."""
    head = b"\xfa\x3f"  # field 1023, bytes
    for length_bytes in (4, 3, 2, 1):
        room = size - len(content) - len(head) - length_bytes
        length = _varint(room)
        if len(length) == length_bytes:
            return content + head + length + bytes(room)
    raise AssertionError(f"{size} bytes cannot be made of {len(content)}")


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
