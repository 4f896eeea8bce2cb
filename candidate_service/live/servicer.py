"""The wire edge of writes: messages to changes, call, outcomes to messages."""

# ruff: noqa: D102  methods are documented in the contract

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
import numpy as np
from google.protobuf.field_mask_pb2 import FieldMask

from candidate_service.image_hash import NotAPicture, hash_image
from candidate_service.live.erasure import ErasedStore, Erasures, ErasureState
from candidate_service.live.records import VECTOR_FIELDS, unnamed_board
from candidate_service.live.transaction import ItemCode, Outcome, PinChange, SaveChange
from candidate_service.live.writes import Invalid, LiveWrites, WriteOptions
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from service_runtime.errors import FieldViolation, InvalidRequest
from service_runtime.telemetry import audit, hashed
from service_runtime.validation import first_violation

T = TypeVar("T")

_STATES: Final = {
    ErasureState.ERASED: wire.ERASURE_STATE_ERASED,
    ErasureState.HIDDEN: wire.ERASURE_STATE_HIDDEN,
    ErasureState.NOT_REACHED: wire.ERASURE_STATE_NOT_REACHED,
}


@dataclass(frozen=True, slots=True)
class LiveCalls:
    """What the verbs of this edge call."""

    writes: LiveWrites
    erasures: Erasures


class LiveVerbs:
    """The verbs that write; a part of CandidateService."""

    def __init__(self, calls: LiveCalls) -> None:
        """Serve from these."""
        self._calls = calls

    def UpsertPins(
        self, request: wire.UpsertPinsRequest, context: grpc.ServicerContext
    ) -> wire.UpsertPinsResponse:
        mask = decode_mask(request.update_mask)
        items = [decode_pin(pin, mask) for pin in request.pins]
        outcomes = self._calls.writes.upsert_pins(items, _options(request))
        return wire.UpsertPinsResponse(codes=_codes(outcomes), rejections=_rejections(outcomes))

    def DeletePins(
        self, request: wire.DeletePinsRequest, context: grpc.ServicerContext
    ) -> wire.DeletePinsResponse:
        outcomes = self._calls.writes.delete_pins(request.pin_ids)
        return wire.DeletePinsResponse(codes=_codes(outcomes))

    def UpsertSaves(
        self, request: wire.UpsertSavesRequest, context: grpc.ServicerContext
    ) -> wire.UpsertSavesResponse:
        items = [decode_save(save) for save in request.saves]
        outcomes = self._calls.writes.upsert_saves(items, _options(request))
        return wire.UpsertSavesResponse(codes=_codes(outcomes), rejections=_rejections(outcomes))

    def DeleteSaves(
        self, request: wire.DeleteSavesRequest, context: grpc.ServicerContext
    ) -> wire.DeleteSavesResponse:
        outcomes = self._calls.writes.delete_saves(request.save_ids)
        return wire.DeleteSavesResponse(codes=_codes(outcomes))

    def EraseUser(
        self, request: wire.EraseUserRequest, context: grpc.ServicerContext
    ) -> wire.EraseUserResponse:
        stores = self._calls.erasures.erase(request.user_id)
        audit("EraseUser", user=hashed(request.user_id), stores=len(stores))
        return wire.EraseUserResponse(stores=_encode_stores(stores))

    def GetErasure(
        self, request: wire.GetErasureRequest, context: grpc.ServicerContext
    ) -> wire.GetErasureResponse:
        stores = self._calls.erasures.stores(request.user_id)
        is_erased = all(store.state is ErasureState.ERASED for store in stores)
        return wire.GetErasureResponse(is_erased=is_erased, stores=_encode_stores(stores))


def _text(field: str) -> Callable[[wire.PinRecord], str]:
    return lambda pin: str(getattr(pin, field))


def _time(field: str) -> Callable[[wire.PinRecord], int | None]:
    return lambda pin: _time_us(pin, field)


def _time_us(message: wire.PinRecord | wire.SaveRecord, field: str) -> int | None:
    """Return a time in microseconds, None where it is unset; a Timestamp can be none at all."""
    if not message.HasField(field):  # type: ignore[arg-type]
        return None
    try:
        return int(getattr(message, field).ToMicroseconds())
    except ValueError as fault:
        told = "must be a time between the years 1 and 9999"
        raise InvalidRequest(told, field=field, reason="TIME_INVALID") from fault


def _vector(field: str) -> Callable[[wire.PinRecord], Any]:
    return lambda pin: _unit(getattr(pin, field), field) if len(getattr(pin, field)) else None


