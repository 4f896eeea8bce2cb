"""Write the live log as Parquet: actions by day, incremental, and what is known of users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from profile_service.action_export import actions_folder, export_actions, exported_position
from profile_service.config import ProfileConfig
from profile_service.store import open_for_jobs
from profile_service.user_export import export_users, users_folder
from service_runtime.job import JobContext, run_job


def run(context: JobContext[ProfileConfig]) -> Mapping[str, Any]:
    """
    Export what was recorded since the last export.

    Returns:
        How many actions were written, the log position that is reached, and of how many users
        anything is known.
    """
    folder = actions_folder(context.data_root)
    with open_for_jobs(context.data_root, context.config.live_map_bytes) as log:
        if log is None:
            return {"exported_count": 0, "position": 0, "user_count": 0}
        last = log.last_position()
        pending = max(0, last - exported_position(folder))
        advance = context.progress("exporting actions", pending)
        written = export_actions(log, folder, up_to=last, progress=advance)
        users = export_users(log, users_folder(context.data_root))
    return {"exported_count": written, "position": last, "user_count": users}


def main() -> None:
    """Run the job as a process."""
    run_job("export_actions", run, ProfileConfig)


if __name__ == "__main__":
    main()
