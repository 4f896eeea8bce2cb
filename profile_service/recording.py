"""The rules by which actions are taken in: all or nothing, or item by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from profile_service.actions import Action
from profile_service.store import ActionLog
from profile_service.store_changes import AppendCode
from service_runtime.errors import FieldViolation, InvalidRequest
from service_runtime.telemetry import Metrics

RECORDED: Final = 1
DUPLICATE: Final = 2
INVALID: Final = 3
_LABELS: Final = {RECORDED: "recorded", DUPLICATE: "duplicate", INVALID: "invalid"}


@dataclass(frozen=True, slots=True)
class Invalid:
    """An item that is no action, and why."""

    faults: tuple[FieldViolation, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item: a code of the wire, and why it was refused."""

    code: int
    faults: tuple[FieldViolation, ...] = ()


class Recording:
    """Takes actions into the log."""

    def __init__(self, log: ActionLog, *, future_seconds_max: float, metrics: Metrics) -> None:
        """Remember where actions go and how far ahead of the clock they may be."""
        self._log = log
        self._future_seconds_max = future_seconds_max
        self._counter = metrics.counter("actions", "Items of RecordActions by outcome.", ["code"])

    def record(
        self,
        items: Sequence[Action | Invalid],
        *,
        now: float,
        allow_partial: bool,
        validate_only: bool,
    ) -> list[Outcome]:
        """
        Record the valid items; they are durable when this returns.

        Args:
            items: In the order of the request.
            now: Unix seconds.
            allow_partial: False: an invalid item refuses all, and nothing is recorded.
            validate_only: Check everything, record nothing.

        Returns:
            One outcome for each item.

        Raises:
            InvalidRequest: Naming every invalid item, if *allow_partial* is false.
            Exhausted: If map or disk is full; then nothing was recorded.
        """
        faults = [self._faults(item, index, now) for index, item in enumerate(items)]
        if not allow_partial and any(faults):
            raise InvalidRequest(violations=[fault for found in faults for fault in found])
        valid = [
            item
            for item, found in zip(items, faults, strict=True)
            if isinstance(item, Action) and not found
        ]
        codes = iter([AppendCode.RECORDED] * len(valid) if validate_only else self._append(valid))
        outcomes = [
            Outcome(INVALID, found) if found else _outcome(next(codes), index)
            for index, found in enumerate(faults)
        ]
        for code, label in _LABELS.items():
            self._counter.labels(label).inc(sum(outcome.code == code for outcome in outcomes))
        return outcomes

    def _append(self, actions: Sequence[Action]) -> list[AppendCode]:
        return self._log.append(actions) if actions else []

    def _faults(self, item: Action | Invalid, index: int, now: float) -> tuple[FieldViolation, ...]:
        if isinstance(item, Invalid):
            return item.faults
        if item.time_us < 0:
            return _time_fault(index, "TIME_BEFORE_1970", "must not be before 1970")
        if item.time_us > (now + self._future_seconds_max) * 1e6:
            limit = f"{self._future_seconds_max:g} seconds"
            return _time_fault(
                index, "TIME_IN_FUTURE", f"must be at most {limit} ahead of the server's clock"
            )
        return ()


def _time_fault(index: int, reason: str, description: str) -> tuple[FieldViolation, ...]:
    return (FieldViolation(f"actions[{index}].action_time", reason, description),)


def _outcome(code: AppendCode, index: int) -> Outcome:
    if code is AppendCode.ERASED:
        return Outcome(
            INVALID, _time_fault(index, "USER_ERASED", "must be after the user's erasure")
        )
    return Outcome(int(code))
