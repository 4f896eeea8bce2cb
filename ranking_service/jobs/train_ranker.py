"""
Logged impressions and what users did next to a ranker: LightGBM, pointwise, judged on later lists.

The newest impressions never train.  They are cut into halves by user: each half says after how many
trees to stop, and the other half judges the model of that size, so that nothing is judged by rows
that chose it.  A surface on whose lists the model's NDCG@10 is below that of the hand-tuned one is
left to the latter; a model for which no surface is left is not published.
"""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from ranking_service.config import RankingConfig
from ranking_service.evaluation import measure
from ranking_service.examples import (
    Examples,
    Labelling,
    open_tables,
    read_examples,
    refuse_leaks,
    validation_start,
)
from ranking_service.features import FEATURE_NAMES
from ranking_service.gate import POSITIVE_COUNT_MIN, Verdict, judge
from ranking_service.hand_tuned import BIAS, make_hand_tuned
from ranking_service.query import Surface
from ranking_service.ranker import (
    HAND_TUNED,
    POINTWISE_GBDT,
    RANKER_ARTIFACT,
    RANKER_FORMAT_VERSION,
    GbdtRanker,
)
from service_runtime.job import JobContext, JobFailed, run_job

NAME: Final = "train_ranker"

RARE_SHARE: Final = 0.1
"""Positives rarer than this are weighted up. Source: the practice of Related Pins."""
WANTED_SHARE: Final = 0.2
"""Share of the weight that rare positives are given: there, as is was found to be good."""

CALIBRATION_STEP: Final = 1e-9
"""How exactly the bias is found, in nats."""

BASE: Final = make_hand_tuned(bias=0.0)
"""
What the trees are boosted from: with few data the model is the hand-tuned one, a little better,
instead of the charts. On replayed MovieLens: NDCG@10 .26 instead of .24 for people with a profile.
"""

THREADED_ROW_COUNT: Final = 1_000_000
"""Examples from which on several threads train; below, they mostly wait for each other: on two busy
cores 106,000 examples took 5 times as long (and 8 times the CPU) with two threads as with one."""

POSITIVES_PER_LEAF: Final = 200
"""Positives that one more leaf of a tree takes. Guess; on 2,000 of them 7 to 15 leaves did best."""
LEAF_COUNT_MIN: Final = 7

STOP_ROUND_COUNT: Final = 30
"""Trees without progress after which training stops. Guess."""


def run(context: JobContext[RankingConfig]) -> Mapping[str, Any]:
    """
    Train a ranker on impressions before `--as-of` and publish it if it beats the hand-tuned one.

    Returns:
        Counts, the quality of both models on the same rows, and the generation.
    """
    config = context.config
    events = context.data_root / "events"
    folders: list[Path] = context.arguments.impressions or [events / "impressions"]
    labelling = Labelling(
        as_of_us=context.as_of_us,
        horizon_us=round(config.label_horizon_days * 86_400e6),
        strength_min=config.label_strength_min,
        validation_share=config.validation_share,
    )
    wanted = wanted_surfaces(context)
    open_tables(
        context.engine,
        folders,
        events / "actions",
        surfaces=wanted,
        as_of_us=context.as_of_us,
    )
    refuse_leaks(context.engine)
    boundary_us = validation_start(context.engine, labelling.validation_share)
    examples = read_examples(context.engine, labelling, boundary_us=boundary_us).of_known_users()
    training, halves = split(examples, boundary_us)
    refuse_few({"training": training, "one half": halves[0], "other half": halves[1]})
    booster, sizes = train(context, training, halves)
    judged = crossed(booster, sizes, halves)
    size = round(sum(sizes) / 2)
    text = booster.model_to_string(num_iteration=size)
    newer = joined(halves)
    bias = calibration(GbdtRanker(text, base=BASE).logits(newer.features), newer)
    hand_tuned = make_hand_tuned().score(newer.features)
    verdicts = judge(
        training,
        newer,
        trained=judged,
        hand_tuned=hand_tuned,
        surfaces=wanted,
    )
    figures = {
        POINTWISE_GBDT: measure(newer.labels, judged, newer.lists),
        HAND_TUNED: measure(newer.labels, hand_tuned, newer.lists),
    }
    report = {
        "examples": {"training": len(training), "judging": len(newer)},
        "positives": {
            "training": int(training.labels.sum()),
            "judging": int(newer.labels.sum()),
        },
        "validation_from_us": boundary_us,
        "tree_count": size,
        "fallback_reason": GbdtRanker(text).fallback_reason,
        "quality": {name: quality._asdict() for name, quality in figures.items()},
        "surfaces": {
            surface.name.lower(): {"is_served": verdict.passes, **verdict.figures()}
            for surface, verdict in verdicts.items()
        },
    }
    served = served_surfaces(verdicts, report, is_forced=context.arguments.force)
    return {**report, "generation": publish(context, text, bias, report, surfaces=served)}


