"""The wire edge of pins: what the catalogue and the live changes know of them."""

# ruff: noqa: D102  methods are documented in the contract

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from candidate_service.answer_size import AnswerTooLarge, entry_bytes
from candidate_service.live.pin_view import TOLD, PinFacts
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from service_runtime.call_context import stop_if_abandoned
from service_runtime.errors import InvalidRequest

PINS_AT_ONCE: Final = 64
"""Pins that are looked up together: their texts are in memory several times, 200 KiB each."""

FIELDS: Final = frozenset(wire.Pin.DESCRIPTOR.fields_by_name) - {"vector"}
"""What a read mask may name."""


class LooksUp(Protocol):
    """Tells what is known of pins; `PinView` does."""

    def facts(
        self, pin_ids: Sequence[str], *, with_vectors: bool, columns: Sequence[str]
    ) -> list[PinFacts]:
        """Return what is known of pins, in the order asked; some columns at least."""
        ...


class PinVerbs:
    """The verbs that tell of pins; a part of CandidateService."""

    def __init__(self, view: LooksUp, *, answer_bytes_max: int) -> None:
        """Tell from what serves now, in answers of so many bytes at the most."""
        self._view = view
        self._answer_bytes_max = answer_bytes_max

    def GetPins(
        self, request: wire.GetPinsRequest, context: grpc.ServicerContext
    ) -> wire.GetPinsResponse:
        fields = decode_mask(request.read_mask)
        columns = [name for name in TOLD if name.removesuffix("_us") in fields]
        answer, left = wire.GetPinsResponse(), self._answer_bytes_max
        for begin in range(0, len(request.pin_ids), PINS_AT_ONCE):
            stop_if_abandoned()
            pin_ids = request.pin_ids[begin : begin + PINS_AT_ONCE]
            found = self._view.facts(pin_ids, with_vectors=request.with_vectors, columns=columns)
            for facts in found:
                pin = answer.pins.add()
                encode_pin(pin, facts, fields)
                left -= entry_bytes(pin)
                if left < 0:
                    raise _too_large(len(request.pin_ids), len(answer.pins) - 1)
        return answer


def decode_mask(mask: FieldMask) -> frozenset[str]:
    """Return which fields are to be told.

    Raises:
        InvalidRequest: A path names no field of a pin, or `vector`.
    """
    if not mask.paths:
        return FIELDS
    named = frozenset(mask.paths)
    for path in sorted(named - FIELDS):
        raise InvalidRequest(
            f"{path[:100]!r} is no field of a pin that a mask may name",
            hint="for vectors set with_vectors; the others are "
            + ", ".join(sorted(FIELDS - {"pin_id", "is_known"})),
            field="read_mask",
            reason="UNKNOWN_FIELD",
        )
    return named


def encode_pin(pin: wire.Pin, facts: PinFacts, fields: frozenset[str]) -> None:
    """Fill a message with what is known of a pin; fields that are not known stay unset."""
    pin.pin_id = facts.pin_id
    if not facts.is_known:
        return
    pin.is_known = True
    if facts.is_live and "is_live" in fields:
        pin.is_live = True
    for name, value in facts.known.items():
        field = name.removesuffix("_us")
        if value is None or field not in fields:
            continue
        if field != name:
            getattr(pin, field).FromMicroseconds(value)
        elif field == "topics":
            pin.topics.extend(value)
        elif field == "attributes":
            pin.attributes.update(value)
        else:
            setattr(pin, field, value)
    if facts.vector is not None:
        pin.vector.extend(facts.vector.tolist())


def _too_large(asked_count: int, fitting_count: int) -> AnswerTooLarge:
    return AnswerTooLarge(
        f"what is known of these {asked_count} pins is more than one answer may hold, "
        f"the first {fitting_count} fit",
        hint="ask for fewer pins at a time, or for fewer fields by read_mask",
        field="pin_ids",
    )
