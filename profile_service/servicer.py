"""The wire edge: decode, call, encode."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from corkboard.profile.v1 import profile_service_pb2 as pb
from corkboard.profile.v1 import profile_service_pb2_grpc as pb_grpc
from profile_service.actions import Action, ActionColumns, ActionType
from profile_service.adjustments import Adjustment, AdjustmentKind
from profile_service.codec import Declared
from profile_service.erasure import ErasedStore
from profile_service.profile import Attributes, Profile
from profile_service.profile_metrics import ProfileFigures
from profile_service.profiles import Profiles
from profile_service.recording import Invalid, Outcome, Recording
from profile_service.store import ActionLog
from service_runtime.clock import Clock
from service_runtime.errors import FieldViolation
from service_runtime.telemetry import audit, hashed
from service_runtime.validation import violations

_STATES = {
    "erased": pb.ERASURE_STATE_ERASED,
    "hidden": pb.ERASURE_STATE_HIDDEN,
    "not_reached": pb.ERASURE_STATE_NOT_REACHED,
}


class ProfileServicer(pb_grpc.ProfileServiceServicer):
    """Answers the calls of ProfileService."""

    def __init__(
        self,
        profiles: Profiles,
        log: ActionLog,
        recording: Recording,
        *,
        clock: Clock,
        make_id: Callable[[], str],
        listed_action_count_default: int,
        cluster_count_default: int,
        figures: ProfileFigures,
    ) -> None:
        self._profiles = profiles
        self._log = log
        self._recording = recording
        self._clock = clock
        self._make_id = make_id
        self._listed_action_count_default = listed_action_count_default
        self._cluster_count_default = cluster_count_default
        self._figures = figures

    def RecordActions(
        self, request: pb.RecordActionsRequest, context: grpc.ServicerContext
    ) -> pb.RecordActionsResponse:
        """Record what users did."""
        now = self._clock()
        items = [_decode_action(item, index, now) for index, item in enumerate(request.actions)]
        outcomes = self._recording.record(
            items,
            now=now,
            allow_partial=request.allow_partial,
            validate_only=request.validate_only,
        )
        return _encode_outcomes(outcomes)

    def GetProfile(
        self, request: pb.GetProfileRequest, context: grpc.ServicerContext
    ) -> pb.GetProfileResponse:
        """Return the interests of one user."""
        profile = self._current(request.user_id, request)
        return pb.GetProfileResponse(profile=_encode_profile(profile))

    def BatchGetProfiles(
        self, request: pb.BatchGetProfilesRequest, context: grpc.ServicerContext
    ) -> pb.BatchGetProfilesResponse:
        """Return the interests of several users, in the order asked."""
        profiles = [self._current(user_id, request) for user_id in request.user_ids]
        return pb.BatchGetProfilesResponse(profiles=map(_encode_profile, profiles))

    def ListActions(
        self, request: pb.ListActionsRequest, context: grpc.ServicerContext
    ) -> pb.ListActionsResponse:
        """List the actions of one user, newest first."""
        limit = request.limit or self._listed_action_count_default
        actions, is_truncated = self._profiles.history(request.user_id, limit)
        return pb.ListActionsResponse(
            actions=_encode_actions(request.user_id, actions), is_truncated=is_truncated
        )

    def DeclareInterests(
        self, request: pb.DeclareInterestsRequest, context: grpc.ServicerContext
    ) -> pb.DeclareInterestsResponse:
        """Store what a user picked."""
        declared = Declared(round(self._clock() * 1e6), tuple(request.pin_ids))
        self._log.declare(request.user_id, declared)
        return pb.DeclareInterestsResponse()

    def EraseUser(
        self, request: pb.EraseUserRequest, context: grpc.ServicerContext
    ) -> pb.EraseUserResponse:
        """Forget a user and tell what happened in every store."""
        time_us, receipt_id = round(self._clock() * 1e6), self._make_id()
        stores = self._profiles.erase(request.user_id, time_us=time_us, receipt_id=receipt_id)
        audit("EraseUser", user=hashed(request.user_id), receipt_id=receipt_id)
        return pb.EraseUserResponse(
            receipt_id=receipt_id,
            erase_time=_encode_time(time_us),
            stores=map(_encode_store, stores),
        )

    def GetErasure(
        self, request: pb.GetErasureRequest, context: grpc.ServicerContext
    ) -> pb.GetErasureResponse:
        """Ask every store of this service anew whether it knows a user."""
        erasure, stores = self._profiles.verify(request.user_id)
        return pb.GetErasureResponse(
            is_erased=erasure is not None and all(one.state == "erased" for one in stores),
            receipt_id=erasure.receipt_id if erasure else "",
            erase_time=_encode_time(erasure.time_us) if erasure else None,
            stores=map(_encode_store, stores),
        )

    def MergeUsers(
        self, request: pb.MergeUsersRequest, context: grpc.ServicerContext
    ) -> pb.MergeUsersResponse:
        """Move everything of one user to another."""
        source, target = request.source_user_id, request.target_user_id
        time_us, receipt_id = round(self._clock() * 1e6), self._make_id()
        counts = self._profiles.merge(source, target, time_us=time_us, receipt_id=receipt_id)
        audit("MergeUsers", source=hashed(source), target=hashed(target), action_count=counts[0])
        return pb.MergeUsersResponse(action_count=counts[0], declared_pin_count=counts[1])

    def UpdateUser(
        self, request: pb.UpdateUserRequest, context: grpc.ServicerContext
    ) -> pb.UpdateUserResponse:
        """Store what is known of a user."""
        known = request.attributes
        self._log.describe(
            request.user_id, Attributes(known.language, known.country, known.segment)
        )
        return pb.UpdateUserResponse()

    def AdjustCluster(
        self, request: pb.AdjustClusterRequest, context: grpc.ServicerContext
    ) -> pb.AdjustClusterResponse:
        """Mute, boost or forget one interest of a user."""
        kind, time_us = AdjustmentKind(request.adjustment), round(self._clock() * 1e6)
        self._log.adjust(request.user_id, Adjustment(request.medoid_pin_id, kind, time_us))
        return pb.AdjustClusterResponse()

    def _current(
        self, user_id: str, request: pb.GetProfileRequest | pb.BatchGetProfilesRequest
    ) -> Profile:
        now = self._clock()
        profile = self._profiles.current(
            user_id,
            now=now,
            cluster_limit=request.cluster_count_max or self._cluster_count_default,
            acted_limit=request.acted_pin_count_max,
            recent_limit=request.recent_action_count_max,
        )
        self._figures.note(profile, now)
        return profile


def _decode_action(item: pb.Action, index: int, now: float) -> Action | Invalid:
    """The action that a message means, or everything that is wrong with the message."""
    faults = violations(item)
    if faults:
        return Invalid(
            tuple(
                FieldViolation(f"actions[{index}].{fault.field}", fault.reason, fault.description)
                for fault in faults
            )
        )
    return Action(
        action_id=item.action_id,
        user_id=item.user_id,
        pin_id=item.pin_id,
        action_type=ActionType(item.action_type),
        time_us=_decode_time(item.action_time)
        if item.HasField("action_time")
        else round(now * 1e6),
        strength=item.strength if item.HasField("strength") else None,
        board_id=item.board_id,
        list_id=item.list_id,
    )


def _encode_outcomes(outcomes: Sequence[Outcome]) -> pb.RecordActionsResponse:
    return pb.RecordActionsResponse(
        codes=[pb.ActionCode.ValueType(outcome.code) for outcome in outcomes],
        rejections=[
            pb.ActionRejection(
                index=index, field=fault.field.partition(".")[2], reason=fault.description
            )
            for index, outcome in enumerate(outcomes)
            for fault in outcome.faults[:1]
        ],
    )


def _encode_profile(profile: Profile) -> pb.Profile:
    clusters = profile.clusters
    rows = zip(
        clusters.medoid_pin_ids,
        clusters.importances.tolist(),
        clusters.action_counts.tolist(),
        clusters.newest_times_us.tolist(),
        profile.origins.tolist(),
        strict=True,
    )
    return pb.Profile(
        user_id=profile.user_id,
        clusters=[
            pb.Cluster(
                medoid_pin_id=medoid,
                importance=importance,
                action_count=count,
                newest_action_time=_encode_time(time_us),
                origin=origin,
            )
            for medoid, importance, count, time_us, origin in rows
        ],
        is_cold_start=profile.is_cold_start,
        batch_time=None if profile.batch_time_us is None else _encode_time(profile.batch_time_us),
        generation=profile.generation,
        online_action_count=profile.online_action_count,
        acted_pin_ids=profile.acted_pin_ids,
        hidden_pin_ids=profile.hidden_pin_ids,
        recent_actions=_encode_recent(profile.recent),
        declared_pin_ids=profile.declared_pin_ids,
        attributes=_encode_attributes(profile.attributes),
    )


def _encode_attributes(known: Attributes) -> pb.UserAttributes | None:
    """What is known of a user; unset where nothing is."""
    if known == Attributes():
        return None
    return pb.UserAttributes(language=known.language, country=known.country, segment=known.segment)


def _encode_store(store: ErasedStore) -> pb.StoreErasure:
    return pb.StoreErasure(
        store=store.store,
        state=_STATES[store.state],
        record_count=store.record_count,
        detail=store.detail,
    )


def _encode_recent(actions: ActionColumns) -> list[pb.RecentAction]:
    rows = zip(
        actions.pin_ids, actions.action_types.tolist(), actions.times_us.tolist(), strict=True
    )
    return [
        pb.RecentAction(pin_id=pin_id, action_type=kind, action_time=_encode_time(time_us))
        for pin_id, kind, time_us in rows
    ]


def _encode_actions(user_id: str, actions: ActionColumns) -> list[pb.Action]:
    return [
        pb.Action(
            action_id=actions.action_ids[row],
            user_id=user_id,
            pin_id=actions.pin_ids[row],
            action_type=pb.ActionType.ValueType(int(actions.action_types[row])),
            action_time=_encode_time(int(actions.times_us[row])),
            strength=float(actions.strengths[row]),
            board_id=actions.board_ids[row],
            list_id=actions.list_ids[row],
        )
        for row in range(len(actions) - 1, -1, -1)
    ]


def _encode_time(time_us: int) -> Timestamp:
    return Timestamp(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 * 1000)


def _decode_time(time: Timestamp) -> int:
    return time.seconds * 1_000_000 + time.nanos // 1000
