"""
The rules that make an order out of scores, one after another, each leaving a trace.

Every rule takes an order and gives one; what it takes out altogether is named.  The names are what
explanations and the README call them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service import rule_kernels
from ranking_service.feature_context import FeatureContext
from ranking_service.placement import near_recent, place_recent, share_places
from ranking_service.plan import DETERMINANTAL, Plan
from ranking_service.pool import Candidates, Pool
from ranking_service.query import Surface
from ranking_service.scoring import Scored

DIVERSITY_WINDOW: Final = 4
"""Diversity chooses among so many times the limit, at least DIVERSITY_COUNT_MIN. Guess."""
DIVERSITY_COUNT_MIN: Final = 100
DETERMINANTAL_OWN_SHARE: Final = 0.01
"""Part of a pin's variance that no other pin explains, so that copies of one another still have an
order. Guess."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """
    What the rules made of a pool.

    Attributes:
        order: Places in the pool that may be shown, in order, intp[k].
        steps: Name of each rule and the order after it; the first is `score`.
        removed: What each rule took out, places in the pool.
        promotions: The promotion that put a place where it is.
        position_propensity: Probability of each shown place standing where it does.
    """

    order: NDArray[np.intp]
    steps: tuple[tuple[str, NDArray[np.intp]], ...]
    removed: Mapping[str, NDArray[np.intp]] = field(default_factory=dict)
    promotions: Mapping[int, str] = field(default_factory=dict)
    position_propensity: float = 1.0

    def moves(self, place: int) -> list[tuple[str, int, int]]:
        """The rules that moved a place of the pool: name, position before, position after."""
        found = []
        before = -1
        for name, order in self.steps:
            at = np.flatnonzero(order == place)
            after = int(at[0]) if at.size else -1
            if before >= 0 and after not in {before, -1}:
                found.append((name, before, after))
            before = after
        return found

    def remover(self, place: int) -> str:
        """The rule that took a place of the pool out; empty = none."""
        for name, places in self.removed.items():
            if place in places:
                return name
        return ""


@dataclass(slots=True)
class _Draft:
    """An arrangement in the making."""

    order: NDArray[np.intp]
    steps: list[tuple[str, NDArray[np.intp]]] = field(default_factory=list)
    removed: dict[str, NDArray[np.intp]] = field(default_factory=dict)

    def put(self, name: str, order: NDArray[np.intp]) -> None:
        """Go on with another order."""
        if order is not self.order:
            self.steps.append((name, order))
            self.order = order

    def keep(self, name: str, is_kept: NDArray[np.bool_]) -> None:
        """Go on with some of the places, by position in the order."""
        if not is_kept.all():
            self.removed[name] = self.order[~is_kept]
            self.put(name, self.order[is_kept])


def arrange(
    pool: Pool,
    candidates: Candidates,
    context: FeatureContext,
    scored: Scored,
    plan: Plan,
    *,
    surface: Surface,
    limit: int,
    promoted: Mapping[str, NDArray[np.bool_]],
) -> Arrangement:
    """
    Apply the rules of a plan to a scored pool.

    Args:
        pool: The candidates.
        candidates: What they were merged from.
        context: What they were compared with.
        scored: Their numbers.
        plan: The rules.
        surface: The home feed has rules of its own about places.
        limit: How many will be shown.
        promoted: Which candidates each promotion is about, bool[n].
    """
    first = best_first(scored.scores)
    draft = _Draft(first, [("score", first)])
    if plan.score_min > 0:
        draft.keep("score_min", scored.scores[draft.order] >= plan.score_min)
    draft.keep("duplicate", first_of_each(candidates.groups_of(pool.rows[draft.order])))
    if plan.diversity > 0:
        diverse = diversified(draft.order, scored, pool, context, plan, limit)
        draft.put("diversity", diverse)
    if surface == Surface.HOME_FEED:
        draft.put("popular_share", share_places(draft.order, pool.is_led_by_popularity(), limit))
        draft.put("recent", place_recent(draft.order, near_recent(pool, candidates)))
    if plan.owner_pin_count_max:
        keys = context.world.owner_keys(pool.rows[draft.order])
        draft.keep("owner_cap", at_most_of_each(keys, plan.owner_pin_count_max))
    promotions: dict[int, str] = {}
    for promotion in plan.promotions:
        order, taken = promote(
            draft.order,
            promoted[promotion.name] & ~np.isin(np.arange(len(pool)), list(promotions)),
            share=promotion.share,
            first_position=promotion.first_position,
            limit=limit,
        )
        draft.put(f"promotion:{promotion.name}", order)
        promotions.update(dict.fromkeys(taken, promotion.name))
    return Arrangement(draft.order, tuple(draft.steps), draft.removed, promotions)


def best_first(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Places of the scores, highest first; equal ones keep their order, intp[n]."""
    return np.argsort(-scores, kind="stable")


