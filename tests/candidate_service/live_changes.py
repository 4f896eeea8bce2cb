"""Live pins and saves, one a line, and segments that hold them."""

from __future__ import annotations

from typing import Any

from candidate_service.live.segment import LiveChanges, LivePin, LiveSave, LiveSegment
from candidate_service.live_pools import LivePools
from tests.candidate_service.world import NOW_US


def live_pin(row: int, *, is_new: bool = True, **fields: Any) -> LivePin:
    """A pin made now."""
    made_us = fields.pop("creation_time_us", NOW_US)
    return LivePin(row, f"live{row}", is_new, creation_time_us=made_us, **fields)


def live_save(row: int, name: str, *, time_us: int = NOW_US + 1, **fields: Any) -> LiveSave:
    """A save made just after now."""
    return LiveSave(name, "board", row, "user", time_us, **fields)


class PoolSegment(LiveSegment):
    """A segment over a catalogue of so many pins of which nothing is known."""

    def __init__(self, base_count: int) -> None:
        super().__init__(None, [LivePools()])
        self.base_count = base_count  # type: ignore[misc]  # of no catalogue

    def add(self, *changes: LivePin | LiveSave) -> PoolSegment:
        """Take changes in, one after another."""
        for change in changes:
            is_pin = isinstance(change, LivePin)
            self.apply(LiveChanges([change], []) if is_pin else LiveChanges([], [change]))
        return self
