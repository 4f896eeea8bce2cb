"""A request on its way, and the answer that is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ranking_service.answer import Answer, RankedPin
from ranking_service.arrange import Arrangement
from ranking_service.asking import CandidateAsk
from ranking_service.explain import explain
from ranking_service.feature_context import FeatureContext
from ranking_service.plan import Plan
from ranking_service.pool import Candidates, Pool
from ranking_service.profile import Profile
from ranking_service.query import RankQuery, RecommendQuery
from ranking_service.ranker import Serving
from ranking_service.scoring import Scored, UnderQuery
from ranking_service.world import World


@dataclass(frozen=True, slots=True)
class Run:
    """
    Everything that one request came by on its way to an answer.

    Attributes:
        query: The question, its viewer completed from the profile.
        plan: How it was answered.
        ask: What candidate_service was asked; None where the caller named the pins.
        profile: Of the user.
        candidates: The lists.
        everything: All candidates before exclusions of ours and the coarse cut.
        pool: Those that were scored.
        context: What they were compared with.
        serving: The model.
        remembered: Memboost under the query pin.
        scored: The numbers of the pool.
        arrangement: Its order and how it came about.
        left_out: What our own rules left out before the coarse cut: rule and rows.
        allowed_count: Candidates that may be shown, before the coarse cut.
        is_random: Whether the order is random.
    """

    query: RecommendQuery | RankQuery
    plan: Plan
    ask: CandidateAsk | None
    profile: Profile
    candidates: Candidates
    everything: Pool
    pool: Pool
    context: FeatureContext
    serving: Serving
    remembered: UnderQuery
    scored: Scored
    arrangement: Arrangement
    left_out: tuple[tuple[str, NDArray[np.int32]], ...] = ()
    allowed_count: int = 0
    is_random: bool = False

    def left_out_by(self, row: int) -> str:
        """The rule that left a row out, in a sentence; empty = none did."""
        for rule, rows in self.left_out:
            if row in rows:
                return f"the rule {rule!r} leaves it out"
        return ""


def answer_of(run: Run) -> Answer:
    """What is shown, with its reasons."""
    query, profile, context = run.query, run.profile, run.context
    generations = _generations(context.world, profile, run.candidates, run.serving.generation)
    shown = run.arrangement.order[: query.limit]
    pins = explain(run.pool, run.candidates, context, positions=shown, scores=run.scored.scores)
    return Answer(
        list_id=_list_id(query, generations),
        request_id=query.request_id,
        user_id=query.user_id,
        surface=query.surface,
        query_pin_id=query.query_pin_id,
        pins=_with_numbers(pins, run, shown),
        missing=_missing(context.world, profile, run.candidates, run.serving.missing_reason),
        is_cold_start=profile.is_cold_start,
        profile_age=max(0.0, context.now - profile.batch_time) if profile.batch_time else None,
        generations=generations,
        model=run.serving.ranker.model,
        candidate_count=len(run.pool),
        platform=query.context.platform,
        origin=query.context.origin,
        scenario=run.plan.scenario,
        experiment_arms=run.plan.experiment_arms,
        is_randomised=run.is_random,
        slice_propensity=run.plan.random_share if run.is_random else 1.0 - run.plan.random_share,
    )


def _with_numbers(
    pins: tuple[RankedPin, ...], run: Run, shown: NDArray[np.intp]
) -> tuple[RankedPin, ...]:
    """The shown pins with what is logged of them beside their reasons."""
    arrangement = run.arrangement
    is_plain = not (
        arrangement.promotions
        or arrangement.position_propensity != 1.0
        or run.scored.memboosts.any()
    )
    if is_plain:
        return pins
    return tuple(
        replace(
            pin,
            position_propensity=arrangement.position_propensity,
            memboost=memboost,
            promotion=arrangement.promotions.get(place, ""),
        )
        for pin, place, memboost in zip(
            pins, shown.tolist(), run.scored.memboosts[shown].tolist(), strict=True
        )
    )


def _generations(
    world: World, profile: Profile, candidates: Candidates, ranker_generation: str
) -> Mapping[str, str]:
    """Everything that took part, by artifact."""
    parts = {**world.generations, **dict(candidates.generations)}
    parts["profiles"] = profile.generation
    parts["ranker"] = ranker_generation
    return {artifact: generation for artifact, generation in parts.items() if generation}


def _missing(
    world: World, profile: Profile, candidates: Candidates, ranker_reason: str
) -> tuple[tuple[str, str], ...]:
    """Everything that is not as it should be, by part."""
    parts = (("profile", profile.missing_reason), ("ranker", ranker_reason))
    own = tuple((part, reason) for part, reason in parts if reason)
    return (*own, *candidates.missing, *world.missing)


def _list_id(request: RecommendQuery | RankQuery, generations: Mapping[str, str]) -> str:
    """32 hex digits: the same for the same request over the same generations."""
    told = repr((request, sorted(generations.items()))).encode()
    return blake2b(told, digest_size=16).hexdigest()
