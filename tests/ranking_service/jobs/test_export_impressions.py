"""Exporting impressions: everything once, by day, whatever was interrupted."""

import argparse
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from ranking_service.config import RankingConfig
from ranking_service.impressions import encode_record
from ranking_service.jobs import export_impressions
from service_runtime.errors import Corrupted
from service_runtime.event_log import EventLog
from service_runtime.job import JobContext
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
