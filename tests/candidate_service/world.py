"""Small imported worlds on disk, one fact a line, and contexts in which jobs run on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from candidate_service import imported
from candidate_service.config import CandidateConfig
from service_runtime.job import JobContext

DAY_US = 86_400_000_000
NOW_US = 20_000 * DAY_US


def write_pins(data_root: Path, pins: Sequence[dict[str, Any]], *, file: str = "a") -> None:
    """Import pins; `import_seq` counts up within a file unless given."""
    rows = [{"import_seq": number, **pin} for number, pin in enumerate(pins)]
    _write(data_root / "catalogue" / "pins" / f"{file}.parquet", rows, imported.PINS)


def write_saves(
    data_root: Path,
    saves: Sequence[tuple[str, str] | tuple[str, str, int]],
    *,
    file: str = "a",
    titles: Mapping[str, str] | None = None,
    user_id: str | None = None,
) -> None:
    """Import saves, each (board, pin) or (board, pin, time in microseconds); titles by board."""
    rows = [
        {
            "save_id": f"{file}{number}",
            "board_id": save[0],
            "pin_id": save[1],
            "save_time_us": save[2] if len(save) == 3 else None,
            "board_title": (titles or {}).get(save[0]),
            "user_id": user_id,
            "import_seq": number,
        }
        for number, save in enumerate(saves)
    ]
    _write(data_root / "catalogue" / "saves" / f"{file}.parquet", rows, imported.SAVES)


def write_actions(
    data_root: Path, actions: Sequence[tuple[str, str, str, int]], *, file: str = "a"
) -> None:
    """Import actions, each (user, pin, type, time in microseconds)."""
    rows = [
        {
            "action_id": f"{file}{number}",
            "user_id": user,
            "pin_id": pin,
            "action_type": kind,
            "action_time_us": time_us,
        }
        for number, (user, pin, kind, time_us) in enumerate(actions)
    ]
    path = data_root / "events" / "actions" / "day=2024-10-04" / f"import-{file}.parquet"
    _write(path, rows, imported.ACTIONS)


def make_context(
    data_root: Path, *, as_of_us: int = NOW_US, seed: int = 0, **settings: Any
) -> JobContext[CandidateConfig]:
    """Return what a job is given, on this data root."""
    config = CandidateConfig(data_root=data_root, **settings)
    return JobContext(config=config, as_of_us=as_of_us, seed=seed)


def _write(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path)
