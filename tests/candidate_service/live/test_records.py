"""Records are read as they were written, by this version and by later ones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candidate_service.live.records import (
    PinWrite,
    Record,
    SaveWrite,
    UserErasure,
    decode_record,
    encode_record,
)
from service_runtime.errors import Corrupted
from service_runtime.event_log import EventLog, read_log

GOLDEN = Path(__file__).parents[2] / "golden" / "candidate_service" / "live_log_v1"
VECTOR = np.array([0.6, -0.8], np.float32)
RECORDS: tuple[Record, ...] = (
    PinWrite(
        1,
        "pin ñ",
        {
            "title": "Título",
            "topics": ("a", "b"),
            "attributes": {"market": "eu"},
            "image_hash": 2**64 - 1,
            "quality": 0.5,
            "is_hidden": True,
            "expiration_time_us": 9,
            "vector": VECTOR,
        },
        is_whole=True,
    ),
    PinWrite(2, "pin ñ", {"description": "", "text_vector": None}),
    PinWrite(3, "pin ñ", {"is_deleted": True}),
    SaveWrite(4, "save", "board", "pin ñ", "user", 3, "Title"),
    SaveWrite(5, "save", "board", "pin ñ", is_removed=True),
    UserErasure(6, "user"),
)


def same(one: Record, other: Record) -> bool:
    """Compare records, vectors by value."""
    if isinstance(one, PinWrite) and isinstance(other, PinWrite):
        if one.fields.keys() != other.fields.keys():
            return False
        fields = all(np.array_equal(one.fields[n], other.fields[n]) for n in one.fields)
        return fields and (one.time_us, one.pin_id, one.is_whole) == (
            other.time_us,
            other.pin_id,
            other.is_whole,
        )
    return one == other


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_comes_back(record: Record) -> None:
    """Every kind, with everything in it."""
    assert same(decode_record(encode_record(record)), record)


@given(text=st.text(max_size=40), number=st.integers(0, 2**53))
def test_any_text_comes_back(text: str, number: int) -> None:
    """Whatever people write."""
    record = SaveWrite(number, text or "x", text, text, text, number, text)

    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize("payload", [b"", b"[1]", b"{}", b'{"t":1}', b'{"t":1,"p":"x","f":3}'])
def test_what_is_no_record_is_told(payload: bytes) -> None:
    """Not an error from somewhere within."""
    with pytest.raises(Corrupted, match="not of this format"):
        decode_record(payload)


def test_the_golden_log_is_read_for_ever() -> None:
    """Made once by `python -m tests.candidate_service.live.test_records`."""
    found = [decode_record(record.payload) for record in read_log(GOLDEN)]

    assert len(found) == len(RECORDS)
    assert all(same(one, other) for one, other in zip(found, RECORDS, strict=True))


if __name__ == "__main__":
    with EventLog(Path(sys.argv[1])) as log:
        log.append([encode_record(record) for record in RECORDS])
