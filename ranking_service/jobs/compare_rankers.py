"""
Train every model on the logs and judge all of them on the same later lists; publish nothing.

`corkboard evaluate ranking` runs this and makes a page of what it prints.
"""

from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.config import RankingConfig
from ranking_service.examples import Examples, Labelling, pin_key
from ranking_service.models.boosting import BoostSettings
from ranking_service.models.comparison import EXAMINATION, compare, described
from ranking_service.models.entries import TRAINED_MODELS, Recipe
from ranking_service.models.example_split import counts, load_split
from ranking_service.query import Surface
from ranking_service.tree_ranker import POINTWISE_GBDT
from ranking_service.world import Artifacts
from service_runtime.errors import NotReady
from service_runtime.job import JobContext, run_job

NAME: Final = "compare_rankers"


def run(context: JobContext[RankingConfig]) -> Mapping[str, Any]:
    """
    Compare all models on impressions before `--as-of`.

    Returns:
        Counts, and for every model, family, slice and kind of negatives its figures.
    """
    config, arguments = context.config, context.arguments
    events = context.data_root / "events"
    split = load_split(
        context.engine,
        arguments.impressions or [events / "impressions"],
        events / "actions",
        labelling=Labelling(
            as_of_us=context.as_of_us,
            horizon_us=round(config.label_horizon_days * 86_400e6),
            strength_min=config.label_strength_min,
            validation_share=config.validation_share,
        ),
        surfaces=list(Surface),
    )
    split.refuse_few()
    recipe = Recipe(
        model=arguments.model,
        boosting=BoostSettings(
            tree_count_max=config.tree_count_max,
            leaf_count_max=config.leaf_count_max,
            learning_rate=config.learning_rate,
            leaf_row_count_min=config.leaf_row_count_min,
            threads=context.engine.threads,
            seed=context.seed,
            advance=lambda _: None,
        ),
    )
    advance = context.progress("comparing", 23)
    found = compare(
        split,
        recipe,
        vectors=judged_vectors(context, split.newer),
        say=lambda _: advance(1),
    )
    return {
        **counts(split),
        "recipe": described(recipe),
        "examination": list(EXAMINATION),
        **found,
    }


def judged_vectors(
    context: JobContext[RankingConfig], newer: Examples
) -> NDArray[np.float32] | None:
    """Vectors of the judged pins, float32[n, d]; None without a catalogue or vectors."""
    try:
        world = Artifacts(context.generations).world()
    except NotReady:
        return None
    if world.vectors is None:
        return None
    ids = world.catalogue.pin_ids.ids(np.arange(len(world.vectors), dtype=np.int32))
    keys = np.array([pin_key(pin_id) for pin_id in ids], np.int64)
    order = np.argsort(keys)
    at = np.searchsorted(keys[order], newer.pin_keys).clip(max=len(keys) - 1)
    rows = order[at]
    is_known = keys[rows] == newer.pin_keys
    return np.where(is_known[:, None], world.vectors[rows], np.float32(0.0))


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
        "--model",
        default=POINTWISE_GBDT,
        choices=TRAINED_MODELS,
        help="model that families and slices are tried on (default: %(default)s)",
    )


if __name__ == "__main__":
    run_job(NAME, run, RankingConfig, add_arguments=add_arguments)
