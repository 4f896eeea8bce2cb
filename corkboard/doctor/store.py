"""Looks at the object store of generations: does it answer, what is there, is it here as well."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from corkboard.doctor.finding import Finding, Level, graded
from corkboard.steps import STEPS, step_of
from service_runtime.errors import Corrupted, Unavailable
from service_runtime.generations import GenerationStore
from service_runtime.manifest import Manifest
from service_runtime.object_store import ObjectStore
from service_runtime.remote_generations import RemoteGenerations

AREA: Final = "data"
REQUEST_SECONDS: Final = 5.0
"""Silence after which the store counts as away; services are more patient."""
LAG_SECONDS: Final = 300.0
"""How long a new generation may be on its way: a look now and then, and the download. Guess."""


def look_at_store(
    data_root: Path,
    url: str,
    *,
    request_seconds: float = REQUEST_SECONDS,
    clock: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    """
    What is published at a URL, and whether the data root has it.

    Args:
        data_root: Folder of everything.
        url: As `generations_url` has it, understood.
        request_seconds: Silence after which the store counts as away, > 0.
        clock: Unix seconds.

    Cost: two small reads an artifact.
    """
    remote = RemoteGenerations(ObjectStore(url, request_seconds=request_seconds, attempts=1))
    local = GenerationStore(data_root / "generations")
    try:
        found = {name: _published(remote, name) for name in remote.store.folders()}
    except Unavailable as fault:
        yield Finding(AREA, "object store", Level.PROBLEM, fault.message, fault.hint)
        return
    published = {name: state for name, state in found.items() if state is not None}
    yield graded(
        AREA,
        "object store",
        f"{url} answers, and has {', '.join(published) or 'no generation of anything'}",
        warning=not published,
        remedy="is it the right bucket and folder? corkboard build publishes there",
    )
    for artifact, state in published.items():
        if isinstance(state, Corrupted):
            check = f"published {artifact}"
            yield Finding(AREA, check, Level.PROBLEM, state.message, state.hint)
        else:
            yield _compared(local, state, clock())
    yield from _here_only(local, set(published))


def _published(remote: RemoteGenerations, artifact: str) -> Manifest | Corrupted | None:
    """The manifest of what is current there, or what is wrong with it; None if nothing is."""
    try:
        current_id = remote.current_id(artifact)
        return None if current_id is None else remote.manifest(artifact, current_id)
    except Corrupted as fault:
        return fault


def _compared(local: GenerationStore, there: Manifest, now: float) -> Finding:
    """Whether the data root has what is current in the store."""
    here, seconds = _here(local, there.artifact), now - there.creation_time_us / 1e6
    is_late = here != there.id and seconds > LAG_SECONDS
    if here == there.id:
        told = f"{there.id} is current there and here"
    else:
        told = (
            f"{there.id}, made {seconds / 60:.0f} min ago, is current there; here {here or 'none'}"
        )
    return graded(
        AREA,
        f"published {there.artifact}",
        told,
        warning=is_late,
        remedy="services here should have fetched it: look for generation.fetch_failed and "
        "generation.refused in their logs (where none runs, nothing is fetched)",
    )


def _here_only(local: GenerationStore, published: set[str]) -> Iterator[Finding]:
    """What was built before there was a store, so that no other machine has it."""
    for artifact in (name for step in STEPS for name in step.makes):
        if artifact not in published and _here(local, artifact):
            told = "its generation is here, and none in the object store: other machines have none"
            remedy = f"corkboard build --only {step_of(artifact).name}"
            yield Finding(AREA, f"published {artifact}", Level.WARNING, told, remedy)


def _here(local: GenerationStore, artifact: str) -> str | None:
    """What is current in the data root; None if nothing is, or that cannot be read."""
    try:
        return local.current_id(artifact)
    except (Corrupted, OSError):
        return None  # told where generations are looked at
