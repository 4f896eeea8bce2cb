"""The wire edge of pins: what the catalogue and the live changes know of them."""

# ruff: noqa: D102  methods are documented in the contract

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from candidate_service.artifacts import Served
from candidate_service.live.segment import LivePin
from corkboard.candidate.v1 import candidate_service_pb2 as wire

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PinVerbs:
    """The verbs that tell of pins; a part of CandidateService."""

    def __init__(self, served: Callable[[], Served]) -> None:
        """Tell from what serves now."""
        self._served = served

    def GetPins(
        self, request: wire.GetPinsRequest, context: grpc.ServicerContext
    ) -> wire.GetPinsResponse:
        known = self._served().catalogue
        rows = known.ids.rows(request.pin_ids)
        return encode_pins(request.pin_ids, rows, known.known_of(rows))


def encode_live_pin(pin: LivePin, vector: NDArray[np.float32] | None) -> wire.Pin:
    """Encode a pin as its newest change left it; fields that are not known stay unset."""
    message = wire.Pin(
        pin_id=pin.pin_id,
        is_known=True,
        is_live=True,
        title=pin.title,
        description=pin.description,
        topics=pin.topics,
        language=pin.language,
        country=pin.country,
        owner_id=pin.owner_id,
        image_url=pin.image_url,
        attributes=pin.attributes,
        quality=pin.quality,
        is_hidden=pin.is_hidden,
        image_hash=pin.image_hash,
        vector=() if vector is None else vector.tolist(),
    )
    for name in ("creation_time", "expiration_time"):
        if (time_us := getattr(pin, f"{name}_us")) is not None:
            getattr(message, name).FromMicroseconds(time_us)
    return message


def encode_pins(
    pin_ids: Sequence[str], rows: NDArray[np.int32], known: pa.Table
) -> wire.GetPinsResponse:
    """Encode what is known of pins; fields that are not stay unset."""
    response = wire.GetPinsResponse()
    for pin_id, row, attributes in zip(pin_ids, rows.tolist(), known.to_pylist(), strict=True):
        response.pins.append(_pin(pin_id, attributes, is_known=row >= 0))
    return response


def _pin(pin_id: str, attributes: dict[str, Any], *, is_known: bool) -> wire.Pin:
    time_us = attributes.pop("creation_time_us")
    given = {name: value for name, value in attributes.items() if value is not None}
    if time_us is not None:
        given["creation_time"] = _EPOCH + timedelta(microseconds=time_us)
    return wire.Pin(pin_id=pin_id, is_known=is_known, **given)
