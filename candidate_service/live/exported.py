"""Up to where the live logs stand as Parquet: `catalogue/live/exported.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import orjson

from service_runtime.errors import Corrupted
from service_runtime.files import write_synced

_FILE: Final = "exported.json"


def exported_folder(data_root: Path) -> Path:
    """Return the folder of what export_changes knows."""
    return data_root / "catalogue" / "live"


def exported_positions(data_root: Path) -> dict[str, int]:
    """Return the position up to which each live log, by its name, is exported; {} before any.

    Raises:
        Corrupted: The file is there and not readable.
    """
    path = exported_folder(data_root) / _FILE
    try:
        return {str(name): int(at) for name, at in orjson.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError) as fault:
        raise Corrupted(
            f"{path} cannot be read: {fault}",
            hint="remove it: the changes are exported again, nothing is counted twice",
        ) from fault


def write_exported_positions(data_root: Path, positions: dict[str, int]) -> None:
    """Note up to which position each live log is exported; durable when it returns."""
    folder = exported_folder(data_root)
    folder.mkdir(parents=True, exist_ok=True)
    content = orjson.dumps(positions, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
    write_synced(folder / _FILE, content)
