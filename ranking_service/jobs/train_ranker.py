"""
Logged impressions and what users did next to a ranker, judged on later lists.

The newest impressions never train.  They are cut into halves by user: each half says when to stop
and calibrates, and the other half judges that, so that nothing is judged by rows that chose it.
A surface on whose lists the NDCG@10 is below the hand-tuned model's is left to the latter; a model
for which no surface is left, or that loses beyond doubt to the one that serves, is not published.
"""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ranking_service.config import RankingConfig
from ranking_service.evaluation import measure
from ranking_service.examples import OBJECTIVES, Labelling
from ranking_service.feature_table import FAMILIES, FEATURE_NAMES
from ranking_service.gate import POSITIVE_COUNT_MIN, Verdict, judge
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.light_score import LightScore
from ranking_service.models.boosting import BoostSettings
from ranking_service.models.calibration import calibration_error, reliability
from ranking_service.models.entries import (
    TRAINED_MODELS,
    TREE_MODELS,
    Fitted,
    Recipe,
    Trained,
    finished,
    fit,
)
from ranking_service.models.example_split import Slice, Split, counts, load_split
from ranking_service.models.light import learn_light
from ranking_service.models.pairs import Negatives
from ranking_service.models.search import Trial, search
from ranking_service.query import Surface
from ranking_service.ranker import (
    HAND_TUNED,
    POINTWISE_GBDT,
    RANKER_ARTIFACT,
    RANKER_FORMAT_VERSION,
    SAVE,
    STAGED_ARTIFACT,
    GbdtRanker,
    write_ranker,
)
from ranking_service.serving_gate import Comparison, compare_with, described, incumbent, lost
from service_runtime.errors import InvalidRequest
from service_runtime.job import JobContext, JobFailed, run_job
from service_runtime.telemetry import audit

NAME: Final = "train_ranker"


def run(context: JobContext[RankingConfig]) -> Mapping[str, Any]:
    """
    Train a ranker on impressions before `--as-of` and publish it if it beats the hand-tuned one.

    Returns:
        Counts, the quality of both models on the same rows, and the generation.
    """
    wanted = wanted_surfaces(context)
    split = open_split(context, wanted)
    chosen = recipe(context)
    split.only(chosen.slice).refuse_few()
    chosen, trials = searched(context, chosen, split)
    fitted = fit(chosen, split)
    assert fitted.ranker is not None
    newer = split.newer
    hand_tuned = make_hand_tuned().score(newer.features)
    verdicts = judge(
        split.training,
        newer,
        trained=fitted.judged,
        hand_tuned=hand_tuned,
        surfaces=wanted,
    )
    rival = incumbent(context.generations, feature_names=FEATURE_NAMES)
    compared = compare_with(rival, newer, fitted.judged, wanted)
    figures = {
        chosen.model: measure(newer.labels, fitted.judged, newer.lists),
        HAND_TUNED: measure(newer.labels, hand_tuned, newer.lists),
    }
    light, light_recall = learn_light(
        split.training,
        fitted.ranker.logits(split.training.features),
        newer,
        fitted.ranker.logits(newer.features),
        otherwise=make_hand_tuned().light,
    )
    report = {
        **counts(split),
        "model": chosen.model,
        "validation_from_us": split.boundary_us,
        "tree_count": fitted.size,
        "positive_weight": fitted.weight,
        "memboost_gain": fitted.ranker.memboost_gain,
        "fallback_reason": getattr(fitted.ranker, "fallback_reason", ""),
        "quality": {name: quality._asdict() for name, quality in figures.items()},
        "light_recall": None if np.isnan(light_recall) else light_recall,
        "calibration_error": calibration_error(fitted.judged, newer.labels),
        "reliability": [bar._asdict() for bar in reliability(fitted.judged, newer.labels)],
        "surfaces": {
            surface.name.lower(): {"is_served": verdict.passes, **verdict.figures()}
            for surface, verdict in verdicts.items()
        },
        "serving": described(rival, compared),
        "search": [asdict(trial) for trial in trials],
    }
    refuse_lost(compared, report, is_forced=context.arguments.force)
    served = served_surfaces(verdicts, report, is_forced=context.arguments.force)
    trained = objectives(context, chosen, split, fitted)
    generation = publish(context, chosen, trained, report, surfaces=served, light=light)
    return {**report, "generation": generation}


def open_split(context: JobContext[RankingConfig], surfaces: Sequence[Surface]) -> Split:
    """Examples of the logs of the data root, or of the folders that were given."""
    config = context.config
    events = context.data_root / "events"
    folders: list[Path] = context.arguments.impressions or [events / "impressions"]
    labelling = Labelling(
        as_of_us=context.as_of_us,
        horizon_us=round(config.label_horizon_days * 86_400e6),
        strength_min=config.label_strength_min,
        validation_share=config.validation_share,
    )
    return load_split(
        context.engine, folders, events / "actions", labelling=labelling, surfaces=surfaces
    )


def wanted_surfaces(context: JobContext[RankingConfig]) -> list[Surface]:
    """The surfaces to train for, each once."""
    return sorted({Surface[name.upper()] for name in context.arguments.surfaces})


def recipe(context: JobContext[RankingConfig]) -> Recipe:
    """What was asked for, by settings and arguments."""
    config, arguments = context.config, context.arguments
    return Recipe(
        model=arguments.model,
        boosting=BoostSettings(
            tree_count_max=config.tree_count_max,
            leaf_count_max=config.leaf_count_max,
            learning_rate=config.learning_rate,
            leaf_row_count_min=config.leaf_row_count_min,
            threads=context.engine.threads,
            seed=context.seed,
            advance=context.progress("training", config.tree_count_max),
        ),
        positive_weight=config.positive_weight,
        negatives=Negatives(arguments.negatives),
        left_out=tuple(arguments.without),
        slice=Slice(arguments.slice),
    )


