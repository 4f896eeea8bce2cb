"""Everything there is to say of a pin in an answer, and why another one is not in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.answer import (
    AppliedRule,
    Contribution,
    Explanation,
    MemboostReason,
    RankedPin,
)
from ranking_service.answering import Run
from ranking_service.choice import light_scores
from ranking_service.config import RankingConfig
from ranking_service.explain import explain
from ranking_service.feature_table import FEATURE_NAMES
from ranking_service.insertion import MEMBOOST_SOURCE
from ranking_service.pin_keys import key_of
from ranking_service.pool import Pool, pool_of
from ranking_service.ranker import HandTuned
from ranking_service.scoring import Scored, probabilities, score_pool

CONTRIBUTION_COUNT_MAX: Final = 10
"""Features that an explanation names. Guess."""


class Absence(IntEnum):
    """Why a pin is not in an answer."""

    NONE = 0
    UNKNOWN_PIN = 1
    NOT_PROPOSED = 2
    EXCLUDED = 3
    CUT_BY_COARSE_SCORE = 4
    BEYOND_LIMIT = 5
    REMOVED_BY_RULE = 6


@dataclass(frozen=True, slots=True)
class PinExplanation:
    """
    Why a pin is, or is not, in an answer.

    Attributes:
        pin: With everything there is to say; without sources and score where it was not scored.
        position: The place that it has, or that its score would give it; -1 = none.
        absence: Why it is not in the answer.
        detail: The same in a sentence.
    """

    pin: RankedPin
    position: int
    absence: Absence
    detail: str


def explained(run: Run, pins: Sequence[RankedPin], places: Sequence[int]) -> tuple[RankedPin, ...]:
    """
    The pins with full explanations.

    Args:
        run: How the answer came about.
        pins: Some of its pins.
        places: Their places in the pool.
    """
    at = np.array(places, np.intp)
    told = _explanations(run, run.pool.take(at), run.scored, at)
    rows = zip(pins, told, strict=True)
    return tuple(replace(pin, explanation=explanation) for pin, explanation in rows)


def explain_pin(
    run: Run, pin_id: str, *, is_hidden: bool, is_filtered: bool, config: RankingConfig
) -> PinExplanation:
    """
    Say why a pin is, or is not, in the answer of a run.

    Args:
        run: How the answer came about.
        pin_id: The pin in question.
        is_hidden: Whether candidate_service says that it may not be shown.
        is_filtered: Whether it would be proposed but for the filter.
        config: Settings of the features.
    """
    row = int(run.context.world.rows((pin_id,))[0])
    if row < 0:
        detail = f"the catalogue does not know the pin {pin_id!r}"
        return PinExplanation(_bare(pin_id), -1, Absence.UNKNOWN_PIN, detail)
    place = _place(run.pool, row)
    if place >= 0:
        return _of_scored(run, pin_id, place)
    known = _place(run.everything, row)
    proposed = run.everything.take(np.array([known])) if known >= 0 else pool_of(_one(row))
    pin, position = _as_if(run, proposed, config)
    if known >= 0:
        reason = _owner_exclusion(run, row) or run.left_out_by(row)
        if reason:
            return PinExplanation(pin, position, Absence.EXCLUDED, reason)
        light = run.serving.ranker.light
        own = float(light_scores(proposed, light, run.context, run.plan)[0])
        least = float(light_scores(run.pool, light, run.context, run.plan).min())
        detail = (
            f"its light score {own:.3f} put it behind the {len(run.pool)} candidates that were "
            f"scored (pool_size_max), the last of which has {least:.3f}"
        )
        return PinExplanation(pin, position, Absence.CUT_BY_COARSE_SCORE, detail)
    reason = _exclusion(run, pin_id, is_hidden=is_hidden, is_filtered=is_filtered)
    if reason:
        return PinExplanation(pin, position, Absence.EXCLUDED, reason)
    asked = ", ".join(source.source for source in run.candidates.lists) or "none"
    detail = f"no source proposed it; these answered: {asked}"
    return PinExplanation(pin, position, Absence.NOT_PROPOSED, detail)


def _of_scored(run: Run, pin_id: str, place: int) -> PinExplanation:
    """Of a pin that got a score."""
    at = np.array([place])
    (pin,) = explain(run.pool, run.candidates, run.context, positions=at, scores=run.scored.scores)
    (pin,) = explained(run, (pin,), [place])
    promotion = run.arrangement.promotions.get(place, "")
    pin = replace(pin, promotion=promotion, memboost=float(run.scored.memboosts[place]))
    found = np.flatnonzero(run.arrangement.order == place)
    if not found.size:
        rule = run.arrangement.remover(place)
        position = _would_stand(run, float(run.scored.logits[place]))
        detail = f"the rule {rule!r} took the pin {pin_id!r} out"
        return PinExplanation(pin, position, Absence.REMOVED_BY_RULE, detail)
    position = int(found[0])
    if position >= run.query.limit:
        detail = f"its place {position} lies beyond the limit of {run.query.limit}"
        return PinExplanation(pin, position, Absence.BEYOND_LIMIT, detail)
    return PinExplanation(pin, position, Absence.NONE, f"it is in the answer at {position}")


def _as_if(run: Run, pool: Pool, config: RankingConfig) -> tuple[RankedPin, int]:
    """A pin that was not scored, scored now, and the place that its score would give it."""
    scored = score_pool(
        pool,
        run.context,
        run.serving.ranker,
        remembered=None if run.remembered.memory.is_empty else run.remembered,
        config=config,
    )
    at = np.array([0])
    (pin,) = explain(pool, run.candidates, run.context, positions=at, scores=scored.scores)
    (told,) = _explanations(run, pool, scored, np.array([-1]))
    pin = replace(pin, explanation=told, memboost=float(scored.memboosts[0]))
    return pin, _would_stand(run, float(scored.logits[0]))


def _would_stand(run: Run, logit: float) -> int:
    """The place that a logit would give among all scored candidates."""
    return int((run.scored.logits > logit).sum())


def _explanations(
    run: Run, pool: Pool, scored: Scored, places: NDArray[np.intp]
) -> list[Explanation]:
    """One for each candidate of *pool*; *places* are those in the run's pool, -1 = not in it."""
    rows = np.maximum(places, 0)
    features = scored.features[rows]
    model_scores = probabilities(scored.model_logits[rows])
    contributions = np.asarray(run.serving.ranker.contributions(features))
    counts = run.remembered.counts(pool.rows)
    coarse = _coarse(run, pool, features)
    is_inserted = np.zeros(len(pool), np.bool_)
    if MEMBOOST_SOURCE in pool.sources:
        column = pool.sources.index(MEMBOOST_SOURCE)
        is_inserted = (pool.ranks[:, column] >= 0) & ((pool.ranks >= 0).sum(axis=1) == 1)
    told = []
    for i in range(len(pool)):
        place = int(places[i])
        memboost = float(scored.memboosts[rows[i]])
        told.append(
            Explanation(
                coarse_score=float(coarse[i]),
                model_score=float(model_scores[i]),
                contributions=_strongest(contributions[i], features[i]),
                memboost=MemboostReason(
                    score=memboost,
                    boost=scored.gain * memboost,
                    action_count=float(counts.actions[i]),
                    expected_action_count=float(counts.expected[i]),
                    impression_count=int(counts.impressions[i]),
                    is_inserted=bool(is_inserted[i]),
                ),
                rules=tuple(AppliedRule(*move) for move in run.arrangement.moves(place)),
            )
        )
    return told


