"""A segment under many readers and one writer, with parts that fail."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.live.segment import EMPTY, LiveChanges, LivePin, LiveSave, LiveSegment


class Keeping:
    """A part that keeps what it is told."""

    def __init__(self) -> None:
        self.pins: list[LivePin] = []

    def apply(self, changes: LiveChanges) -> None:
        """Keep the pins."""
        self.pins += changes.pins


class Failing:
    """A part that cannot take anything."""

    def apply(self, changes: LiveChanges) -> None:
        """Fail."""
        raise RuntimeError(f"cannot take {len(changes.pins)} pins")


def pins(count: int, start: int = 0) -> list[LivePin]:
    """New pins in the order of their rows."""
    return [LivePin(row, f"pin {row}", is_new=True) for row in range(start, start + count)]


def test_the_empty_segment_knows_nothing() -> None:
    """It is what a query without live changes has."""
    assert EMPTY.row_count == EMPTY.base_count == EMPTY.change_count == 0
    assert EMPTY.rows(["a", "b"]).tolist() == [-1, -1]
    assert EMPTY.ids(np.empty(0, np.int32)) == []
    assert EMPTY.removed is None
    assert EMPTY.part(Keeping).pins == []


def test_a_part_that_fails_takes_nothing_from_the_others() -> None:
    """What was acknowledged reaches every source that can use it."""
    segment = LiveSegment(None, [Failing(), Keeping()])

    segment.apply(LiveChanges(pins(3)))

    assert len(segment.part(Keeping).pins) == 3
    assert segment.row_count == 3


@pytest.mark.parametrize(
    "changes",
    [
        LiveChanges([LivePin(5, "x", is_new=True)]),
        LiveChanges([LivePin(5, "x", is_new=False)]),
        LiveChanges((), [LiveSave("s", "b", 0)]),
    ],
)
def test_rows_that_are_not_there_are_refused(changes: LiveChanges) -> None:
    """A writer that miscounts must not go unnoticed."""
    with pytest.raises(ValueError, match="row"):
        LiveSegment().apply(changes)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.integers(0, 20)), max_size=60))
def test_flags_equal_those_worked_out_from_scratch(steps: list[tuple[int, int, int]]) -> None:
    """Added, hidden, deleted, expiring pins at any time in any order."""
    segment = LiveSegment()
    newest: dict[int, LivePin] = {}
    now = 0
    for wanted, kind, time_us in steps:
        row = min(wanted, segment.row_count)
        pin = LivePin(
            row,
            f"pin {row}",
            is_new=True,
            is_removed=kind == 1,
            is_hidden=kind == 2,
            expiration_time_us=time_us if kind == 3 else None,
        )
        segment.apply(LiveChanges([pin]))
        newest[row] = pin
        now += 1
        segment.expire(now)

    segment.expire(now)
    expected = [
        pin.is_removed
        or pin.is_hidden
        or (pin.expiration_time_us is not None and pin.expiration_time_us <= now)
        for _, pin in sorted(newest.items())
    ]
    flags = segment.removed
    assert (flags.tolist() if flags is not None else [False] * len(newest)) == expected


def test_readers_never_see_half_a_change() -> None:
    """While 3,000 pins are added and some removed, whatever a reader sees belongs together."""
    segment = LiveSegment(None, [Keeping()])
    dice = random.Random(3)

    def write() -> None:
        for start in range(0, 3000, 10):
            segment.apply(LiveChanges(pins(10, start)))
            gone = dice.randrange(start + 10)
            segment.apply(LiveChanges([LivePin(gone, f"pin {gone}", is_new=True, is_removed=True)]))

    def read(seed: int) -> int:
        rng = np.random.default_rng(seed)
        seen = 0
        while seen < 3000:
            seen = segment.row_count
            if not seen:
                continue
            rows = rng.integers(0, seen, 5).astype(np.int32)
            ids = segment.ids(rows)
            assert segment.rows(ids).tolist() == rows.tolist()
            assert all(segment.pin(int(row)) is not None for row in rows)
            flags = segment.removed
            assert flags is None or len(flags) >= seen
        return seen

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read, seed) for seed in range(4)]
        pool.submit(write).result()
        assert [reader.result() for reader in readers] == [3000] * 4
    assert len(segment.part(Keeping).pins) == 3300
