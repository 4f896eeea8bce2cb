"""Whatever a caller can send has an end: every text, list and map of every request is bounded."""

from collections.abc import Iterator
from typing import Any

import pytest

from buf.validate import validate_pb2
from corkboard.candidate.v1 import candidate_service_pb2
from corkboard.profile.v1 import profile_service_pb2
from corkboard.ranking.v1 import ranking_service_pb2

FILES = (profile_service_pb2, candidate_service_pb2, ranking_service_pb2)
METHODS = [
    method
    for module in FILES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


def fields_of(message: Any, seen: set[str]) -> Iterator[Any]:
    """Every field that can be reached from a message of ours."""
    if message.full_name in seen or not message.full_name.startswith("corkboard."):
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield field
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if field.message_type is not None and not is_map:
            yield from fields_of(field.message_type, seen)


def is_bounded(rules: Any, kind: int, field: Any) -> bool:
    """Whether constraints on a single text or number of bytes name an end."""
    if kind == field.TYPE_STRING:
        text = rules.string
        named = ("max_len", "max_bytes", "len", "len_bytes", "const")
        return any(text.HasField(name) for name in named) or bool(getattr(text, "in"))
    if kind == field.TYPE_BYTES:
        return rules.bytes.HasField("max_len") or rules.bytes.HasField("len")
    return True


def unbounded(field: Any) -> str:
    """What of a field has no end; "" if all has."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        if not rules.map.HasField("max_pairs"):
            return "pairs"
        if not is_bounded(rules.map.keys, entry["key"].type, field):
            return "keys"
        return "" if is_bounded(rules.map.values, entry["value"].type, field) else "values"
    if field.is_repeated:
        if not rules.repeated.HasField("max_items"):
            return "items"
        return "" if is_bounded(rules.repeated.items, field.type, field) else "each item"
    return "" if is_bounded(rules, field.type, field) else "length"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.full_name))
def test_every_field_of_a_request_is_bounded(method: Any) -> None:
    """In the contract, so that callers in any language can see it, and the server enforces it."""
    faults = [
        f"{field.full_name}: {fault}"
        for field in fields_of(method.input_type, set())
        if (fault := unbounded(field))
    ]

    assert faults == []


def test_requests_were_found() -> None:
    """A test over no fields would pass."""
    assert len(METHODS) > 25
    fields = [field for method in METHODS for field in fields_of(method.input_type, set())]
    assert len(fields) > 200
