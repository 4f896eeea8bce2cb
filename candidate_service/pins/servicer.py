"""The wire edge of pins: what the catalogue and the live changes know of them."""

# ruff: noqa: D102  methods are documented in the contract

from __future__ import annotations

import grpc
import numpy as np
from numpy.typing import NDArray

from candidate_service.live.pin_view import PinFacts, PinView
from candidate_service.live.segment import LivePin
from corkboard.candidate.v1 import candidate_service_pb2 as wire


class PinVerbs:
    """The verbs that tell of pins; a part of CandidateService."""

    def __init__(self, view: PinView) -> None:
        """Tell from what serves now."""
        self._view = view

    def GetPins(
        self, request: wire.GetPinsRequest, context: grpc.ServicerContext
    ) -> wire.GetPinsResponse:
        facts = self._view.facts(request.pin_ids, with_vectors=request.with_vectors)
        return wire.GetPinsResponse(pins=map(encode_pin, facts))


def encode_pin(facts: PinFacts) -> wire.Pin:
    """Encode what is known of a pin; fields that are not known stay unset."""
    if not facts.is_known:
        return wire.Pin(pin_id=facts.pin_id)
    given = dict(facts.known)
    times = {name: given.pop(f"{name}_us", None) for name in ("creation_time", "expiration_time")}
    pin = wire.Pin(pin_id=facts.pin_id, is_known=True, is_live=facts.is_live, **given)
    for name, time_us in times.items():
        if time_us is not None:
            getattr(pin, name).FromMicroseconds(time_us)
    if facts.vector is not None:
        pin.vector.extend(facts.vector.tolist())
    return pin


def encode_live_pin(pin: LivePin, vector: NDArray[np.float32] | None) -> wire.Pin:
    """Encode a pin as its newest change left it."""
    return encode_pin(PinFacts.of(pin, is_live=pin.is_new, vector=vector))
