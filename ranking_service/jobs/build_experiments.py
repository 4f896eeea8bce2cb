"""
What each arm of each experiment earned: volume and propensity with intervals, by arm and source.

An arm that loses against its control beyond doubt is stopped: its users get the control's answers
as soon as servers see the new figures, and it stays stopped until its shares are changed.  The
guard rail looks once a run; looking every night for a month finds a loser by chance more often than
`alpha` says, so set that low.
"""

from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ranking_service.config import RankingConfig
from ranking_service.experiment_results import (
    EXPERIMENTS,
    FORMAT_VERSION,
    Outcome,
    Outcomes,
)
from ranking_service.experiments import ArmResult, loss_probability, measure_arm
from ranking_service.scenarios import ExperimentTable, read_book
from service_runtime.errors import Corrupted
from service_runtime.job import JobContext, run_job

NAME: Final = "build_experiments"
COUNTED: Final = ("save", "click", "long_click")
"""Actions that count as a save or a click."""

SHOWN_SCHEMA: Final = pa.schema(
    [
        ("list_id", pa.string()),
        ("user_id", pa.string()),
        ("pin_id", pa.string()),
        ("impression_time_us", pa.int64()),
        ("experiment_arms", pa.string()),
        ("sources", pa.list_(pa.string())),
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
    Count what was shown and done before `--as-of` for every experiment of the scenario file.

    Returns:
        Users and impressions by experiment and arm, stopped arms, and the generation.
    """
    path: Path | None = context.arguments.scenarios or context.config.scenario_file
    experiments = read_book(path).experiments
    shown = _shown(context)
    before = _before(context)
    outcomes = {
        name: outcome_of(name, table, shown, before.get(name))
        for name, table in experiments.items()
    }
    with context.generations.draft(EXPERIMENTS, format_version=FORMAT_VERSION) as draft:
        Outcomes(outcomes).write(draft.folder)
        generation = draft.publish(
            as_of_us=context.as_of_us,
            counts={"experiments": len(outcomes), "impressions": shown.num_rows},
        )
    return {
        "experiments": {
            name: {
                "users": {r.arm: r.user_count for r in outcome.results if not r.source},
                "stopped": dict(outcome.stopped),
            }
            for name, outcome in outcomes.items()
        },
        "impressions": shown.num_rows,
        "generation": generation.id,
    }


def outcome_of(
    name: str, table: ExperimentTable, shown: pa.Table, before: Outcome | None
) -> Outcome:
    """
    The figures of one experiment.

    Args:
        name: Its name.
        table: Its arms, shares, control and guard rail.
        shown: Impressions with `experiment_arms`, `user_id`, `sources`, `acted`.
        before: Its figures of the last run; arms stopped then stay so while the shares stay.
    """
    arms = _arms(name, shown["experiment_arms"])
    results: list[ArmResult] = []
    for arm in sorted(table.arms):
        chosen = np.flatnonzero(arms == arm)
        rows = shown.take(pa.array(chosen))
        results.append(_measured(arm, "", rows, np.arange(rows.num_rows)))
        lists = rows["sources"].combine_chunks()
        parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
        words = np.array(pc.list_flatten(lists).to_pylist(), object)
        results += [
            _measured(arm, source, rows, parents[words == source])
            for source in sorted(set(words.tolist()))
        ]
    stopped = {} if before is None or before.shares != table.shares else dict(before.stopped)
    stopped |= {
        arm: reason for arm, reason in _losing(table, results).items() if arm not in stopped
    }
    return Outcome(dict(table.shares), tuple(results), stopped)


def _losing(table: ExperimentTable, results: list[ArmResult]) -> dict[str, str]:
    """Arms that lose beyond doubt, and why."""
    whole = {result.arm: result for result in results if not result.source}
    control, rail = whole[table.control], table.guard_rail
    losing = {}
    for arm, result in whole.items():
        is_seen = min(result.user_count, control.user_count) >= rail.user_count_min
        if arm == table.control or not is_seen:
            continue
        chance = loss_probability(result, control, rail.loss_max)
        if chance < rail.alpha:
            losing[arm] = (
                f"propensity {result.propensity.value:.4f} against {control.propensity.value:.4f} "
                f"of {table.control!r} ({result.user_count} and {control.user_count} users, "
                f"p = {chance:.2g})"
            )
    return losing


def _measured(arm: str, source: str, rows: pa.Table, places: NDArray[np.int64]) -> ArmResult:
    """One arm, or one source within it; *places* are its impressions among the rows."""
    users = rows["user_id"].combine_chunks().dictionary_encode()
    if isinstance(users, pa.ChunkedArray):
        users = users.combine_chunks()
    codes = users.indices.to_numpy(zero_copy_only=False)[places]
    acted = rows["acted"].to_numpy().astype(np.float64)[places]
    impressions = np.bincount(codes, minlength=len(users.dictionary))
    actions = np.bincount(codes, acted, minlength=len(users.dictionary))
    is_seen = impressions > 0
    return measure_arm(arm, source, impressions[is_seen], actions[is_seen].astype(np.int64))


def _arms(name: str, told: pa.ChunkedArray) -> NDArray[np.object_]:
    """The arm of an experiment in each row; empty = it did not take part."""
    encoded = told.combine_chunks().fill_null("").dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    arms = [_arm(name, text) for text in encoded.dictionary.to_pylist()]
    words: NDArray[np.object_] = np.array([*arms, ""], object)
    return np.asarray(words[encoded.indices.to_numpy(zero_copy_only=False)])


def _arm(name: str, text: str) -> str:
    try:
        return str(orjson.loads(text).get(name, ""))
    except (ValueError, AttributeError):
        return ""


def _shown(context: JobContext[RankingConfig]) -> pa.Table:
    """
    Each impression of a known user once, and whether a save or a click followed.

    An action that names a list counts for that list; one that names none, for every list of the
    window that showed the user the pin.
    """
    events = context.data_root / "events"
    window_us = round(context.config.memboost_window_hours * 3_600e6)
    kinds = ", ".join(f"'{kind}'" for kind in COUNTED)
    engine = context.engine
    engine.table("impression_files", [events / "impressions"], schema=SHOWN_SCHEMA)
    engine.table("action_files", [events / "actions"], schema=ACTION_SCHEMA)
    engine.sql(
        f"""
        SELECT list_id, user_id, pin_id, impression_time_us, experiment_arms, sources FROM (
          SELECT *, row_number() OVER (
            PARTITION BY list_id, pin_id ORDER BY impression_time_us) AS copy_number
          FROM impression_files
          WHERE impression_time_us < {context.as_of_us} AND user_id <> ''
            AND experiment_arms <> '' AND experiment_arms <> '{{}}'
        ) AS numbered WHERE copy_number = 1
        """,  # noqa: S608  our own constants
        name="shown",
    )
    engine.sql(
        f"""
        SELECT DISTINCT s.list_id, s.pin_id FROM shown AS s
        JOIN action_files AS a ON a.user_id = s.user_id AND a.pin_id = s.pin_id
        WHERE a.action_type IN ({kinds}) AND a.action_time_us < {context.as_of_us}
          AND (coalesce(a.list_id, '') = '' OR a.list_id = s.list_id)
          AND a.action_time_us >= s.impression_time_us
          AND a.action_time_us < s.impression_time_us + {window_us}
        """,  # noqa: S608  our own constants
        name="acted",
    )
    engine.sql(
        """
        SELECT s.user_id, s.experiment_arms, s.sources,
          CASE WHEN a.pin_id IS NULL THEN 0 ELSE 1 END AS acted
        FROM shown AS s LEFT JOIN acted AS a ON a.list_id = s.list_id AND a.pin_id = s.pin_id
        """,
        name="outcomes",
    )
    return engine.read("outcomes")


def _before(context: JobContext[RankingConfig]) -> Mapping[str, Outcome]:
    """The figures of the last run."""
    try:
        generation = context.generations.current(EXPERIMENTS, format_version=FORMAT_VERSION)
        return {} if generation is None else Outcomes.open(generation.path).by_name
    except Corrupted:
        return {}


def add_arguments(parser: ArgumentParser) -> None:
    """The job's own arguments."""
    parser.add_argument(
        "--scenarios",
        type=Path,
        metavar="FILE",
        help="scenario file with the experiments (default: the setting scenario_file)",
    )


if __name__ == "__main__":
    run_job(NAME, run, RankingConfig, add_arguments=add_arguments)
