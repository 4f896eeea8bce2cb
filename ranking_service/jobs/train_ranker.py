"""
Logged impressions and what users did next to a ranker: LightGBM, pointwise, judged on later lists.

The newest impressions never train.  Half of their users stop the training early, the other half
judge the model beside the hand-tuned one, on the same rows.  A model whose NDCG@10 is lower is not
published.
"""

from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from ranking_service.config import RankingConfig
from ranking_service.evaluation import Quality, measure
from ranking_service.examples import (
    Examples,
    Labelling,
    open_tables,
    read_examples,
    refuse_leaks,
    validation_start,
)
from ranking_service.features import FEATURE_NAMES
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.query import Surface
from ranking_service.ranker import (
    HAND_TUNED,
    POINTWISE_GBDT,
    RANKER_ARTIFACT,
    RANKER_FORMAT_VERSION,
    GbdtRanker,
    Ranker,
)
from service_runtime.job import JobContext, JobFailed, run_job

NAME: Final = "train_ranker"

POSITIVE_COUNT_MIN: Final = 20
"""Positives without which a set is too small to train, stop or judge on. Guess."""

RARE_SHARE: Final = 0.1
"""Positives rarer than this are weighted up. Source: the practice of Related Pins."""
WANTED_SHARE: Final = 0.2
"""Share of the weight that rare positives are given: there, as is was found to be good."""

CALIBRATION_STEP: Final = 1e-9
"""How exactly the bias is found, in nats."""

THREADED_ROW_COUNT: Final = 1_000_000
"""Examples from which on several threads train; below, they mostly wait for each other: on two busy
cores 106,000 examples took 5 times as long (and 8 times the CPU) with two threads as with one."""

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
    open_tables(
        context.engine,
        folders,
        events / "actions",
        surfaces=chosen_surfaces(context),
        as_of_us=context.as_of_us,
    )
    refuse_leaks(context.engine)
    boundary_us = validation_start(context.engine, labelling.validation_share)
    examples = read_examples(context.engine, labelling, boundary_us=boundary_us)
    parts = split(examples, boundary_us)
    refuse_few(parts)
    text, tree_count = train(context, parts["training"], parts["stopping"])
    bias = calibration(GbdtRanker(text).raw_scores(parts["stopping"].features), parts["stopping"])
    model = GbdtRanker(text, bias=bias)
    quality = {
        POINTWISE_GBDT: judge(model, parts["judging"]),
        HAND_TUNED: judge(make_hand_tuned(), parts["judging"]),
    }
    report = {
        "examples": {name: len(part) for name, part in parts.items()},
        "positives": {name: int(part.labels.sum()) for name, part in parts.items()},
        "validation_from_us": boundary_us,
        "tree_count": tree_count,
        "fallback_reason": model.fallback_reason,
        "quality": {name: figures._asdict() for name, figures in quality.items()},
    }
    refuse_worse(quality, report, is_forced=context.arguments.force)
    return {**report, "generation": publish(context, text, bias, report)}


def chosen_surfaces(context: JobContext[RankingConfig]) -> list[Surface]:
    """The surfaces to train for, each once."""
    return sorted({Surface[name.upper()] for name in context.arguments.surfaces})


