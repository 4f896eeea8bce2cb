"""Messages of ranking_service."""

from collections.abc import Iterable, Mapping

from corkboard import answers
from corkboard.decoding.wire import from_age, from_word, to_age, to_word
from corkboard.questions import Context, Rules
from corkboard.ranking.v1 import ranking_service_pb2 as pb
from service_runtime.errors import CorkboardError
from service_runtime.grpc_errors import from_code

NO_TITLES: Mapping[str, str] = {}


def decode_ranked_pin(
    message: pb.RankedPin,
    titles: Mapping[str, str] = NO_TITLES,
) -> answers.RecommendedPin:
    """One ranked pin, with the titles that are at hand."""
    is_explained = message.HasField("explanation")
    return answers.RecommendedPin(
        pin_id=message.pin_id,
        score=message.score,
        position=message.position,
        sources=tuple(
            answers.SourceReason(reason.source, reason.rank, reason.score, reason.query_pin_id)
            for reason in message.sources
        ),
        because_pin_id=message.because_pin_id,
        title=titles.get(message.pin_id, ""),
        because_title=titles.get(message.because_pin_id, ""),
        explanation=decode_explanation(message.explanation) if is_explained else None,
        promotion=message.promotion,
    )


def decode_recommendations(
    message: pb.RecommendPinsResponse,
    titles: Mapping[str, str],
) -> answers.Recommendations:
    """A whole answer."""
    return answers.Recommendations(
        list_id=message.list_id,
        pins=tuple(decode_ranked_pin(pin, titles) for pin in message.pins),
        degradations=decode_degradations(message.degradations),
        is_cold_start=message.is_cold_start,
        profile_age=to_age(message.profile_age) if message.HasField("profile_age") else None,
        generations=dict(message.generations),
        model=message.model,
        candidate_count=message.candidate_count,
        next_page_token=message.next_page_token,
        experiment_arms=dict(message.experiment_arms),
        is_randomised=message.is_randomised,
    )


def decode_ranked_pins(
    message: pb.RankPinsResponse,
    titles: Mapping[str, str],
) -> answers.RankedPins:
    """The answer of RankPins."""
    return answers.RankedPins(
        list_id=message.list_id,
        pins=tuple(decode_ranked_pin(pin, titles) for pin in message.pins),
        unknown_pin_ids=tuple(message.unknown_pin_ids),
        degradations=decode_degradations(message.degradations),
        model=message.model,
    )


def decode_degradations(messages: Iterable[pb.Degradation]) -> tuple[answers.Degradation, ...]:
    """The degraded parts of an answer."""
    return tuple(answers.Degradation(message.part, message.reason) for message in messages)


def decode_models(message: pb.ListModelsResponse) -> tuple[answers.Model, ...]:
    """The ranking models, a staged one first, then newest first."""
    return tuple(
        answers.Model(
            model.model,
            model.generation,
            model.is_serving,
            dict(model.quality),
            model.is_staged,
            dict(model.shadow),
        )
        for model in message.models
    )


def decode_explanation(message: pb.Explanation) -> answers.Explanation:
    """All there is to say of one pin."""
    is_remembered = message.HasField("memboost")
    return answers.Explanation(
        coarse_score=message.coarse_score,
        model_score=message.model_score,
        contributions=tuple(
            answers.Contribution(part.feature, part.value, part.contribution)
            for part in message.contributions
        ),
        memboost=decode_memboost_score(message.memboost) if is_remembered else None,
        rules=tuple(
            answers.AppliedRule(rule.rule, rule.position_before, rule.position_after)
            for rule in message.rules
        ),
        experiment_arms=dict(message.experiment_arms),
    )


def decode_pin_explanation(
    message: pb.ExplainPinResponse,
    titles: Mapping[str, str],
) -> answers.PinExplanation:
    """The answer of ExplainPin."""
    return answers.PinExplanation(
        pin=decode_ranked_pin(message.pin, titles),
        absence=to_word(pb.Absence.Name(message.absence), "ABSENCE_"),
        detail=message.detail,
        candidate_count=message.candidate_count,
        model=message.model,
        generations=dict(message.generations),
        degradations=decode_degradations(message.degradations),
    )


def decode_memboost_score(message: pb.MemboostScore) -> answers.MemboostScore:
    """What is remembered of a pair, in one number and its parts."""
    return answers.MemboostScore(
        score=message.score,
        boost=message.boost,
        action_count=message.action_count,
        expected_action_count=message.expected_action_count,
        impression_count=message.impression_count,
        is_inserted=message.is_inserted,
    )


def decode_memboost(message: pb.GetMemboostResponse) -> answers.Memboost:
    """The answer of GetMemboost."""
    return answers.Memboost(
        score=decode_memboost_score(message.score),
        counters=tuple(
            answers.MemboostCounter(
                platform=counter.platform,
                position=counter.position,
                impression_count=counter.impression_count,
                action_counts=dict(counter.action_counts),
                expected_action_count=counter.expected_action_count,
            )
            for counter in message.counters
        ),
        generation=message.generation,
    )


def decode_experiment(message: pb.GetExperimentResponse) -> answers.Experiment:
    """The answer of GetExperiment."""
    return answers.Experiment(
        experiment=message.experiment,
        shares=dict(message.shares),
        results=tuple(
            answers.ArmResult(
                arm=result.arm,
                source=result.source,
                user_count=result.user_count,
                impression_count=result.impression_count,
                volume=_decode_estimate(result.volume),
                propensity=_decode_estimate(result.propensity),
            )
            for result in message.results
        ),
        stopped_arms=dict(message.stopped_arms),
    )


def _decode_estimate(message: pb.Estimate) -> answers.Estimate:
    return answers.Estimate(message.value, message.low, message.high)


def encode_context(context: Context) -> pb.Context | None:
    """What the reader is doing; None where nothing is known of it.

    Raises:
        InvalidRequest: The origin is none of its words.
    """
    if context == Context():
        return None
    origin = from_word(pb.Origin, context.origin, prefix="ORIGIN_", field="context.origin")
    return pb.Context(
        origin=pb.Origin.ValueType(origin),
        board_id=context.board_id,
        queries=context.queries,
        platform=context.platform,
    )


def decode_error(error: pb.RequestError) -> CorkboardError:
    """Why one of many requests has no answer."""
    return from_code(error.code, error.message, reason=error.reason)


def add_rules(request: pb.RecommendPinsRequest, rules: Rules) -> None:
    """Write how the answer is to be put together into a request."""
    for name in ("scenario", "page_token", "page_id", "score_min"):
        setattr(request, name, getattr(rules, name))
    for name in ("diversity", "rotation_rate"):
        if (value := getattr(rules, name)) is not None:
            setattr(request, name, value)
    if (age := from_age(rules.rotation_time)) is not None:
        request.rotation_time.CopyFrom(age)
    request.filter = rules.filter.expression
    request.filter_name = rules.filter.name
    request.filter_parameters.update(rules.filter.parameters)
    request.excluded_owner_ids.extend(rules.filter.excluded_owner_ids)
    request.experiment_arms.update(rules.experiment_arms)
