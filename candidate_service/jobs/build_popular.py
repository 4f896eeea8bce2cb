"""Count what people did with each pin; prepare the lists of popular pins.

Publishes two artifacts from one pass over the actions: `popular`, read here, and `pin_statistics`,
read by ranking. Ages are measured from the newest action or save, not from now, so that data that
ends years ago is as fresh as on its last day.
"""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service import catalogue, pin_statistics
from candidate_service.action_types import STRENGTHS
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.imported import open_actions, open_saves
from candidate_service.sources import popular
from candidate_service.sources.popular import EVERYONE, PreparedList
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
    advance = context.progress("popular: steps", total=3)
    anchor_us = _anchor(context)
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
    lists = _lists(context.config, known, recent, older)
    with store.draft(popular.ARTIFACT, format_version=popular.FORMAT_VERSION) as draft:
        segments = popular.write_lists(draft, lists)
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs=inputs,
            counts={"pin_count": len(known), "list_count": len(segments)},
            details=common | {"segments": segments},
        )
    advance(1)
    return {
        "generation": generation.id,
        "pin_statistics_generation": counted.id,
        "acted_pin_count": int((older > 0).sum()),
        "list_count": len(segments),
    }


def _anchor(context: JobContext[CandidateConfig]) -> int:
    """Return the time of the newest fact, or as-of if no fact has a time."""
    context.engine.sql(
        "select max(time_us) as time_us from ("
        "select max(action_time_us) as time_us from actions union all "
        "select max(save_time_us) as time_us from saves) newest",
        name="newest_fact",
    )
    newest = context.engine.read("newest_fact").column("time_us")[0].as_py()
    return context.as_of_us if newest is None else int(newest)


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
    engine.register(
        "strengths",
        pa.table({"action_type": list(STRENGTHS), "default_strength": list(STRENGTHS.values())}),
    )
    age_days = f"(cast({anchor_us} - facts.time_us as double) / {DAY_US})"
    fading = f"exp(-{np.log(2) / config.popular_half_life_days} * {age_days})"
    strength = "coalesce(facts.strength, strengths.default_strength)"
    engine.sql(  # saves that are in the action log too are counted there
        "select facts.pin_id as pin_id, facts.action_type as action_type, "
        f"sum(exp(-{config.statistics_decay_per_day} * {age_days})) as decayed, "
        f"sum({strength} * {fading}) as older, "
        f"sum(case when facts.time_us >= {anchor_us - window_us} then {strength} * {fading} "
        "else 0.0 end) as recent, max(facts.known_time_us) as newest "
        "from (select pin_id, action_type, action_time_us as time_us, "
        "action_time_us as known_time_us, strength from actions union all "
        "select pin_id, 'save' as action_type, "
        f"cast(coalesce(save_time_us, {anchor_us - window_us}) as bigint) as time_us, "
        "save_time_us as known_time_us, cast(null as float) as strength from saves "
        "where user_id is null or save_time_us is null) facts "
        "join strengths on facts.action_type = strengths.action_type "
        "group by facts.pin_id, facts.action_type",
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


def _lists(
    config: CandidateConfig,
    known: Catalogue,
    recent: NDArray[np.float64],
    older: NDArray[np.float64],
) -> dict[str, PreparedList]:
    """Order all pins once, and cut the list of everyone and of each segment from that order.

    Pins with praise in the window come first, then those with older praise, then the newest.
    """
    creation = np.asarray(pc.fill_null(known.pins.column("creation_time_us"), 0))
    recent, older = recent.clip(0.0), older.clip(0.0)  # strengths may be negative
    order = np.lexsort((np.arange(len(known)), -creation, -older, -recent)).astype(np.int32)
    scores = np.where(
        recent > 0,
        0.5 + 0.5 * recent / max(recent.max(initial=0.0), 1e-300),
        0.5 * older / max(older.max(initial=0.0), 1e-300),
    ).astype(np.float32)
    lists = {EVERYONE: order[: config.popular_list_count]}
    for column, key_of in (("language", popular.language_key), ("country", popular.country_key)):
        encoded = known.pins.column(column).combine_chunks().dictionary_encode()
        keys = [key_of(value or "") for value in encoded.dictionary.to_pylist()]
        names, code_of = np.unique([EVERYONE, *keys], return_inverse=True)
        codes = code_of[1:][np.asarray(pc.fill_null(encoded.indices, 0))] if keys else None
        if codes is None:
            continue
        codes = np.where(np.asarray(encoded.is_valid()), codes, code_of[0])[order]
        sizes = np.bincount(codes, minlength=len(names))
        for code in np.flatnonzero(sizes >= config.popular_segment_pin_count_min):
            if names[code] != EVERYONE:
                at = np.flatnonzero(codes == code)[: config.popular_list_count]
                lists[str(names[code])] = order[at]
    return {key: (rows, scores[rows]) for key, rows in lists.items()}


def main() -> None:
    """Run the job as a process."""
    run_job("build_popular", run, CandidateConfig)


if __name__ == "__main__":
    main()
