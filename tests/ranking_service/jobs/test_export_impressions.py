"""Exporting impressions: everything once, by day, whatever was interrupted."""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from ranking_service.config import RankingConfig
from ranking_service.confirmations import Confirmation, Confirmations, ShownPin
from ranking_service.erased_users import encode_erasure, erased_root, read_erased
from ranking_service.impressions import encode_record
from ranking_service.jobs import export_impressions
from ranking_service.pin_keys import key_of
from service_runtime.ended_logs import ENDED_SECONDS, open_log
from service_runtime.errors import Corrupted
from service_runtime.event_log import EventLog
from service_runtime.job import JobContext
from service_runtime.log_folders import log_folders
from tests.ranking_service.test_impressions import make_answer, make_features
from tests.ranking_service.worlds import DAY, NOW


def append(root: Any, numbers: Any, *, log: Any = "main") -> None:
    """Log one answer of three pins for each number, a quarter of a day apart."""
    with EventLog(root / "live" / "impressions" / log) as writer:
        writer.append(
            [
                encode_record(
                    make_answer(list_id=f"list-{number}"),
                    make_features(3, seed=number),
                    time=NOW + number * DAY / 4,
                    as_of_us=0,
                )
                for number in numbers
            ]
        )


def export(root: Any, *, as_of: Any = NOW + 100 * DAY) -> Any:
    """Run the job and return its report."""
    context = JobContext(
        config=RankingConfig(data_root=root),
        as_of_us=round(as_of * 1e6),
        arguments=argparse.Namespace(out=None),
    )
    return export_impressions.run(context)


def exported(root: Any) -> Any:
    """Lists and positions in the files, with the day of their folder."""
    table = ds.dataset(root / "events" / "impressions", partitioning="hive").to_table()
    columns = (table[name].to_pylist() for name in ("list_id", "position", "day"))
    return sorted(zip(*columns, strict=True))


def test_each_answer_is_exported_once_by_day(tmp_path: Path) -> None:
    """Runs one after another export what came in between, into the folder of its day."""
    append(tmp_path, range(5))
    first = export(tmp_path)
    append(tmp_path, range(5, 7))
    second = export(tmp_path)
    third = export(tmp_path)

    assert (first["answers"], first["rows"], first["files"]) == (5, 15, 2)
    assert (second["answers"], third["answers"], third["files"]) == (2, 0, 0)
    days = ["2026-01-01"] * 4 + ["2026-01-02"] * 3
    expected = [(f"list-{n}", place, days[n]) for n in range(7) for place in range(3)]
    assert [(name, place, str(day)) for name, place, day in exported(tmp_path)] == expected


def test_only_what_was_shown_before_as_of_is_exported(tmp_path: Path) -> None:
    """The rest is left for a later run."""
    append(tmp_path, range(4))

    early = export(tmp_path, as_of=NOW + 0.5 * DAY)
    late = export(tmp_path)

    assert (early["answers"], late["answers"]) == (2, 2)
    assert len(exported(tmp_path)) == 12


def test_a_run_that_was_killed_is_done_again(tmp_path: Path) -> None:
    """Files whose end was never remembered are replaced, so nothing is doubled or lost."""
    append(tmp_path, range(3))
    export(tmp_path)
    (tmp_path / "live" / "impressions" / "main" / "exported.json").unlink()
    append(tmp_path, range(3, 6))

    again = export(tmp_path)

    assert again["answers"] == 6
    assert len(exported(tmp_path)) == 18


def test_every_log_is_exported(tmp_path: Path) -> None:
    """Two processes write two logs; both are read."""
    append(tmp_path, [0, 1])
    append(tmp_path, [2], log="second")

    assert export(tmp_path)["answers"] == 3


def test_a_damaged_record_is_counted_and_passed_over(tmp_path: Path) -> None:
    """The rest of the log is exported."""
    append(tmp_path, [0])
    with EventLog(tmp_path / "live" / "impressions" / "main") as writer:
        writer.append([b"rubbish"])
    append(tmp_path, [1])

    report = export(tmp_path)

    assert (report["answers"], report["damaged"]) == (2, 1)


def test_nothing_to_export_is_no_error(tmp_path: Path) -> None:
    """A new data root has no log yet."""
    assert export(tmp_path)["answers"] == 0


def test_a_damaged_watermark_is_refused(tmp_path: Path) -> None:
    """The job says what to do instead of guessing."""
    append(tmp_path, [0])
    (tmp_path / "live" / "impressions" / "main" / "exported.json").write_text("?")

    with pytest.raises(Corrupted, match=r"exported\.json"):
        export(tmp_path)


