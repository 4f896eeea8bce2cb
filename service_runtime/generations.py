"""Publish artifacts as immutable, checked generations, and open them while they are replaced.

A generation is a folder `<root>/<artifact>/<id>/` of files and a manifest. A job writes into a
draft beside it; publishing makes the draft durable, renames it to its id, verifies it as a reader
would, and only then switches `<root>/<artifact>/CURRENT`, a text file with the id. Killed at any
moment, a publisher leaves either the old or the new generation current, and at worst a draft that
the next publisher sweeps away.

Readers hold a `Live` value: reading it is one attribute read, and a new generation is opened
beside the old one and swapped in when it has proved good. A bad one is refused once and the old
one serves.
"""

from pathlib import Path

from service_runtime.generation_folders import KEPT_COUNT
from service_runtime.generation_store import Draft, Generation, GenerationStore
from service_runtime.live import GenerationWatcher, Live
from service_runtime.manifest import FileEntry, Manifest

__all__ = [
    "KEPT_COUNT",
    "Draft",
    "FileEntry",
    "Generation",
    "GenerationStore",
    "GenerationWatcher",
    "Live",
    "Manifest",
    "open_generations",
]


def open_generations(data_root: Path, url: str = "") -> GenerationStore:
    """
    Return the store of a data root, with the object store behind it that a URL names ("" = none).

    Raises:
        ValueError: The URL is not understood.
    """
    if not url:
        return GenerationStore(data_root / "generations")
    from service_runtime.object_store import ObjectStore
    from service_runtime.remote_generations import RemoteGenerations

    return GenerationStore(data_root / "generations", RemoteGenerations(ObjectStore(url)))
