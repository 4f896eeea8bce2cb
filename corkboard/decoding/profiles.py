"""Messages of profile_service, and the receipts that all three services give."""

from collections.abc import Iterable, Mapping
from typing import Any

from corkboard import answers
from corkboard.decoding.wire import to_time, to_word, to_words
from corkboard.profile.v1 import profile_service_pb2 as pb


def decode_profile(message: pb.Profile, titles: Mapping[str, str]) -> answers.Profile:
    """One profile, with the titles of its medoids that are at hand."""
    return answers.Profile(
        user_id=message.user_id,
        clusters=tuple(
            answers.Cluster(
                medoid_pin_id=cluster.medoid_pin_id,
                importance=cluster.importance,
                action_count=cluster.action_count,
                newest_action_time=to_time(cluster, "newest_action_time"),
                origin=to_word(pb.ClusterOrigin.Name(cluster.origin), "CLUSTER_ORIGIN_"),
                medoid_title=titles.get(cluster.medoid_pin_id, ""),
            )
            for cluster in message.clusters
        ),
        is_cold_start=message.is_cold_start,
        batch_time=to_time(message, "batch_time"),
        generation=message.generation,
        online_action_count=message.online_action_count,
        recent_actions=tuple(
            answers.Action(
                user_id=message.user_id,
                pin_id=action.pin_id,
                action_type=to_word(pb.ActionType.Name(action.action_type), "ACTION_TYPE_"),
                action_time=to_time(action, "action_time"),
            )
            for action in message.recent_actions
        ),
        declared_pin_ids=tuple(message.declared_pin_ids),
        acted_pin_ids=tuple(message.acted_pin_ids),
        language=message.attributes.language,
        country=message.attributes.country,
        segment=message.attributes.segment,
    )


def decode_action(message: pb.Action) -> answers.Action:
    """One stored action."""
    return answers.Action(
        user_id=message.user_id,
        pin_id=message.pin_id,
        action_type=to_word(pb.ActionType.Name(message.action_type), "ACTION_TYPE_"),
        action_id=message.action_id,
        action_time=to_time(message, "action_time"),
        strength=message.strength if message.HasField("strength") else None,
        board_id=message.board_id,
        list_id=message.list_id,
    )


def decode_recorded(
    request: pb.RecordActionsRequest,
    response: pb.RecordActionsResponse,
) -> tuple[answers.RecordedAction, ...]:
    """What became of each action of *request*, in its order."""
    rejections = {rejection.index: rejection for rejection in response.rejections}
    recorded = []
    for index, (action, code) in enumerate(zip(request.actions, response.codes, strict=True)):
        rejection = rejections.get(index)
        recorded.append(
            answers.RecordedAction(
                action_id=action.action_id,
                code=to_word(pb.ActionCode.Name(code), "ACTION_CODE_"),
                field=rejection.field if rejection else "",
                reason=rejection.reason if rejection else "",
            ),
        )
    return tuple(recorded)


def decode_stores(stores: Iterable[Any], states: Any) -> tuple[answers.StoreErasure, ...]:
    """Stores of a receipt of any of the services.

    Args:
        stores: Messages `StoreErasure` of one service.
        states: The enumeration `ErasureState` of the same service.
    """
    return tuple(
        answers.StoreErasure(
            store=store.store,
            state=to_word(states.Name(store.state), "ERASURE_STATE_"),
            record_count=store.record_count,
            detail=store.detail,
        )
        for store in stores
    )


def encode_action(action: answers.Action, action_id: str) -> pb.Action:
    """One action as a message.

    Raises:
        ValueError: The type is none that the contract has; the message lists those it has.
    """
    name = f"ACTION_TYPE_{action.action_type.strip().upper().replace('-', '_')}"
    if name not in pb.ActionType.keys() or name.endswith("_UNSPECIFIED"):  # noqa: SIM118  not a dict
        known = ", ".join(action_types())
        raise ValueError(f"action type {action.action_type!r} is none of {known}")
    message = pb.Action(
        action_id=action_id,
        user_id=action.user_id,
        pin_id=action.pin_id,
        action_type=pb.ActionType.Value(name),
        strength=action.strength,
        board_id=action.board_id,
        list_id=action.list_id,
    )
    if action.action_time is not None:
        message.action_time.FromDatetime(action.action_time)
    return message


def action_types() -> tuple[str, ...]:
    """The types that an action may have, as the client and the command line write them."""
    return to_words(pb.ActionType.keys(), "ACTION_TYPE_")
