"""Commands that change and explain, against real servers, as a user in a terminal has them."""

import json
import time
from pathlib import Path

from corkboard.cli.options import ExitCode
from corkboard.stack import Stack
from tests.integration.test_command_line import corkboard
from tests.integration.world import build, copy_of_root


def test_a_pin_comes_is_found_is_explained_and_goes(stack: Stack, tmp_path: Path) -> None:
    """The life of one pin: every step is seen by the next."""
    file = tmp_path / "pins.jsonl"
    file.write_text(
        '{"pin_id": "live-1", "title": "Zwetschgendatschi", "topics": ["cooking"]}\n'
        '{"pin_id": "live-2", "title": "Topfenstrudel", "topics": ["cooking"]}\n'
    )

    written = corkboard(stack, "pins", "upsert", "--file", str(file))
    changed = corkboard(stack, "pins", "upsert", "live-1", "--description", "with plums")
    known = json.loads(corkboard(stack, "pins", "get", "live-1", "--json").stdout)[0]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = json.loads(corkboard(stack, "search", "zwetschgendatschi", "--json").stdout)
        if found["pins"]:
            break
    saved = corkboard(stack, "saves", "upsert", "live-1", "--board", "b-live", "--user", "eva")
    why = corkboard(stack, "explain", "ana", "live-1")
    gone = corkboard(stack, "pins", "delete", "live-1", "live-2")
    again = corkboard(stack, "pins", "delete", "never-there")

    assert written.stdout == "2 pins: 2 written\n", written.stderr
    assert changed.returncode == ExitCode.DONE, changed.stderr
    assert (known["title"], known["description"]) == ("Zwetschgendatschi", "with plums")
    assert known["is_live"]
    assert [pin["pin_id"] for pin in found["pins"]] == ["live-1"]
    assert saved.returncode == ExitCode.DONE, saved.stderr
    assert "Zwetschgendatschi" in why.stdout, why.stderr
    assert gone.returncode == ExitCode.DONE
    assert (again.returncode, "unknown: never-there" in again.stderr) == (ExitCode.NOT_FOUND, True)


def test_a_wrong_record_is_refused_by_name(stack: Stack, tmp_path: Path) -> None:
    """Nothing of the call is written; the wrong one is named, by us or by the server."""
    file = tmp_path / "pins.jsonl"
    file.write_text('{"pin_id": "bad-1"}\n{"pin_id": "bad-2", "quality": 7}\n')

    refused = corkboard(stack, "pins", "upsert", "--file", str(file))
    partly = corkboard(stack, "pins", "upsert", "--file", str(file), "--skip-bad", "--dry-run")
    empty = corkboard(stack, "pins", "upsert", "bad-1")
    known = json.loads(corkboard(stack, "pins", "get", "bad-1", "--json").stdout)[0]

    assert refused.returncode == ExitCode.USAGE
    assert "quality" in refused.stderr
    assert partly.returncode == ExitCode.USAGE
    assert "invalid: bad-2" in partly.stderr
    assert empty.returncode == ExitCode.USAGE
    assert not known["is_known"]


def test_rollback_goes_back_one_generation(stack: Stack, tmp_path: Path) -> None:
    """And says what there is to roll back where the name is wrong."""
    root = copy_of_root(tmp_path)
    folder = root / "generations" / "popular"
    before = (folder / "CURRENT").read_text()
    build(root, "build_popular")
    assert (folder / "CURRENT").read_text() != before

    done = corkboard(stack, "rollback", "popular", "--data-root", str(root))
    wrong = corkboard(stack, "rollback", "poplar", "--data-root", str(root))

    assert done.returncode == ExitCode.DONE, done.stderr
    assert (folder / "CURRENT").read_text() == before
    assert wrong.returncode == ExitCode.NOT_FOUND
    assert "popular" in wrong.stderr


def test_boards_and_sources_read_well(stack: Stack) -> None:
    """Boards by title, every source with its state."""
    boards = corkboard(stack, "boards", "typography-2")
    sources = corkboard(stack, "sources")

    assert "Typography" in boards.stdout, boards.stderr
    assert "pixie" in sources.stdout
    assert "ready" in sources.stdout
