"""
Compare the features of exported impressions with features made anew; publish nothing.

Looks at the newest lists that were answered from the artifacts that are published now, so run it
after `export_impressions` and before the nightly builds, or with `--data-root` at a copy.
"""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ranking_service.config import RankingConfig
from ranking_service.impressions import FEATURE_SET, IMPRESSION_SCHEMA
from ranking_service.skew_log import LOGGED_COLUMNS, RECOMPUTED, Rows, compared, is_of
from ranking_service.world import Artifacts
from service_runtime.job import JobContext, JobFailed, run_job

NAME: Final = "check_skew"
LIST_COUNT: Final = 2_000
"""Lists that are looked at, about 1 ms each. Guess."""

_SCHEMA: Final = pa.schema([IMPRESSION_SCHEMA.field(name) for name in LOGGED_COLUMNS])


def run(context: JobContext[RankingConfig]) -> Mapping[str, Any]:
    """
    Compare the newest lists before `--as-of`.

    Returns:
        Lists and values compared, lists passed over, the share of values that differ, and by
        feature the share of those that do.

    Raises:
        JobFailed: If more than `skew_alarm` of the values of a feature differ.
        NotReady: If there is no catalogue.
    """
    config = context.config
    world = Artifacts(context.generations).world()
    wrong = np.zeros(len(RECOMPUTED), np.int64)
    lists = passed_over = rows = 0
    advance = context.progress("comparing lists", context.arguments.lists)
    for shown in _newest_lists(context):
        advance(1)
        found = None
        if is_of(world, shown):
            found = compared(world, shown, left_out=config.features_left_out)
        if found is None:
            passed_over += 1
            continue
        lists, rows = lists + 1, rows + len(found)
        wrong += found.sum(axis=0)
    shares = {
        name: count / rows for name, count in zip(RECOMPUTED, wrong.tolist(), strict=True) if count
    }
    report = {
        "lists": lists,
        "passed_over": passed_over,
        "values": rows * len(RECOMPUTED),
        "differing_share": float(wrong.sum()) / max(1, rows * len(RECOMPUTED)),
        "features": shares,
    }
    skewed = {name: share for name, share in shares.items() if share > config.skew_alarm}
    if skewed:
        told = ", ".join(f"{name} {share:.1%}" for name, share in skewed.items())
        raise JobFailed(
            f"logged features are not what they would be now: {told} of {rows} rows",
            hint="a feature that changes needs another name; train on rows logged since the change",
            report=report,
        )
    return report


def _newest_lists(context: JobContext[RankingConfig]) -> Iterator[Rows]:
    """The newest lists that hold features of this build, pins in order."""
    engine, arguments = context.engine, context.arguments
    folders: list[Path] = arguments.impressions or [context.data_root / "events" / "impressions"]
    engine.table("impression_files", folders, schema=_SCHEMA)
    engine.sql(
        f"SELECT list_id FROM impression_files WHERE feature_set = '{FEATURE_SET}' "  # noqa: S608  our own constants
        f"AND feature_time_us < {context.as_of_us} GROUP BY list_id "
        f"ORDER BY max(feature_time_us) DESC, list_id LIMIT {int(arguments.lists)}",
        name="newest_lists",
    )
    engine.sql(
        "SELECT i.* FROM impression_files AS i JOIN newest_lists AS n ON n.list_id = i.list_id "
        "ORDER BY i.list_id, i.position",
        name="newest_rows",
    )
    table = engine.read("newest_rows")
    for _, rows in groupby(table.to_pylist(), key=lambda row: row["list_id"]):
        by_position = {row["position"]: row for row in rows}  # told twice, it counts once
        yield list(by_position.values())


def add_arguments(parser: ArgumentParser) -> None:
    """The job's own arguments."""
    parser.add_argument(
        "--impressions",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="exported impressions (default: events/impressions of the data root)",
    )
    parser.add_argument(
        "--lists",
        type=int,
        default=LIST_COUNT,
        metavar="COUNT",
        help="how many of the newest lists are compared (default: %(default)s)",
    )


if __name__ == "__main__":
    run_job(NAME, run, RankingConfig, add_arguments=add_arguments)
