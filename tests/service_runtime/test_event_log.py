"""What was appended is there after a crash; what was torn is not believed."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service_runtime.errors import Corrupted, InvalidRequest, Unavailable
from service_runtime.event_log import EventLog, end_position, read_log
from service_runtime.log_frames import MARKER

KILL_ROUNDS = 10

WRITER = """
import sys
from service_runtime.event_log import EventLog
log = EventLog(sys.argv[1], segment_bytes_max=5_000)
number = sum(1 for _ in log.read())
while True:
    log.append([b"%d:" % (number + step) + b"x" * 97 for step in range(3)])
    number += 3
    print(number, flush=True)
"""


def payloads(log: EventLog, position: int = 0) -> list[bytes]:
    """Return the payloads from a position on."""
    return [record.payload for record in log.read(position)]


@settings(deadline=None)  # each example syncs several files
@given(
    batches=st.lists(st.lists(st.binary(max_size=40), max_size=4), max_size=12),
    segment_bytes_max=st.integers(1, 200),
)
def test_log_equals_a_list(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]], segment_bytes_max: int
) -> None:
    """Reading from any position gives what was appended after it, over segments and re-opening."""
    folder = tmp_path_factory.mktemp("log")
    expected: list[tuple[int, bytes]] = []
    for batch in batches:
        with EventLog(folder, segment_bytes_max) as log:
            before = log.position
            after = log.append(batch)
            expected += [(0, payload) for payload in batch]
            assert after == log.position
            assert (after > before) == bool(batch)

    records = list(read_log(folder))

    assert [record.payload for record in records] == [payload for _, payload in expected]
    for index, record in enumerate(records):
        rest = [later.payload for later in read_log(folder, record.position_after)]
        assert rest == [payload for _, payload in expected[index + 1 :]]


def test_a_torn_last_frame_is_cut_at_every_length(tmp_path: Path) -> None:
    """Whatever part of the last frame was written, it is cut, and the log goes on."""
    with EventLog(tmp_path) as log:
        whole = log.append([b"one", b"two"])
        end = log.append([b"three, the torn one"])
    path = next(tmp_path.glob("*.log"))
    content = path.read_bytes()
    assert len(content) == end
    for length in range(whole, end):
        path.write_bytes(content[:length])
        with EventLog(tmp_path) as log:
            assert payloads(log) == [b"one", b"two"]
            assert log.position == whole
            log.append([b"four"])
            assert payloads(log) == [b"one", b"two", b"four"]


def test_a_flipped_bit_loses_only_its_record(tmp_path: Path) -> None:
    """Each bit of a middle frame in turn: the others are read, the damage is told, none is cut."""
    with EventLog(tmp_path) as log:
        start = log.append([b"one"])
        stop = log.append([b"two"])
        log.append([b"three"])
    path = next(tmp_path.glob("*.log"))
    content = path.read_bytes()
    for bit in range(8 * start, 8 * stop):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        told: list[tuple[int, int]] = []

        records = list(read_log(tmp_path, on_damage=lambda a, b, told=told: told.append((a, b))))

        assert [record.payload for record in records] == [b"one", b"three"]
        assert told == [(start, stop)]
    with EventLog(tmp_path) as log:
        assert payloads(log) == [b"one", b"three"]
        assert log.position == len(content)


def test_damage_at_the_end_of_a_closed_segment_is_told(tmp_path: Path) -> None:
    """A segment that lost its last frame does not hide it from who reads."""
    with EventLog(tmp_path, segment_bytes_max=1) as log:
        log.append([b"one"])
        log.append([b"two"])
    first = min(tmp_path.glob("*.log"))
    first.write_bytes(first.read_bytes()[:-1])
    told: list[tuple[int, int]] = []

    records = list(read_log(tmp_path, on_damage=lambda a, b: told.append((a, b))))

    assert [record.payload for record in records] == [b"two"]
    assert told == [(0, 18)]


def test_a_payload_that_looks_like_frames_is_not_one(tmp_path: Path) -> None:
    """A payload full of markers and even of whole frames of the same log is read as it is."""
    with EventLog(tmp_path) as log:
        log.append([MARKER * 5])
        inner = next(tmp_path.glob("*.log")).read_bytes()
        log.append([inner, b"last"])

        assert payloads(log) == [MARKER * 5, inner, b"last"]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """One log, one writer; after it closed, the next may."""
    with EventLog(tmp_path), pytest.raises(Unavailable, match="another process writes"):
        EventLog(tmp_path)
    EventLog(tmp_path).close()


def test_old_segments_can_be_removed(tmp_path: Path) -> None:
    """Only whole segments before the position go; positions stay what they were."""
    with EventLog(tmp_path, segment_bytes_max=1) as log:
        after = [log.append([name]) for name in (b"one", b"two", b"three")]

        assert log.remove_before(after[1]) == after[1]
        assert log.first_position == after[1]
        assert payloads(log) == [b"three"]
        assert log.remove_before(after[2] + 1000) == 0
        log.append([b"four"])
        assert payloads(log, after[2]) == [b"four"]


def test_a_position_after_the_end_is_refused(tmp_path: Path) -> None:
    """A watermark of another log, or of records that were lost, is not taken for silence."""
    with EventLog(tmp_path) as log:
        end = log.append([b"one"])
        assert payloads(log, end) == []
        with pytest.raises(Corrupted, match="after the end"):
            list(log.read(end + 1))


def test_too_long_a_record_is_refused_whole(tmp_path: Path) -> None:
    """Nothing of a batch is appended if one record is too long."""
    with EventLog(tmp_path) as log:
        with pytest.raises(InvalidRequest, match="over the limit"):
            log.append([b"fine", bytes(1 + (1 << 26))])
        assert payloads(log) == []


def test_no_folder_is_an_empty_log(tmp_path: Path) -> None:
    """Reading a log that was never written gives nothing."""
    assert list(read_log(tmp_path / "absent")) == []


def test_a_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Kill -9 at random moments: every record whose append returned is there, in order, once."""
    chance = random.Random(3)
    for _ in range(KILL_ROUNDS):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        acknowledged = max(map(int, process.stdout.read().split()[-1:]), default=0)
        process.wait()
        process.stdout.close()

        with EventLog(tmp_path) as log:
            numbers = [int(payload.partition(b":")[0]) for payload in payloads(log)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= acknowledged


def test_a_log_that_was_lost_goes_on_after_what_readers_have_seen(tmp_path: Path) -> None:
    """A watermark from before never hides what comes after."""
    with EventLog(tmp_path / "lost", begin_at=500) as log:
        log.append([b"new"])

    with EventLog(tmp_path / "lost", begin_at=100) as log:
        log.append([b"newer"])
    with EventLog(tmp_path / "restored") as log:
        log.append([b"old"])
    with EventLog(tmp_path / "restored", begin_at=500) as log:
        log.append([b"new"])

    damage: list[tuple[int, int]] = []
    for folder, expected in (
        ("lost", [b"new", b"newer"]),
        ("restored", [b"new"]),
    ):
        records = read_log(tmp_path / folder, 500, on_damage=lambda *at: damage.append(at))
        assert [record.payload for record in records] == expected
    both = read_log(tmp_path / "restored", on_damage=lambda *at: damage.append(at))
    assert [record.payload for record in both] == [b"old", b"new"]
    assert next(read_log(tmp_path / "restored", 300)).payload == b"new"
    assert damage == []


def test_a_rolled_log_can_be_emptied(tmp_path: Path) -> None:
    """What every reader has is deleted although the segment was not full."""
    with EventLog(tmp_path) as log:
        position = log.append([b"one", b"two"])
        log.roll()
        log.roll()

        assert log.remove_before(position) == position
        assert payloads(log) == []
        log.append([b"three"])
        assert payloads(log, position) == [b"three"]
        assert end_position(tmp_path) == log.position
