"""
What clients say that they really showed: durable when acknowledged, each pin of a list once.

Confirmed lists count instead of answered ones wherever impressions are counted.  A record of the
log is one JSON object; `jobs/export_impressions` turns records into Parquet, one row a pin
(CONFIRMED_SCHEMA).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

import orjson
import pyarrow as pa

from ranking_service.config import RankingConfig
from ranking_service.memboost.records import ShownList
from ranking_service.pin_keys import key_of, keys_of
from service_runtime.errors import Corrupted, InvalidRequest
from service_runtime.event_log import EventLog, read_log

CONFIRMED_SCHEMA: Final = pa.schema(
    [
        ("list_id", pa.string()),
        ("user_id", pa.string()),
        ("query_pin_id", pa.string()),
        ("platform", pa.string()),
        ("pin_id", pa.string()),
        ("position", pa.int32()),
        ("is_inserted", pa.bool_()),
        ("impression_time_us", pa.int64()),
    ]
)
"""One row a pin that a client showed; *is_inserted*: the client itself put it there."""

PAST_SECONDS_MAX: Final = 30 * 86_400.0
FUTURE_SECONDS_MAX: Final = 300.0


@dataclass(frozen=True, slots=True)
class ShownPin:
    """
    One pin on a screen.

    Attributes:
        pin_id: The pin.
        position: Where, from 0.
        is_inserted: Whether the client put it there, and not the answer.
    """

    pin_id: str
    position: int
    is_inserted: bool = False


@dataclass(frozen=True, slots=True)
class Confirmation:
    """
    What a client showed of one answer.

    Attributes:
        list_id: The answer.
        user_id: To whom; empty = nobody known.
        query_pin_id: Under which pin; empty = on the home feed.
        platform: The client; empty = not told.
        time_us: When; 0 = now.
        pins: What.
    """

    list_id: str
    user_id: str
    query_pin_id: str
    platform: str
    time_us: int
    pins: tuple[ShownPin, ...]


class Confirmations:
    """
    Keeps what clients showed.

    Args:
        log: Where records go; closed by `close`.
        config: How many lists are kept in mind.
        clock: Unix seconds.
        tell: Told each list with the pins of it that are new, for the live counters.
    """

    def __init__(
        self,
        log: EventLog,
        config: RankingConfig,
        clock: Callable[[], float],
        tell: Callable[[ShownList], None],
    ) -> None:
        self._log = log
        self._list_count_max = config.confirmed_list_count_max
        self._clock = clock
        self._tell = tell
        self._lock = Lock()
        self._known: OrderedDict[str, set[str]] = OrderedDict()
        for record in read_log(log.folder):
            confirmation = decode(record.payload)
            self._remember(confirmation.list_id, {pin.pin_id for pin in confirmation.pins})

    def record(self, confirmation: Confirmation) -> int:
        """
        Keep what is new of a list; on disk when this returns.

        Returns:
            Pins recorded now; those of the list that were recorded before are not among them.

        Raises:
            InvalidRequest: If the time is out of bounds.
            Exhausted: If the disk is full; nothing was recorded.
        """
        now = self._clock()
        time_us = confirmation.time_us or round(now * 1e6)
        if not now - PAST_SECONDS_MAX <= time_us / 1e6 <= now + FUTURE_SECONDS_MAX:
            raise InvalidRequest(
                "must be at most 30 days ago and at most 5 minutes ahead",
                field="impression_time",
                reason="TIME_OUT_OF_RANGE",
            )
        with self._lock:
            known = self._known.get(confirmation.list_id, set())
            new = {pin.pin_id: pin for pin in confirmation.pins if pin.pin_id not in known}
            if not new:
                return 0
            kept = Confirmation(
                confirmation.list_id,
                confirmation.user_id,
                confirmation.query_pin_id,
                confirmation.platform,
                time_us,
                tuple(new.values()),
            )
            self._log.append([orjson.dumps(asdict(kept))])
            self._log.sync()
            self._remember(confirmation.list_id, set(new))
        self._tell(as_shown_list(kept))
        return len(new)

    def close(self) -> None:
        """Close the log. Once."""
        self._log.close()

    def _remember(self, list_id: str, pin_ids: set[str]) -> None:
        self._known.setdefault(list_id, set()).update(pin_ids)
        self._known.move_to_end(list_id)
        while len(self._known) > self._list_count_max:
            self._known.popitem(last=False)


def as_shown_list(confirmation: Confirmation) -> ShownList:
    """What the live counters want to know; pins that the client itself put there do not count."""
    pins = [pin for pin in confirmation.pins if not pin.is_inserted]
    return ShownList(
        list_key=key_of(confirmation.list_id),
        user_key=key_of(confirmation.user_id),
        query_key=key_of(confirmation.query_pin_id),
        platform=confirmation.platform,
        time_us=confirmation.time_us,
        pin_keys=keys_of([pin.pin_id for pin in pins]),
        positions=[pin.position for pin in pins],
    )


def decode(payload: bytes) -> Confirmation:
    """
    What a record says.

    Raises:
        Corrupted: If this is no record of ours.
    """
    try:
        told: dict[str, Any] = orjson.loads(payload)
        pins = tuple(ShownPin(**pin) for pin in told.pop("pins"))
        return Confirmation(**told, pins=pins)
    except (ValueError, KeyError, TypeError) as fault:
        raise Corrupted(f"a record of what was shown cannot be read: {fault}") from fault


def confirmed_table(payload: bytes) -> pa.Table:
    """
    One row of CONFIRMED_SCHEMA for each pin of a record.

    Raises:
        Corrupted: If this is no record of ours.
    """
    confirmation = decode(payload)
    shared = {
        "list_id": confirmation.list_id,
        "user_id": confirmation.user_id,
        "query_pin_id": confirmation.query_pin_id,
        "platform": confirmation.platform,
        "impression_time_us": confirmation.time_us,
    }
    rows = [{**shared, **asdict(pin)} for pin in confirmation.pins]
    return pa.Table.from_pylist(rows, schema=CONFIRMED_SCHEMA)


def confirmations_folder(data_root: Path) -> Path:
    """Where the logs are, one folder a process."""
    return data_root / "live" / "shown"
