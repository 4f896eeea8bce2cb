"""Which candidates a named rule or a promotion is about, found for a whole pool at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranking_service import kernels
from ranking_service.pin_keys import keys_of
from ranking_service.pool import Pool
from ranking_service.world import World

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """
    What a pin must be like; all that is given must hold, and what is not known never does.

    Attributes:
        pin_ids: One of these pins; empty = any.
        owner_ids: Of one of these owners; empty = any.
        topics: With one of these topics; empty = any.
        languages: In one of these languages; empty = any.
        countries: From one of these countries; empty = any.
        sources: Proposed by one of these sources; empty = any.
        age_days_min: At least so old; None = any.
        age_days_max: At most so old; None = any.
    """

    pin_ids: tuple[str, ...] = ()
    owner_ids: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    age_days_min: float | None = None
    age_days_max: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked, so that every pin fulfils it."""
        return self == Conditions()


def fulfil(conditions: Conditions, pool: Pool, world: World, now: float) -> NDArray[np.bool_]:
    """Which candidates fulfil the conditions, bool[n]."""
    if not len(pool):
        return np.ones(0, np.bool_)
    rows, catalogue = pool.rows, world.catalogue
    held = np.ones(len(pool), np.bool_)
    for words, column, codes in (
        (conditions.languages, catalogue.languages, world.language_codes),
        (conditions.countries, catalogue.countries, world.country_codes),
    ):
        if words:
            wanted = [code for word in words if (code := column.code(word)) >= 0]
            held &= np.isin(codes(rows), wanted)
    for ids, keys in (
        (conditions.pin_ids, world.pin_keys),
        (conditions.owner_ids, world.owner_keys),
    ):
        if ids:
            held &= np.isin(keys(rows), keys_of(ids))
    if conditions.topics:
        held &= _has_topic(conditions.topics, rows, world)
    if conditions.sources:
        columns = [i for i, name in enumerate(pool.sources) if name in conditions.sources]
        held &= (pool.ranks[:, columns] >= 0).any(axis=1)
    return held & _has_age(conditions, rows, world, now)


def _has_age(
    conditions: Conditions, rows: NDArray[np.int32], world: World, now: float
) -> NDArray[np.bool_]:
    """Which rows are as old as asked, bool[n]."""
    oldest, youngest = conditions.age_days_max, conditions.age_days_min
    if oldest is None and youngest is None:
        return np.ones(rows.size, np.bool_)
    days = (now - world.creation_times(rows)) / DAY_SECONDS
    at_most = np.inf if oldest is None else oldest
    return np.asarray((days <= at_most) & (days >= (youngest or 0.0)))


def _has_topic(topics: tuple[str, ...], rows: NDArray[np.int32], world: World) -> NDArray[np.bool_]:
    """Which rows have one of the topics, bool[n]."""
    catalogue = world.catalogue
    numbers = catalogue.topic_code_by_word
    weights = np.zeros(max(1, catalogue.topic_count), np.float32)
    weights[[numbers[topic] for topic in topics if topic in numbers]] = 1.0
    base = len(catalogue.pin_ids)
    known = rows < base
    found = np.zeros(rows.size, np.bool_)
    found[known] = (
        kernels.list_cosines(rows[known], catalogue.topic_offsets, catalogue.topic_codes, weights)
        > 0
    )
    live = world.live
    if live is not None and not known.all():
        found[~known] = (
            kernels.list_cosines(
                (rows[~known] - base).astype(np.int32),
                live.topic_offsets,
                live.topic_codes,
                weights,
            )
            > 0
        )
    return found
