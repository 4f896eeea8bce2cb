"""A generation in the making: files in a folder of its own, made visible together.

Import from `service_runtime.generations`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service_runtime.files import locked, sync_path, write_synced
from service_runtime.generation import Generation, log, verify_generation
from service_runtime.generation_folders import (
    DRAFT_PREFIX,
    OWNER,
    prune,
    published_ids,
    seal_files,
    sweep,
)
from service_runtime.manifest import CURRENT, MANIFEST_FILE, Manifest, next_id, render_manifest
from service_runtime.remote_generations import RemoteGenerations


class Draft:
    """
    A generation in the making; use it as a context.

    Files are written to the paths that `path` gives and become visible together by `publish`.
    Leaving the context without publishing removes them.
    """

    def __init__(
        self,
        folder: Path,
        artifact: str,
        format_version: int,
        remote: RemoteGenerations | None = None,
    ) -> None:
        """Remember where; the draft's own folder is made when the context is entered."""
        self.artifact = artifact
        self.format_version = format_version
        self._folder = folder
        self._remote = remote
        self._draft: Path | None = None
        self._owner = -1

    def __enter__(self) -> Self:
        """Make the draft's folder and mark it as ours for as long as this process lives."""
        with locked(self._folder):
            sweep(self._folder)
            draft = self._folder / f"{DRAFT_PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
            draft.mkdir()
            self._owner = os.open(draft / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._owner, fcntl.LOCK_EX)
            self._draft = draft
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what was not published."""
        if self._draft is not None:
            shutil.rmtree(self._draft, ignore_errors=True)
            self._draft = None
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1

    @property
    def folder(self) -> Path:
        """The draft's folder, for writers that make many files."""
        if self._draft is None:
            message = "this draft was published or left already"
            raise RuntimeError(message)
        return self._draft

    def path(self, name: str) -> Path:
        """Return where to write the file or folder of this relative name; its parents are made."""
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or parts[0] in {MANIFEST_FILE, OWNER, ".."}:
            message = f"{name!r} cannot be the name of a file in a generation"
            raise ValueError(message)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def publish(
        self,
        *,
        as_of_us: int,
        inputs: Mapping[str, str] | None = None,
        counts: Mapping[str, int] | None = None,
        quality: Mapping[str, float] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Generation:
        """
        Make the draft the current generation: durable, verified, switched atomically.

        Returns:
            The new generation, under its final path.

        Raises:
            Corrupted: If what is read back is not what was written; the old one stays current.
            OSError: If the disk is full or refuses; the old one stays current.
            Unavailable: If the object store does not take it; the old one stays current.
        """
        draft = self.folder
        files = seal_files(draft)
        with locked(self._folder):
            creation_time_us = time.time_ns() // 1000
            generation_id = next_id(creation_time_us, self._known_ids())
            manifest = Manifest(
                artifact=self.artifact,
                id=generation_id,
                format_version=self.format_version,
                creation_time_us=creation_time_us,
                as_of_us=as_of_us,
                inputs=dict(inputs or {}),
                counts={name: int(value) for name, value in (counts or {}).items()},
                quality={name: float(value) for name, value in (quality or {}).items()},
                details=dict(details or {}),
                files=files,
            )
            write_synced(draft / MANIFEST_FILE, render_manifest(manifest))
            (draft / OWNER).unlink()
            sync_path(draft)
            final = self._folder / generation_id
            draft.rename(final)
            self._draft = final  # removed by __exit__ if it does not verify
            sync_path(self._folder)
            generation = verify_generation(
                self._folder.parent, self.artifact, generation_id, self.format_version
            )
            if self._remote is not None:
                self._remote.push(self.artifact, generation_id, final, manifest)
            write_synced(self._folder / CURRENT, f"{generation_id}\n".encode("ascii"))
            self._draft = None
            prune(self._folder, generation_id)
        log.info("generation.published", artifact=self.artifact, generation=generation_id)
        return generation

    def _known_ids(self) -> list[str]:
        """Return the ids that the new one must sort after, here and in the object store."""
        known = published_ids(self._folder)
        return known if self._remote is None else sorted({*known, *self._remote.ids(self.artifact)})
