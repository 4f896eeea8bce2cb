"""
The staged model becomes the serving one.

Servers swap it in by themselves; `corkboard rollback ranker` goes back.  What was seen of it beside
the serving one stands in ListModels and `corkboard status`; whoever promotes has looked at that.
"""

from collections.abc import Mapping
from typing import Any, Final

from ranking_service.config import RankingConfig
from ranking_service.feature_table import FEATURE_NAMES
from ranking_service.ranker import STAGED_ARTIFACT, promote
from service_runtime.job import JobContext, run_job
from service_runtime.telemetry import audit

NAME: Final = "promote_ranker"


def run(context: JobContext[RankingConfig]) -> Mapping[str, Any]:
    """
    Publish the staged model as the serving one.

    Returns:
        The model, its new generation, and the staged one that it was.
    """
    generation = promote(context.generations, feature_names=FEATURE_NAMES)
    model = str(generation.manifest.details.get("model", ""))
    audit("ranker.promoted", generation=generation.id, model=model)
    return {
        "model": model,
        "generation": generation.id,
        "staged_generation": generation.manifest.inputs[STAGED_ARTIFACT],
    }


if __name__ == "__main__":
    run_job(NAME, run, RankingConfig)
