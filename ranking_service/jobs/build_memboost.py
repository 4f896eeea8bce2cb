"""
Impressions and actions to the Memboost table: a recount from the logs, every night from nothing.

What clients confirmed by RecordImpressions counts instead of what was answered.  Day by day, what
was shown on a day is joined with what was done within the window; then all days are sorted by query
and result pin.  What operators had forgotten is left out.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranking_service.config import RankingConfig
from ranking_service.confirmations import CONFIRMED_SCHEMA
from ranking_service.memboost.counting import KINDS, Acts, Shown, concatenated, credit
from ranking_service.memboost.curves import estimate
from ranking_service.memboost.records import standing
from ranking_service.memboost.resets import read_resets
from ranking_service.memboost.table import (
    FORMAT_VERSION,
    MEMBOOST,
    OTHER,
    MemboostTable,
    make_table,
)
from ranking_service.pin_keys import keys_of_arrow
from service_runtime.job import JobContext, run_job

NAME: Final = "build_memboost"
DAY_US: Final = 86_400_000_000

SHOWN_SCHEMA: Final = pa.schema(
    [
        ("list_id", pa.string()),
        ("user_id", pa.string()),
        ("query_pin_id", pa.string()),
        ("pin_id", pa.string()),
        ("platform", pa.string()),
        ("position", pa.int32()),
        ("impression_time_us", pa.int64()),
        ("is_randomised", pa.bool_()),
    ]
)
"""What is read of the impressions."""

ACTION_SCHEMA: Final = pa.schema(
    [
        ("list_id", pa.string()),
        ("user_id", pa.string()),
        ("pin_id", pa.string()),
        ("action_type", pa.string()),
        ("action_time_us", pa.int64()),
    ]
)
"""What is read of the actions."""


def run(context: JobContext[RankingConfig]) -> Mapping[str, Any]:
    """
    Count what was shown and done before `--as-of`, at most `memboost_days` back, and publish it.

    Returns:
        Counts of impressions, random ones, actions credited, pairs, and the generation.
    """
    config = context.config
    begin_us = context.as_of_us - config.memboost_days * DAY_US
    platforms = [OTHER]
    days = _days(context, begin_us)
    advance = context.progress("counting days", len(days))
    parts: list[Shown] = []
    acted: list[NDArray[np.uint8]] = []
    for first_us in days:
        shown, bits = _count_day(context, first_us, platforms)
        parts.append(shown)
        acted.append(bits)
        advance(1)
    shown = concatenated(parts, Shown)
    bits = np.concatenate([np.empty(0, np.uint8), *acted])
    kept = _remembered(context, shown)
    table = _table(config, shown.take(kept), bits[kept], platforms)
    counts = {
        "impressions": int(kept.sum()),
        "forgotten": int((~kept).sum()),
        "random": int(shown.is_random.sum()),
        "pairs": table.pair_count,
        **{kind: int(((bits >> place) & 1).sum()) for place, kind in enumerate(KINDS)},
    }
    with context.generations.draft(MEMBOOST, format_version=FORMAT_VERSION) as draft:
        table.write(draft.folder)
        generation = draft.publish(
            as_of_us=context.as_of_us,
            counts=counts,
            details={"curves_are_random": table.curves.is_random.tolist()},
        )
    return {**counts, "platforms": platforms, "generation": generation.id}


def _table(
    config: RankingConfig, shown: Shown, acted: NDArray[np.uint8], platforms: list[str]
) -> MemboostTable:
    curves = estimate(
        shown,
        acted,
        platform_count=len(platforms),
        smoothing=config.memboost_curve_smoothing,
        random_count_min=config.memboost_random_count_min,
    )
    weights = np.array(config.memboost_weights)
    return make_table(shown, acted, curves, platform_names=platforms, weights=weights)


def _days(context: JobContext[RankingConfig], begin_us: int) -> list[int]:
    """The first moment of each day on which something was shown, ascending."""
    events = context.data_root / "events"
    context.engine.table("impression_files", [events / "impressions"], schema=SHOWN_SCHEMA)
    context.engine.table("confirmed_files", [events / "shown"], schema=CONFIRMED_SCHEMA)
    context.engine.table("action_files", [events / "actions"], schema=ACTION_SCHEMA)
    context.engine.sql(
        f"""
        SELECT DISTINCT impression_time_us - impression_time_us % {DAY_US} AS first_us
        FROM (SELECT impression_time_us FROM impression_files
              UNION ALL SELECT impression_time_us FROM confirmed_files) AS every
        WHERE impression_time_us >= {begin_us} AND impression_time_us < {context.as_of_us}
        ORDER BY first_us
        """,  # noqa: S608  our own numbers
        name="days",
    )
    return [int(day) for day in context.engine.read("days")["first_us"].to_pylist()]


def _count_day(
    context: JobContext[RankingConfig], first_us: int, platforms: list[str]
) -> tuple[Shown, NDArray[np.uint8]]:
    """
    What was shown on one day, each impression once, and what was done to it.

    Lists of the window after the day are read too: an action goes to the latest list before it.
    """
    window_us = round(context.config.memboost_window_hours * 3_600e6)
    stop_us = min(first_us + DAY_US + window_us, context.as_of_us)
    between = "{column} >= " + str(first_us) + " AND {column} < " + str(stop_us)
    shown_in_time = between.format(column="impression_time_us")
    engine = context.engine
    engine.sql(f"SELECT * FROM impression_files WHERE {shown_in_time}", name="day_shown")  # noqa: S608
    engine.sql(f"SELECT * FROM confirmed_files WHERE {shown_in_time}", name="day_confirmed")  # noqa: S608
    kinds = ", ".join(f"'{kind}'" for kind in KINDS)
    engine.sql(
        f"SELECT * FROM action_files WHERE action_type IN ({kinds}) AND "  # noqa: S608
        + between.format(column="action_time_us"),
        name="day_acts",
    )
    answered = shown_rows(engine.read("day_shown"), platforms)
    confirmed = shown_rows(engine.read("day_confirmed"), platforms)
    shown = standing(answered, confirmed)
    acted = credit(shown, act_rows(engine.read("day_acts")), window_us=window_us)
    is_own = shown.times_us < first_us + DAY_US
    return shown.take(is_own), acted[is_own]


def shown_rows(table: pa.Table, platforms: list[str]) -> Shown:
    """
    Rows of impressions; *platforms* grows by clients that are new.

    A client may have named a list's own pins as inserted by itself: those are not the answer's and
    are left out.
    """
    if "is_inserted" in table.column_names:
        table = table.filter(pa.compute.invert(table["is_inserted"].fill_null(False)))
    names = table["platform"].combine_chunks().fill_null("").dictionary_encode()
    if isinstance(names, pa.ChunkedArray):
        names = names.combine_chunks()
    numbers = [_platform(name or OTHER, platforms) for name in names.dictionary.to_pylist()]
    count = table.num_rows
    is_random = np.zeros(count, np.bool_)
    if "is_randomised" in table.column_names:
        is_random = table["is_randomised"].fill_null(False).to_numpy().astype(np.bool_)
    positions = np.clip(table["position"].fill_null(0).to_numpy(), 0, 65_535)
    return Shown(
        lists=keys_of_arrow(table["list_id"]),
        users=keys_of_arrow(table["user_id"]),
        queries=keys_of_arrow(table["query_pin_id"]),
        pins=keys_of_arrow(table["pin_id"]),
        platforms=np.array([*numbers, 0], np.uint8)[names.indices.to_numpy()],
        positions=positions.astype(np.uint16),
        times_us=table["impression_time_us"].to_numpy().astype(np.int64),
        is_random=is_random,
    )


def act_rows(table: pa.Table) -> Acts:
    """Rows of actions, all of counted types."""
    kinds = table["action_type"].to_pylist()
    return Acts(
        lists=keys_of_arrow(table["list_id"]),
        users=keys_of_arrow(table["user_id"]),
        pins=keys_of_arrow(table["pin_id"]),
        kinds=np.array([KINDS.index(kind) for kind in kinds], np.uint8),
        times_us=table["action_time_us"].to_numpy().astype(np.int64),
    )


def _platform(name: str, platforms: list[str]) -> int:
    if name not in platforms:
        if len(platforms) > 255:
            return 0
        platforms.append(name)
    return platforms.index(name)


def _remembered(context: JobContext[RankingConfig], shown: Shown) -> NDArray[np.bool_]:
    """Which impressions no operator had forgotten, bool[n]."""
    kept = np.ones(len(shown), np.bool_)
    for reset in read_resets(context.data_root / "live" / "memboost_resets"):
        kept &= ~reset.rule.matches(shown.queries, shown.pins, shown.times_us)
    return kept


if __name__ == "__main__":
    run_job(NAME, run, RankingConfig)
