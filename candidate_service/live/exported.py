"""Up to where the live logs stand as Parquet: `catalogue/live/exported.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from service_runtime.errors import Corrupted
from service_runtime.files import write_synced

KEPT_COUNT: Final = 100
"""Exports that are remembered, so that a job for an earlier time knows what it may not have."""
_FILE: Final = "exported.json"


def exported_positions(data_root: Path) -> dict[str, int]:
    """Return the position up to which each live log, by its name, is exported; {} before any.

    Raises:
        Corrupted: The file is there and not readable.
    """
    exports = _read(data_root)
    return dict(exports[-1]["positions"]) if exports else {}


def positions_before(data_root: Path, as_of_us: int) -> dict[str, int]:
    """Return up to where the changes before a time are exported for sure.

    Raises:
        Corrupted: The file is there and not readable.
    """
    earlier = [one["positions"] for one in _read(data_root) if one["as_of_us"] <= as_of_us]
    return dict(earlier[-1]) if earlier else {}


def export_number(data_root: Path) -> int:
    """Return the number of the last export; it grows with each, 0 before the first.

    Raises:
        Corrupted: The file is there and not readable.
    """
    return max((one.get("number", 0) for one in _read(data_root)), default=0)


def note_export(data_root: Path, positions: Mapping[str, int], as_of_us: int) -> None:
    """Note that all changes before a time are exported; durable when it returns."""
    path = _path(data_root)
    path.parent.mkdir(parents=True, exist_ok=True)
    number = export_number(data_root) + 1
    export = {"as_of_us": as_of_us, "number": number, "positions": dict(positions)}
    kept = [one for one in _read(data_root) if one["as_of_us"] < as_of_us]
    write_synced(path, orjson.dumps([*kept, export][-KEPT_COUNT:], option=orjson.OPT_INDENT_2))


def _path(data_root: Path) -> Path:
    return data_root / "catalogue" / "live" / _FILE


def _read(data_root: Path) -> list[dict[str, Any]]:
    path = _path(data_root)
    try:
        exports = orjson.loads(path.read_bytes())
        for export in exports:
            assert isinstance(export["as_of_us"], int)
            assert isinstance(export.get("number", 0), int)
            assert all(isinstance(at, int) for at in export["positions"].values())
    except FileNotFoundError:
        return []
    except (orjson.JSONDecodeError, AssertionError, AttributeError, KeyError, TypeError) as fault:
        raise Corrupted(
            f"{path} cannot be read: {fault!r}",
            hint="remove it: the changes are exported again, nothing is counted twice",
        ) from fault
    return list(exports)
