"""Calls to the other two services to forget a user, and to verify it."""

from typing import Any, Final

from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb
from corkboard.profile.v1 import profile_service_pb2 as profile_pb
from ranking_service.config import RankingConfig
from ranking_service.erasure import ErasureState, StoreErasure
from ranking_service.upstream import Stubs
from service_runtime.errors import CorkboardError
from service_runtime.grpc_client import call

_STATES: Final = {
    profile_pb.ERASURE_STATE_ERASED: ErasureState.ERASED,
    profile_pb.ERASURE_STATE_HIDDEN: ErasureState.HIDDEN,
    profile_pb.ERASURE_STATE_NOT_REACHED: ErasureState.NOT_REACHED,
}


class ErasureUpstream:
    """
    Asks profile_service and candidate_service; see `erasure.OtherServices`.

    Args:
        stubs: The services.
        config: How long a call may take.
    """

    def __init__(self, stubs: Stubs, config: RankingConfig) -> None:
        self._stubs = stubs
        self._timeout_s = config.erasure_budget_ms / 1e3

    def erase(self, user_id: str) -> list[StoreErasure]:
        """See `erasure.OtherServices.erase`."""
        return [
            *self._asked(
                "profile",
                self._stubs.profile.EraseUser,
                profile_pb.EraseUserRequest(user_id=user_id),
            ),
            *self._asked(
                "candidate",
                self._stubs.candidate.EraseUser,
                candidate_pb.EraseUserRequest(user_id=user_id),
            ),
        ]

    def erasure(self, user_id: str) -> list[StoreErasure]:
        """See `erasure.OtherServices.erasure`."""
        return [
            *self._asked(
                "profile",
                self._stubs.profile.GetErasure,
                profile_pb.GetErasureRequest(user_id=user_id),
            ),
            *self._asked(
                "candidate",
                self._stubs.candidate.GetErasure,
                candidate_pb.GetErasureRequest(user_id=user_id),
            ),
        ]

    def _asked(self, service: str, method: Any, request: Any) -> list[StoreErasure]:
        try:
            answer: Any = call(method, request, timeout_s=self._timeout_s, margin_s=0.0)
        except CorkboardError as fault:
            detail = f"{service}_service: {fault.message}; call again"
            return [StoreErasure(f"{service}:all", ErasureState.NOT_REACHED, 0, detail)]
        return [
            StoreErasure(
                f"{service}:{store.store}",
                _STATES.get(store.state, ErasureState.NOT_REACHED),
                store.record_count,
                store.detail,
            )
            for store in answer.stores
            if not _is_pointer(store)
        ]


def _is_pointer(store: Any) -> bool:
    """Whether a service only says whom else to ask; we ask them all."""
    is_unreached = store.state == profile_pb.ERASURE_STATE_NOT_REACHED
    return bool(is_unreached and store.detail.startswith("ask "))