def first_of_each(groups: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which are the first of their group; group 0 is none, bool[n]."""
    is_kept = np.ones(groups.size, np.bool_)
    grouped = np.flatnonzero(groups)
    if grouped.size:
        _, firsts = np.unique(groups[grouped], return_index=True)
        is_kept[grouped] = False
        is_kept[grouped[firsts]] = True
    return is_kept


def at_most_of_each(keys: NDArray[np.uint64], count_max: int) -> NDArray[np.bool_]:
    """Which are among the first *count_max* of their key; key 0 has no limit, bool[n]."""
    order = np.argsort(keys, kind="stable")
    starts = np.ones(keys.size, np.bool_)
    starts[1:] = np.diff(keys[order]) != 0
    firsts = np.maximum.accumulate(np.where(starts, np.arange(keys.size), 0))
    is_kept = np.empty(keys.size, np.bool_)
    is_kept[order] = np.arange(keys.size) - firsts < count_max
    return np.asarray(is_kept | (keys == 0))


def diversified(
    order: NDArray[np.intp],
    scored: Scored,
    pool: Pool,
    context: FeatureContext,
    plan: Plan,
    limit: int,
) -> NDArray[np.intp]:
    """
    Reorder the head of a list by the plan's method of diversity.

    Relevance is the logit, spread over [0, 1] within the head; likeness is the cosine of the pins'
    vectors, 0 where one of them has none.
    """
    if context.world.vectors is None or order.size < 3:
        return order
    head = order[: max(DIVERSITY_COUNT_MIN, DIVERSITY_WINDOW * limit)]
    logits = scored.logits[head]
    spread = float(logits.max() - logits.min()) or 1.0
    relevances = (logits - logits.min()) / spread
    vectors = context.vectors_of(pool.rows[head])
    if plan.diversity_method == DETERMINANTAL:
        places = rule_kernels.determinantal_order(
            relevances, vectors, plan.diversity, limit, DETERMINANTAL_OWN_SHARE
        )
    else:
        places = rule_kernels.marginal_order(relevances, vectors, plan.diversity, limit)
    return np.concatenate((head[places], order[head.size :]))


def promote(
    order: NDArray[np.intp],
    is_promoted: NDArray[np.bool_],
    *,
    share: float,
    first_position: int,
    limit: int,
) -> tuple[NDArray[np.intp], list[int]]:
    """
    Give promoted pins their places, evenly spread, where they do not stand there already.

    Args:
        order: Places in the pool, intp[n].
        is_promoted: Which places of the pool are, bool[N].
        share: Of the first *limit* places at the most.
        first_position: The first place that may be promoted.
        limit: How many will be shown.

    Returns:
        The new order, and the promoted places of the pool that the rule put there.
    """
    shown = min(limit, order.size)
    slot_count = int(np.floor(share * shown + 1e-9))
    slot_count = max(0, min(slot_count, shown - first_position))
    wanted = [place for place in order.tolist() if is_promoted[place]][:slot_count]
    if not wanted:
        return order, []
    every = max(1, (shown - first_position) // max(1, slot_count))
    slots = [first_position + every * number for number in range(len(wanted))]
    taken = dict(zip(slots, wanted, strict=True))
    rest = iter([place for place in order.tolist() if place not in set(wanted)])
    placed = [taken[at] if at in taken else next(rest) for at in range(order.size)]
    moved = np.array(placed, np.intp)
    return (order, wanted) if (moved == order).all() else (moved, wanted)


def random_arrangement(
    pool: Pool, candidates: Candidates, chosen_from: int, rng: np.random.Generator
) -> Arrangement:
    """
    A random order of a pool, with the probability of each place.

    Near-duplicates of what stands before are taken out, which the probabilities leave out of
    account.

    Args:
        pool: The candidates, themselves drawn evenly.
        candidates: What they were merged from.
        chosen_from: Out of how many.
        rng: Seeded by the request.
    """
    order = rng.permutation(len(pool))
    draft = _Draft(order, [("random", order)])
    draft.keep("duplicate", first_of_each(candidates.groups_of(pool.rows[order])))
    return Arrangement(
        draft.order,
        tuple(draft.steps),
        draft.removed,
        position_propensity=1.0 / max(1, chosen_from),
    )