def _unit(values: Sequence[float], field: str) -> Any:
    """Return a vector of length one; what is infinite as float32 is too long."""
    vector = np.array(values, np.float64)
    length = float(np.linalg.norm(vector))
    if length == 0:
        raise InvalidRequest("must not be all zero", field=field, reason="ZERO_VECTOR")
    return (vector / length).astype(np.float32)


def _image_hash(pin: wire.PinRecord) -> int | None:
    if pin.HasField("image_hash"):
        return pin.image_hash
    return hash_image(pin.image_bytes, field="image_bytes") if pin.image_bytes else None


_READERS: Final[dict[str, tuple[str, Callable[[wire.PinRecord], Any]]]] = {
    "title": ("title", _text("title")),
    "description": ("description", _text("description")),
    "topics": ("topics", lambda pin: tuple(word for one in pin.topics if (word := one.strip()))),
    "language": ("language", lambda pin: pin.language.strip().lower()),
    "country": ("country", lambda pin: pin.country.strip().upper()),
    "owner_id": ("owner_id", _text("owner_id")),
    "image_url": ("image_url", _text("image_url")),
    "creation_time": ("creation_time_us", _time("creation_time")),
    "attributes": ("attributes", lambda pin: dict(pin.attributes)),
    "quality": ("quality", lambda pin: pin.quality if pin.HasField("quality") else None),
    "is_hidden": ("is_hidden", lambda pin: pin.is_hidden),
    "expiration_time": ("expiration_time_us", _time("expiration_time")),
    "image_hash": ("image_hash", _image_hash),
    "image_bytes": ("image_hash", _image_hash),
    **{name: (name, _vector(name)) for name in VECTOR_FIELDS},
}
"""Field of the message: name of the value, and how it is read."""


def decode_mask(mask: FieldMask) -> tuple[str, ...]:
    """Return the fields to change, none for all.

    Raises:
        InvalidRequest: A path names no field that can be changed.
    """
    for path in mask.paths:
        if path not in _READERS:
            raise InvalidRequest(
                f"{path!r} is no field of a pin that can be changed",
                hint=f"fields: {', '.join(_READERS)}",
                field="update_mask",
                reason="UNKNOWN_FIELD",
            )
    return tuple(dict.fromkeys(mask.paths))


def decode_pin(pin: wire.PinRecord, mask: Sequence[str]) -> PinChange | Invalid:
    """Return the change that a message means, or what is wrong with the message."""
    if broken := first_violation(pin):
        return Invalid(broken)
    try:
        fields = {name: read(pin) for name, read in (_READERS[path] for path in mask or _READERS)}
    except NotAPicture as fault:
        return Invalid(FieldViolation("image_bytes", fault.reason, fault.message))
    except InvalidRequest as fault:
        return Invalid(fault.violations[0])
    if mask:
        return PinChange(pin.pin_id, fields, is_whole=False)
    return PinChange(pin.pin_id, {n: value for n, value in fields.items() if _is_given(value)})


def _is_given(value: Any) -> bool:
    is_empty = isinstance(value, str | tuple | dict) and not value
    return not (value is None or value is False or is_empty)


def decode_save(save: wire.SaveRecord) -> SaveChange | Invalid:
    """Return the save that a message means, or what is wrong with the message."""
    if broken := first_violation(save):
        return Invalid(broken)
    if not save.board_id and not save.user_id:
        told = "must be given where there is no user_id"
        return Invalid(FieldViolation("board_id", "BOARD_OR_USER", told))
    try:
        save_time_us = _time_us(save, "save_time")
    except InvalidRequest as fault:
        return Invalid(fault.violations[0])
    return SaveChange(
        save_id=save.save_id,
        board_id=save.board_id or unnamed_board(save.user_id),
        pin_id=save.pin_id,
        user_id=save.user_id,
        save_time_us=save_time_us,
        board_title=save.board_title,
    )


def _options(request: wire.UpsertPinsRequest | wire.UpsertSavesRequest) -> WriteOptions:
    return WriteOptions(request.allow_partial, request.validate_only)


def _codes(outcomes: Sequence[Outcome]) -> list[wire.ItemCode.ValueType]:
    return [wire.ItemCode.ValueType(int(outcome.code)) for outcome in outcomes]


def _rejections(outcomes: Sequence[Outcome]) -> list[wire.ItemRejection]:
    return [
        wire.ItemRejection(index=index, field=outcome.fault.field, reason=outcome.fault.description)
        for index, outcome in enumerate(outcomes)
        if outcome.code is ItemCode.INVALID and outcome.fault is not None
    ]


def _encode_stores(stores: Sequence[ErasedStore]) -> list[wire.StoreErasure]:
    return [
        wire.StoreErasure(
            store=store.store,
            state=_STATES[store.state],
            record_count=store.record_count,
            detail=store.detail,
        )
        for store in stores
    ]
