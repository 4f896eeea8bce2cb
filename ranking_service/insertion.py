"""Memboost insertion: winners that the sources lost are put back among the candidates."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from ranking_service.config import RankingConfig
from ranking_service.pool import Candidates, SourceList
from ranking_service.scoring import UnderQuery
from ranking_service.world import World

MEMBOOST_SOURCE: Final = "memboost"
"""Stands among the sources of a pin that is there only because it is remembered."""


def insert_winners(
    candidates: Candidates,
    remembered: UnderQuery,
    world: World,
    *,
    query_pin_id: str,
    count_max: int,
    config: RankingConfig,
    showable: Callable[[tuple[str, ...]], frozenset[str]],
    now: float,
) -> Candidates:
    """
    Add winners that no source proposed, as a list of a source of their own.

    Pins may have been deleted a second ago, so candidate_service is asked whether they may be
    shown; when it is away, what our catalogue says has to do.

    Source: Memboost insertion, Liu et al. 2017, section 4.1.
    """
    keys, scores = remembered.memory.winners(
        remembered.query_key,
        count_max,
        score_min=config.memboost_insert_score_min,
        impressions_min=config.memboost_insert_impression_count_min,
    )
    if not keys.size:
        return candidates
    rows = world.catalogue.rows_of_keys(keys)
    proposed = np.concatenate([np.empty(0, np.int32), *(some.rows for some in candidates.lists)])
    places = np.flatnonzero((rows >= 0) & ~np.isin(rows, proposed))
    places = places[world.catalogue.is_showable(rows[places], now)]
    if not places.size:
        return candidates
    ids = world.ids(rows[places])
    is_away = any(part == "candidates" for part, _ in candidates.missing)
    allowed = frozenset(ids) if is_away else showable(tuple(ids))
    places = places[[pin_id in allowed for pin_id in ids]]
    if not places.size:
        return candidates
    names = candidates.queried_ids
    behind = names.index(query_pin_id) if query_pin_id in names else -1
    inserted = SourceList(
        MEMBOOST_SOURCE, rows[places], scores[places], np.full(places.size, behind, np.int32)
    )
    return replace(candidates, lists=(*candidates.lists, inserted))
