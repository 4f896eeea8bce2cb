"""Why each pin of an answer is there: sources, and the pin that speaks for it."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service import kernels
from ranking_service.answer import RankedPin, SourceReason
from ranking_service.features import FeatureContext
from ranking_service.pool import Candidates, Pool

BECAUSE_COSINE_MIN: Final = 0.3
"""How near a medoid must be to explain a pin that no source proposed. Guess."""


def explain(
    pool: Pool,
    candidates: Candidates,
    context: FeatureContext,
    *,
    positions: NDArray[np.intp],
    scores: NDArray[np.float32],
) -> tuple[RankedPin, ...]:
    """
    Say for the shown candidates, and only for them, where they come from.

    Args:
        pool: All candidates.
        candidates: What the pool was merged from.
        context: What they were compared with.
        positions: The shown candidates' places in the pool, best first, intp[k].
        scores: Score of each place of the pool, float32[n].
    """
    shown = pool.rows[positions]
    proposed = pool.take(positions)
    behind = proposed.query_behind()
    propensities = np.append(candidates.inclusion_probabilities, np.float32(1.0))[behind]
    if pool.sources:
        names = np.array([*candidates.queried_ids, ""], object)
        because = names[np.where(proposed.is_led_by_popularity(), -1, behind)].tolist()
    else:
        because = _nearest(shown, context)
    rows = zip(
        context.world.ids(shown),
        scores[positions].tolist(),
        _reasons(proposed, candidates.queried_ids),
        because,
        propensities.tolist(),
        strict=True,
    )
    return tuple(RankedPin(*row) for row in rows)


def _reasons(proposed: Pool, queried_ids: Sequence[str]) -> list[tuple[SourceReason, ...]]:
    """The sources of each shown candidate, the one that ranked it highest first."""
    names = (*queried_ids, "")
    ranks = proposed.ranks.tolist()
    scores = proposed.scores.tolist()
    indexes = proposed.query_indexes.tolist()
    reasons = []
    for own_ranks, own_scores, own_indexes in zip(ranks, scores, indexes, strict=True):
        proposals = zip(own_ranks, proposed.sources, own_scores, own_indexes, strict=True)
        reasons.append(
            tuple(
                SourceReason(source, rank, score, names[index])
                for rank, source, score, index in sorted(proposals)
                if rank >= 0
            )
        )
    return reasons


def _nearest(shown: NDArray[np.int32], context: FeatureContext) -> list[str]:
    """The query pin, or a medoid that is near enough, for pins that no source proposed."""
    vectors = context.world.vectors
    if context.query_row >= 0:  # it may be younger than the catalogue
        return context.world.ids(np.array([context.query_row], np.int32)) * shown.size
    if vectors is None:
        return [""] * shown.size
    medoids = context.medoid_rows[context.medoid_rows < len(vectors)]  # others are younger
    if not medoids.size or not shown.size:
        return [""] * shown.size
    rows = np.where(shown < len(vectors), shown, np.int32(-1))
    cosines = kernels.cosines(vectors, rows, np.ascontiguousarray(vectors[medoids]))
    names = [*context.world.ids(medoids), ""]
    nearest = np.where(cosines.max(axis=1, initial=0) >= BECAUSE_COSINE_MIN, cosines.argmax(1), -1)
    return [names[place] for place in nearest.tolist()]
