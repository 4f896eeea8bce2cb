"""Write what was changed in the service as Parquet, where imports are, for the jobs to read.

What was changed before the job's time and is not exported yet is read from all live logs, also
while they are written; running it again changes nothing. Users who were forgotten are taken out of
the saves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from candidate_service import imported
from candidate_service.config import CandidateConfig
from candidate_service.live import export, journal
from candidate_service.live.exported import export_number, exported_positions, note_export
from service_runtime.files import locked
from service_runtime.job import JobContext, run_job


def run(context: JobContext[CandidateConfig]) -> Mapping[str, Any]:
    """Export the changes since the last export.

    Returns:
        How many pins, saves and erasures there were.
    """
    data_root = context.data_root
    advance = context.progress("export_changes: logs", total=3)
    with locked(data_root / "catalogue" / "imports"):  # as imports do: their order is told in rows
        before = exported_positions(data_root)
        imports = export.Imports.read(data_root, context.engine)
        changes = export.read_changes(data_root / journal.FOLDER, before, imports, context.as_of_us)
        advance(1)
        if changes.positions == before:
            note_export(data_root, before, context.as_of_us)
            return {"pin_count": 0, "save_count": 0, "erased_save_count": 0, "unreadable_count": 0}
        name = export.file_name(before, export_number(data_root))
        pins, saves = (data_root / "catalogue" / kind for kind in ("pins", "saves"))
        pin_rows = export.pin_rows(changes, context.engine, data_root)
        pin_count = export.write_rows(pins / name, pin_rows, imported.PINS)
        save_count = export.write_rows(saves / name, export.save_rows(changes), imported.SAVES)
        advance(1)
        erased_count = export.erase_users(data_root, changes.erasures, imports)
        note_export(data_root, changes.positions, context.as_of_us)
        export.unite_files(pins, "pin_id", imported.PINS)
        export.unite_files(saves, "save_id", imported.SAVES)
        advance(1)
    return {
        "pin_count": pin_count,
        "save_count": save_count,
        "erased_save_count": erased_count,
        "unreadable_count": changes.unreadable_count,
        "positions": changes.positions,
    }


def main() -> None:
    """Run the job as a process."""
    run_job("export_changes", run, CandidateConfig)


if __name__ == "__main__":
    main()
