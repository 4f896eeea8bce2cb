"""The live log: each action once, durable, erasable; full maps refuse writes and serve reads."""

import threading
from pathlib import Path

import pytest

from profile_service.actions import ActionType
from profile_service.codec import Declared
from profile_service.store import ActionLog, AppendCode, open_for_jobs
from service_runtime.errors import Corrupted, Exhausted, Unavailable
from tests.profile_service.worlds import NOW, action, open_log

RECORDED, DUPLICATE, ERASED = AppendCode.RECORDED, AppendCode.DUPLICATE, AppendCode.ERASED


def test_what_was_appended_is_read_oldest_first(tmp_path: Path) -> None:
    """Actions come back whole, in the order of their time, whatever the order of recording."""
    log = open_log(tmp_path)
    late, early = action("late", age_days=1), action("early", "pot", age_days=2, strength=0.5)

    codes = log.append([late, early, action("other", user_id="ann")])

    assert codes == [RECORDED] * 3
    found = log.actions_of("anna")
    assert list(found.action_ids) == ["early", "late"]
    assert found.positions.tolist() == [2, 1]
    assert found.strengths.tolist() == [0.5, 1.0]
    assert log.last_position() == 3
    log.close()


def test_users_whose_names_begin_alike_are_kept_apart(tmp_path: Path) -> None:
    """A user's rows are theirs alone."""
    log = open_log(tmp_path)
    names = ["a", "ab", "a\u00ff", "a ", "b"]
    log.append([action(f"of {name}", user_id=name) for name in names])

    for name in names:
        assert list(log.actions_of(name).action_ids) == [f"of {name}"]
    log.close()


def test_same_action_id_is_recorded_once(tmp_path: Path) -> None:
    """A repeat changes nothing: in one call, later, with another content, after a restart."""
    log = open_log(tmp_path)

    assert log.append([action("a"), action("a", "pot")]) == [RECORDED, DUPLICATE]
    assert log.append([action("a", user_id="bert")]) == [DUPLICATE]
    log.close()
    log = open_log(tmp_path)
    assert log.append([action("a"), action("b")]) == [DUPLICATE, RECORDED]

    assert list(log.actions_of("anna").pin_ids) == ["tea", "tea"]
    assert len(log.actions_of("bert")) == 0
    log.close()


def test_newest_actions_and_a_starting_position_can_be_asked(tmp_path: Path) -> None:
    """Reads touch no more rows than they need."""
    log = open_log(tmp_path)
    log.append([action(f"{n:03d}", age_days=100 - n) for n in range(50)])

    assert list(log.actions_of("anna", newest=2).action_ids) == ["048", "049"]
    assert list(log.actions_of("anna", from_position=49).action_ids) == ["048", "049"]
    assert len(log.actions_of("anna", from_position=51)) == 0
    log.close()


def test_erasing_leaves_nothing_but_a_tombstone(tmp_path: Path) -> None:
    """Rows, their ids and declared pins go; old actions stay out, new ones come in."""
    log = open_log(tmp_path)
    log.append([action("a"), action("b"), action("c", user_id="bert")])
    log.declare("anna", Declared(1, ("tea", "pot")))

    erasure, action_count, declared_count = log.erase(
        "anna", time_us=round(NOW * 1e6), receipt_id="r"
    )

    assert (action_count, declared_count) == (2, 2)
    assert len(log.actions_of("anna")) == 0
    assert log.declared_by("anna") is None
    assert log.erasure_of("anna") == erasure
    assert [found.user_id for _, found in log.stream(0, 99)] == ["bert"]
    assert log.append([action("a"), action("new", age_days=-0.001)]) == [ERASED, RECORDED]
    assert erasure.position < log.last_position()
    log.close()


def test_positions_are_never_given_out_twice(tmp_path: Path) -> None:
    """Erasing the newest rows does not rewind the log, so exports never mix two actions up."""
    log = open_log(tmp_path)
    log.append([action("a")])
    log.erase("anna", time_us=0, receipt_id="r")
    log.append([action("b")])

    assert log.actions_of("anna").positions.tolist() == [3]
    log.close()


