"""Up to where a log was exported: the files of one export are complete before it is remembered."""

import os
from pathlib import Path
from typing import Final

import orjson

from service_runtime.errors import Corrupted

STATE_FILE: Final = "exported.json"


def exported_position(folder: Path) -> int:
    """
    Where the last export of a log ended; 0 before the first.

    Raises:
        Corrupted: If the note cannot be read.
    """
    try:
        return int(orjson.loads((folder / STATE_FILE).read_bytes())["position"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError) as fault:
        raise Corrupted(
            f"{folder / STATE_FILE} cannot be read: {fault}",
            hint="remove it to export everything again; training counts each impression once",
        ) from fault


def remember_position(folder: Path, position: int) -> None:
    """Note where an export ended; on disk when this returns."""
    path = folder / STATE_FILE
    unfinished = path.with_suffix(".writing")
    with unfinished.open("wb") as file:
        file.write(orjson.dumps({"position": position}))
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
