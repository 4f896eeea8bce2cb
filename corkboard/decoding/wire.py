"""Words, times and ages as messages have them and as we have them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from service_runtime.errors import InvalidRequest


def to_word(name: str, prefix: str) -> str:
    """`CLUSTER_ORIGIN_BATCH` as `batch`; `…_UNSPECIFIED` as ""."""
    word = name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word


def to_words(names: Sequence[str], prefix: str) -> tuple[str, ...]:
    """All members of an enumeration but the unspecified one."""
    return tuple(to_word(name, prefix) for name in names if not name.endswith("_UNSPECIFIED"))


def from_word(enumeration: Any, word: str, *, prefix: str, field: str) -> int:
    """The number of a member that is called *word*; "" is the unspecified one.

    Raises:
        InvalidRequest: There is no such member; the message lists those there are.
    """
    name = f"{prefix}{(word.strip() or 'unspecified').upper().replace('-', '_')}"
    names = list(enumeration.keys())
    if name not in names:
        known = ", ".join(to_words(names, prefix))
        raise InvalidRequest(
            f"{field} {word!r} is none of {known}", field=field, reason="ENUM_DEFINED"
        )
    return int(enumeration.Value(name))


def to_time(message: Any, field: str) -> datetime | None:
    """A timestamp field as an aware datetime; None where it is not set."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC)


def from_time(moment: datetime | None) -> Timestamp | None:
    """A timestamp, or None; a time without a zone is UTC."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def to_age(duration: Duration) -> timedelta:
    """A duration as a timedelta."""
    return duration.ToTimedelta()


def from_age(age: timedelta | None) -> Duration | None:
    """A timedelta as a duration, or None."""
    if age is None:
        return None
    duration = Duration()
    duration.FromTimedelta(age)
    return duration
