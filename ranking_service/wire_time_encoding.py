"""Times and durations of messages, whose seconds may be anything that fits 64 bits."""

from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from service_runtime.errors import InvalidRequest

SECONDS_MAX: Final = 253_402_300_799
"""The end of the year 9999, where the type ends by its own contract."""


def micros_of(time: Timestamp, field: str) -> int:
    """
    A time as microseconds since the epoch.

    Raises:
        InvalidRequest: If it lies before 1970 or after 9999.
    """
    if not (0 <= time.seconds <= SECONDS_MAX and 0 <= time.nanos < 10**9):
        raise InvalidRequest("must lie in the years 1970 to 9999", field=field)
    return time.seconds * 1_000_000 + time.nanos // 1000


def seconds_of(duration: Duration) -> float:
    """A duration in seconds; its bounds are those of the contract."""
    return duration.seconds + duration.nanos / 1e9
