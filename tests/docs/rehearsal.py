"""Plays a shell block with stand-ins for what needs a cluster: the shell expands, nothing happens.

Loops, `cd` and `$(cat …)` are the shell's own; `kubectl` and its like only note how they were
called. A command that is neither a stand-in nor harmless is not found, and the rehearsal says so.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import ROOT

STAND_INS = ("kubectl", "kustomize", "docker", "corkboard", "sleep")
HARMLESS = ("cat", "grep", "seq")
_NOTE = """#!/bin/bash
printf '%s\\0' "${0##*/}" "$PWD" "$@" $'\\1' >> "$REHEARSAL"
"""
_NOT_FOUND = re.compile(
    r"^.*: (.+): (?:command not found|No such file or directory)$", re.MULTILINE
)


@dataclass(frozen=True)
class Called:
    """One call of a stand-in.

    Attributes:
        name: `kubectl`.
        folder: Where it was called.
        words: What followed.
    """

    name: str
    folder: Path
    words: tuple[str, ...]


def rehearse(text: str, folder: Path) -> list[Called]:
    """Play a block from a copy of the tree's k8s; what was called, in order.

    Args:
        text: The block.
        folder: An empty one.

    Raises:
        AssertionError: It calls what there is not, or is no shell.
    """
    tools, here, notes = folder / "tools", folder / "here", folder / "notes"
    tools.mkdir()
    here.mkdir()
    notes.touch()
    for name in STAND_INS:
        (tools / name).write_text(_NOTE)
        (tools / name).chmod(0o755)
    for name in HARMLESS:
        (tools / name).symlink_to(str(shutil.which(name)))
    shutil.copytree(ROOT / "k8s", here / "k8s", symlinks=True)
    done = subprocess.run(
        [str(shutil.which("bash")), "--noprofile", "--norc", "-c", f"{text}\nwait"],
        cwd=here,
        env={"PATH": str(tools), "REHEARSAL": str(notes), "HOME": os.devnull},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "syntax error" not in done.stderr, done.stderr
    assert not _NOT_FOUND.search(done.stderr), done.stderr
    calls = [one.split("\0") for one in notes.read_text().split("\1\0") if one]
    return [Called(name, Path(at), tuple(words[:-1])) for name, at, *words in calls]
