"""Logs of ended processes go, no record is lost, and a name that comes back is another log."""

import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from service_runtime import ended_logs, log_folders
from service_runtime.ended_logs import (
    ENDED_SECONDS,
    GATHERED,
    gather_ended,
    open_log,
    read_all,
    remove_ended,
)
from service_runtime.errors import Corrupted, NotFound, Unavailable
from service_runtime.event_log import EventLog, end_position, first_position, read_log
from service_runtime.log_folders import GONE_PREFIX

NOW = time.time()
LONG_AGO = NOW - ENDED_SECONDS - 60

HOLDER = """
import sys, time
from pathlib import Path
from service_runtime.ended_logs import open_log
log = open_log(Path(sys.argv[1]))
log.append([b"of the holder"])
print("held", flush=True)
time.sleep(600)
"""


def age(folder: Path, *, written: float = LONG_AGO) -> None:
    """Make a log look as if it had not been written to since."""
    for path in [*folder.glob("*.log"), folder]:
        os.utime(path, (written, written))


def names(root: Path) -> list[str]:
    """Return the names of all logs."""
    return [folder.name for folder in log_folders.log_folders(root)]


def ended(root: Path, name: str, *payloads: bytes) -> int:
    """Write a log whose process is gone for long; returns where it ends."""
    with open_log(root / name) as log:
        end = log.append(payloads)
    age(root / name)
    return end


def all_in(root: Path) -> list[bytes]:
    """Return the records of all logs, each once."""
    return sorted(set(read_all(root)))


def test_the_log_of_an_ended_process_goes_whole(tmp_path: Path) -> None:
    """With all that lies in its folder; nothing half deleted is left."""
    ended(tmp_path, "pod-a", b"one")
    (tmp_path / "pod-a" / "exported.json").write_text("{}")

    assert remove_ended(tmp_path, now=NOW) == 1
    assert list(tmp_path.iterdir()) == []
    assert remove_ended(tmp_path, now=NOW) == 0


@pytest.mark.parametrize("why", ["written lately", "needed", "held", "just begun"])
def test_a_log_that_must_stay_stays(tmp_path: Path, why: str) -> None:
    """Written to within the bound, needed by somebody, or its process lives."""
    ended(tmp_path, "pod-a", b"one")
    holder = None
    if why == "written lately":
        age(tmp_path / "pod-a", written=NOW - ENDED_SECONDS + 60)
    if why == "held":
        holder = open_log(tmp_path / "pod-a")
    if why == "just begun":
        for path in (tmp_path / "pod-a").glob("*.log"):
            path.unlink()
        os.utime(tmp_path / "pod-a", (NOW, NOW))

    assert remove_ended(tmp_path, now=NOW, is_needed=lambda _: why == "needed") == 0
    assert names(tmp_path) == ["pod-a"]
    if holder is not None:
        holder.append([b"two"])
        holder.close()
        assert all_in(tmp_path) == [b"one", b"two"]


def test_a_folder_goes_only_after_its_process_died(tmp_path: Path) -> None:
    """However long it was silent; kill -9 lets it go."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "pod-a")], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    age(tmp_path / "pod-a")

    while_alive = remove_ended(tmp_path, now=NOW)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()

    assert while_alive == 0
    assert remove_ended(tmp_path, now=NOW) == 1
    assert names(tmp_path) == []


def test_what_is_written_between_look_and_hold_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process came back, wrote and ended again while we were about to take its folder."""
    ended(tmp_path, "pod-a", b"one")
    opened = ended_logs.EventLog

    def late(folder: Path, **how: bool) -> EventLog:
        with opened(folder) as log:
            log.append([b"two"])
        return opened(folder, **how)

    monkeypatch.setattr(ended_logs, "EventLog", late)

    assert remove_ended(tmp_path, now=NOW) == 0
    assert all_in(tmp_path) == [b"one", b"two"]


def test_a_process_that_starts_while_its_folder_goes_gets_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the old `.writer` open when the folder is taken away: that hold is worth nothing."""
    ended(tmp_path, "pod-a", b"one")
    real, calls = fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            assert remove_ended(tmp_path, now=NOW) == 1
        real(descriptor, how)

    monkeypatch.setattr(log_folders.fcntl, "flock", flock)
    with open_log(tmp_path / "pod-a") as log:
        log.append([b"two"])

        with pytest.raises(Unavailable, match="another process"):
            EventLog(tmp_path / "pod-a")
    assert all_in(tmp_path) == [b"two"]


def test_a_process_waits_for_who_is_about_to_remove_its_folder(tmp_path: Path) -> None:
    """Whoever trims holds a folder for milliseconds; that is no reason not to start."""
    trimming = open_log(tmp_path / "pod-a")
    waker = threading.Timer(0.2, trimming.close)
    waker.start()

    with open_log(tmp_path / "pod-a") as log:
        log.append([b"one"])

    waker.join()
    assert all_in(tmp_path) == [b"one"]


def test_a_folder_that_goes_while_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when `mkdir` tried, and is not when it looks what was there."""
    ended(tmp_path, "pod-a", b"one")
    making, tries = os.mkdir, []

    def mkdir(path: Path, mode: int = 0o777) -> None:
        try:
            making(path, mode)
        finally:
            tries.append(path)
            if len(tries) == 1:
                assert remove_ended(tmp_path, now=NOW) == 1

    monkeypatch.setattr(os, "mkdir", mkdir)
    with open_log(tmp_path / "pod-a") as log:
        log.append([b"two"])

    assert all_in(tmp_path) == [b"two"]


