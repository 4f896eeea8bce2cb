"""Collect the pins made lately, with what people did to them and what was to be expected.

Ages count from as-of; where the newest fact is older than a fresh pin may be, the data has ended
and ages count from that fact, so that a history is as fresh as on its last day.
"""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from candidate_service import catalogue, fresh_pool
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.facts import newest_fact_us, open_facts
from candidate_service.fresh_pool import DAY_US, FreshPins
from candidate_service.held_out import Foreseen, judge_list
from candidate_service.imported import open_actions, open_saves
from service_runtime.job import JobContext, run_job

UNKNOWN_TIME: Final = -(2**62)


@dataclass(frozen=True, slots=True)
class _Events:
    """Praise of pins of which the time of making is known: row, age of the pin, strength."""

    rows: NDArray[np.int32]
    ages_us: NDArray[np.int64]
    strengths: NDArray[np.float64]


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Build and publish the fresh pins.

    Returns:
        How many pins are fresh, how many do better than expected, and how well the hot pool
        foresees where people go on the last day.
    """
    config, store = context.config, context.generations
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    known = open_catalogue(source)
    open_saves(context.engine, context.data_root, context.as_of_us)
    open_actions(context.engine, context.data_root, context.as_of_us)
    open_facts(context.engine)
    advance = context.progress("fresh: steps", total=2)
    age_max_us = round(config.fresh_age_days * DAY_US)
    made = pc.fill_null(known.pins.column("creation_time_us"), UNKNOWN_TIME)
    creation_us = np.asarray(made.to_numpy())
    newest_us = max(
        newest_fact_us(context.engine) or UNKNOWN_TIME, int(creation_us.max(initial=UNKNOWN_TIME))
    )
    has_ended = newest_us != UNKNOWN_TIME and newest_us < context.as_of_us - age_max_us
    now_us = newest_us if has_ended else context.as_of_us
    events = _events(context, known, creation_us)
    advance(1)
    pins = _fresh(context, known, creation_us, events, now_us, stands_still=has_ended)
    judged = _judge(config, creation_us, events, now_us)
    hot = fresh_pool.hotness(
        pins.engagements, now_us - pins.creation_times_us, pins.expected, config.fresh_prior
    )
    counts = {
        "pin_count": len(known),
        "fresh_pin_count": len(pins.rows),
        "hot_pin_count": int((hot > 0).sum()),
    }
    with store.draft(fresh_pool.ARTIFACT, format_version=fresh_pool.FORMAT_VERSION) as draft:
        fresh_pool.write_fresh(draft, pins)
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs={catalogue.ARTIFACT: source.id},
            counts=counts,
            quality=judged.figures(),
            details={
                **known.lineage(),
                "pin_count": len(known),
                "fresh_pin_count": len(pins.rows),
                "stands_still_us": pins.stands_still_us,
            },
        )
    advance(1)
    return {"generation": generation.id, **counts, **judged.figures()}


def _events(
    context: JobContext[CandidateConfig], known: Catalogue, creation_us: NDArray[np.int64]
) -> _Events:
    """Return the praise of pins from their making until they are no longer fresh."""
    history_us = round(context.config.fresh_history_days * DAY_US)
    context.engine.sql(
        "select pin_id, time_us, strength from facts where strength > 0 and time_us is not null "
        f"and time_us >= {context.as_of_us - 40_000 * DAY_US}",
        name="timed_praise",
    )
    parts: list[_Events] = [_Events(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0))]
    age_max_us = round(context.config.fresh_age_days * DAY_US)
    newest_us = int(creation_us.max(initial=UNKNOWN_TIME))
    for batch in context.engine.stream("timed_praise"):
        rows = known.ids.rows_arrow(batch.column("pin_id"))
        times = np.asarray(batch.column("time_us"))
        ages = times - creation_us[rows]
        is_young = (rows >= 0) & (ages >= 0) & (ages < age_max_us)
        is_young &= creation_us[rows] >= newest_us - history_us
        strengths = np.asarray(batch.column("strength"))
        parts.append(_Events(rows[is_young], ages[is_young], strengths[is_young]))
    events = _Events(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.ages_us for part in parts]),
        np.concatenate([part.strengths for part in parts]),
    )
    order = np.lexsort((events.strengths, events.ages_us, events.rows))
    return _Events(events.rows[order], events.ages_us[order], events.strengths[order])


def _fresh(
    context: JobContext[CandidateConfig],
    known: Catalogue,
    creation_us: NDArray[np.int64],
    events: _Events,
    now_us: int,
    *,
    stands_still: bool,
) -> FreshPins:
    """Return the newest pins that are young enough, good enough, and may be shown."""
    config = context.config
    qualities = np.asarray(pc.fill_null(known.pins.column("quality"), np.nan), np.float32)
    is_fresh = _is_young(config, creation_us, now_us) & ~known.not_proposed(context.as_of_us)
    is_fresh &= ~(qualities < config.fresh_quality_min)
    rows = np.flatnonzero(is_fresh)
    rows = rows[np.lexsort((rows, -creation_us[rows]))][: config.fresh_pin_count_max]
    praise = np.bincount(events.rows, weights=events.strengths, minlength=len(known))
    return FreshPins(
        rows.astype(np.int32),
        creation_us[rows],
        praise[rows].astype(np.float32),
        qualities[rows],
        _expected(config, creation_us, events, now_us),
        as_of_us=context.as_of_us,
        stands_still_us=now_us if stands_still else None,
    )


def _is_young(
    config: CandidateConfig, creation_us: NDArray[np.int64], now_us: int
) -> NDArray[np.bool_]:
    age_max_us = round(config.fresh_age_days * DAY_US)
    return (creation_us > now_us - age_max_us) & (creation_us <= now_us)


def _expected(
    config: CandidateConfig, creation_us: NDArray[np.int64], events: _Events, now_us: int
) -> NDArray[np.float64]:
    """Return what to expect at which age, from the pins made lately."""
    history_us = round(config.fresh_history_days * DAY_US)
    is_lately = (creation_us > now_us - history_us) & (creation_us <= now_us)
    chosen = is_lately[events.rows] & (creation_us[events.rows] + events.ages_us < now_us)
    return fresh_pool.expected_engagement(
        events.ages_us[chosen],
        events.strengths[chosen],
        now_us - creation_us[is_lately],
        age_max_us=round(config.fresh_age_days * DAY_US),
    )


def _judge(
    config: CandidateConfig, creation_us: NDArray[np.int64], events: _Events, now_us: int
) -> Foreseen:
    """See how the hot pool of a day ago holds what was praised since, among pins fresh then."""
    before_us = now_us - DAY_US
    eligible = _is_young(config, creation_us, before_us)
    happened_us = creation_us[events.rows] + events.ages_us
    early, late = happened_us < before_us, (happened_us >= before_us) & (happened_us < now_us)
    count = len(creation_us)
    praise = np.bincount(events.rows[early], weights=events.strengths[early], minlength=count)
    later = np.bincount(events.rows[late], minlength=count).astype(np.float64)
    rows = np.flatnonzero(eligible)
    if not len(rows) or not praise[rows].any():
        return Foreseen()
    expected = _expected(config, creation_us, events, before_us)
    ages = before_us - creation_us[rows]
    hot = fresh_pool.hotness(praise[rows].astype(np.float32), ages, expected, config.fresh_prior)
    best = rows[np.lexsort((rows, -hot))]
    return judge_list(best.astype(np.int32), later, eligible=eligible)


def main() -> None:
    """Run the job as a process."""
    run_job("build_fresh", run, CandidateConfig)


if __name__ == "__main__":
    main()