def test_declared_interests_are_replaced_and_taken_back(tmp_path: Path) -> None:
    """The last pick counts; no pins take it back."""
    log = open_log(tmp_path)
    log.declare("anna", Declared(1, ("tea",)))
    log.declare("anna", Declared(2, ("car", "bus")))
    assert log.declared_by("anna") == Declared(2, ("car", "bus"))
    log.declare("anna", Declared(3, ()))

    assert log.declared_by("anna") is None
    log.close()


def test_full_map_refuses_writes_and_serves_reads(tmp_path: Path) -> None:
    """The error names the remedy, nothing is half recorded, and a larger map goes on from there."""
    log = open_log(tmp_path, map_bytes=1 << 20)
    recorded = 0

    def fill() -> None:
        nonlocal recorded
        while True:
            log.append([action(f"{recorded + n}" + "x" * 90) for n in range(10)])
            recorded += 10

    with pytest.raises(Exhausted, match="live_map_bytes") as caught:
        fill()

    assert caught.value.reason == "LIVE_MAP_FULL"
    assert recorded > 0
    assert len(log.actions_of("anna")) == recorded == log.last_position()
    log.close()
    log = open_log(tmp_path)
    assert log.append([action("more")]) == [RECORDED]
    assert len(log.actions_of("anna")) == recorded + 1
    log.close()


def test_one_failing_caller_spoils_no_other(tmp_path: Path) -> None:
    """Callers share a transaction; when it fails each is tried alone."""
    log = open_log(tmp_path, sync_delay_s=0.02)
    faults: list[Exception] = []

    def bad() -> None:
        try:
            log._submit(lambda _: 1 / 0)
        except ZeroDivisionError as fault:
            faults.append(fault)

    threads = [threading.Thread(target=bad) for _ in range(3)]
    threads += [threading.Thread(target=log.append, args=([action(f"{n}")],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(faults) == 3
    assert sorted(log.actions_of("anna").action_ids) == [f"{n}" for n in range(8)]
    log.close()


def test_many_writers_share_commits(tmp_path: Path) -> None:
    """While the disk is busy the next batch gathers: far fewer commits than calls."""
    log = open_log(tmp_path, sync_delay_s=0.005)

    def write(writer: int) -> None:
        for n in range(10):
            assert log.append([action(f"{writer}-{n}")]) == [RECORDED]

    threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(log.actions_of("anna")) == 160
    assert log.commit_count < 80
    log.close()


def test_closed_log_refuses_writes(tmp_path: Path) -> None:
    """A late caller gets an error, not a hang."""
    log = open_log(tmp_path)
    log.close()

    with pytest.raises(Unavailable):
        log.append([action("a")])


def test_log_of_another_format_is_refused(tmp_path: Path) -> None:
    """A store written by a later version is left alone."""
    log = open_log(tmp_path)
    log._submit(
        lambda open_: open_.put(b"format_version", (99).to_bytes(8), db=log._databases["meta"])
    )
    log.close()

    with pytest.raises(Corrupted, match="format 99"):
        open_log(tmp_path)


def test_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    """Garbage is named, with what to do."""
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)

    with pytest.raises(Corrupted, match="restore it"):
        open_log(tmp_path)


def test_jobs_find_no_log_where_there_never_was_one(tmp_path: Path) -> None:
    """A scratch root for replays has no live log; that is no error and makes none."""
    with open_for_jobs(tmp_path, 1 << 20) as log:
        assert log is None

    assert not (tmp_path / "live").exists()


def test_read_only_log_refuses_writes(tmp_path: Path) -> None:
    """A job cannot change the live log by mistake."""
    log = open_log(tmp_path)
    log.append([action("a", kind=ActionType.CLICK)])
    log.close()
    log = ActionLog(tmp_path, map_bytes=1 << 28, is_read_only=True)

    assert len(log.actions_of("anna")) == 1
    with pytest.raises(Unavailable):
        log.append([action("b")])
    log.close()