def test_a_log_is_not_begun_by_who_would_remove_it(tmp_path: Path) -> None:
    """Somebody else was quicker."""
    with pytest.raises(NotFound):
        EventLog(tmp_path / "pod-a", may_begin=False)
    assert names(tmp_path) == []


def test_a_name_that_comes_back_begins_after_what_readers_have_seen(tmp_path: Path) -> None:
    """A position of the log before never hides a record, and is no error."""
    end = ended(tmp_path, "pod-a", b"one" * 1000)
    remove_ended(tmp_path, now=NOW)
    assert list(read_log(tmp_path / "pod-a", end)) == []

    with open_log(tmp_path / "pod-a") as log:
        log.append([b"two"])

    assert first_position(tmp_path / "pod-a") > end
    assert [record.payload for record in read_log(tmp_path / "pod-a", end)] == [b"two"]


def test_who_lost_its_folder_goes_on_in_a_new_one(tmp_path: Path) -> None:
    """Deleted by hand, or by a machine that does not see our lock: what follows is kept."""
    with open_log(tmp_path / "pod-a") as log:
        end = log.append([b"one"])
        with EventLog(tmp_path / "other") as other:
            other.folder = tmp_path / "pod-a"
            other.remove()

        log.append([b"two"])
        log.sync()
        log.append([b"three"])

        assert [record.payload for record in read_log(log.folder, end)] == [b"two", b"three"]
        assert end_position(log.folder) == log.position
        with pytest.raises(Unavailable):
            EventLog(tmp_path / "pod-a")


