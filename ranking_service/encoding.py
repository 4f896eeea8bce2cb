"""Answers as messages."""

from collections.abc import Iterable, Mapping
from typing import cast

from google.protobuf.duration_pb2 import Duration

from corkboard.ranking.v1 import ranking_service_pb2 as pb
from ranking_service.answer import Answer, Explanation, RankedPin
from ranking_service.experiment_results import Outcome
from ranking_service.experiments import Estimate
from ranking_service.explanations import PinExplanation
from ranking_service.query import Surface
from ranking_service.ranker import HAND_TUNED, Rankers
from service_runtime.errors import CorkboardError
from service_runtime.generation_store import Generation
from service_runtime.grpc_errors import FAMILIES, family


def encode_recommended(answer: Answer) -> pb.RecommendPinsResponse:
    """An answer as a message."""
    return pb.RecommendPinsResponse(
        list_id=answer.list_id,
        pins=_pins(answer.pins, answer.experiment_arms),
        degradations=_degradations(answer),
        is_cold_start=answer.is_cold_start,
        profile_age=_duration(answer.profile_age),
        generations=answer.generations,
        model=answer.model,
        candidate_count=answer.candidate_count,
        next_page_token=answer.next_page_token,
        experiment_arms=answer.experiment_arms,
        is_randomised=answer.is_randomised,
    )


def encode_batch(outcomes: Iterable[Answer | CorkboardError]) -> pb.BatchRecommendPinsResponse:
    """What became of many requests as a message."""
    return pb.BatchRecommendPinsResponse(
        results=[
            pb.RecommendPinsResult(answer=encode_recommended(outcome))
            if isinstance(outcome, Answer)
            else pb.RecommendPinsResult(
                error=pb.RequestError(
                    code=FAMILIES[family(outcome)].name,
                    reason=outcome.reason,
                    message=str(outcome),
                )
            )
            for outcome in outcomes
        ]
    )


def encode_ranked(answer: Answer) -> pb.RankPinsResponse:
    """An answer about given pins as a message."""
    return pb.RankPinsResponse(
        list_id=answer.list_id,
        pins=_pins(answer.pins, answer.experiment_arms),
        unknown_pin_ids=answer.unknown_pin_ids,
        degradations=_degradations(answer),
        generations=answer.generations,
        model=answer.model,
    )


def encode_pin(explanation: PinExplanation, answer: Answer) -> pb.ExplainPinResponse:
    """Why a pin is, or is not, in an answer, as a message."""
    (pin,) = _pins((explanation.pin,), answer.experiment_arms)
    pin.position = max(0, explanation.position)
    return pb.ExplainPinResponse(
        pin=pin,
        absence=cast("pb.Absence.ValueType", int(explanation.absence)),
        detail=explanation.detail,
        candidate_count=answer.candidate_count,
        model=answer.model,
        generations=answer.generations,
        degradations=_degradations(answer),
    )


def encode_experiment(
    experiment: str, shares: Mapping[str, float], outcome: Outcome | None
) -> pb.GetExperimentResponse:
    """An experiment as a message; without figures before the first count."""
    return pb.GetExperimentResponse(
        experiment=experiment,
        shares=shares,
        results=[
            pb.ArmResult(
                arm=result.arm,
                source=result.source,
                user_count=result.user_count,
                impression_count=result.impression_count,
                volume=_estimate(result.volume),
                propensity=_estimate(result.propensity),
            )
            for result in (() if outcome is None else outcome.results)
        ],
        stopped_arms={} if outcome is None else outcome.stopped,
    )


def _estimate(estimate: Estimate) -> pb.Estimate:
    return pb.Estimate(value=estimate.value, low=estimate.low, high=estimate.high)


def encode_models(
    rankers: Rankers, staged: tuple[Generation, Mapping[str, float]] | None
) -> pb.ListModelsResponse:
    """All models as a message, the staged one first, then newest first, the built-in one last."""
    serving = {rankers.serving(surface).generation for surface in Surface}
    models = [
        _model(generation, is_serving=generation.id in serving)
        for generation in rankers.published()
    ]
    if staged is not None:
        model = _model(staged[0], is_serving=False)
        model.is_staged = True
        model.shadow.update(staged[1])
        models.insert(0, model)
    models.append(pb.Model(model=HAND_TUNED, is_serving="" in serving))
    return pb.ListModelsResponse(models=models)


def _model(generation: Generation, *, is_serving: bool) -> pb.Model:
    return pb.Model(
        model=str(generation.manifest.details.get("model", "")),
        generation=generation.id,
        is_serving=is_serving,
        quality=generation.manifest.quality,
    )


def _pins(pins: Iterable[RankedPin], arms: Mapping[str, str]) -> list[pb.RankedPin]:
    return [
        pb.RankedPin(
            pin_id=pin.pin_id,
            score=pin.score,
            position=position,
            sources=[
                pb.SourceReason(
                    source=reason.source,
                    rank=reason.rank,
                    score=reason.score,
                    query_pin_id=reason.query_pin_id,
                )
                for reason in pin.sources
            ],
            because_pin_id=pin.because_pin_id,
            explanation=_explanation(pin.explanation, arms),
            promotion=pin.promotion,
        )
        for position, pin in enumerate(pins)
    ]


def _explanation(explanation: Explanation | None, arms: Mapping[str, str]) -> pb.Explanation | None:
    if explanation is None:
        return None
    memboost = explanation.memboost
    return pb.Explanation(
        coarse_score=explanation.coarse_score,
        model_score=explanation.model_score,
        contributions=[
            pb.Contribution(feature=it.feature, value=it.value, contribution=it.contribution)
            for it in explanation.contributions
        ],
        memboost=pb.MemboostScore(
            score=memboost.score,
            boost=memboost.boost,
            action_count=memboost.action_count,
            expected_action_count=memboost.expected_action_count,
            impression_count=memboost.impression_count,
            is_inserted=memboost.is_inserted,
        ),
        rules=[
            pb.AppliedRule(rule=it.rule, position_before=it.before, position_after=it.after)
            for it in explanation.rules
        ],
        experiment_arms=arms,
    )


def _degradations(answer: Answer) -> list[pb.Degradation]:
    return [pb.Degradation(part=part, reason=reason) for part, reason in answer.missing]


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