def _coarse(run: Run, pool: Pool, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """
    The coarse score of each candidate, float64[n].

    That is the coarse machine score of a model that has one (hand_tuned), as a logit; else the
    light score that chose the pool.
    """
    ranker = run.serving.ranker
    if isinstance(ranker, HandTuned):
        return ranker.coarse_logits(features)
    return ranker.light.of_pool(pool, run.context)


def _strongest(
    contributions: NDArray[np.float64],
    values: NDArray[np.float32],
) -> tuple[Contribution, ...]:
    """The features that moved a score most, without those that did nothing."""
    order = np.argsort(-np.abs(contributions), kind="stable")[:CONTRIBUTION_COUNT_MAX]
    return tuple(
        Contribution(FEATURE_NAMES[column], float(values[column]), float(contributions[column]))
        for column in order.tolist()
        if contributions[column]
    )


def _exclusion(run: Run, pin_id: str, *, is_hidden: bool, is_filtered: bool) -> str:
    """Why a pin that no source could propose was left out; empty = it was not."""
    profile, query = run.profile, run.query
    reasons = (
        (pin_id == query.query_pin_id, "it is the query pin"),
        (pin_id in getattr(query, "excluded_pin_ids", ()), "the request excludes it"),
        (pin_id in profile.hidden_pin_ids, "the user hid or reported it"),
        (
            pin_id in profile.acted_pin_ids and not getattr(query, "include_acted_pins", True),
            "the user has acted on it already",
        ),
        (is_hidden, "it is hidden, deleted or expired"),
        (is_filtered, "the request's filter does not let it through"),
    )
    for holds, reason in reasons:
        if holds:
            return reason
    row = int(run.context.world.rows((pin_id,))[0])
    return _owner_exclusion(run, row)


def _owner_exclusion(run: Run, row: int) -> str:
    """Why a pin is left out for its owner's sake; empty = it is not."""
    if run.ask is None:
        return ""
    key = int(run.context.world.owner_keys(_one(row))[0])
    for owner in run.ask.excluded_owner_ids:
        if key and key_of(owner) == key:
            own = owner == run.query.user_id
            return "it is the user's own" if own else f"its owner {owner!r} is excluded"
    return ""


def _place(pool: Pool, row: int) -> int:
    """Place of a row in a pool, -1 if it is not there."""
    found = np.flatnonzero(pool.rows == row)
    return int(found[0]) if found.size else -1


def _one(row: int) -> NDArray[np.int32]:
    return np.array([row], np.int32)


def _bare(pin_id: str) -> RankedPin:
    return RankedPin(pin_id, 0.0, (), "", 1.0)
