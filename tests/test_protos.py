"""The contract: generated code is fresh, every element is commented, every field is bounded."""

import filecmp
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from buf.validate import validate_pb2
from corkboard.candidate.v1 import candidate_service_pb2
from corkboard.profile.v1 import profile_service_pb2
from corkboard.ranking.v1 import ranking_service_pb2

ROOT = Path(__file__).parents[1]
FILES = (
    profile_service_pb2.DESCRIPTOR,
    candidate_service_pb2.DESCRIPTOR,
    ranking_service_pb2.DESCRIPTOR,
)


def requests() -> list[Descriptor]:
    """Every request message of every service."""
    found = [
        method.input_type
        for file in FILES
        for service in file.services_by_name.values()
        for method in service.methods
    ]
    assert len(found) >= 12
    return found


def reachable(message: Descriptor, seen: set[str] | None = None) -> list[FieldDescriptor]:
    """Every field of a message and of our messages inside it."""
    seen = set() if seen is None else seen
    if message.full_name in seen or not message.full_name.startswith("corkboard."):
        return []
    seen.add(message.full_name)
    fields = list(message.fields)
    for field in message.fields:
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            fields += reachable(field.message_type, seen)
    return fields


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    """What is committed is what `make protos` makes of the .proto files."""
    made = subprocess.run(
        ["make", "--no-print-directory", "protos", f"OUT={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr

    generated = [p.relative_to(tmp_path) for p in tmp_path.rglob("*_pb2*")]

    assert len(generated) >= 12
    for path in generated:
        assert filecmp.cmp(tmp_path / path, ROOT / path, shallow=False), f"{path}: run make protos"


@pytest.mark.parametrize("request_type", requests(), ids=lambda d: d.name)
def test_every_request_field_is_bounded(request_type: Descriptor) -> None:
    """Strings, lists and numbers that a caller sends have a ceiling in the contract."""
    unbounded = []
    for field in reachable(request_type):
        rules = field.GetOptions().Extensions[validate_pb2.field]
        bounded = rules.ByteSize() > 0
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            bounded = all(
                (rules.map.max_pairs, rules.map.keys.ByteSize(), rules.map.values.ByteSize())
            )
        free = field.type == FieldDescriptor.TYPE_BOOL or field.message_type is not None
        seed = field.name in {"seed", "image_hash"}  # all 64 bits are fine
        if not (bounded or seed or (free and not field.is_repeated)):
            unbounded.append(field.full_name)

    assert unbounded == []


def test_services_do_not_share_messages() -> None:
    """A contract imports no other service's contract, so that each can change alone."""
    for file in FILES:
        ours = [d.name for d in file.dependencies if d.name.startswith("corkboard/")]

        assert ours == []
