"""The wire edge of forgetting a user."""

from typing import Final
from uuid import uuid4

import grpc

from corkboard.ranking.v1 import ranking_service_pb2 as pb
from ranking_service.erasure import Erasures, ErasureState, StoreErasure
from service_runtime.telemetry import audit, hashed

_STATES: Final = {
    ErasureState.ERASED: pb.ERASURE_STATE_ERASED,
    ErasureState.HIDDEN: pb.ERASURE_STATE_HIDDEN,
    ErasureState.NOT_REACHED: pb.ERASURE_STATE_NOT_REACHED,
}


class ErasureVerbs:
    """
    EraseUser and GetErasure.

    Args:
        erasures: Forgets and verifies.
    """

    def __init__(self, erasures: Erasures) -> None:
        self._erasures = erasures

    def EraseUser(  # noqa: N802  the contract's name
        self, request: pb.EraseUserRequest, context: grpc.ServicerContext
    ) -> pb.EraseUserResponse:
        """See the contract."""
        del context
        time_us, stores = self._erasures.erase(request.user_id)
        receipt_id = str(uuid4())  # not of the request id: callers may use one twice
        audit("EraseUser", user=hashed(request.user_id), receipt_id=receipt_id)
        answer = pb.EraseUserResponse(receipt_id=receipt_id, stores=_encoded(stores))
        answer.erase_time.FromMicroseconds(time_us)
        return answer

    def GetErasure(  # noqa: N802  the contract's name
        self, request: pb.GetErasureRequest, context: grpc.ServicerContext
    ) -> pb.GetErasureResponse:
        """See the contract."""
        del context
        stores = self._erasures.stores(request.user_id)
        is_erased = all(store.state is ErasureState.ERASED for store in stores)
        return pb.GetErasureResponse(is_erased=is_erased, stores=_encoded(stores))


def _encoded(stores: list[StoreErasure]) -> list[pb.StoreErasure]:
    return [
        pb.StoreErasure(
            store=store.store,
            state=_STATES[store.state],
            record_count=store.record_count,
            detail=store.detail,
        )
        for store in stores
    ]
