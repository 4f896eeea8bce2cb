"""
What the vectors of texts and of pictures say of each candidate, each kind in a space of its own.

They are those that users import (`text_vector`, `visual_vector`) or that `embed_images` makes, and
stand beside the vectors that everything else is compared by: a pin may read like the query pin
and look like nothing of it.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service import kernels, overlap_kernels
from ranking_service.feature_context import FeatureContext
from ranking_service.pool import Pool

CONTENT_MEDOID_COUNT_MAX: Final = 8
"""Interests, the most important ones, that are compared by text and picture. Guess; each costs
2 ns a candidate at 128 dimensions."""

_NO_COLUMNS: Final[dict[str, NDArray[np.float32]]] = {}


def content_features(pool: Pool, context: FeatureContext) -> dict[str, NDArray[np.float32]]:
    """
    Columns of a pool by feature, float32[n] each; a kind of which there are no vectors has none.

    A pin that is younger than its table has no vector there.
    """
    side = context.world.side
    return {
        **_of_kind("text", side.text_vectors, pool, context),
        **_of_kind("visual", side.visual_vectors, pool, context),
    }


def _of_kind(
    kind: str, table: NDArray[np.float32] | None, pool: Pool, context: FeatureContext
) -> dict[str, NDArray[np.float32]]:
    """The columns of one kind of vectors."""
    if table is None or not len(table) or not len(pool):
        return _NO_COLUMNS
    rows, _ = context.split(pool.rows, len(table))
    columns: dict[str, NDArray[np.float32]] = {
        f"has_{kind}_vector": kernels.has_vector(table, rows).astype(np.float32)
    }
    query = np.array([context.query_row] if context.query_row >= 0 else [], np.int32)
    groups = {
        "query": _known(query, table, context),
        "profile": _known(context.medoid_rows[:CONTENT_MEDOID_COUNT_MAX], table, context),
        "session": _known(context.session_rows, table, context),
    }
    targets = np.concatenate(list(groups.values()))
    if not targets.size:
        return columns
    # All targets in one pass: what costs is to fetch the candidates' vectors.
    cosines = kernels.cosines(table, rows, np.asarray(table[targets]))
    begin = 0
    for name, group in groups.items():
        if group.size:
            found = overlap_kernels.closest(cosines, begin, begin + group.size)
            columns[f"{kind}_vector_{name}"] = found[:, 0]
        begin += group.size
    return columns


def _known(
    rows: NDArray[np.int32], table: NDArray[np.float32], context: FeatureContext
) -> NDArray[np.int32]:
    """Those of some pins that have a vector in the table, int32[m]."""
    known, _ = context.split(rows, len(table))
    return known[kernels.has_vector(table, known)]
