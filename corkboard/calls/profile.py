"""Who a user is: the verbs of profile_service, and erasure in all three services."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from corkboard import answers
from corkboard.calls.candidate import CandidateCalls
from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb
from corkboard.decoding import profiles as decoding
from corkboard.decoding.wire import from_word, to_time
from corkboard.profile.v1 import profile_service_pb2 as pb
from corkboard.ranking.v1 import ranking_service_pb2 as ranking_pb
from service_runtime.errors import CorkboardError, InvalidRequest


class ProfileCalls(CandidateCalls):
    """Actions in, interests out."""

    def record(
        self,
        user_id: str,
        pin_id: str,
        action_type: str = "save",
        *,
        action_id: str = "",
        board_id: str = "",
        list_id: str = "",
    ) -> answers.RecordedAction:
        """Record that a user did something to a pin now; durable when it returns.

        Args:
            user_id: Who.
            pin_id: To which pin; the catalogue need not know it yet.
            action_type: `save`, `click`, `long_click`, `close_up`, `hide`, ….
            action_id: Unique; "" = one is made.  Give your own to make repeating safe.
            board_id: The board of a save.
            list_id: The answer in which the pin was shown.
        """
        action = answers.Action(
            user_id=user_id,
            pin_id=pin_id,
            action_type=action_type,
            action_id=action_id,
            board_id=board_id,
            list_id=list_id,
        )
        return self.record_all([action])[0]

    def record_all(
        self,
        actions: Iterable[answers.Action],
        *,
        allow_partial: bool = False,
        deadline_s: float = 0.0,
    ) -> tuple[answers.RecordedAction, ...]:
        """Record 1 to 10,000 actions in one call; durable when it returns.

        Args:
            actions: Of any users, in any order.
            allow_partial: False: one wrong action refuses all.  True: it alone is refused, with
                code, field and reason in its place of the answer.
            deadline_s: 0 = the client's.

        Returns:
            What became of each, in the order given.
        """
        try:
            messages = [
                decoding.encode_action(action, action.action_id or uuid.uuid4().hex)
                for action in actions
            ]
        except ValueError as error:
            raise InvalidRequest(str(error), field="action_type", reason="ENUM_DEFINED") from error
        request = pb.RecordActionsRequest(actions=messages, allow_partial=allow_partial)
        response = self._call(self._profile.RecordActions, request, deadline_s)
        return decoding.decode_recorded(request, response)

    def profile(
        self,
        user_id: str,
        *,
        cluster_count_max: int = 0,
        acted_pin_count_max: int = 0,
        recent_action_count_max: int = 0,
        with_titles: bool = True,
    ) -> answers.Profile:
        """The interests of a user; empty and marked as a cold start for somebody unknown.

        Args:
            user_id: Whose.
            cluster_count_max: 0 = the server's default.
            acted_pin_count_max: How many pins acted on to return; 0 = none.
            recent_action_count_max: How many recent actions to return, up to 100; 0 = none.
            with_titles: Look the medoids' titles up in the catalogue (one more call).
        """
        request = pb.GetProfileRequest(
            user_id=user_id,
            cluster_count_max=cluster_count_max,
            acted_pin_count_max=acted_pin_count_max,
            recent_action_count_max=recent_action_count_max,
        )
        profile = self._call(self._profile.GetProfile, request).profile
        medoids = [cluster.medoid_pin_id for cluster in profile.clusters]
        return decoding.decode_profile(profile, self.titles(medoids) if with_titles else {})

    def actions(self, user_id: str, *, limit: int = 0) -> tuple[answers.Action, ...]:
        """What a user did, newest first; at most *limit*, 1 to 10,000 (0 = 100)."""
        request = pb.ListActionsRequest(user_id=user_id, limit=limit)
        response = self._call(self._profile.ListActions, request)
        return tuple(decoding.decode_action(action) for action in response.actions)

    def declare(self, user_id: str, pin_ids: Sequence[str]) -> None:
        """Store the interests that a user picked, up to 100 pins; none takes picks back."""
        request = pb.DeclareInterestsRequest(user_id=user_id, pin_ids=pin_ids)
        self._call(self._profile.DeclareInterests, request)

    def update_user(
        self,
        user_id: str,
        *,
        language: str = "",
        country: str = "",
        segment: str = "",
    ) -> None:
        """Store what is known of a user beside their actions; replaces what was."""
        attributes = pb.UserAttributes(language=language, country=country, segment=segment)
        request = pb.UpdateUserRequest(user_id=user_id, attributes=attributes)
        self._call(self._profile.UpdateUser, request)

    def adjust_interest(self, user_id: str, medoid_pin_id: str, adjustment: str) -> None:
        """Change what one interest of a user counts; reaches the next answer.

        Args:
            user_id: Whose.
            medoid_pin_id: The interest's medoid, as `profile` tells it.
            adjustment: `mute`, `boost` (counts twice), `forget`, or `reset`.
        """
        number = from_word(
            pb.ClusterAdjustment, adjustment, prefix="CLUSTER_ADJUSTMENT_", field="adjustment"
        )
        request = pb.AdjustClusterRequest(
            user_id=user_id,
            medoid_pin_id=medoid_pin_id,
            adjustment=pb.ClusterAdjustment.ValueType(number),
        )
        self._call(self._profile.AdjustCluster, request)

    def merge_users(self, source_user_id: str, target_user_id: str) -> answers.MergedUsers:
        """Move everything of one user to another, for example of a visitor who signs in."""
        request = pb.MergeUsersRequest(source_user_id=source_user_id, target_user_id=target_user_id)
        response = self._call(self._profile.MergeUsers, request)
        return answers.MergedUsers(response.action_count, response.declared_pin_count)

    def erase(self, user_id: str) -> answers.ErasureReceipt:
        """Forget a user in all three services; the receipt names every store.

        profile_service comes first and its failure is an error.  Where another service cannot be
        reached its line of the receipt says so; erasing again is safe.
        """
        response = self._call(self._profile.EraseUser, pb.EraseUserRequest(user_id=user_id))
        stores = decoding.decode_stores(response.stores, pb.ErasureState)
        for service, method, request, states in self._elsewhere("EraseUser", user_id):
            stores += self._stores_of(service, method, request, states)[0]
        return answers.ErasureReceipt(response.receipt_id, to_time(response, "erase_time"), stores)

    def erasure(self, user_id: str) -> answers.ErasureCheck:
        """Whether an erasure holds: every store of every service is asked anew."""
        response = self._call(self._profile.GetErasure, pb.GetErasureRequest(user_id=user_id))
        stores = decoding.decode_stores(response.stores, pb.ErasureState)
        is_erased = response.is_erased
        for service, method, request, states in self._elsewhere("GetErasure", user_id):
            found, answer = self._stores_of(service, method, request, states)
            stores += found
            is_erased = is_erased and answer is not None and answer.is_erased
        when = to_time(response, "erase_time")
        return answers.ErasureCheck(is_erased, response.receipt_id, when, stores)

    def _elsewhere(self, verb: str, user_id: str) -> list[tuple[str, Any, Any, Any]]:
        """For the other two services: name, method, request, enumeration of states."""
        return [
            (service, getattr(stub, verb), getattr(module, f"{verb}Request")(user_id=user_id), of)
            for service, stub, module, of in (
                ("candidate_service", self._candidate, candidate_pb, candidate_pb.ErasureState),
                ("ranking_service", self._ranking, ranking_pb, ranking_pb.ErasureState),
            )
        ]

    def _stores_of(
        self, service: str, method: Any, request: Any, states: Any
    ) -> tuple[tuple[answers.StoreErasure, ...], Any]:
        """Stores and answer of one service; one line that says why, and None, without an answer."""
        try:
            answer = self._call(method, request)
        except CorkboardError as error:
            detail = f"{error.message}; run the erasure again once the service answers"
            return (answers.StoreErasure(service, "not_reached", 0, detail),), None
        return decoding.decode_stores(answer.stores, states), answer
