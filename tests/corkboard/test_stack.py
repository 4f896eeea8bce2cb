"""What the stack does before and beside real services; with them it is tested in integration."""

from pathlib import Path

import pytest

from corkboard.health import UNREACHABLE, check_health
from corkboard.stack import SERVICES, Stack, StackFailed, is_ready_line


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose services end at once, each with a word and an exit code."""
    for service in SERVICES:
        package = tmp_path / service
        package.mkdir()
        (package / "__init__.py").touch()
        words = f"{service} has no data"
        (package / "__main__.py").write_text(f"import sys\nprint({words!r})\nsys.exit(7)\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_service_that_ends_at_once_is_named_with_its_code_and_last_words(broken: Path) -> None:
    """Nothing is left running."""
    stack = Stack(data_root=broken)

    with pytest.raises(StackFailed, match=r"(?s)profile_service exited with 7.*has no data"):
        stack.start(timeout_s=30)

    assert stack.children == {}
    assert stack.stop() == {}


def test_every_line_is_handed_on_with_its_service(broken: Path) -> None:
    """Merged logs know who spoke."""
    heard: list[tuple[str, str]] = []

    with pytest.raises(StackFailed):
        Stack(data_root=broken, on_line=lambda *said: heard.append(said)).start(timeout_s=30)

    assert ("profile_service", "profile_service has no data") in heard


def test_listener_that_fails_does_not_stop_the_reading(broken: Path) -> None:
    """A closed log file is no reason to lose the reason of a failure."""

    def fail(service: str, line: str) -> None:
        raise ValueError(f"I/O operation on closed file: {service} {line}")

    with pytest.raises(StackFailed, match="has no data"):
        Stack(data_root=broken, on_line=fail).start(timeout_s=30)


@pytest.mark.parametrize(
    ("line", "is_ready"),
    [
        ('{"event": "ready", "service": "x", "port": 1}', True),
        ('{"event": "server.became_ready", "port": 1}', False),
        ('{"event": "ready"', False),
        ("ready", False),
    ],
)
def test_only_the_ready_line_is_one(line: str, is_ready: bool) -> None:  # noqa: FBT001  a parameter of the test
    """A log line about readiness is not the promise to serve."""
    assert is_ready_line(line) == is_ready


def test_health_of_a_port_where_nobody_listens_is_an_answer() -> None:
    """Not an exception."""
    assert check_health("127.0.0.1:1", timeout_s=1) == UNREACHABLE
