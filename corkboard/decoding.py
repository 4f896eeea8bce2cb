"""Wire messages to the values of `answers`; the only place that knows both."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from corkboard import answers
from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb2
from corkboard.profile.v1 import profile_service_pb2 as profile_pb2
from corkboard.ranking.v1 import ranking_service_pb2 as ranking_pb2

NO_TITLES: Mapping[str, str] = {}


def decode_pin(message: candidate_pb2.Pin) -> answers.Pin:
    """One catalogue entry."""
    return answers.Pin(
        pin_id=message.pin_id,
        is_known=message.is_known,
        title=message.title,
        description=message.description,
        topics=tuple(message.topics),
        language=message.language,
        country=message.country,
        owner_id=message.owner_id,
        image_url=message.image_url,
        creation_time=_time(message, "creation_time"),
    )


def decode_ranked_pin(
    message: ranking_pb2.RankedPin,
    titles: Mapping[str, str] = NO_TITLES,
) -> answers.RecommendedPin:
    """One ranked pin, with the titles that are at hand."""
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
    )


def decode_recommendations(
    message: ranking_pb2.RecommendPinsResponse,
    titles: Mapping[str, str],
) -> answers.Recommendations:
    """A whole answer."""
    return answers.Recommendations(
        list_id=message.list_id,
        pins=tuple(decode_ranked_pin(pin, titles) for pin in message.pins),
        degradations=decode_degradations(message.degradations),
        is_cold_start=message.is_cold_start,
        profile_age=_age(message.profile_age) if message.HasField("profile_age") else None,
        generations=dict(message.generations),
        model=message.model,
        candidate_count=message.candidate_count,
    )


def decode_ranked_pins(
    message: ranking_pb2.RankPinsResponse,
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


def decode_degradations(
    messages: Iterable[ranking_pb2.Degradation],
) -> tuple[answers.Degradation, ...]:
    """The degraded parts of an answer."""
    return tuple(answers.Degradation(message.part, message.reason) for message in messages)


def decode_profile(message: profile_pb2.Profile, titles: Mapping[str, str]) -> answers.Profile:
    """One profile, with the titles of its medoids that are at hand."""
    return answers.Profile(
        user_id=message.user_id,
        clusters=tuple(
            answers.Cluster(
                medoid_pin_id=cluster.medoid_pin_id,
                importance=cluster.importance,
                action_count=cluster.action_count,
                newest_action_time=_time(cluster, "newest_action_time"),
                origin=_word(profile_pb2.ClusterOrigin.Name(cluster.origin), "CLUSTER_ORIGIN_"),
                medoid_title=titles.get(cluster.medoid_pin_id, ""),
            )
            for cluster in message.clusters
        ),
        is_cold_start=message.is_cold_start,
        batch_time=_time(message, "batch_time"),
        generation=message.generation,
        online_action_count=message.online_action_count,
    )


def decode_action(message: profile_pb2.Action) -> answers.Action:
    """One stored action."""
    return answers.Action(
        user_id=message.user_id,
        pin_id=message.pin_id,
        action_type=_word(profile_pb2.ActionType.Name(message.action_type), "ACTION_TYPE_"),
        action_id=message.action_id,
        action_time=_time(message, "action_time"),
        strength=message.strength if message.HasField("strength") else None,
        board_id=message.board_id,
        list_id=message.list_id,
    )


def decode_recorded(
    request: profile_pb2.RecordActionsRequest,
    response: profile_pb2.RecordActionsResponse,
) -> tuple[answers.RecordedAction, ...]:
    """What became of each action of *request*, in its order."""
    rejections = {rejection.index: rejection for rejection in response.rejections}
    recorded = []
    for index, (action, code) in enumerate(zip(request.actions, response.codes, strict=True)):
        rejection = rejections.get(index)
        recorded.append(
            answers.RecordedAction(
                action_id=action.action_id,
                code=_word(profile_pb2.ActionCode.Name(code), "ACTION_CODE_"),
                field=rejection.field if rejection else "",
                reason=rejection.reason if rejection else "",
            ),
        )
    return tuple(recorded)


def decode_receipt(message: profile_pb2.EraseUserResponse) -> answers.ErasureReceipt:
    """The receipt of an erasure."""
    return answers.ErasureReceipt(
        receipt_id=message.receipt_id,
        erase_time=_time(message, "erase_time"),
        stores=tuple(
            answers.StoreErasure(
                store=store.store,
                state=_word(profile_pb2.ErasureState.Name(store.state), "ERASURE_STATE_"),
                record_count=store.record_count,
                detail=store.detail,
            )
            for store in message.stores
        ),
    )


def decode_catalogue(message: candidate_pb2.ListSourcesResponse) -> answers.Catalogue:
    """The candidate sources."""
    return answers.Catalogue(
        sources=tuple(
            answers.Source(
                source=source.source,
                is_ready=source.is_ready,
                reason=source.reason,
                candidate_count=source.candidate_count,
                generations=dict(source.generations),
            )
            for source in message.sources
        ),
        pin_count=message.pin_count,
        generation=message.catalogue_generation,
    )


def decode_models(message: ranking_pb2.ListModelsResponse) -> tuple[answers.Model, ...]:
    """The ranking models, newest first."""
    return tuple(
        answers.Model(model.model, model.generation, model.is_serving, dict(model.quality))
        for model in message.models
    )


def encode_action(action: answers.Action, action_id: str) -> profile_pb2.Action:
    """One action as a message.

    Raises:
        ValueError: The type is none that the contract has; the message lists those it has.
    """
    name = f"ACTION_TYPE_{action.action_type.strip().upper().replace('-', '_')}"
    if name not in profile_pb2.ActionType.keys() or name.endswith("_UNSPECIFIED"):  # noqa: SIM118  not a dict
        known = ", ".join(action_types())
        raise ValueError(f"action type {action.action_type!r} is none of {known}")
    message = profile_pb2.Action(
        action_id=action_id,
        user_id=action.user_id,
        pin_id=action.pin_id,
        action_type=profile_pb2.ActionType.Value(name),
        strength=action.strength,
        board_id=action.board_id,
        list_id=action.list_id,
    )
    if action.action_time is not None:
        message.action_time.FromDatetime(action.action_time)
    return message


def action_types() -> tuple[str, ...]:
    """The types that an action may have, as the client and the command line write them."""
    names = profile_pb2.ActionType.keys()
    return tuple(_word(name, "ACTION_TYPE_") for name in names if not name.endswith("_UNSPECIFIED"))


def _word(name: str, prefix: str) -> str:
    """`CLUSTER_ORIGIN_BATCH` as `batch`."""
    return name.removeprefix(prefix).lower()


def _time(message: object, field: str) -> datetime | None:
    """A timestamp field as an aware datetime; None where it is not set."""
    if not message.HasField(field):  # type: ignore[attr-defined]
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC)


def _age(duration: Duration) -> timedelta:
    return duration.ToTimedelta()
