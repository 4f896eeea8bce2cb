"""The wire edge of what is remembered: shown, looked up, forgotten."""

from collections.abc import Callable
from uuid import UUID

import grpc

from corkboard.ranking.v1 import ranking_service_pb2 as pb
from ranking_service.confirmations import Confirmation, Confirmations, ShownPin
from ranking_service.memboost.keeper import MemboostKeeper
from ranking_service.memboost.resets import RecordedReset
from ranking_service.pin_keys import key_of, keys_of
from ranking_service.query import seed_of
from ranking_service.wire_time_encoding import micros_of
from service_runtime.call_context import current_request_id
from service_runtime.errors import InvalidRequest
from service_runtime.telemetry import audit


class MemboostVerbs:
    """
    RecordImpressions, GetMemboost and ResetMemboost.

    Args:
        memory: The counters.
        confirmations: What clients showed.
        gain: What a score of 1 adds to a logit where the serving model says nothing else.
        clock: Unix seconds.
    """

    def __init__(
        self,
        memory: MemboostKeeper,
        confirmations: Confirmations,
        gain: Callable[[bool], float],
        clock: Callable[[], float],
    ) -> None:
        self._memory = memory
        self._confirmations = confirmations
        self._gain = gain
        self._clock = clock

    def RecordImpressions(
        self, request: pb.RecordImpressionsRequest, context: grpc.ServicerContext
    ) -> pb.RecordImpressionsResponse:
        """See the contract."""
        del context
        count = self._confirmations.record(decode_shown(request))
        return pb.RecordImpressionsResponse(recorded_count=count)

    def GetMemboost(
        self, request: pb.GetMemboostRequest, context: grpc.ServicerContext
    ) -> pb.GetMemboostResponse:
        """See the contract."""
        del context
        gain = self._gain(bool(request.query_pin_id))
        return encode_memboost(self._memory, request.query_pin_id, request.result_pin_id, gain)

    def ResetMemboost(
        self, request: pb.ResetMemboostRequest, context: grpc.ServicerContext
    ) -> pb.ResetMemboostResponse:
        """See the contract."""
        del context
        reset = decode_reset(request, self._clock())
        count = self._memory.reset(reset)
        audit("ResetMemboost", reset_id=reset.reset_id, pairs=count, reason=reset.reason)
        return pb.ResetMemboostResponse(pair_count=count, reset_id=reset.reset_id)


def decode_shown(request: pb.RecordImpressionsRequest) -> Confirmation:
    """What a client showed, as plain values."""
    has_time = request.HasField("impression_time")
    return Confirmation(
        list_id=request.list_id,
        user_id=request.user_id,
        query_pin_id=request.query_pin_id,
        platform=request.platform,
        time_us=micros_of(request.impression_time, "impression_time") if has_time else 0,
        pins=tuple(ShownPin(pin.pin_id, pin.position, pin.is_inserted) for pin in request.pins),
    )


def decode_reset(request: pb.ResetMemboostRequest, now: float) -> RecordedReset:
    """
    What to forget, as plain values; only what was shown before now can be.

    Raises:
        InvalidRequest: If the range of time is empty.
    """
    now_us = round(now * 1e6)
    has_begin, has_end = request.HasField("begin_time"), request.HasField("end_time")
    begin_us = micros_of(request.begin_time, "begin_time") if has_begin else 0
    end_us = micros_of(request.end_time, "end_time") if has_end else now_us
    if begin_us >= end_us:
        raise InvalidRequest("must be later than begin_time", field="end_time")
    return RecordedReset(
        reset_id=str(UUID(int=seed_of(current_request_id()))),
        query_pin_id=request.query_pin_id,
        result_pin_id=request.result_pin_id,
        begin_us=begin_us,
        end_us=min(end_us, now_us),
        time_us=now_us,
        reason=request.reason,
    )


def encode_memboost(
    keeper: MemboostKeeper, query_pin_id: str, result_pin_id: str, gain: float
) -> pb.GetMemboostResponse:
    """What is remembered of a pair as a message; a pair never shown has the score 0."""
    memory = keeper.current()
    query_key, result_keys = key_of(query_pin_id), keys_of((result_pin_id,))
    counts = memory.counts(query_key, result_keys)
    score = float(counts.scores(memory.smoothing)[0])
    return pb.GetMemboostResponse(
        score=pb.MemboostScore(
            score=score,
            boost=gain * score,
            action_count=float(counts.actions[0]),
            expected_action_count=float(counts.expected[0]),
            impression_count=int(counts.impressions[0]),
        ),
        counters=[
            pb.MemboostCounter(
                platform=counter.platform,
                position=counter.position,
                impression_count=counter.impression_count,
                action_counts=counter.action_counts,
                expected_action_count=counter.expected_count,
            )
            for counter in memory.counters(query_key, int(result_keys[0]))
        ],
        generation=memory.generation,
    )
