"""The rules by which pins and saves are taken in: all or nothing, or item by item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from candidate_service.live.journal import LiveJournal
from candidate_service.live.transaction import (
    ItemCode,
    LiveTransaction,
    Outcome,
    PinChange,
    SaveChange,
)
from service_runtime.errors import FieldViolation, InvalidRequest
from service_runtime.telemetry import Metrics

MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Invalid:
    """An item that cannot be read, and why."""

    fault: FieldViolation


class Counter(Protocol):
    """Counts items by verb and outcome."""

    def labels(self, verb: str, code: str) -> Counter:
        """Return the count of one outcome."""
        ...

    def inc(self, amount: float = 1) -> None:
        """Add to it."""
        ...


Item = TypeVar("Item", PinChange, SaveChange)


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a request wants to be taken.

    Attributes:
        allow_partial: False: one wrong item refuses all. True: it alone is refused.
        validate_only: Only check, change nothing.
    """

    allow_partial: bool = False
    validate_only: bool = False


class LiveWrites:
    """Takes changes into the journal; they are durable and visible when a method returns."""

    def __init__(
        self,
        journal: LiveJournal,
        *,
        clock: Callable[[], float],
        future_seconds_max: float,
        metrics: Metrics,
    ) -> None:
        """Remember where changes go and how far ahead of the clock their times may be."""
        self._journal = journal
        self._clock = clock
        self._future_seconds_max = future_seconds_max
        self._counter = metrics.counter(
            "live_items", "Items of writes by outcome.", ("verb", "code")
        )

    def upsert_pins(
        self, items: Sequence[PinChange | Invalid], options: WriteOptions
    ) -> list[Outcome]:
        """Add pins or change them.

        Returns:
            One outcome for each item.

        Raises:
            InvalidRequest: Naming every wrong item, unless wrong ones may be left out.
            Exhausted: The disk is full; then nothing was written.
        """
        checked = [self._checked_pin(item) for item in items]
        return self._write("upsert_pins", "pins", checked, options)

    def upsert_saves(
        self, items: Sequence[SaveChange | Invalid], options: WriteOptions
    ) -> list[Outcome]:
        """Make saves or change them; as `upsert_pins`."""
        checked = [self._checked_save(item) for item in items]
        return self._write("upsert_saves", "saves", checked, options)

    def delete_pins(self, pin_ids: Sequence[str]) -> list[Outcome]:
        """Remove pins; one outcome for each."""
        return self._counted(
            "delete_pins", self._journal.commit(lambda open_: open_.delete_pins(pin_ids))
        )

    def delete_saves(self, save_ids: Sequence[str]) -> list[Outcome]:
        """Take saves back; one outcome for each."""
        return self._counted(
            "delete_saves", self._journal.commit(lambda open_: open_.delete_saves(save_ids))
        )

    def _write(
        self,
        verb: str,
        field: str,
        items: Sequence[Item | Invalid],
        options: WriteOptions,
    ) -> list[Outcome]:
        invalid = [item for item in items if isinstance(item, Invalid)]
        if invalid and not options.allow_partial:
            _refuse_invalid(field, [_refused(item) for item in items])

        def change(transaction: LiveTransaction) -> list[Outcome]:
            good = [item for item in items if not isinstance(item, Invalid)]
            decided = iter(getattr(transaction, verb)(good))
            outcomes = [_refused(item) or next(decided) for item in items]
            if not options.allow_partial:
                _refuse_invalid(field, outcomes)
            return outcomes

        run = self._journal.preview if options.validate_only else self._journal.commit
        return self._counted(verb, run(change))

    def _checked_pin(self, item: PinChange | Invalid) -> PinChange | Invalid:
        if isinstance(item, Invalid):
            return item
        for name in ("creation_time", "expiration_time"):
            fault = self._time_fault(
                name, item.fields.get(f"{name}_us"), may_be_ahead=name == "expiration_time"
            )
            if fault is not None:
                return Invalid(fault)
        return item

    def _checked_save(self, item: SaveChange | Invalid) -> SaveChange | Invalid:
        if isinstance(item, Invalid):
            return item
        fault = self._time_fault("save_time", item.save_time_us, may_be_ahead=False)
        return item if fault is None else Invalid(fault)

    def _time_fault(
        self, name: str, time_us: int | None, *, may_be_ahead: bool
    ) -> FieldViolation | None:
        if time_us is None:
            return None
        if time_us < 0:
            return FieldViolation(name, "TIME_BEFORE_1970", "must not be before 1970")
        latest = (self._clock() + self._future_seconds_max) * MICROSECONDS
        if not may_be_ahead and time_us > latest:
            ahead = f"{self._future_seconds_max:g} seconds"
            told = f"must be at most {ahead} ahead of the server's clock"
            return FieldViolation(name, "TIME_IN_FUTURE", told)
        return None

    def _counted(self, verb: str, outcomes: list[Outcome]) -> list[Outcome]:
        for code in ItemCode:
            count = sum(outcome.code is code for outcome in outcomes)
            if count:
                self._counter.labels(verb, code.name.lower()).inc(count)
        return outcomes


def _refused(item: PinChange | SaveChange | Invalid) -> Outcome | None:
    return Outcome(ItemCode.INVALID, item.fault) if isinstance(item, Invalid) else None


def _refuse_invalid(field: str, outcomes: Sequence[Outcome | None]) -> None:
    faults = [
        FieldViolation(f"{field}[{at}].{fault.field}", fault.reason, fault.description)
        for at, outcome in enumerate(outcomes)
        if outcome is not None and (fault := outcome.fault) is not None
    ]
    if faults:
        raise InvalidRequest(violations=faults)