def searched(
    context: JobContext[RankingConfig], chosen: Recipe, split: Split
) -> tuple[Recipe, tuple[Trial, ...]]:
    """
    The recipe with the best settings that were tried, if any were to be.

    Raises:
        InvalidRequest: If the model has no such settings.
    """
    count: int = context.arguments.search
    if not count:
        return chosen, ()
    if chosen.model not in TREE_MODELS:
        raise InvalidRequest(f"{chosen.model} has no settings to search", field="--search")
    return search(chosen, split, count=count, newer_share=context.config.validation_share)


def objectives(
    context: JobContext[RankingConfig], chosen: Recipe, split: Split, fitted: Fitted
) -> dict[str, Trained]:
    """The model of every objective that was asked for; one with too few positives is left out."""
    assert fitted.ranker is not None
    trained = {SAVE: fitted.ranker}
    for name in context.arguments.objectives:
        first, second = (half.of_objective(name) for half in split.halves)
        training = split.training.of_objective(name)
        fewest = min(int(part.labels.sum()) for part in (training, first, second))
        if name != SAVE and fewest >= POSITIVE_COUNT_MIN:
            other = fit(chosen, replace(split, training=training, halves=(first, second)))
            assert other.ranker is not None
            trained[name] = other.ranker
    return trained


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


def refuse_lost(
    compared: Mapping[Surface, Comparison], report: Mapping[str, Any], *, is_forced: bool
) -> None:
    """
    The quality gate against the model that serves.

    Raises:
        JobFailed: If the trained one orders worse beyond doubt, unless forced.
    """
    if (where := lost(compared)) and not is_forced:
        raise JobFailed(
            f"the trained model's NDCG@10 is below the serving one's: {where}; not published",
            hint="look at --model, --slice and the logs, or publish all the same with --force",
            report=report,
        )


def publish(
    context: JobContext[RankingConfig],
    chosen: Recipe,
    trained: Mapping[str, Trained],
    report: Mapping[str, Any],
    *,
    surfaces: Sequence[Surface],
    light: LightScore,
) -> str:
    """Publish the model as a generation and return its id."""
    judged: Mapping[str, Mapping[str, float]] = report["quality"]
    quality = {
        **judged[chosen.model],
        **{f"{HAND_TUNED}_{name}": value for name, value in judged[HAND_TUNED].items()},
        "calibration_error": report["calibration_error"],
        **({} if report["light_recall"] is None else {"light_recall": report["light_recall"]}),
        **{
            f"{surface}_{name}": float(value)
            for judged_by in (report["surfaces"], report["serving"]["surfaces"])
            for surface, figures in judged_by.items()
            for name, value in figures.items()
            if not np.isnan(value)
        },
    }
    examples: Mapping[str, int] = report["examples"]
    served = {
        name: finished(ranker, ranker.calibration, ranker.memboost_gain, surfaces)
        for name, ranker in trained.items()
    }
    artifact = STAGED_ARTIFACT if context.arguments.stage else RANKER_ARTIFACT
    with context.generations.draft(artifact, format_version=RANKER_FORMAT_VERSION) as draft:
        write_ranker(
            draft.folder,
            served,
            feature_names=FEATURE_NAMES,
            left_out=chosen.left_out,
            light=light,
        )
        generation = draft.publish(
            as_of_us=context.as_of_us,
            counts={**examples, "trees": report["tree_count"]},
            quality=quality,
            details={
                "model": chosen.model,
                "objectives": list(served),
                "slice": chosen.slice.value,
                "left_out": list(chosen.left_out),
                "seed": context.seed,
                "surfaces": [surface.name.lower() for surface in surfaces],
                "is_fast": all(
                    not isinstance(ranker, GbdtRanker) or not ranker.fallback_reason
                    for ranker in served.values()
                ),
            },
        )
    done = "ranker.staged" if context.arguments.stage else "ranker.published"
    audit(done, generation=generation.id, model=chosen.model)
    return generation.id


def add_shared_arguments(parser: ArgumentParser) -> None:
    """Arguments of every job that reads examples."""
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
        help="surfaces whose lists are looked at (default: all)",
    )
    parser.add_argument(
        "--model",
        default=POINTWISE_GBDT,
        choices=TRAINED_MODELS,
        help="kind of model (default: %(default)s)",
    )
    parser.add_argument(
        "--negatives",
        default=Negatives.BOTH.value,
        choices=[kind.value for kind in Negatives],
        help="what session_pairs adds to the pins shown before a saved one (default: %(default)s)",
    )
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"families ({', '.join(FAMILIES)}) or features to leave out",
    )
    parser.add_argument(
        "--slice",
        default=Slice.ALL.value,
        choices=[kind.value for kind in Slice],
        help="lists that train: all, those in random order, or both at equal weight",
    )


def add_arguments(parser: ArgumentParser) -> None:
    """The job's own arguments."""
    add_shared_arguments(parser)
    parser.add_argument(
        "--objectives",
        nargs="+",
        default=[SAVE],
        choices=list(OBJECTIVES),
        help="what to train for; the setting objective_weights says what counts (default: save)",
    )
    parser.add_argument(
        "--search",
        type=int,
        default=0,
        metavar="COUNT",
        help="try so many settings of trees on training lists first, those of the configuration "
        "among them, and take the best (default: none are tried)",
    )
    parser.add_argument(
        "--stage",
        action="store_true",
        help="publish beside the serving model: it ranks a share of the answers that nobody sees",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="publish even if the model orders worse than the hand-tuned one",
    )


if __name__ == "__main__":
    run_job(NAME, run, RankingConfig, add_arguments=add_arguments)