def split(examples: Examples, boundary_us: int) -> dict[str, Examples]:
    """Older lists to train on; of the newer ones half of the users to stop, half to judge."""
    is_newer = examples.times_us >= boundary_us
    is_first_half = examples.user_parts % 2 == 0
    return {
        "training": examples.where(~is_newer),
        "stopping": examples.where(is_newer & is_first_half),
        "judging": examples.where(is_newer & ~is_first_half),
    }


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
    context: JobContext[RankingConfig], training: Examples, stopping: Examples
) -> tuple[str, int]:
    """Boost trees until the later lists stop getting better: the model's text, and the trees."""
    config = context.config
    weight = positive_weight(training.labels)
    advance = context.progress("training", config.tree_count_max)
    parameters = {
        "objective": "binary",
        "metric": "binary_logloss",
        "num_leaves": config.leaf_count_max,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": min(config.leaf_row_count_min, max(1, len(training) // 20)),
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "seed": context.seed,
        "num_threads": context.engine.threads if len(training) >= THREADED_ROW_COUNT else 1,
        "deterministic": True,
        "force_row_wise": True,
        "zero_as_missing": False,
        "verbose": -1,
    }
    rows = lightgbm.Dataset(
        training.features,
        training.labels,
        weight=np.where(training.labels == 1, weight, 1.0),
        feature_name=list(FEATURE_NAMES),
        free_raw_data=True,
    )
    later = rows.create_valid(
        stopping.features,
        stopping.labels,
        weight=np.where(stopping.labels == 1, weight, 1.0),
    )
    booster = lightgbm.train(
        parameters,
        rows,
        num_boost_round=config.tree_count_max,
        valid_sets=[later],
        callbacks=[
            lightgbm.early_stopping(STOP_ROUND_COUNT, verbose=False),
            lambda _: advance(1),
        ],
    )
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    return text, int(booster.best_iteration)


def calibration(raw_scores: NDArray[np.float64], examples: Examples) -> float:
    """
    The bias that makes the mean probability equal to the rate of positives.

    It takes back that rare positives weigh more in training; the order stays as it is.
    """
    wanted = float(examples.labels.mean())
    low, high = -40.0, 40.0
    while high - low > CALIBRATION_STEP:
        middle = (low + high) / 2.0
        mean = float((1.0 / (1.0 + np.exp(-raw_scores - middle))).mean())
        low, high = (middle, high) if mean < wanted else (low, middle)
    return (low + high) / 2.0


def judge(ranker: Ranker, examples: Examples) -> Quality:
    """The figures of a model, from the scores that serving would give."""
    return measure(examples.labels, ranker.score(examples.features), examples.lists)


def refuse_worse(
    quality: Mapping[str, Quality], report: Mapping[str, Any], *, is_forced: bool
) -> None:
    """
    The quality gate.

    Raises:
        JobFailed: If the trained model orders worse than the hand-tuned one, unless forced.
    """
    new, old = quality[POINTWISE_GBDT].ndcg_at_10, quality[HAND_TUNED].ndcg_at_10
    if not new >= old and not is_forced:
        raise JobFailed(
            f"the trained model's NDCG@10 is {new:.4f}, the hand-tuned one's {old:.4f}: "
            "not published",
            hint="log more impressions, or publish all the same with --force",
            report=report,
        )


def publish(
    context: JobContext[RankingConfig], text: str, bias: float, report: Mapping[str, Any]
) -> str:
    """Publish the model as a generation and return its id."""
    judged: Mapping[str, Mapping[str, float]] = report["quality"]
    quality = {
        **judged[POINTWISE_GBDT],
        **{f"{HAND_TUNED}_{name}": value for name, value in judged[HAND_TUNED].items()},
    }
    examples: Mapping[str, int] = report["examples"]
    with context.generations.draft(RANKER_ARTIFACT, format_version=RANKER_FORMAT_VERSION) as draft:
        GbdtRanker.write(
            draft.folder,
            text,
            feature_names=FEATURE_NAMES,
            bias=bias,
            surfaces=chosen_surfaces(context),
        )
        generation = draft.publish(
            as_of_us=context.as_of_us,
            counts={**examples, "trees": report["tree_count"]},
            quality=quality,
            details={"model": POINTWISE_GBDT, "seed": context.seed},
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
        default=[Surface.HOME_FEED.name.lower()],
        choices=[surface.name.lower() for surface in Surface],
        help="where the model will rank; trained on what was shown there (default: home_feed)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="publish even if the model orders worse than the hand-tuned one",
    )


if __name__ == "__main__":
    run_job(NAME, run, RankingConfig, add_arguments=add_arguments)
