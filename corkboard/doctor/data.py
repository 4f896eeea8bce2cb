"""Looks at the data root: what was imported, every generation to the last byte, the live logs."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from corkboard.doctor.finding import Finding, Level, graded
from corkboard.steps import STEPS, step_of
from service_runtime.errors import CorkboardError
from service_runtime.generations import GenerationStore

AREA: Final = "data"
HOUR: Final = 3600.0
OLD_SECONDS: Final = 36 * HOUR
"""Age of data from which on a nightly job must have failed; the alerts have the same."""
AHEAD_SECONDS: Final = 60.0
"""How far in the future something may have been made before a clock must be wrong. Guess."""
MAP_SHARE_MAX: Final = 0.8
LIVE_LOG: Final = Path("live") / "profile" / "data.mdb"
"""Where profile_service keeps it, below the data root."""
WITHOUT: Final = {
    "catalogue": Level.PROBLEM,
    "popular": Level.WARNING,
    "profiles": Level.WARNING,
    "vector_index": Level.WARNING,
}
"""How bad it is that there is no generation of an artifact; others depend on what one has."""


def look_at_data(
    data_root: Path, *, live_map_bytes: int | None, clock: Callable[[], float] = time.time
) -> Iterator[Finding]:
    """
    Everything that the services answer from.

    Args:
        data_root: Folder of everything.
        live_map_bytes: Size of the live log's map, as profile_service is set; None = not known.
        clock: Unix seconds.

    Cost: reads every byte of the current generations once.
    """
    if not data_root.is_dir():
        remedy = "corkboard import FOLDER makes it; or name another with --data-root"
        yield Finding(AREA, "data root", Level.PROBLEM, f"{data_root} is not there", remedy)
        return
    yield graded(
        AREA,
        "data root",
        f"{data_root.resolve()}",
        problem=not os.access(data_root, os.R_OK | os.W_OK | os.X_OK),
        remedy=f"let user {os.getuid()} read and write {data_root}",
    )
    yield from _imported(data_root)
    yield from _generations(data_root, clock())
    yield from _live_log(data_root, live_map_bytes)


def _imported(data_root: Path) -> Iterator[Finding]:
    """There are pins or saves, without which nothing can be built."""
    for name, needed in (("pins", False), ("saves", True), ("actions", True)):
        parent = "events" if name == "actions" else "catalogue"
        count = sum(1 for _ in (data_root / parent / name).rglob("*.parquet"))
        yield graded(
            AREA,
            f"imported {name}",
            f"{count} file{'s' if count != 1 else ''}",
            warning=needed and not count,
            remedy=f"corkboard import a folder with {name} (docs/data-format.md); without, "
            "what is learnt from them is missing",
        )


def _generations(data_root: Path, now: float) -> Iterator[Finding]:
    store = GenerationStore(data_root / "generations")
    for step in STEPS:
        for artifact in step.makes:
            yield _generation(store, artifact, now)


def _generation(store: GenerationStore, artifact: str, now: float) -> Finding:
    check, build = f"generation {artifact}", f"corkboard build --only {step_of(artifact).name}"
    try:
        current = store.current(artifact)
    except CorkboardError as fault:
        others = len(store.generations(artifact)) > 1
        remedy = f"corkboard rollback {artifact}, then {build}" if others else build
        return Finding(AREA, check, Level.PROBLEM, f"damaged: {fault.message}", remedy)
    if current is None:
        level = WITHOUT.get(artifact, Level.OK)
        told = "none was built: there was nothing to build it from, or nobody asked"
        return Finding(AREA, check, level, told, "" if level is Level.OK else build)
    manifest = current.manifest
    age, made_ahead = now - manifest.as_of_us / 1e6, manifest.creation_time_us / 1e6 - now
    if made_ahead > AHEAD_SECONDS:
        told = f"made {made_ahead / HOUR:.1f} h in the future: a clock is wrong, here or there"
        return Finding(AREA, check, Level.PROBLEM, told, "set the clocks (chrony, ntpd)")
    return graded(
        AREA,
        check,
        f"{current.id}, every byte as it was written, data up to {age / HOUR:.1f} h ago",
        warning=age > OLD_SECONDS,
        remedy=f"{build}; and look why the nightly job did not run",
    )


def _live_log(data_root: Path, map_bytes: int | None) -> Iterator[Finding]:
    """The file never shrinks, so how far it reaches is an upper bound of what is in it."""
    file = data_root / LIVE_LOG
    if not file.exists() or not map_bytes:
        return
    size = file.stat().st_size
    yield graded(
        AREA,
        "live action log",
        f"its file reaches {size / map_bytes:.0%} of its map of {map_bytes / 1e9:.1f} GB",
        warning=size > MAP_SHARE_MAX * map_bytes,
        remedy="see profile_service_live_pages: unless most are free, raise "
        "PROFILE_SERVICE_LIVE_MAP_BYTES and restart profile_service",
    )