def wanted_surfaces(context: JobContext[RankingConfig]) -> list[Surface]:
    """The surfaces to train for, each once."""
    return sorted({Surface[name.upper()] for name in context.arguments.surfaces})


def split(examples: Examples, boundary_us: int) -> tuple[Examples, tuple[Examples, Examples]]:
    """The older lists, and the newer ones in two halves that share no user."""
    is_newer = examples.times_us >= boundary_us
    is_even = examples.user_parts % 2 == 0
    halves = examples.where(is_newer & is_even), examples.where(is_newer & ~is_even)
    return examples.where(~is_newer), halves


def joined(halves: tuple[Examples, Examples]) -> Examples:
    """Both halves as one, the first one first."""
    arrays = (
        np.concatenate([getattr(half, field.name) for half in halves]) for field in fields(Examples)
    )
    return Examples(*arrays)


def refuse_few(parts: Mapping[str, Examples]) -> None:
    """
    Check that there is something to learn from.

    Raises:
        JobFailed: If a part has too few positives.
    """
    for name, part in parts.items():
        if (count := int(part.labels.sum())) < POSITIVE_COUNT_MIN:
            raise JobFailed(
                f"{count} positives among {len(part)} examples for {name}, at least "
                f"{POSITIVE_COUNT_MIN} are needed",
                hint="log more impressions, or lengthen label_horizon_days",
                report={"examples": {key: len(value) for key, value in parts.items()}},
            )


def positive_weight(labels: NDArray[np.int8]) -> float:
    """How much a positive weighs beside a negative: 1 unless positives are rare."""
    share = float(labels.mean())
    if share >= RARE_SHARE:
        return 1.0
    return WANTED_SHARE * (1.0 - share) / (share * (1.0 - WANTED_SHARE))


def train(
    context: JobContext[RankingConfig], training: Examples, halves: tuple[Examples, Examples]
) -> tuple[lightgbm.Booster, tuple[int, int]]:
    """
    Boost trees until neither half of the later lists gets better.

    Returns:
        The trees, and how many of them serve each half best.
    """
    config = context.config
    weight = positive_weight(training.labels)
    chosen = parameters(context, training)
    rows = dataset(training, chosen, weight)
    booster = lightgbm.Booster(chosen, rows)
    for number, half in enumerate(halves):
        booster.add_valid(dataset(half, chosen, weight, reference=rows), f"half_{number}")
    advance = context.progress("training", config.tree_count_max)
    best, sizes = [np.inf, np.inf], [0, 0]
    for size in range(1, config.tree_count_max + 1):
        is_finished = booster.update()
        advance(1)
        for number, (_, _, loss, *_) in enumerate(booster.eval_valid()):
            if loss < best[number]:
                best[number], sizes[number] = loss, size
        if is_finished or size - max(sizes) >= STOP_ROUND_COUNT:
            break
    return booster, (sizes[0], sizes[1])


def dataset(
    examples: Examples,
    chosen: Mapping[str, Any],
    weight: float,
    *,
    reference: lightgbm.Dataset | None = None,
) -> lightgbm.Dataset:
    """
    Examples as LightGBM takes them, positives with their weight.

    The parameters go to every set: one made without them sets the number of threads of the whole
    process back to all cores.
    """
    return lightgbm.Dataset(
        examples.features,
        examples.labels,
        params=dict(chosen),
        weight=np.where(examples.labels == 1, weight, 1.0),
        init_score=BASE.logits(examples.features) + BIAS,
        feature_name=list(FEATURE_NAMES),
        reference=reference,
    )


