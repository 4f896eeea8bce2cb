"""One generation as a reader sees it: its folder, its manifest, and the check of every byte.

Import from `service_runtime.generations`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from service_runtime.manifest import (
    CURRENT,
    MANIFEST_FILE,
    Manifest,
    damage,
    read_manifest,
    verify_file,
)
from service_runtime.telemetry import logger

log = logger("service_runtime.generations")


@dataclass(frozen=True, slots=True)
class Generation:
    """One published, immutable set of files of an artifact, with its manifest."""

    artifact: str
    id: str
    path: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """
        Return the path of one of its files, or of a folder of its files.

        Raises:
            Corrupted: If the manifest lists neither, so that a reader of another layout stops here.
        """
        files = self.manifest.files
        if name not in files and not any(known.startswith(name + "/") for known in files):
            raise damage(self.artifact, self.path, name, "listed in the manifest", "not listed")
        return self.path / name


def verify_generation(
    root: Path,
    artifact: str,
    generation_id: str,
    format_version: int | Collection[int] | None = None,
) -> Generation:
    """
    Open one generation after checking its manifest and each file's length and checksum.

    Args:
        root: Folder of all artifacts.
        artifact: Its name.
        generation_id: Which.
        format_version: The layouts that the caller reads; None = any.

    Raises:
        Corrupted: Naming artifact, file, what was expected, what is there, and the remedy.

    Cost: reads every file once, at the speed of memory when the pages are cached.
    """
    folder = root / artifact / generation_id
    if not generation_id or "/" in generation_id or not folder.is_dir():
        found = f"{CURRENT} names {generation_id!r}, which is not there"
        raise damage(artifact, folder.parent, CURRENT, "an existing generation", found)
    manifest = read_manifest(artifact, folder)
    for field, expected, actual in (
        ("artifact", (artifact,), manifest.artifact),
        ("id", (generation_id,), manifest.id),
        ("format version", _versions(format_version), manifest.format_version),
    ):
        if expected and actual not in expected:
            wanted = " or ".join(str(one) for one in expected)
            raise damage(artifact, folder, MANIFEST_FILE, f"{field} {wanted}", f"{field} {actual}")
    for name, entry in manifest.files.items():
        verify_file(artifact, folder, name, entry)
    return Generation(artifact, generation_id, folder, manifest)


def _versions(given: int | Collection[int] | None) -> tuple[int, ...]:
    """Return the versions that are read, none for any."""
    if given is None:
        return ()
    return (given,) if isinstance(given, int) else tuple(sorted(given))


def build_hint(artifact: str) -> str:
    """Say how to get a generation of an artifact."""
    return f"build it: corkboard build {artifact}"


def log_refusal(artifact: str, generation_id: str, fault: Exception) -> None:
    """Log that a generation was found bad and is passed over."""
    log.error("generation.refused", artifact=artifact, generation=generation_id, reason=str(fault))
