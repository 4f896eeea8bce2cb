"""Runs the commands of a page as one terminal session, on ports and in a folder of its own."""

import functools
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import ROOT, Block

OWN_NETWORK = (
    *("unshare", "--net", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *(sys.executable, str(ROOT / "tests" / "docs" / "own_network.py")),
)
"""The usual ports are free, nothing leads out, and whatever was started ends with the session."""
USUAL_PORTS = (50051, 50052, 50053, 8080, 9101, 9102, 9103, 9104, 9901)
"""What pages listen on."""

PREAMBLE = """\
set -e
wait_until_up() {
  for _ in $(seq 600); do
    grep -q "corkboard is up" "$1" && return
    kill -0 "$SERVER" 2>/dev/null || break
    sleep 0.1
  done
  echo "it never said that it is up:"; cat "$1"; return 1
}
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
stop_server() { if [ -n "$SERVER" ]; then kill -TERM "$SERVER"; wait "$SERVER"; SERVER=""; fi; }
SERVER=""
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a page's blocks.

    Attributes:
        output: By block, what it wrote to stdout and stderr; without blocks that were not reached.
        code: Exit code of the session; 0 if every block ended with 0.
        words: What the session itself said, for a reader who wonders why.
    """

    output: Mapping[Block, str]
    code: int
    words: str


@functools.cache
def without_own_network() -> str:
    """Why no network of one's own can be had on this machine; "" if one can."""
    try:
        tried = subprocess.run(
            [*OWN_NETWORK, "true"], capture_output=True, text=True, timeout=30, check=False
        )
    except FileNotFoundError:
        return "no `unshare` here (util-linux)"
    return f"no network namespace can be made: {tried.stderr.strip()}" if tried.returncode else ""


def why_not() -> str:
    """Why no session can be had just now; "" if one can, at worst on the machine's own ports."""
    if not without_own_network():
        return ""
    taken = [port for port in USUAL_PORTS if not _is_free(port)]
    return f"{without_own_network()}; and ports {taken} are taken" if taken else ""


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def can_run(block: Block, tools: Collection[str]) -> bool:
    """Whether a block needs nothing but those tools."""
    return set(filter(None, block.value("needs").split(","))) <= set(tools)


def run(
    blocks: Sequence[Block],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    tools: Collection[str] = (),
    timeout_s: float = 800.0,
) -> Ran:
    """Run what is to be run among *blocks*, in order, in one shell, so that `cd` and `export` last.

    Args:
        blocks: Of one page.
        folder: Where the session begins.
        environment: Beside the usual variables.
        tools: What `needs=` may ask for; blocks that need another are left out.
        timeout_s: For all of it.

    Returns:
        What each block wrote.
    """
    notes = folder.parent / f"{folder.name}-session"
    notes.mkdir()
    script = [PREAMBLE]
    outputs = {}
    for number, block in enumerate(blocks):
        if not can_run(block, tools):
            continue
        if block.value("file"):
            (folder / block.value("file")).write_text(block.text, encoding="utf-8")
        lines = in_shell(block, notes / f"{number:02}.txt")
        if lines:
            outputs[block] = notes / f"{number:02}.txt"
            script.append(lines)
    (notes / "script.sh").write_text("\n".join([*script, "stop_server", ""]), encoding="utf-8")
    done = subprocess.run(
        [*(() if without_own_network() else OWN_NETWORK), "bash", str(notes / "script.sh")],
        cwd=folder,
        env=environment_of(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    reached = {block: path.read_text() for block, path in outputs.items() if path.exists()}
    return Ran(reached, done.returncode, done.stdout + done.stderr)


def environment_of(given: Mapping[str, str]) -> dict[str, str]:
    """Variables of a session: our commands first in the path, and tables of a terminal's width."""
    path = f"{Path(sys.executable).parent}:{given.get('PATH', os.environ['PATH'])}"
    usual = {"COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **usual, **given, "PATH": path}


def in_shell(block: Block, output: Path) -> str:
    """A block's lines of the session's script; "" if it is not to be run."""
    to = f"> {shlex.quote(str(output))} 2>&1"
    if block.language == "python" and "run" in block.words:
        return f"python - <<'END_OF_BLOCK' {to}\n{block.text}END_OF_BLOCK"
    if block.language != "sh":
        return ""
    if "serve" in block.words:
        started = f"( exec {block.text.strip()} ) {to} &\nSERVER=$!"
        return f"{started}\nwait_until_up {shlex.quote(str(output))}"
    if "stop" in block.words:
        return f"stop_server\n{{\n{block.text}}} {to}"
    if "run" in block.words:
        return f"{{\n{block.text}}} {to}"
    return ""


def assert_page_is_true(blocks: Sequence[Block], ran: Ran) -> None:
    """Every block that was run ended with 0, and printed what the page shows below it."""
    if ran.code:
        block, text = list(ran.output.items())[-1]
        raise AssertionError(
            f"{block.place} failed with {ran.code}:\n{block.text}\n{text}\n{ran.words}"
        )
    before = None
    for block in blocks:
        if "shown" not in block.words:
            before = block
            continue
        assert before is not None, f"{block.place}: nothing stands before it"
        if before in ran.output:  # its tool may be missing here
            printed = ran.output[before]
            missing = missing_lines(block.text, printed)
            assert not missing, f"{block.place}: {missing} is not in what was printed:\n{printed}"


def missing_lines(shown: str, printed: str) -> list[str]:
    """The lines of a `shown` block that are not, in their order, in what was printed.

    Spaces count as one; `…` stands for anything within a line.
    """
    have = [" ".join(line.split()) for line in printed.splitlines()]
    missing, at = [], 0
    for line in filter(None, (" ".join(line.split()) for line in shown.splitlines())):
        pieces = [piece.strip() for piece in line.split("…") if piece.strip()]
        found = next((n for n in range(at, len(have)) if in_order(pieces, have[n])), None)
        if found is None:
            missing.append(line)
        else:
            at = found + 1 if pieces else at
    return missing


def in_order(pieces: Sequence[str], line: str) -> bool:
    """Whether all pieces are in a line, one behind the other."""
    at = 0
    for piece in pieces:
        found = line.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return True
