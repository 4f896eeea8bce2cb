"""Which of the proposed pins may be in an answer, and which of them the rules are about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranking_service.asking import CandidateAsk
from ranking_service.conditions import fulfil
from ranking_service.feature_context import FeatureContext
from ranking_service.insertion import MEMBOOST_SOURCE
from ranking_service.light_score import LightScore
from ranking_service.page_token import PageToken
from ranking_service.pin_keys import keys_of
from ranking_service.plan import Plan
from ranking_service.pool import Candidates, Pool, SourceList, keep_most_promising
from ranking_service.world import World

PROMOTION_SOURCE: Final = "promotion"
"""Stands among the sources of a pin that is there only because it is promoted."""

_GROUP_STEP: Final = np.uint64(0xD6E8FEB86659FD93)
"""Keys of near-duplicate groups are multiples of it, far from those of pins."""


class Seen(NamedTuple):
    """What this answer must not repeat."""

    token: PageToken
    """Of the earlier pages."""
    page_keys: NDArray[np.uint64]
    """What other lists of the page have shown."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """
    The candidates that may be in the answer.

    Attributes:
        pool: These.
        left_out: What our own rules left out: rule and rows, int32[e].
    """

    pool: Pool
    left_out: tuple[tuple[str, NDArray[np.int32]], ...]


def allowed_candidates(
    everything: Pool,
    candidates: Candidates,
    ask: CandidateAsk,
    plan: Plan,
    world: World,
    seen: Seen,
    now: float,
) -> Allowed:
    """
    Leave out what owners, named rules, earlier pages and other lists of the page forbid.

    Args:
        everything: All candidates.
        candidates: What they were merged from.
        ask: Names the excluded owners.
        plan: Names the rules.
        world: What is known of pins.
        seen: What was shown before.
        now: Unix seconds.
    """
    pool = everything
    left_out: list[tuple[str, NDArray[np.int32]]] = []

    def leave_out(name: str, is_out: NDArray[np.bool_]) -> None:
        nonlocal pool
        if is_out.any():
            left_out.append((name, pool.rows[is_out]))
            pool = pool.take(np.flatnonzero(~is_out))

    if ask.excluded_owner_ids and len(pool):
        owners = keys_of(ask.excluded_owner_ids)
        leave_out("owner", np.isin(world.owner_keys(pool.rows), owners))
    for rule in plan.rules:
        if rule.is_exclusion:
            leave_out(f"rule:{rule.name}", fulfil(rule.when, pool, world, now))
    if seen.token.shown_count and len(pool):
        keys, groups = _keys(world, candidates, pool.rows)
        leave_out("earlier_page", seen.token.has(keys) | (seen.token.has(groups) & (groups > 0)))
    if seen.page_keys.size and len(pool):
        keys, groups = _keys(world, candidates, pool.rows)
        is_shown = np.isin(keys, seen.page_keys)
        leave_out("page", is_shown | (np.isin(groups, seen.page_keys) & (groups > 0)))
    return Allowed(pool, tuple(left_out))


def shown_keys(world: World, candidates: Candidates, rows: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Keys of shown pins and of their near-duplicate groups, uint64[n]."""
    keys, groups = _keys(world, candidates, rows)
    return np.concatenate((keys, groups[groups > 0]))


def _keys(
    world: World, candidates: Candidates, rows: NDArray[np.int32]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Key of each row, and of its near-duplicate group, 0 = alone."""
    with np.errstate(over="ignore"):
        groups = candidates.groups_of(rows).astype(np.uint64) * _GROUP_STEP
    return world.pin_keys(rows), groups


def boosts_of(plan: Plan, pool: Pool, world: World, now: float) -> NDArray[np.float64] | None:
    """What named rules add to each logit, float64[n]; None = nothing."""
    boosts = None
    for rule in plan.rules:
        if not rule.is_exclusion:
            boosts = np.zeros(len(pool)) if boosts is None else boosts
            boosts += rule.boost * fulfil(rule.when, pool, world, now)
    return boosts


def promoted_by(
    plan: Plan, pool: Pool, world: World, now: float
) -> Mapping[str, NDArray[np.bool_]]:
    """Which candidates each promotion is about, bool[n]."""
    found = {}
    for promotion in plan.promotions:
        is_promoted = np.zeros(len(pool), np.bool_)
        if promotion.pin_ids:
            is_promoted |= np.isin(world.pin_keys(pool.rows), keys_of(promotion.pin_ids))
        if not promotion.when.is_empty:
            is_promoted |= fulfil(promotion.when, pool, world, now)
        found[promotion.name] = is_promoted
    return found


def with_promoted(
    candidates: Candidates,
    plan: Plan,
    world: World,
    showable: Callable[[tuple[str, ...]], frozenset[str]],
    now: float,
) -> Candidates:
    """Put pins that promotions name among the candidates, if they may be shown."""
    named = tuple(
        dict.fromkeys(pin_id for promotion in plan.promotions for pin_id in promotion.pin_ids)
    )
    if not named:
        return candidates
    rows = world.rows(named)
    proposed = np.concatenate([np.empty(0, np.int32), *(some.rows for some in candidates.lists)])
    places = np.flatnonzero((rows >= 0) & ~np.isin(rows, proposed))
    known = rows[places] < len(world.catalogue.pin_ids)
    places = places[known]
    places = places[world.catalogue.is_showable(rows[places], now)]
    if not places.size:
        return candidates
    allowed = showable(tuple(named[place] for place in places.tolist()))
    places = places[[named[place] in allowed for place in places.tolist()]]
    promoted = SourceList(
        PROMOTION_SOURCE,
        rows[places],
        np.zeros(places.size, np.float32),
        np.full(places.size, -1, np.int32),
    )
    return replace(candidates, lists=(*candidates.lists, promoted))


def is_in_random_slice(request_id: str, share: float) -> bool:
    """Whether a request's order is random: a share of requests, told by their ids."""
    digest = blake2b(f"slice\0{request_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def light_scores(
    pool: Pool, light: LightScore, context: FeatureContext, plan: Plan
) -> NDArray[np.float64]:
    """The light score of each candidate, named boosts included: float64[n]."""
    scores = light.of_pool(pool, context)
    boosts = boosts_of(plan, pool, context.world, context.now)
    return scores if boosts is None else scores + boosts


def promising_pool(
    allowed: Pool, count_max: int, light: LightScore, context: FeatureContext, plan: Plan
) -> Pool:
    """The candidates of the highest light score; remembered winners and promoted ones stay."""
    if len(allowed) <= count_max:
        return allowed
    scores = light_scores(allowed, light, context, plan)
    scores[allowed.is_from((MEMBOOST_SOURCE, PROMOTION_SOURCE))] = np.inf
    return keep_most_promising(allowed, scores, count_max)


def random_pool(allowed: Pool, count_max: int, seed: int) -> Pool:
    """An even draw of candidates of all sources, without any ranking."""
    if len(allowed) <= count_max:
        return allowed
    drawn = np.random.default_rng(seed).choice(len(allowed), count_max, replace=False)
    return allowed.take(np.sort(drawn))
