"""The folders of published generations: how one is written, checked, made current and found again.

Layout: `<root>/<artifact>/<generation id>/` holds files and a manifest; `<root>/<artifact>/CURRENT`
is a text file with an id. `service_runtime.generations` has the picture; import from there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service_runtime.errors import Corrupted, NotReady
from service_runtime.files import locked, sync_path, write_synced
from service_runtime.generation_folders import (
    DRAFT_PREFIX,
    OWNER,
    prune,
    published_ids,
    seal_files,
    sweep,
)
from service_runtime.manifest import (
    CURRENT,
    MANIFEST_FILE,
    Manifest,
    damage,
    next_id,
    read_manifest,
    render_manifest,
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


class GenerationStore:
    """The generations of all artifacts below one folder; safe for many processes at once."""

    def __init__(self, root: Path | str) -> None:
        """Remember the folder; nothing is read or made until it is needed."""
        self.root = Path(root)

    def draft(self, artifact: str, *, format_version: int) -> Draft:
        """Return a context in which a new generation's files are written; see `Draft`."""
        return Draft(self.root / _checked_name(artifact), artifact, format_version)

    def current_id(self, artifact: str) -> str | None:
        """
        Return the id that CURRENT names, unverified and cheap; None if nothing was published.

        Raises:
            Corrupted: If CURRENT is not readable text.
        """
        path = self.root / artifact / CURRENT
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as fault:
            raise damage(artifact, path.parent, CURRENT, "a generation id", str(fault)) from fault

    def current(
        self, artifact: str, *, format_version: int | Collection[int] | None = None
    ) -> Generation | None:
        """
        Return the current generation after checking every byte of it, None if there is none.

        Raises:
            Corrupted: If anything of it is missing, torn, changed or of another format version.
        """
        generation_id = self.current_id(artifact)
        if generation_id is None:
            return None
        return self.verify(artifact, generation_id, format_version=format_version)

    def verify(
        self,
        artifact: str,
        generation_id: str,
        *,
        format_version: int | Collection[int] | None = None,
    ) -> Generation:
        """
        Open one generation after checking its manifest and each file's length and checksum.

        Args:
            artifact: Its name.
            generation_id: Which.
            format_version: The layouts that the caller reads; None = any.

        Raises:
            Corrupted: Naming artifact, file, what was expected, what is there, and the remedy.

        Cost: reads every file once, at the speed of memory when the pages are cached.
        """
        folder = self.root / artifact / generation_id
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
                raise damage(
                    artifact, folder, MANIFEST_FILE, f"{field} {wanted}", f"{field} {actual}"
                )
        for name, entry in manifest.files.items():
            verify_file(artifact, folder, name, entry)
        return Generation(artifact, generation_id, folder, manifest)

    def open_latest_good(
        self,
        artifact: str,
        *,
        format_version: int | Collection[int],
        skip: frozenset[str] = frozenset(),
    ) -> Generation:
        """
        Return the current generation, or the newest good one before it if it is damaged.

        Args:
            artifact: Its name.
            format_version: The layouts the caller reads; others count as damaged.
            skip: Ids that the caller has refused already.

        Raises:
            NotReady: If there is no good generation, with the reason for each refused one.
        """
        faults: list[str] = []
        for generation_id in self.candidates(artifact):
            if generation_id in skip:
                continue
            try:
                return self.verify(artifact, generation_id, format_version=format_version)
            except Corrupted as fault:
                faults.append(str(fault))
                log_refusal(artifact, generation_id, fault)
        message = f"there is no usable generation of {artifact} in {self.root / artifact}"
        if faults:
            message += ": " + "; ".join(faults)
        raise NotReady(message, hint=build_hint(artifact))

    def generations(self, artifact: str) -> list[str]:
        """Return the ids of all published generations, oldest first, unverified."""
        return published_ids(self.root / artifact)

    def roll_back(self, artifact: str) -> Generation:
        """
        Make the newest good generation before the current one current, and return it.

        Raises:
            NotReady: If there is none to go back to.
        """
        folder = self.root / artifact
        with locked(folder):
            current_id = self._current_id_or_newest(artifact)
            for generation_id in reversed(published_ids(folder)):
                if generation_id >= current_id:
                    continue
                try:
                    generation = self.verify(artifact, generation_id)
                except Corrupted as fault:
                    log_refusal(artifact, generation_id, fault)
                    continue
                write_synced(folder / CURRENT, f"{generation_id}\n".encode("ascii"))
                log.info("generation.rolled_back", artifact=artifact, generation=generation_id)
                return generation
        message = f"{artifact} has no good generation to go back to"
        raise NotReady(message, hint=build_hint(artifact))

    def _current_id_or_newest(self, artifact: str) -> str:
        """Return what CURRENT names; if it cannot be read, an id after all others."""
        try:
            return self.current_id(artifact) or "~"
        except Corrupted as fault:
            log_refusal(artifact, CURRENT, fault)
            return "~"

    def candidates(self, artifact: str) -> list[str]:
        """Return the ids to try: CURRENT, then older ones; never one that was rolled back."""
        known = self.generations(artifact)
        try:
            current_id = self.current_id(artifact)
        except Corrupted as fault:
            log_refusal(artifact, CURRENT, fault)
            current_id = None
        if current_id is None or current_id not in known:
            return known[::-1]
        return [known_id for known_id in reversed(known) if known_id <= current_id]


class Draft:
    """
    A generation in the making; use it as a context.

    Files are written to the paths that `path` gives and become visible together by `publish`.
    Leaving the context without publishing removes them.
    """

    def __init__(self, folder: Path, artifact: str, format_version: int) -> None:
        """Remember where; the draft's own folder is made when the context is entered."""
        self.artifact = artifact
        self.format_version = format_version
        self._folder = folder
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
        """
        draft = self.folder
        files = seal_files(draft)
        with locked(self._folder):
            creation_time_us = time.time_ns() // 1000
            generation_id = next_id(creation_time_us, published_ids(self._folder))
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
            store = GenerationStore(self._folder.parent)
            generation = store.verify(
                self.artifact, generation_id, format_version=self.format_version
            )
            write_synced(self._folder / CURRENT, f"{generation_id}\n".encode("ascii"))
            self._draft = None
            prune(self._folder, generation_id)
        log.info("generation.published", artifact=self.artifact, generation=generation_id)
        return generation


def _versions(given: int | Collection[int] | None) -> tuple[int, ...]:
    """Return the versions that are read, none for any."""
    if given is None:
        return ()
    return (given,) if isinstance(given, int) else tuple(sorted(given))


def _checked_name(artifact: str) -> str:
    if not artifact.replace("_", "").isalnum() or not artifact.isascii():
        message = f"{artifact!r} cannot be an artifact's name: letters, digits and _ only"
        raise ValueError(message)
    return artifact


def build_hint(artifact: str) -> str:
    """Say how to get a generation of an artifact."""
    return f"build it: corkboard build {artifact}"


def log_refusal(artifact: str, generation_id: str, fault: Exception) -> None:
    """Log that a generation was found bad and is passed over."""
    log.error("generation.refused", artifact=artifact, generation=generation_id, reason=str(fault))
