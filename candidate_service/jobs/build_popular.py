"""Count what people did with each pin; prepare the lists of popular pins.

Publishes two artifacts from one pass over the actions: `popular`, read here, and `pin_statistics`,
read by ranking. Ages are measured from the newest action or save, not from now, so that data that
ends years ago is as fresh as on its last day.
"""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service import catalogue, pin_statistics
from candidate_service.action_types import STRENGTHS
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.facts import newest_fact_us, open_facts
from candidate_service.held_out import judge_list
from candidate_service.imported import open_actions, open_saves
from candidate_service.pools import EVERYONE, PreparedList, name_key
from candidate_service.sources import popular
from service_runtime.job import JobContext, run_job

DAY_US = 86_400_000_000


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Build and publish the statistics and the lists.

    Returns:
        How many pins anybody acted on, and how many lists there are.
    """
    store = context.generations
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    known = open_catalogue(source)
    open_saves(context.engine, context.data_root, context.as_of_us)
    open_actions(context.engine, context.data_root, context.as_of_us)
    open_facts(context.engine)
    advance = context.progress("popular: steps", total=3)
    newest_us = newest_fact_us(context.engine)
    anchor_us = context.as_of_us if newest_us is None else newest_us
    statistics, recent, older = _statistics(context, known, anchor_us)
    advance(1)
    common = {**known.lineage(), "pin_count": len(known), "anchor_time_us": anchor_us}
    inputs = {catalogue.ARTIFACT: source.id}
    with store.draft(
        pin_statistics.ARTIFACT, format_version=pin_statistics.FORMAT_VERSION
    ) as draft:
        pin_statistics.write_statistics(draft, pa.table(statistics))
        counted = draft.publish(
            as_of_us=context.as_of_us,
            inputs=inputs,
            counts={"pin_count": len(known), "acted_pin_count": int((older > 0).sum())},
            details=common | {"decay_per_day": context.config.statistics_decay_per_day},
        )
    advance(1)
    lists = _lists(context, known, recent, older)
    judged = judge_list(*_last_day(context, known, anchor_us))
    with store.draft(popular.ARTIFACT, format_version=popular.FORMAT_VERSION) as draft:
        segments = popular.write_lists(draft, lists)
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs=inputs,
            counts={"pin_count": len(known), "list_count": len(segments)},
            quality=judged.figures(),
            details=common
            | {
                "segments": segments,
                "half_life_days": context.config.popular_half_life_days,
                "recent_max": float(recent[~known.not_proposed(context.as_of_us)].max(initial=0.0))
                or 1.0,
                "segment_attribute": context.config.local_segment_attribute,
            },
        )
    advance(1)
    return {
        "generation": generation.id,
        "pin_statistics_generation": counted.id,
        "acted_pin_count": int((older > 0).sum()),
        "list_count": len(segments),
        **judged.figures(),
    }


def _statistics(
    context: JobContext[CandidateConfig], known: Catalogue, anchor_us: int
) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64], NDArray[np.float64]]:
    """Return the columns of `pin_statistics`, and popularity within the window and in all."""
    config, engine = context.config, context.engine
    window_us = round(config.popular_window_days * DAY_US)
    columns: dict[str, NDArray[Any]] = {
        field.name: np.zeros(len(known), field.type.to_pandas_dtype())
        for field in pin_statistics.SCHEMA
    }
    recent, older = np.zeros(len(known)), np.zeros(len(known))
    window_start_us = anchor_us - window_us
    time = f"coalesce(time_us, {window_start_us})"
    age_days = f"(cast({anchor_us} - {time} as double) / {DAY_US})"
    fading = f"exp(-{np.log(2) / config.popular_half_life_days} * {age_days})"
    engine.sql(
        "select pin_id, action_type, "
        f"sum(exp(-{config.statistics_decay_per_day} * {age_days})) as decayed, "
        f"sum(strength * {fading}) as older, "
        f"sum(case when {time} >= {window_start_us} then strength * {fading} else 0.0 end) "
        "as recent, max(time_us) as newest from facts group by pin_id, action_type",
        name="facts_by_type",
    )
    for batch in engine.stream("facts_by_type"):
        rows = known.ids.rows_arrow(batch.column("pin_id"))
        kinds = batch.column("action_type").to_numpy(zero_copy_only=False)
        newest = np.asarray(pc.fill_null(batch.column("newest"), 0))
        for action_type in STRENGTHS:
            chosen = (kinds == action_type) & (rows >= 0)
            columns[f"decayed_{action_type}"][rows[chosen]] = np.asarray(batch.column("decayed"))[
                chosen
            ]
        is_known = rows >= 0
        np.maximum.at(columns["newest_action_time_us"], rows[is_known], newest[is_known])
        np.add.at(recent, rows[is_known], np.asarray(batch.column("recent"))[is_known])
        np.add.at(older, rows[is_known], np.asarray(batch.column("older"))[is_known])
    columns["popularity"][:] = recent
    _add_counts(context, known, columns)
    return columns, recent, older


def _add_counts(
    context: JobContext[CandidateConfig], known: Catalogue, columns: dict[str, NDArray[Any]]
) -> None:
    """Fill in the counts of saves, boards and users."""
    praising = ", ".join(f"'{name}'" for name, strength in STRENGTHS.items() if strength > 0)
    context.engine.sql(
        "select pin_id, cast(sum(save_count) as bigint) as save_count, "
        "count(*) as board_count, coalesce(max(save_time_us), 0) as newest_save_time_us "
        "from saves group by pin_id",
        name="saves_by_pin",
    )
    context.engine.sql(
        "select pin_id, count(distinct user_id) as user_count from actions "
        f"where action_type in ({praising}) group by pin_id",
        name="users_by_pin",
    )
    for name in ("saves_by_pin", "users_by_pin"):
        table = context.engine.read(name)
        rows = known.ids.rows_arrow(table.column("pin_id"))
        for column in table.column_names[1:]:
            columns[column][rows[rows >= 0]] = np.asarray(table.column(column))[rows >= 0]


def _last_day(
    context: JobContext[CandidateConfig], known: Catalogue, anchor_us: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the list for all without the last day, and how often pins were praised on that day."""
    config, engine = context.config, context.engine
    day_begin_us = anchor_us - DAY_US
    window_start_us = day_begin_us - round(config.popular_window_days * DAY_US)
    rate = np.log(2) / config.popular_half_life_days / DAY_US
    engine.sql(
        "select pin_id, "
        f"sum(case when time_us between {window_start_us} and {day_begin_us} "
        f"then strength * exp({rate} * (time_us - {day_begin_us})) else 0.0 end) as before, "
        f"sum(case when time_us > {day_begin_us} and strength > 0 then 1.0 else 0.0 end) as later "
        "from facts where time_us is not null group by pin_id",
        name="facts_around_last_day",
    )
    before, later = np.zeros(len(known)), np.zeros(len(known))
    table = engine.read("facts_around_last_day")
    rows = known.ids.rows_arrow(table.column("pin_id"))
    before[rows[rows >= 0]] = np.asarray(table.column("before"))[rows >= 0]
    later[rows[rows >= 0]] = np.asarray(table.column("later"))[rows >= 0]
    if not (before > 0).any():
        later[:] = 0.0  # there is nothing that a list could have been made of
    order = np.lexsort((np.arange(len(known)), -before))
    return order[before[order] > 0][: config.popular_list_count].astype(np.int32), later


