"""What was taken back or changed can be read afterwards, with who did it."""

import getpass
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from datasets import tiny
from service_runtime.telemetry import hashed
from tests.integration.world import AS_OF, copy_of_root, make_stack

SCENARIOS = '[scenarios.calm]\nsurface = "home_feed"\n'


def corkboard(*arguments: str) -> str:
    """Run a command; what it printed."""
    command = [sys.executable, "-m", "corkboard", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_erasure_and_rules_are_in_the_audit_log(tmp_path: Path) -> None:
    """From commands and from services, in one order, and no person by name."""
    root, rules = copy_of_root(tmp_path), tmp_path / "scenarios.toml"
    rules.write_text("")
    tiny.load(as_of=AS_OF).write(tmp_path / "import")
    corkboard("import", str(tmp_path / "import"), "--data-root", str(root))
    setting = {"ranking_service": [f"scenario_file={rules}"]}
    with make_stack(root, settings=setting) as stack, stack.client() as client:
        client.erase("bob")
        rules.write_text(SCENARIOS)
        wait_for(root, "scenarios.reloaded")
    lines = trail(root)

    told = {(line["by"], line["action"]) for line in lines}
    assert told >= {
        ("corkboard", "import"),
        ("ranking_service", "EraseUser"),
        ("profile_service", "EraseUser"),
        ("candidate_service", "EraseUser"),
        ("ranking_service", "scenarios.reloaded"),
    }
    assert lines[0]["caller"] == getpass.getuser()
    erased = [line for line in lines if line["action"] == "EraseUser"]
    assert {line["user"] for line in erased} == {hashed("bob")}
    assert all(line["request_id"] for line in erased), "to find its line among the calls"


def trail(root: Path) -> list[dict[str, Any]]:
    """The audit log as the command shows it."""
    lines: list[dict[str, Any]] = json.loads(corkboard("audit", "--data-root", str(root), "--json"))
    return lines


def wait_for(root: Path, action: str) -> None:
    """Return once the action is in the audit log."""
    deadline = time.monotonic() + 30
    while not any(line["action"] == action for line in trail(root)):
        assert time.monotonic() < deadline, trail(root)
