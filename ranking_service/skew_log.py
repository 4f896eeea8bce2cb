"""
Features of exported impressions, made anew from the log and the artifacts that the log names.

The service compares some of its rows the moment they are logged (`skew`).  What only shows later is
looked for here: a feature whose definition changed although its name did not, an artifact that is
no longer what it was, a file that is read back otherwise than it was written.  Columns that need
what is not logged (the profile, the viewer, the searches) are left to the service's own check.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from ranking_service.catalogue import STATISTIC_COUNTS
from ranking_service.feature_table import FEATURE_NAMES, NAMED_SOURCES
from ranking_service.features import feature_rows, make_context
from ranking_service.pool import Pool
from ranking_service.profile import NOBODY
from ranking_service.query import Origin, RequestContext, Surface, Viewer
from ranking_service.skew import differing
from ranking_service.world import World

RECOMPUTED: Final = (
    *(f"{source}_rank" for source in NAMED_SOURCES),
    *("source_count", "rank_fusion", "behind_cosine"),
    *("is_related", "from_search", "from_board", "from_home"),
    *("query_cosine", "query_cooccurrence", "query_walk", "topic_query", "word_query"),
    *("text_vector_query", "visual_vector_query"),
    *("has_vector", "has_text_vector", "has_visual_vector"),
    *("pin_age", "is_fresh", "topic_count"),
    *(f"log_{name}" for name in STATISTIC_COUNTS),
    *("save_share", "long_click_share", "hide_share", "save_age", "memboost"),
)
"""Features that follow from a logged row and the artifacts that it names."""

RECOMPUTED_COLUMNS: Final = tuple(FEATURE_NAMES.index(name) for name in RECOMPUTED)
"""Where they stand in a row."""

LOGGED_COLUMNS: Final = (
    *("list_id", "position", "feature_time_us", "generations", "surface", "query_pin_id"),
    *("pin_id", "sources", "source_ranks", "source_query_pin_ids", "feature_set", "features"),
    *("origin", "memboost"),
)
"""What is read of exported impressions."""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Told:
    """Memboost as it was logged: the score of each candidate by its row."""

    by_row: Mapping[int, float]

    def scores(self, query_row: int, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `feature_context.Remembered`."""
        del query_row
        return np.array([self.by_row.get(row, 0.0) for row in rows.tolist()], np.float32)


def is_of(world: World, rows: Rows) -> bool:
    """Whether a list was answered from just the artifacts of this world."""
    logged = orjson.loads(rows[0]["generations"] or "{}")
    return all(logged.get(artifact) == known for artifact, known in world.generations.items())


def compared(
    world: World, rows: Rows, *, left_out: Collection[str] = ()
) -> NDArray[np.bool_] | None:
    """
    Which features of a list are not what they would be now.

    Args:
        world: The artifacts that the list was answered from; see `is_of`.
        rows: The shown pins of one list, with LOGGED_COLUMNS.
        left_out: Families or features that serving leaves out.

    Returns:
        bool[k, len(RECOMPUTED)], a row for each pin that the catalogue knows; None where it does
        not know the query pin, or none of the pins.
    """
    pin_rows = world.catalogue.pin_ids.rows([row["pin_id"] for row in rows])
    known = [row for row, place in zip(rows, pin_rows.tolist(), strict=True) if place >= 0]
    pin_rows = pin_rows[pin_rows >= 0]
    query_pin_id = rows[0]["query_pin_id"] or ""
    query_row = int(world.catalogue.pin_ids.rows([query_pin_id])[0]) if query_pin_id else -1
    if not known or (query_pin_id and query_row < 0):
        return None
    memboosts = dict(zip(pin_rows.tolist(), (row["memboost"] for row in known), strict=True))
    context = make_context(
        world,
        NOBODY,
        Viewer(),
        surface=Surface[rows[0]["surface"].upper()],
        query_row=query_row,
        now=rows[0]["feature_time_us"] / 1e6,
        context=RequestContext(origin=Origin[(rows[0]["origin"] or "unspecified").upper()]),
        memboost=_Told(memboosts),
    )
    again = feature_rows(_pool(world, known, pin_rows), context, left_out=left_out)
    logged = np.array([row["features"] for row in known], np.float32)
    columns = list(RECOMPUTED_COLUMNS)
    return differing(logged[:, columns], again[:, columns])


def _pool(world: World, rows: Rows, pin_rows: NDArray[np.int32]) -> Pool:
    """The shown pins as the lists proposed them; the scores of the lists are not told."""
    names = sorted({name for row in rows for name in row["sources"]})
    queried = sorted({name for row in rows for name in row["source_query_pin_ids"] if name})
    place_of = {name: place for place, name in enumerate(queried)}
    ranks = np.full((len(rows), len(names)), -1, np.int32)
    indexes = np.full((len(rows), len(names)), -1, np.int32)
    for at, row in enumerate(rows):
        told = zip(row["sources"], row["source_ranks"], row["source_query_pin_ids"], strict=True)
        for name, rank, query_pin_id in told:
            column = names.index(name)
            ranks[at, column] = rank
            indexes[at, column] = place_of.get(query_pin_id, -1)
    return Pool(
        pin_rows,
        tuple(names),
        ranks,
        np.zeros(ranks.shape, np.float32),
        indexes,
        np.zeros(len(names), np.float32),
        world.catalogue.pin_ids.rows(queried),
    )
