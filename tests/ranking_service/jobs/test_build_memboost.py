"""The nightly count equals a recount of the raw logs by the slow twin."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranking_service.config import RankingConfig
from ranking_service.confirmations import CONFIRMED_SCHEMA
from ranking_service.jobs import build_memboost
from ranking_service.memboost.memory import Memboost
from ranking_service.memboost.resets import RecordedReset, encode_reset
from ranking_service.memboost.table import MemboostTable
from ranking_service.pin_keys import key_of, keys_of
from service_runtime.event_log import EventLog
from service_runtime.job import JobContext
from tests.naive import memboost as naive
from tests.ranking_service.memboost.worlds import HOUR_US, random_world

START_US = 1_767_225_600_000_000
AS_OF_US = START_US + 100 * HOUR_US
WINDOW_US = 24 * HOUR_US


def days_apart(rows: Any, place: int, stretch: int) -> list[Any]:
    """The rows of a small world, spread over several days."""
    return [(*row[:place], START_US + row[place] * stretch) for row in rows]


def write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """One Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def write_world(root: Path, shown: Any, acts: Any) -> None:
    """The logs as the exporting jobs write them, some files twice."""
    impressions = [
        {
            "list_id": row[0],
            "user_id": row[1],
            "query_pin_id": row[2],
            "pin_id": row[3],
            "platform": "" if row[4] == "other" else row[4],
            "position": row[5],
            "impression_time_us": row[6],
            "is_randomised": False,
        }
        for row in shown
    ]
    for name in ("a", "b"):
        write(
            root / f"events/impressions/day=x/{name}.parquet",
            impressions,
            build_memboost.SHOWN_SCHEMA,
        )
    names = ("list_id", "user_id", "pin_id", "action_type", "action_time_us")
    told = [dict(zip(names, row, strict=True)) for row in acts]
    told.append({**told[0], "action_type": "report"})
    write(root / "events/actions/day=x/a.parquet", told, build_memboost.ACTION_SCHEMA)


def run(root: Path, **settings: Any) -> tuple[Any, MemboostTable]:
    """Run the job and open what it published."""
    config = RankingConfig(data_root=root, **settings)
    context = JobContext(config=config, as_of_us=AS_OF_US)
    report = build_memboost.run(context)
    generation = context.generations.current("memboost")
    assert generation is not None
    context.close()
    return report, MemboostTable.open(generation.path)


def recount(table: MemboostTable, shown: Any, acts: Any) -> dict[tuple[str, str], float]:
    """Scores by the slow twin, with the table's own curves."""
    config = RankingConfig()

    def rate(is_related: bool, platform: str, position: int, kind: str) -> float:  # noqa: FBT001
        place = table.platform_names.index(platform)
        return float(table.curves.rates[int(is_related), place, position, naive.KINDS.index(kind)])

    weights = dict(zip(naive.KINDS, config.memboost_weights, strict=True))
    followed = naive.credited(shown, acts, WINDOW_US)
    return naive.scores(shown, followed, rate, weights, config.memboost_smoothing)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_table_equals_a_recount_over_several_days(tmp_path: Path, seed: int) -> None:
    """Lists at midnight, actions on the day after, files told twice: nothing is lost or doubled."""
    shown, acts = random_world(seed, list_count=60, act_count=150)
    shown, acts = days_apart(shown, 6, 8), days_apart(acts, 4, 8)
    write_world(tmp_path, shown, acts)

    report, table = run(tmp_path)

    known = [act for act in acts if act[4] < AS_OF_US]
    expected = recount(table, shown, known)
    memory = Memboost((table,))
    assert report["impressions"] == len(shown)
    assert report["pairs"] == len(expected) > 10
    for (query, pin), score in expected.items():
        found = float(memory.scores(key_of(query), keys_of([pin]))[0])
        assert found == pytest.approx(score, abs=1e-5), (query, pin)
    assert sum(report[kind] for kind in naive.KINDS) == sum(
        len(kinds) for kinds in naive.credited(shown, known, WINDOW_US)
    )


def test_what_clients_confirmed_counts_instead(tmp_path: Path) -> None:
    """Of a confirmed list only what was drawn counts, and not what the client put there itself."""
    shown = [("l", "ann", "q", pin, "ios", place, START_US) for place, pin in enumerate("abc")]
    write_world(tmp_path, shown, [("l", "ann", "a", "save", START_US + 1)])
    drawn = [("a", 4, False), ("x", 5, True)]
    rows = [
        {
            "list_id": "l",
            "user_id": "ann",
            "query_pin_id": "q",
            "platform": "",
            "pin_id": pin,
            "position": position,
            "is_inserted": is_inserted,
            "impression_time_us": START_US + 1,
        }
        for pin, position, is_inserted in drawn
    ]
    write(tmp_path / "events/shown/day=x/a.parquet", rows, CONFIRMED_SCHEMA)

    report, table = run(tmp_path)

    assert report["impressions"] == 1 == report["save"]
    (counter,) = Memboost((table,)).counters(key_of("q"), key_of("a"))
    assert (counter.platform, counter.position) == ("ios", 4)


def test_what_was_forgotten_is_not_counted_again(tmp_path: Path) -> None:
    """Resets hold for later runs; what comes after them counts."""
    shown = [
        (f"l{day}", "ann", "q", "a", "ios", 0, START_US + day * 24 * HOUR_US) for day in range(3)
    ]
    write_world(tmp_path, shown, [("l0", "ann", "a", "save", START_US + 1)])
    reset = RecordedReset("id", "q", "a", 0, START_US + 30 * HOUR_US, 0, "spam")
    log = EventLog(tmp_path / "live" / "memboost_resets" / "main")
    log.append([encode_reset(reset)])
    log.close()

    report, table = run(tmp_path)

    counts = Memboost((table,)).counts(key_of("q"), keys_of(["a"]))
    assert (report["impressions"], report["forgotten"]) == (1, 2)
    assert (counts.impressions.tolist(), counts.actions.tolist()) == ([1.0], [0.0])


def test_without_any_log_an_empty_table_is_published(tmp_path: Path) -> None:
    """The first night of a new installation is no failure."""
    report, table = run(tmp_path)

    assert report["pairs"] == 0
    assert np.array_equal(table.query_keys, np.empty(0, np.uint64))


def test_curves_come_from_random_lists_where_there_are_enough(tmp_path: Path) -> None:
    """The report says so."""
    shown, acts = random_world(5)
    write_world(tmp_path, days_apart(shown, 6, 1), days_apart(acts, 4, 1))
    path = tmp_path / "events/impressions/day=x/a.parquet"
    table = pq.read_table(path)
    flags = pa.array([True] * table.num_rows)
    place = table.column_names.index("is_randomised")
    for name in ("a", "b"):
        pq.write_table(table.set_column(place, "is_randomised", flags), path.with_stem(name))

    _, loose = run(tmp_path, memboost_random_count_min=1)
    _, strict = run(tmp_path, memboost_random_count_min=10_000)

    assert loose.curves.is_random.tolist() == [True, True]
    assert strict.curves.is_random.tolist() == [False, False]