def test_what_a_killed_remover_left_is_deleted(tmp_path: Path) -> None:
    """A folder that was renamed already is nobody's log."""
    (tmp_path / f"{GONE_PREFIX}pod-a-00ff").mkdir(parents=True)
    (tmp_path / f"{GONE_PREFIX}pod-a-00ff" / "0.log").touch()

    assert names(tmp_path) == []
    remove_ended(tmp_path, now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_read_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told and left for the next time; whoever looks goes on with its own work."""
    for name in ("pod-a", "pod-b", "pod-c"):
        ended(tmp_path, name, b"one")
    look = ended_logs.last_written

    def looking(folder: Path) -> float:
        if folder.name == "pod-a":
            raise PermissionError(13, "Permission denied", str(folder))
        return look(folder)

    def is_needed(log: EventLog) -> bool:
        if log.folder.name == "pod-b":
            raise Corrupted("its note cannot be read")
        return False

    monkeypatch.setattr(ended_logs, "last_written", looking)

    assert remove_ended(tmp_path, now=NOW, is_needed=is_needed) == 1
    assert names(tmp_path) == ["pod-a", "pod-b"]


class TestGathering:
    def test_no_record_is_forgotten(self, tmp_path: Path) -> None:
        """Two ended and one living: two logs are left, with all records."""
        ended(tmp_path, "pod-a", b"a1", b"a2")
        ended(tmp_path, "pod-b", b"b1")
        ended(tmp_path, "pod-c")
        with open_log(tmp_path / "pod-d") as living:
            living.append([b"d1"])
            age(tmp_path / "pod-d")

            assert gather_ended(tmp_path, now=NOW) == 3
            living.append([b"d2"])

        assert names(tmp_path) == [GATHERED, "pod-d"]
        assert sorted(read_all(tmp_path)) == [b"a1", b"a2", b"b1", b"d1", b"d2"]
        age(tmp_path / GATHERED)
        assert gather_ended(tmp_path, now=NOW) == 0

    def test_a_killed_run_is_done_again_without_doubles(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed after the records were moved and before the log went."""
        ended(tmp_path, "pod-a", b"a1", b"a2")

        def killed(_: EventLog) -> None:
            raise OSError("killed")

        with monkeypatch.context() as patched:
            patched.setattr(EventLog, "remove", killed)
            assert gather_ended(tmp_path, now=NOW) == 0
        assert all_in(tmp_path) == [b"a1", b"a2"]

        assert gather_ended(tmp_path, now=NOW) == 1
        assert read_all(tmp_path) == [b"a1", b"a2"]

    @pytest.mark.parametrize("moved_before", ["listing", "first", "second"])
    def test_a_reader_misses_nothing_that_is_moved_meanwhile(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved_before: str
    ) -> None:
        """Records are moved before the reader lists, or between two logs that it reads."""
        ended(tmp_path, "pod-a", b"a1")
        ended(tmp_path, "pod-b", b"b1")
        ended(tmp_path, "zero", b"z1")
        gather_ended(tmp_path, now=NOW)
        ended(tmp_path, "pod-a", b"a2")
        ended(tmp_path, "pod-b", b"b2")
        move = _once(lambda: gather_ended(tmp_path, now=NOW))
        listed, read = ended_logs.log_folders, ended_logs.read_log
        reads: list[Path] = []

        def listing(root: Path) -> list[Path]:
            if moved_before == "listing":
                move()
            return listed(root)

        def reading(folder: Path) -> list[object]:
            reads.append(folder)
            if len(reads) == {"listing": 0, "first": 1, "second": 2}[moved_before]:
                move()
            return list(read(folder))

        monkeypatch.setattr(ended_logs, "log_folders", listing)
        monkeypatch.setattr(ended_logs, "read_log", reading)

        assert all_in(tmp_path) == [b"a1", b"a2", b"b1", b"b2", b"z1"]


def _once(act: Callable[[], object]) -> Callable[[], None]:
    """Return what does it at the first call only, also while it is at it."""
    done: list[bool] = []

    def doing() -> None:
        if not done:
            done.append(True)
            act()

    return doing


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_lost_with_removal_between_any_two_steps(tmp_path: Path, seed: int) -> None:
    """
    Processes of four names start, write, die and come back; one reader follows, one exports.

    After every step each log that is exported whole and old enough is removed. The reader and the
    exporter, who keep positions by name only, see every record in order and just once.
    """
    dice = random.Random(seed)
    running: dict[str, EventLog] = {}
    written: list[bytes] = []
    followed, exported = Reader(tmp_path), Reader(tmp_path)
    removed = 0

    def is_needed(log: EventLog) -> bool:
        known = exported.positions.get(log.folder.name, 0)
        return log.position > max(known, log.first_position)

    for step in range(120):
        name = dice.choice(["pod-a", "pod-b", "pod-c", "pod-d"])
        if name not in running:
            running[name] = open_log(tmp_path / name)
        elif dice.random() < 0.5:
            written.append(b"%d" % step)
            running[name].append(written[-1:])
        else:
            running.pop(name).close()
        followed.read()
        if dice.random() < 0.3:
            exported.read()
        if dice.random() < 0.5:
            age(tmp_path / name)
        removed += remove_ended(tmp_path, now=NOW, is_needed=is_needed)
        assert set(running) <= set(names(tmp_path))
    exported.read()
    for log in running.values():
        log.close()

    assert removed > 5
    assert followed.seen == written
    assert sorted(exported.seen) == sorted(written)


class Reader:
    """Reads all logs on from where it was, by their names."""

    def __init__(self, root: Path) -> None:
        self.positions: dict[str, int] = {}
        self.seen: list[bytes] = []
        self._root = root

    def read(self) -> None:
        """Take in what is new."""
        for folder in log_folders.log_folders(self._root):
            for record in read_log(folder, self.positions.get(folder.name, 0)):
                self.positions[folder.name] = record.position_after
                self.seen.append(record.payload)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_starting_and_removing_at_the_same_time_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers of two names come and go while two others remove what they have read to its end."""
    monkeypatch.setattr(ended_logs, "ENDED_SECONDS", -1.0)
    stopped, taking = threading.Event(), threading.Lock()
    written: list[bytes] = []
    taken: list[bytes] = []
    removed = [0, 0]

    def take_rest(log: EventLog) -> bool:
        with taking:
            taken.extend(record.payload for record in log.read())
        return False

    def write(number: int) -> None:
        count = 0
        while not stopped.is_set():
            with suppress(Unavailable), EventLog(tmp_path / f"pod-{number % 2}") as log:
                payload = b"%d-%d" % (number, count)
                log.append([payload])
                written.append(payload)
                count += 1
            time.sleep(0.001)

    def remove(number: int) -> None:
        while not stopped.is_set():
            removed[number] += remove_ended(tmp_path, now=time.time(), is_needed=take_rest)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    threads += [threading.Thread(target=remove, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    stopped.set()
    for thread in threads:
        thread.join()

    assert sum(removed) > 0
    assert sorted(taken + read_all(tmp_path)) == sorted(written)
