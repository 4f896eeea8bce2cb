"""Small import folders for tests."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NOW_US = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC."""


def write_csv(path: Path, text: str) -> Path:
    """Write text as it stands; gzipped if the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_json(path: Path, rows: Sequence[Any]) -> Path:
    """Write one JSON value a line; text that is given stands as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return write_csv(path, "\n".join(lines) + "\n")
