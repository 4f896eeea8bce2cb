"""How commands speak: tables and JSON on stdout, everything else on stderr."""

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Console

PIPE_WIDTH = 120
out = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
notes = Console(
    stderr=True,
    highlight=False,
    width=None if sys.stderr.isatty() else PIPE_WIDTH,
)

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def print_json(value: object) -> None:
    """One JSON document on stdout: times as ISO 8601, ages in seconds, dataclasses as objects."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")


def plain(value: object) -> Any:
    """*value* as JSON knows it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # JSON has no NaN
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def age_in_words(age: timedelta) -> str:
    """`2 h`, `3 days`: one unit, rounded down; `in the future` for what has not happened."""
    seconds = age.total_seconds()
    if seconds < 0:
        return "in the future"
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min"
    if seconds < 2 * DAY:
        return f"{seconds // HOUR:.0f} h"
    return f"{seconds // DAY:,.0f} days"


def since(moment: datetime | None) -> str:
    """How long ago *moment* was, in words; "" for None."""
    return f"{age_in_words(datetime.now(tz=UTC) - moment)} ago" if moment else ""


def since_us(time_us: int) -> str:
    """How long ago a time in microseconds since the Unix epoch was, in words."""
    return since(datetime.fromtimestamp(time_us / 1e6, tz=UTC))


def in_bytes(count: float) -> str:
    """`12.3 MB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