def age(folder: Path) -> None:
    """Make a log look as if nobody had written to it for long."""
    long_ago = time.time() - ENDED_SECONDS - 60
    for path in [*folder.glob("*.log"), folder]:
        os.utime(path, (long_ago, long_ago))


def log_names(root: Path, kind: str = "impressions") -> list[str]:
    """Names of the logs of a kind."""
    return [folder.name for folder in log_folders(root / "live" / kind)]


def confirm(root: Path, *lists: str, log: str) -> None:
    """Log what a client showed of lists."""
    with open_log(root / "live" / "shown" / log) as writer:
        kept = Confirmations(writer, RankingConfig(), lambda: NOW, lambda _: None)
        for name in lists:
            kept.record(Confirmation(name, "ann", "", "", 0, (ShownPin("a", 0),)))


def test_the_log_of_a_process_that_is_gone_goes_when_it_is_exported(tmp_path: Path) -> None:
    """Not one that lives, was written lately, or has what is not exported."""
    for name in ("gone", "lately", "later", "lives"):
        append(tmp_path, [0], log=name)
    append(tmp_path, [200], log="later")
    confirm(tmp_path, "shown", log="gone")
    with EventLog(tmp_path / "live" / "impressions" / "lives"):
        for name in ("gone", "later", "lives"):
            age(tmp_path / "live" / "impressions" / name)
        age(tmp_path / "live" / "shown" / "gone")

        report = export(tmp_path, as_of=NOW + 10 * DAY)

    assert (report["answers"], report["removed_logs"]) == (5, 2)
    assert log_names(tmp_path) == ["lately", "later", "lives"]
    assert log_names(tmp_path, "shown") == []
    assert export(tmp_path)["answers"] == 1
    assert len(exported(tmp_path)) == 5 * 3


def test_a_process_that_comes_back_adds_to_what_was_exported(tmp_path: Path) -> None:
    """Its new log begins elsewhere, so no file of the old one is taken for an unfinished one."""
    append(tmp_path, [0, 1])
    age(tmp_path / "live" / "impressions" / "main")
    assert export(tmp_path)["removed_logs"] == 1
    with open_log(tmp_path / "live" / "impressions" / "main"):
        pass
    append(tmp_path, [2])

    assert export(tmp_path)["answers"] == 1
    assert export(tmp_path)["answers"] == 0
    assert len(exported(tmp_path)) == 9


def test_exported_segments_are_given_back(tmp_path: Path) -> None:
    """Also of a process that lives; of confirmed lists only old ones, by which it knows repeats."""
    shown = tmp_path / "live" / "shown" / "main"
    confirm(tmp_path, "one", log="main")
    append(tmp_path, [0])
    with EventLog(tmp_path / "live" / "impressions" / "main") as log, EventLog(shown) as confirmed:
        log.roll()
        confirmed.roll()

        export(tmp_path)
        assert log.first_position == log.position > 0
        assert len(list(confirmed.read())) == 1
        age(shown)
        export(tmp_path)
        assert list(confirmed.read()) == []
    append(tmp_path, [1])

    assert export(tmp_path)["answers"] == 1
    assert len(exported(tmp_path)) == 6


def test_a_lost_note_of_exports_removes_no_file_of_records_that_are_gone(tmp_path: Path) -> None:
    """What is still in the log is exported again; files of what is not stay."""
    append(tmp_path, [0])
    with EventLog(tmp_path / "live" / "impressions" / "main") as log:
        log.roll()
    export(tmp_path)
    append(tmp_path, [1])
    export(tmp_path)
    (tmp_path / "live" / "impressions" / "main" / "exported.json").unlink()

    assert export(tmp_path)["answers"] == 1
    assert len(exported(tmp_path)) == 6


def test_erasures_of_processes_that_are_gone_are_kept(tmp_path: Path) -> None:
    """They hold for what is exported afterwards; their logs are gathered in one."""
    root = erased_root(tmp_path)
    for name, user in (("gone", "user"), ("gone-too", "bob"), ("lives", "cid")):
        with open_log(root / name) as log:
            log.append([encode_erasure(key_of(user), round((NOW + DAY) * 1e6))])
    before = read_erased(tmp_path)
    age(root / "gone")
    age(root / "gone-too")

    assert export(tmp_path)["removed_logs"] == 2
    assert log_names(tmp_path, "erased_users") == ["_ended", "lives"]
    assert read_erased(tmp_path) == before
    assert len(before) == 3
    append(tmp_path, [0])
    assert export(tmp_path)["rows"] == 0
