"""A moment is understood however it is written, and only moments are."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corkboard.importing.times import BEFORE_1970, IN_FUTURE, NOT_A_TIME, to_microseconds

NOW_US = 1_767_225_600_000_000
MOMENT = datetime(2025, 6, 1, 12, 30, tzinfo=UTC)
MOMENT_US = round(MOMENT.timestamp() * 1e6)
SECOND = MOMENT_US // 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        MOMENT_US, MOMENT_US // 1000, SECOND, MOMENT_US * 1000, float(SECOND),
        str(SECOND), f"{SECOND}.0", f" {MOMENT_US} ", f"{SECOND}.",
        "2025-06-01T12:30:00Z", "2025-06-01 12:30:00", "2025-06-01T12:30", "2025-06-01T12:30Z",
        "2025-06-01T14:30:00+02:00", "2025-06-01T12:30:00.000000Z", "20250601T123000Z",
    ],
)  # fmt: skip
def test_one_moment_in_many_ways(value: str | float) -> None:
    """Seconds, milli-, micro- and nanoseconds, ISO with and without zone: the same time."""
    moments, faults = to_microseconds(pa.array([value, None]), "time", NOW_US)

    assert moments.to_pylist() == [MOMENT_US, None]
    assert not any(rows.any() for rows in faults.values())


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_typed_times(unit: str, zone: str | None) -> None:
    """Arrow timestamps of any unit and zone, and dates, are taken as they are."""
    value = MOMENT if zone else MOMENT.replace(tzinfo=None)
    moments, _ = to_microseconds(pa.array([value], pa.timestamp(unit, zone)), "time", NOW_US)

    assert moments.to_pylist() == [MOMENT_US]
    days, _ = to_microseconds(pa.array([date(2025, 6, 1)]), "time", NOW_US)
    assert days.to_pylist() == [round(datetime(2025, 6, 1, tzinfo=UTC).timestamp() * 1e6)]


def test_the_name_can_say_the_unit() -> None:
    """A column called `…_us` holds microseconds however small they are."""
    small = pa.array([5_000_000])

    assert to_microseconds(small, "time_us", NOW_US)[0].to_pylist() == [5_000_000]
    assert to_microseconds(small, "time_ms", NOW_US)[0].to_pylist() == [5_000_000_000]
    assert to_microseconds(small, "time", NOW_US)[0].to_pylist() == [5_000_000_000_000]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("yesterday", NOT_A_TIME),
        ("2025-13-01", NOT_A_TIME),
        ("2025-06-01T25:00:00Z", NOT_A_TIME),
        ("nan", NOT_A_TIME),
        ("1e300", NOT_A_TIME),
        (float("inf"), NOT_A_TIME),
        (float("nan"), NOT_A_TIME),
        (-1, BEFORE_1970),
        ("1969-12-31T23:59:59Z", BEFORE_1970),
        ("2026-01-01T00:05:01Z", IN_FUTURE),
        (NOW_US + 300_000_001, IN_FUTURE),
    ],
)
def test_what_is_no_time_has_a_reason(value: str | float, reason: str) -> None:
    """Each bad value is null and named; the good ones beside it stay."""
    good = "2025-06-01T12:30:00Z" if isinstance(value, str) else type(value)(SECOND)
    moments, faults = to_microseconds(pa.array([value, good]), "time", NOW_US)

    found = {why for why, rows in faults.items() if rows.any()}
    assert found == {reason}
    assert faults[reason].tolist() == [True, False]
    assert moments[1].as_py() == MOMENT_US


def test_five_minutes_ahead_are_forgiven() -> None:
    """Clocks differ a little."""
    _, faults = to_microseconds(pa.array([NOW_US + 300_000_000]), "time", NOW_US)

    assert not faults[IN_FUTURE].any()


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=20))
def test_no_text_breaks_the_parser(values: list[str]) -> None:
    """Any text at all gives a time, nothing, or a reason; never an error."""
    moments, faults = to_microseconds(pa.array(values), "time", NOW_US)

    assert len(moments) == len(values)
    for index, value in enumerate(values):
        is_bad = any(rows[index] for rows in faults.values())
        assert is_bad or moments[index].as_py() is not None or not value.strip()
