"""The doctor's look at settings, certificates and the machine."""

import os
from pathlib import Path

import pytest

from corkboard.doctor.finding import Finding, Level
from corkboard.doctor.machine import look_at_machine
from corkboard.doctor.settings import Settings, look_at_settings, read_all_settings
from tests.service_runtime.certificates import Authority


def look(**values: object) -> dict[str, Finding]:
    """What is found of a service with these settings, by check."""
    settings = {"ranking_service": Settings({name: str(at) for name, at in values.items()})}
    return {finding.check: finding for finding in look_at_settings(settings)}


def test_every_wrong_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """All faults of one service, and the others are looked at all the same."""
    monkeypatch.setenv("PROFILE_SERVICE_PORT", "99999")
    monkeypatch.setenv("PROFILE_SERVICE_NO_SUCH", "1")

    settings = read_all_settings()
    found = [one for one in look_at_settings(settings) if one.check == "profile_service"]

    assert [one.level for one in found] == [Level.PROBLEM] * 2
    assert "PROFILE_SERVICE_PORT" in "".join(one.told for one in found)
    assert not settings["ranking_service"].faults
    assert settings["ranking_service"].values["metrics_port"] == 9103


def test_named_files_must_be_there(tmp_path: Path) -> None:
    """A token file that is empty lets nobody in."""
    (tmp_path / "token").write_text("\n")

    absent = tmp_path / "absent"
    found = look(token_file=tmp_path / "token", access_file=absent, log_key_file=absent)

    assert found["ranking_service"].level is Level.OK
    assert "is empty" in found["ranking_service token_file"].told
    assert found["ranking_service access_file"].level is Level.PROBLEM
    assert found["ranking_service log_key_file"].level is Level.PROBLEM


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[callers.shop]\nroles == []", "line 2"),
        ('[callers.shop]\nroles = ["king"]\n', "callers.shop.roles.0"),
        ('[callers.shop]\nroles = ["reader"]\ntokens_sha256 = ["secret"]\n', "tokens_sha256.0"),
        ("", "callers"),
    ],
)
def test_access_file_is_read_as_the_service_reads_it(
    tmp_path: Path, content: str, said: str
) -> None:
    """One that does not parse would stop a start, so "can be read" is not enough."""
    (tmp_path / "access.toml").write_text(content)

    told = look(access_file=tmp_path / "access.toml")["ranking_service access_file"]

    assert told.level is Level.PROBLEM
    assert said in told.told
    assert "docs/security.md" in told.remedy


def test_access_file_that_can_be_used_is_told_so(tmp_path: Path) -> None:
    """As docs/security.md shows it."""
    (tmp_path / "access.toml").write_text(
        f'[callers.shop]\ntokens_sha256 = ["{"0" * 64}"]\nroles = ["reader", "writer"]\n'
    )

    told = look(access_file=tmp_path / "access.toml")["ranking_service access_file"]

    assert told.level is Level.OK, told


def test_machine_is_told_without_a_problem_of_ours(tmp_path: Path) -> None:
    """Where tests run, the services can run; the root need not be there."""
    found = {one.check: one for one in look_at_machine(tmp_path / "not" / "there")}

    assert found["versions"].level is Level.OK
    assert found["cores"].told.endswith(f"of {os.cpu_count()} cores may be used")
    assert {"disk", "inodes", "memory", "open files", "file system"} <= set(found)


@pytest.mark.parametrize(
    ("days", "level"), [(100.0, Level.OK), (3.0, Level.WARNING), (-1.0, Level.PROBLEM)]
)
def test_certificate_is_told_before_it_ends(tmp_path: Path, days: float, level: Level) -> None:
    """Two weeks before is early enough to renew it, its end is too late."""
    pair = Authority(tmp_path).issue("ranking-service", days=days)

    found = look(tls_certificate_file=pair.certificate, tls_key_file=pair.key)
    told = found["ranking_service certificate"]

    assert told.level is level, told
    assert ("has ended" in told.told) == (days < 0)


def test_key_of_another_certificate_is_a_problem(tmp_path: Path) -> None:
    """It would be refused at the start."""
    authority = Authority(tmp_path)
    pair, other = authority.issue("a"), authority.issue("b")

    found = look(tls_certificate_file=pair.certificate, tls_key_file=other.key)

    assert found["ranking_service certificate"].level is Level.PROBLEM
