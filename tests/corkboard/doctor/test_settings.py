"""The doctor's look at settings, certificates and the machine."""

import os
import time
from pathlib import Path

import pytest

from corkboard.doctor.finding import Finding, Level
from corkboard.doctor.machine import look_at_machine
from corkboard.doctor.settings import look_at_settings, settings_of
from tests.service_runtime.certificates import Authority


def look(now: float | None = None) -> dict[str, list[Finding]]:
    """What is found, by check."""
    found: dict[str, list[Finding]] = {}
    for finding in look_at_settings(lambda: time.time() if now is None else now):
        found.setdefault(finding.check, []).append(finding)
    return found


def test_every_wrong_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """All faults of one service, and the others are looked at all the same."""
    monkeypatch.setenv("PROFILE_SERVICE_PORT", "99999")
    monkeypatch.setenv("PROFILE_SERVICE_NO_SUCH", "1")

    found = look()

    assert [one.level for one in found["profile_service"]] == [Level.PROBLEM] * 2
    assert "PROFILE_SERVICE_PORT" in "".join(one.told for one in found["profile_service"])
    assert found["ranking_service"][0].level is Level.OK
    assert settings_of("profile_service") is None


def test_named_files_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A token file that is empty lets nobody in."""
    (tmp_path / "token").write_text("\n")
    monkeypatch.setenv("RANKING_SERVICE_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("RANKING_SERVICE_ACCESS_FILE", str(tmp_path / "absent"))

    found = look()

    assert "is empty" in found["ranking_service token_file"][0].told
    assert found["ranking_service access_file"][0].level is Level.PROBLEM


def test_machine_is_told_without_a_problem_of_ours(tmp_path: Path) -> None:
    """Where tests run, the services can run; the root need not be there."""
    found = {one.check: one for one in look_at_machine(tmp_path / "not" / "there")}

    assert found["versions"].level is Level.OK
    assert found["cores"].told.endswith(f"of {os.cpu_count()} cores may be used")
    assert {"disk", "inodes", "memory", "open files", "file system"} <= set(found)


@pytest.mark.parametrize(
    ("days", "level"), [(100.0, Level.OK), (3.0, Level.WARNING), (-1.0, Level.PROBLEM)]
)
def test_certificate_is_told_before_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, days: float, level: Level
) -> None:
    """Two weeks before is early enough to renew it, its end is too late."""
    pair = Authority(tmp_path).issue("ranking-service", days=days)
    monkeypatch.setenv("RANKING_SERVICE_TLS_CERTIFICATE_FILE", str(pair.certificate))
    monkeypatch.setenv("RANKING_SERVICE_TLS_KEY_FILE", str(pair.key))

    found = look()["ranking_service certificate"][0]

    assert found.level is level, found
    assert ("has ended" in found.told) == (days < 0)


def test_key_of_another_certificate_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would be refused at the start."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("CORKBOARD_TLS_CERTIFICATE_FILE", str(authority.issue("a").certificate))
    monkeypatch.setenv("CORKBOARD_TLS_KEY_FILE", str(authority.issue("b").key))

    found = look()

    for service in ("profile_service", "candidate_service", "ranking_service"):
        assert found[f"{service} certificate"][0].level is Level.PROBLEM
