"""The audit log on disk."""

import io
import json
from pathlib import Path

import pytest

from service_runtime.audit_trail import FOLDER, AuditTrail, read_trail
from service_runtime.telemetry import audit, configure_logging, keep_audit


def test_lines_of_all_writers_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    """Each writer has a file of its own; together they are one log."""
    one, other = AuditTrail(tmp_path, "profile_service"), AuditTrail(tmp_path, "corkboard")
    one.add("EraseUser", {"user": "abc", "receipt_id": "r1"})
    other.add("import", {"caller": "root", "folder": Path("/data")})
    one.add("MergeUsers", {})

    lines = list(read_trail(tmp_path))

    assert [(line["by"], line["action"]) for line in lines] == [
        ("profile_service", "EraseUser"),
        ("corkboard", "import"),
        ("profile_service", "MergeUsers"),
    ]
    assert lines[0]["receipt_id"] == "r1"
    assert lines[1]["folder"] == "/data"
    assert len(list((tmp_path / FOLDER).iterdir())) == 2
    assert all(path.stat().st_mode & 0o777 == 0o640 for path in (tmp_path / FOLDER).iterdir())


def test_torn_line_hides_no_other(tmp_path: Path) -> None:
    """A crash in the middle of a write costs that line."""
    trail = AuditTrail(tmp_path, "x")
    trail.add("first", {})
    (path,) = (tmp_path / FOLDER).iterdir()
    with path.open("ab") as file:
        file.write(b'{"time": "2026\n')
    trail.add("second", {})

    assert [line["action"] for line in read_trail(tmp_path)] == ["first", "second"]


def test_audit_goes_to_log_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that cannot be kept is told and stops nobody."""
    monkeypatch.setattr("service_runtime.telemetry._trails", [])
    log = io.BytesIO()
    configure_logging("info", "x", stream=log)
    try:
        keep_audit(tmp_path, "x")
        audit("EraseUser", user="hash")
        keep_audit(tmp_path / FOLDER / next((tmp_path / FOLDER).iterdir()).name, "x")
        audit("EraseUser", user="other")
    finally:
        configure_logging("warning", "tests")

    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert events == ["audit.recorded", "audit.recorded", "audit.not_kept"]
    assert [line["user"] for line in read_trail(tmp_path)] == ["hash"]
