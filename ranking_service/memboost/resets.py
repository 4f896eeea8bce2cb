"""What operators had forgotten: a log that is never cut, so that every later count honours it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from ranking_service.memboost.table import Reset
from ranking_service.pin_keys import key_of
from service_runtime.ended_logs import read_all


@dataclass(frozen=True, slots=True)
class RecordedReset:
    """
    A reset as it is written down.

    Attributes:
        reset_id: Names it.
        query_pin_id: Empty = any.
        result_pin_id: Empty = any.
        begin_us: Impressions from here on.
        end_us: Impressions before this; never later than the reset itself.
        time_us: When it was asked for.
        reason: Why.
    """

    reset_id: str
    query_pin_id: str
    result_pin_id: str
    begin_us: int
    end_us: int
    time_us: int
    reason: str

    @property
    def rule(self) -> Reset:
        """What it forgets."""
        return Reset(
            query_key=key_of(self.query_pin_id) if self.query_pin_id else None,
            result_key=key_of(self.result_pin_id) if self.result_pin_id else None,
            begin_us=self.begin_us,
            end_us=self.end_us,
        )


def encode_reset(reset: RecordedReset) -> bytes:
    """A reset as a record of the log."""
    return orjson.dumps(asdict(reset))


def read_resets(root: Path) -> Iterator[RecordedReset]:
    """
    Every reset of every process, some perhaps twice.

    Args:
        root: Folder of the logs, one folder a process.

    Raises:
        ValueError, TypeError: If a record that is whole says nothing that we know.
    """
    for payload in read_all(root):
        yield RecordedReset(**orjson.loads(payload))
