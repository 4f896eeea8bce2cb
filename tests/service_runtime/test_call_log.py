"""One line a call, written soon."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from service_runtime.call_log import NOTE_COUNT_MAX, CallLog, CallNote
from service_runtime.telemetry import configure_logging, hashed


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    """The log lines of this test."""
    stream = io.BytesIO()
    configure_logging("info", "x", stream=stream)
    yield stream
    configure_logging("warning", "tests")


def make_note(number: int = 0, *, code: str = "OK", error: str = "", now: float = 0.0) -> CallNote:
    """The note of one call."""
    return CallNote(now, "Get", code, 0.25, 0.125, "ipv4:127.0.0.1:1", f"id-{number}", error)


def lines(log: io.BytesIO) -> list[dict[str, Any]]:
    """The lines written."""
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_note_becomes_a_line(log: io.BytesIO, now: float) -> None:
    """The line says when the call ended, not when the line was written."""
    calls = CallLog()
    calls.add(make_note(7, now=now))
    calls.close()

    assert lines(log) == [
        {
            "component": "call",
            "event": "call.finished",
            "level": "info",
            "service": "x",
            "time": "2026-01-01T00:00:00Z",
            "method": "Get",
            "code": "OK",
            "seconds": 0.25,
            "queue_seconds": 0.125,
            "peer": "ipv4:127.0.0.1:1",
            "request_id": "id-7",
        }
    ]


def test_our_own_faults_are_warnings(log: io.BytesIO) -> None:
    """A caller's mistake is information, ours wants attention; both tell the error."""
    calls = CallLog()
    calls.add(make_note(code="NOT_FOUND", error="absent"))
    calls.add(make_note(code="INTERNAL", error="crashed"))
    calls.close()

    found = [(line["level"], line["error"]) for line in lines(log)]
    assert found == [("info", "absent"), ("warning", "crashed")]


def test_closing_writes_all_that_is_left_in_order(log: io.BytesIO) -> None:
    """No note is lost when a server ends in order."""
    calls = CallLog(lines_per_second_max=5000)
    for number in range(5000):
        calls.add(make_note(number))
    calls.close()

    assert [line["request_id"] for line in lines(log)] == [f"id-{n}" for n in range(5000)]


def test_notes_that_cannot_be_written_do_not_pile_up() -> None:
    """A log that is stuck costs the oldest notes, not memory without end."""
    calls = CallLog()
    calls.close()  # nobody writes any more
    for number in range(NOTE_COUNT_MAX + 500):
        calls.add(make_note(number))

    assert len(calls._notes) == NOTE_COUNT_MAX
    assert calls._notes[0].request_id == "id-500"


def test_calls_that_are_all_alike_are_thinned_out(log: io.BytesIO) -> None:
    """The first of each second, then every hundredth, which says for how many it stands."""
    calls = CallLog(lines_per_second_max=10)
    for number in range(1000):
        calls.add(make_note(number, now=5.0))
    calls.add(make_note(1, now=5.9, code="NOT_FOUND", error="absent"))
    calls.add(make_note(2, now=6.0))
    calls.close()

    found = lines(log)
    assert [line["request_id"] for line in found[:10]] == [f"id-{n}" for n in range(10)]
    assert {line.get("stands_for") for line in found[:10]} == {None}
    assert [line["request_id"] for line in found[10:-2]] == [
        f"id-{n}" for n in range(109, 1000, 100)
    ]
    assert {line["stands_for"] for line in found[10:-2]} == {100}
    assert [line["request_id"] for line in found[-2:]] == ["id-1", "id-2"], "another kind, second"


def test_whom_a_call_is_about_is_hashed(log: io.BytesIO) -> None:
    """The same person can be followed through the log, and not be named by it."""
    calls = CallLog(subject_field="person_id")
    calls.add(make_note()._replace(subject="ana"))
    calls.add(make_note()._replace(subject="ana", trace_id="abc"))
    calls.add(make_note())
    calls.close()

    first, second, nobody = lines(log)
    assert first["person"] == second["person"] == hashed("ana")
    assert "ana" not in log.getvalue().decode()
    assert second["trace_id"] == "abc"
    assert {"person", "trace_id", "stands_for"}.isdisjoint(nobody)
