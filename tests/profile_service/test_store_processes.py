"""Several processes that write one live action log, one of them killed now and then."""

import random
import subprocess
import sys
import time
from pathlib import Path

from profile_service.actions import Action, ActionType
from profile_service.store import ActionLog

ROOT = Path(__file__).parents[2]
MAP_BYTES = 1 << 26
ROUNDS = 6
SEED = 20260131

WRITER = """
import sys
from pathlib import Path
from profile_service.actions import Action, ActionType
from profile_service.store import ActionLog

name, folder = sys.argv[1], Path(sys.argv[2])
log = ActionLog(folder, map_bytes=1 << 26)
told = (folder.parent / f"{name}.txt").open("w")
for number in range(1_000_000):
    ids = [f"{name}-{number}-{part}" for part in range(3)]
    log.append([Action(i, f"user-{number % 5}", "pin", ActionType.SAVE, number) for i in ids])
    print(*ids, sep="\\n", end="\\n", file=told, flush=True)
"""


class Writer:
    """A process that records actions and tells a file the id of each that was acknowledged."""

    def __init__(self, name: str, folder: Path) -> None:
        self._told = folder.parent / f"{name}.txt"
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, name, str(folder)], cwd=ROOT
        )

    def acknowledged(self) -> set[str]:
        """The ids so far; a torn last line is none."""
        return set(self._told.read_text().split("\n")[:-1]) if self._told.exists() else set()

    def wait_for_more(self) -> None:
        """Return once it has written something more."""
        before, deadline = len(self.acknowledged()), time.monotonic() + 60
        while len(self.acknowledged()) <= before:
            assert time.monotonic() < deadline, "the writer does not go on"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


def test_killed_writers_lose_nothing_and_stop_nobody(tmp_path: Path) -> None:
    """Every acknowledged action is there once; the lock of a killed writer frees itself."""
    folder, dice = tmp_path / "live", random.Random(SEED)
    steady = Writer("steady", folder)
    writers = [steady]
    try:
        steady.wait_for_more()
        for number in range(ROUNDS):
            writers.append(Writer(f"victim-{number}", folder))
            writers[-1].wait_for_more()
            time.sleep(dice.uniform(0.0, 0.1))
            writers[-1].kill()
            steady.wait_for_more()
    finally:
        for writer in writers:
            writer.kill()
    acknowledged = set().union(*(writer.acknowledged() for writer in writers))

    log = ActionLog(folder, map_bytes=MAP_BYTES)
    try:
        kept = [action.action_id for _, action in log.stream(0, log.last_position())]
        log.append([Action("after", "user", "pin", ActionType.SAVE, 1)])
        after = log.last_position()
    finally:
        log.close()

    assert len(acknowledged) > 50, "too little was written to say anything"
    assert acknowledged <= set(kept), "acknowledged and lost"
    assert len(kept) == len(set(kept)), "counted twice"
    assert after == len(kept) + 1, "positions have gaps or repeats"


def test_erasure_by_one_process_counts_in_another(tmp_path: Path) -> None:
    """Nothing of the log is remembered: a reader in another process hides an erased user."""
    asker = """
import sys
from pathlib import Path
from profile_service.store import ActionLog

log = ActionLog(Path(sys.argv[1]), map_bytes=1 << 26)
print(log.erasure_of("ana") is not None, flush=True)
sys.stdin.readline()
print(log.erasure_of("ana") is not None, flush=True)
"""
    folder = tmp_path / "live"
    log = ActionLog(folder, map_bytes=MAP_BYTES)
    other = subprocess.Popen(
        [sys.executable, "-c", asker, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    before = other.stdout.readline()
    log.append([Action("a", "ana", "pin", ActionType.SAVE, 1)])
    log.erase("ana", time_us=2_000_000, receipt_id="r")
    out, _ = other.communicate("\n", timeout=60)
    log.close()

    assert (before, out) == ("False\n", "True\n")
