"""Generations in an object store: laid out as in the data root, written so that none is half there.

    <url>/<artifact>/<generation id>/…files, manifest.json last
    <url>/<artifact>/CURRENT            written when the generation is whole

A publisher that is killed leaves files without a manifest, which nobody takes for a generation and
a later publisher removes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from service_runtime.errors import Corrupted, Unavailable
from service_runtime.generation_folders import KEPT_COUNT
from service_runtime.manifest import (
    CURRENT,
    MANIFEST_FILE,
    FileEntry,
    Manifest,
    ManifestUnreadable,
    checksum_file,
    parse_manifest,
)
from service_runtime.object_store import ObjectStore
from service_runtime.telemetry import logger

log = logger("service_runtime.generations")

_ID_LENGTH_MAX: Final = 64


class RemoteGenerations:
    """The generations of all artifacts below one URL."""

    def __init__(self, store: ObjectStore) -> None:
        """Remember where; nothing is asked until it is needed."""
        self.store = store

    def current_id(self, artifact: str) -> str | None:
        """
        Return the id that CURRENT names, None if nothing was published.

        Raises:
            Corrupted: CURRENT is no id.
            Unavailable: The store does not answer.
        """
        content = self.store.read(f"{artifact}/{CURRENT}")
        if content is None:
            return None
        named = content.decode("ascii", "replace").strip()
        if not _is_id(named):
            raise self._damage(f"{artifact}/{CURRENT}", "a generation id", repr(named))
        return named

    def ids(self, artifact: str) -> list[str]:
        """Return the ids of all folders of an artifact, whole or not, oldest first."""
        return [name for name in self.store.folders(artifact) if _is_id(name)]

    def candidates(self, artifact: str) -> list[str]:
        """Return the ids to try: CURRENT, then older ones."""
        current = self.current_id(artifact)
        known = [one for one in self.ids(artifact) if current is not None and one < current]
        return ([current] if current else []) + known[::-1]

    def manifest(self, artifact: str, generation_id: str) -> Manifest:
        """
        Read the manifest of a generation.

        Raises:
            Corrupted: It is missing, not whole, of another generation, or names files elsewhere.
            Unavailable: The store does not answer.
        """
        name = f"{artifact}/{generation_id}/{MANIFEST_FILE}"
        content = self.store.read(name)
        if content is None:
            raise self._damage(name, "a manifest", "no such object")
        try:
            manifest = parse_manifest(content)
        except ManifestUnreadable as fault:
            raise self._damage(name, "a manifest", str(fault)) from fault
        found = f"{manifest.artifact} {manifest.id}"
        if found != f"{artifact} {generation_id}":
            raise self._damage(name, f"{artifact} {generation_id}", found)
        if strange := [one for one in manifest.files if not _stays_below(one)]:
            raise self._damage(name, "files of its own", repr(strange[0]))
        return manifest

    def download(self, artifact: str, generation_id: str, folder: Path) -> Manifest:
        """
        Fill an empty folder with a generation, every file checked.

        Raises:
            Corrupted: Something is missing or not what the manifest says.
            Unavailable: The store does not answer.
            OSError: This machine's disk refuses.
        """
        manifest = self.manifest(artifact, generation_id)
        for name, entry in manifest.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            source = f"{artifact}/{generation_id}/{name}"
            if not self.store.download(source, path):
                raise self._damage(source, f"{entry.bytes} bytes", "no such object")
            if (actual := checksum_file(path)) != entry:
                raise self._damage(source, str(entry), str(actual))
        return manifest

    def push(self, artifact: str, generation_id: str, folder: Path, manifest: Manifest) -> None:
        """
        Copy a generation to the store and make it current there; older ones are pruned.

        Raises:
            Unavailable: The store does not answer, or lost something; the old one stays current.
        """
        self._send(artifact, generation_id, folder, manifest.files)
        self.store.upload(folder / MANIFEST_FILE, f"{artifact}/{generation_id}/{MANIFEST_FILE}")
        self.switch(artifact, generation_id)
        try:
            self._prune(artifact, generation_id)
        except Unavailable as fault:  # the next publisher does it
            log.warning("generation.not_pruned", artifact=artifact, reason=str(fault))

    def switch(self, artifact: str, generation_id: str) -> None:
        """Make a generation that is there the current one."""
        self.store.write(f"{artifact}/{CURRENT}", f"{generation_id}\n".encode("ascii"))

    def _send(
        self, artifact: str, generation_id: str, folder: Path, files: Mapping[str, FileEntry]
    ) -> None:
        for name, entry in files.items():
            target = f"{artifact}/{generation_id}/{name}"
            self.store.upload(folder / name, target)
            if (size := self.store.size(target)) != entry.bytes:
                raise Unavailable(
                    f"{self.store.url}: {target} has {size} bytes instead of {entry.bytes}",
                    hint="publish again; the old generation stays current",
                    reason="STORE_UNAVAILABLE",
                )

    def _prune(self, artifact: str, current: str) -> None:
        """Keep the last generations and the current one, remove what killed publishers left."""
        known = self.ids(artifact)
        whole = [
            one for one in known if self.store.size(f"{artifact}/{one}/{MANIFEST_FILE}") is not None
        ]
        kept = {*whole[-KEPT_COUNT:], current}
        for one in known:
            if one not in kept and one < current:
                # Without its manifest it is no generation any more, however far removal gets.
                self.store.remove(f"{artifact}/{one}/{MANIFEST_FILE}")
                self.store.remove(f"{artifact}/{one}")

    def _damage(self, name: str, expected: str, actual: str) -> Corrupted:
        artifact = name.partition("/")[0]
        return Corrupted(
            f"{artifact}: {self.store.url}: {name}: expected {expected}, found {actual}",
            hint=f"publish it anew with `corkboard build {artifact}`, or go back with"
            f" `corkboard rollback {artifact}`",
        )


def _is_id(name: str) -> bool:
    is_plain = name.replace("-", "").isalnum() and name.isascii()
    return is_plain and len(name) <= _ID_LENGTH_MAX


def _stays_below(name: str) -> bool:
    """Whether a file's name keeps it in its generation's folder, beside the manifest."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
