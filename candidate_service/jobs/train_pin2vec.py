"""Learn pin vectors from what people save close in time, and prepare near and next pins.

A sequence is what one user saved, clicked or otherwise praised, in order of time; saves without a
user make a sequence for each board. The last pin of some sequences is kept out of training, to see
how often it is foreseen.
"""

# ruff: noqa: S608  queries are put together from our own names and numbers, never from data

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import catalogue, pin2vec
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.config import CandidateConfig
from candidate_service.facts import open_facts
from candidate_service.held_out import Foreseen, judge_next
from candidate_service.imported import open_actions, open_saves
from candidate_service.pin2vec import Pin2Vec, Prepared, Sequences, Trained
from candidate_service.pin2vec_lists import near_pins, next_pins
from service_runtime.job import JobContext, JobFailed, run_job

STRENGTH_MIN: Final = 0.3
"""Weaker actions are no choice; as profile_service has it."""
JUDGED_COUNT_MAX: Final = 2000
JUDGED_RATIO: Final = 0.05
"""At most so many sequences, and such a share of them, lend their last pin to the judgement."""
JUDGED_LENGTH_MIN: Final = 3
GATED_COUNT_MIN: Final = 100
"""With fewer judged sequences chance decides, so no gate is applied."""
SESSION_LENGTH: Final = 10


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Train and publish.

    Returns:
        Counts of pins and pairs, and how often a kept-out pin was foreseen.

    Raises:
        JobFailed: The vectors foresee no better than chance; nothing is published.
    """
    config, store = context.config, context.generations
    source = store.open_latest_good(catalogue.ARTIFACT, format_version=catalogue.READABLE_VERSIONS)
    known = open_catalogue(source)
    rows, sequences = _sequences(context, known)
    settings = config.pin2vec_settings()
    settings = replace(settings, thread_count=settings.thread_count or context.engine.threads)
    kept_out = _kept_out(sequences, context.rng)
    trained = pin2vec.fit(
        sequences.without_tokens(kept_out),
        len(rows),
        settings,
        seed=context.seed,
        advance=context.progress("pin2vec: sequences", total=len(sequences) * settings.epoch_count),
    )
    near, following = _lists(context, trained)
    opened = Pin2Vec(rows, trained, near, following, fade=config.pin2vec_fade)
    judged = _judge(opened, sequences, kept_out)
    _check(config, judged)
    counts = {
        "pin_count": len(known),
        "vector_count": len(rows),
        "sequence_count": len(sequences),
        "pair_count": trained.pair_count,
        "judged_count": judged.count,
    }
    with store.draft(pin2vec.ARTIFACT, format_version=pin2vec.FORMAT_VERSION) as draft:
        pin2vec.write_pin2vec(draft, opened)
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs={catalogue.ARTIFACT: source.id},
            counts=counts,
            quality=judged.figures(),
            details={
                **known.lineage(),
                "pin_count": len(known),
                "vector_count": len(rows),
                "dimension": settings.dimension,
                "is_elu": settings.is_elu,
                "fade": config.pin2vec_fade,
            },
        )
    return {"generation": generation.id, **counts, **judged.figures()}


def _sequences(
    context: JobContext[CandidateConfig], known: Catalogue
) -> tuple[NDArray[np.int32], Sequences]:
    """Return the rows of the pins that get a vector, ascending, and the sequences of them."""
    open_actions(context.engine, context.data_root, context.as_of_us)
    open_saves(context.engine, context.data_root, context.as_of_us)
    open_facts(context.engine)
    context.engine.sql(
        "select distinct owner, pin_id, time_us from facts "
        f"where strength >= {STRENGTH_MIN} and time_us is not null",
        name="praise",
    )
    context.engine.sql(
        "select cast(owners.number as integer) as owner, pin_id, time_us from praise join "
        "(select owner, row_number() over (order by owner) as number from "
        "(select distinct owner from praise) named) owners on praise.owner = owners.owner",
        name="praise_by_owner",
    )
    parts: list[list[NDArray[Any]]] = [[np.empty(0, np.int32)] * 2 + [np.empty(0, np.int64)]]
    for batch in context.engine.stream("praise_by_owner"):
        rows = known.ids.rows_arrow(batch.column("pin_id"))
        chosen = np.flatnonzero(rows >= 0)
        owners, times = np.asarray(batch.column("owner")), np.asarray(batch.column("time_us"))
        parts.append([owners[chosen], rows[chosen], times[chosen]])
    owners, rows, times = (np.concatenate([part[at] for part in parts]) for at in range(3))
    return _ordered(context.config, known, owners, rows, times)


def _ordered(
    config: CandidateConfig,
    known: Catalogue,
    owners: NDArray[np.int32],
    rows: NDArray[np.int32],
    times: NDArray[np.int64],
) -> tuple[NDArray[np.int32], Sequences]:
    """Keep the most popular pins that are not deleted, and order their tokens."""
    counts = np.bincount(rows, minlength=len(known))
    counts[known.deleted()] = 0
    order = np.lexsort((np.arange(len(counts)), -counts))[: config.pin2vec_pin_count_max]
    chosen = np.sort(order[counts[order] >= config.pin2vec_save_count_min]).astype(np.int32)
    index_of = np.full(len(known), -1, np.int32)
    index_of[chosen] = np.arange(len(chosen), dtype=np.int32)
    pins = index_of[rows]
    kept = np.flatnonzero(pins >= 0)
    kept = kept[np.lexsort((pins[kept], times[kept], owners[kept]))]
    is_first = np.diff(owners[kept], prepend=-1) != 0
    bounds = np.append(np.flatnonzero(is_first), len(kept))
    return chosen, Sequences(pins[kept], times[kept] / 1e6, bounds.astype(np.int64))


def _kept_out(sequences: Sequences, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the places of the last tokens of some sequences."""
    long_enough = np.flatnonzero(np.diff(sequences.bounds) >= JUDGED_LENGTH_MIN)
    count = min(JUDGED_COUNT_MAX, int(len(long_enough) * JUDGED_RATIO))
    chosen = np.sort(rng.choice(long_enough, count, replace=False)) if count else long_enough[:0]
    return sequences.bounds[chosen + 1] - 1