def _lists(
    context: JobContext[CandidateConfig],
    known: Catalogue,
    recent: NDArray[np.float64],
    older: NDArray[np.float64],
) -> dict[str, PreparedList]:
    """Order the pins that may be shown once; cut everyone's and each segment's list from that.

    Pins with praise in the window come first, then those with older praise, then the newest.
    """
    config = context.config
    creation = np.asarray(pc.fill_null(known.pins.column("creation_time_us"), 0))
    recent, older = recent.clip(0.0), older.clip(0.0)  # strengths may be negative
    hidden = known.not_proposed(context.as_of_us)
    recent[hidden], older[hidden] = 0.0, 0.0
    order = np.lexsort((np.arange(len(known)), -creation, -older, -recent)).astype(np.int32)
    order = order[~hidden[order]]
    scores = np.where(
        recent > 0,
        0.5 + 0.5 * recent / max(recent.max(initial=0.0), 1e-300),
        0.5 * older / max(older.max(initial=0.0), 1e-300),
    ).astype(np.float32)
    lists = {EVERYONE: order[: config.popular_list_count]}
    for codes, names in _segments(config, known):
        in_order = codes[order]
        sizes = np.bincount(in_order + 1, minlength=len(names) + 1)[1:]
        for code in np.flatnonzero(sizes >= config.popular_segment_pin_count_min):
            at = np.flatnonzero(in_order == code)[: config.popular_list_count]
            lists[names[code]] = order[at]
    return {key: (rows, scores[rows]) for key, rows in lists.items()}


def _segments(
    config: CandidateConfig, known: Catalogue
) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
    """Give for each kind of segment the code of every pin, int64[n], -1 = none, and the keys."""
    columns = {
        popular.language_key: known.pins.column("language"),
        popular.country_key: known.pins.column("country"),
    }
    if config.local_segment_attribute:
        attributes = known.pins.column("attributes")
        name = pa.scalar(config.local_segment_attribute, pa.large_string())
        columns[name_key] = pc.map_lookup(attributes, name, "first")
    for key_of, column in columns.items():
        encoded = pc.fill_null(column, "").combine_chunks().dictionary_encode()
        keys = [key_of(value) for value in encoded.dictionary.to_pylist()]
        names, code_of = np.unique([EVERYONE, *keys], return_inverse=True)
        codes = code_of[1:][np.asarray(encoded.indices)] if keys else np.empty(0, np.int64)
        yield codes - 1, [str(name) for name in names[1:]]


def main() -> None:
    """Run the job as a process."""
    run_job("build_popular", run, CandidateConfig)


if __name__ == "__main__":
    main()