def parameters(context: JobContext[RankingConfig], training: Examples) -> dict[str, Any]:
    """How to boost: the settings, fewer leaves where there is little to learn from."""
    config = context.config
    affordable = int(training.labels.sum()) // POSITIVES_PER_LEAF
    threads = context.engine.threads if len(training) >= THREADED_ROW_COUNT else 1
    return {
        "objective": "binary",
        "metric": "binary_logloss",
        "num_leaves": min(config.leaf_count_max, max(LEAF_COUNT_MIN, affordable)),
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": min(config.leaf_row_count_min, max(1, len(training) // 20)),
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "seed": context.seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "zero_as_missing": False,
        "verbose": -1,
    }


def crossed(
    booster: lightgbm.Booster, sizes: tuple[int, int], halves: tuple[Examples, Examples]
) -> NDArray[np.float32]:
    """Calibrated scores of each half by the trees that the other half chose, float32[n]."""
    scores = []
    for number, judging in enumerate(halves):
        stopping, size = halves[1 - number], sizes[1 - number]
        text = booster.model_to_string(num_iteration=size)
        bias = calibration(GbdtRanker(text, base=BASE).logits(stopping.features), stopping)
        scores.append(GbdtRanker(text, base=BASE, bias=bias).score(judging.features))
    return np.concatenate(scores)


def calibration(logits: NDArray[np.float64], examples: Examples) -> float:
    """
    The bias that makes the mean probability equal to the rate of positives.

    It takes back that rare positives weigh more in training; the order stays as it is.
    """
    wanted = float(examples.labels.mean())
    low, high = -40.0, 40.0
    while high - low > CALIBRATION_STEP:
        middle = (low + high) / 2.0
        mean = float((1.0 / (1.0 + np.exp(-logits - middle))).mean())
        low, high = (middle, high) if mean < wanted else (low, middle)
    return (low + high) / 2.0


def served_surfaces(
    verdicts: Mapping[Surface, Verdict], report: Mapping[str, Any], *, is_forced: bool
) -> list[Surface]:
    """
    The quality gate: where the trained model may rank.

    Raises:
        JobFailed: If it may rank nowhere, unless forced.
    """
    served = [surface for surface, verdict in verdicts.items() if verdict.passes or is_forced]
    if not served:
        compared = ", ".join(
            f"{surface.name.lower()} {verdict.trained.ndcg_at_10:.4f} against "
            f"{verdict.hand_tuned.ndcg_at_10:.4f}"
            for surface, verdict in verdicts.items()
        )
        raise JobFailed(
            f"the trained model's NDCG@10 is below the hand-tuned one's: {compared}; not published",
            hint="log more impressions, or publish all the same with --force",
            report=report,
        )
    return served


def publish(
    context: JobContext[RankingConfig],
    text: str,
    bias: float,
    report: Mapping[str, Any],
    *,
    surfaces: Sequence[Surface],
) -> str:
    """Publish the model as a generation and return its id."""
    judged: Mapping[str, Mapping[str, float]] = report["quality"]
    quality = {
        **judged[POINTWISE_GBDT],
        **{f"{HAND_TUNED}_{name}": value for name, value in judged[HAND_TUNED].items()},
        **{
            f"{surface}_{name}": float(value)
            for surface, figures in report["surfaces"].items()
            for name, value in figures.items()
            if not np.isnan(value)
        },
    }
    examples: Mapping[str, int] = report["examples"]
    with context.generations.draft(RANKER_ARTIFACT, format_version=RANKER_FORMAT_VERSION) as draft:
        GbdtRanker.write(
            draft.folder,
            text,
            feature_names=FEATURE_NAMES,
            bias=bias,
            base=BASE,
            surfaces=surfaces,
        )
        generation = draft.publish(
            as_of_us=context.as_of_us,
            counts={**examples, "trees": report["tree_count"]},
            quality=quality,
            details={
                "model": POINTWISE_GBDT,
                "seed": context.seed,
                "surfaces": [surface.name.lower() for surface in surfaces],
            },
        )
    return generation.id


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
        "--surfaces",
        nargs="+",
        default=[surface.name.lower() for surface in Surface],
        choices=[surface.name.lower() for surface in Surface],
        help="where the model may rank if it proves good there (default: everywhere)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="publish even if the model orders worse than the hand-tuned one",
    )


if __name__ == "__main__":
    run_job(NAME, run, RankingConfig, add_arguments=add_arguments)