def _lists(context: JobContext[CandidateConfig], trained: Trained) -> tuple[Prepared, Prepared]:
    advance = context.progress("pin2vec: lists", total=2 * len(trained.inputs))
    count, threads = context.config.pin2vec_list_count, context.engine.threads
    return (
        near_pins(trained, count, advance=advance, threads=threads),
        next_pins(trained, count, advance=advance, threads=threads),
    )


def _judge(opened: Pin2Vec, sequences: Sequences, kept_out: NDArray[np.int64]) -> Foreseen:
    """See how the pins that were kept out rank among all, given what came before them."""
    begins = sequences.bounds[np.searchsorted(sequences.bounds, kept_out, "right") - 1]
    sessions = [
        sequences.pins[max(begin, end - SESSION_LENGTH) : end][::-1]
        for begin, end in zip(begins.tolist(), kept_out.tolist(), strict=True)
    ]

    def score(session: NDArray[np.int32]) -> NDArray[np.float32]:
        vector = pin2vec.session_vector(opened.inputs, session, opened.fade)
        return opened.outputs @ vector + opened.priors

    return judge_next(score, sessions, sequences.pins[kept_out], popularity=opened.priors)


def _check(config: CandidateConfig, judged: Foreseen) -> None:
    if judged.count >= GATED_COUNT_MIN and judged.auc < config.pin2vec_auc_min:
        raise JobFailed(
            f"pin2vec ranks a kept-out pin above a share of {judged.auc:.3f} of all pins; it takes "
            f"{config.pin2vec_auc_min:g}",
            hint="are the times of saves true? else set pin2vec_auc_min lower",
            report=judged.figures(),
        )


def main() -> None:
    """Run the job as a process."""
    run_job("train_pin2vec", run, CandidateConfig)


if __name__ == "__main__":
    main()
