"""The folders of published generations: how one is made current and found again.

Layout: `<root>/<artifact>/<generation id>/` holds files and a manifest; `<root>/<artifact>/CURRENT`
is a text file with an id. `service_runtime.generations` has the picture; import from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from service_runtime.errors import Corrupted, NotReady
from service_runtime.files import locked, sync_path, write_synced
from service_runtime.generation import (
    Generation,
    build_hint,
    log,
    log_refusal,
    verify_generation,
)
from service_runtime.generation_draft import Draft
from service_runtime.generation_folders import (
    DRAFT_PREFIX,
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
    read_manifest,
    render_manifest,
)
from service_runtime.passing_faults import is_passing
from service_runtime.remote_generations import RemoteGenerations

__all__ = ["Draft", "Generation", "GenerationStore", "build_hint", "log_refusal"]


class GenerationStore:
    """
    The generations of all artifacts below one folder; safe for many processes at once.

    With an object store behind it, what is published goes there as well, and `fetch` brings the
    folder to what is current there. Whoever serves reads the folder alone.
    """

    def __init__(self, root: Path | str, remote: RemoteGenerations | None = None) -> None:
        """Remember the places; nothing is read or made until it is needed."""
        self.root = Path(root)
        self.remote = remote
        self._refused: set[tuple[str, str]] = set()
        self._wanted: dict[str, str] = {}

    def draft(self, artifact: str, *, format_version: int) -> Draft:
        """Return a context in which a new generation's files are written; see `Draft`."""
        folder = self.root / _checked_name(artifact)
        return Draft(folder, artifact, format_version, self.remote)

    def fetch(self, artifact: str) -> bool:
        """
        Make the generation current that is current in the object store; nothing without one.

        One that is damaged there is refused once, and the newest good one before it is taken. While
        another process publishes or fetches the artifact here, it is left to it.

        Returns:
            True if another generation is current now.

        Raises:
            Unavailable: The object store does not answer; what is here stays current.
            Corrupted: Its CURRENT cannot be read; what is here stays current.
            OSError: The disk refuses.
        """
        if self.remote is None:
            return False
        wanted = self.remote.current_id(artifact)
        self._wanted[artifact] = wanted or ""
        if wanted is None or (artifact, wanted) in self._refused or wanted == self._here(artifact):
            return False
        try:
            with locked(self.root / _checked_name(artifact), wait=False):
                return self._fetch_newest(artifact, self.remote)
        except BlockingIOError:
            return False

    def refuses_remote(self, artifact: str) -> bool:
        """Whether what was current in the object store at the last look was found bad."""
        return (artifact, self._wanted.get(artifact, "")) in self._refused

    def _fetch_newest(self, artifact: str, remote: RemoteGenerations) -> bool:
        """Take the newest good generation; needs the lock."""
        folder = self.root / artifact
        sweep(folder)
        here = self._here(artifact)
        for generation_id in remote.candidates(artifact):
            if (artifact, generation_id) in self._refused:
                continue
            if generation_id == here:
                return False
            try:
                self._take(artifact, generation_id, remote)
            except Corrupted as fault:
                if is_passing(fault):
                    raise
                self._refused.add((artifact, generation_id))
                log_refusal(artifact, generation_id, fault)
                continue
            write_synced(folder / CURRENT, f"{generation_id}\n".encode("ascii"))
            prune(folder, generation_id)
            log.info("generation.fetched", artifact=artifact, generation=generation_id)
            return True
        return False

    def _take(self, artifact: str, generation_id: str, remote: RemoteGenerations) -> None:
        """Have a generation in the folder, fetched if it is not there; needs the lock."""
        folder = self.root / artifact
        if generation_id in published_ids(folder):
            self.verify(artifact, generation_id)
            return
        draft = folder / f"{DRAFT_PREFIX}{generation_id}"
        draft.mkdir()
        try:
            manifest = remote.download(artifact, generation_id, draft)
            seal_files(draft)
            write_synced(draft / MANIFEST_FILE, render_manifest(manifest))
            draft.rename(folder / generation_id)
            sync_path(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _here(self, artifact: str) -> str | None:
        """Return what is current in the folder, None if that cannot be read."""
        try:
            return self.current_id(artifact)
        except Corrupted as fault:
            log_refusal(artifact, CURRENT, fault)
            return None

    def kept_manifests(self, artifact: str) -> list[Manifest]:
        """
        Return the manifests of all generations that could serve again, here or fetched.

        Raises:
            Unavailable: The object store does not answer.
        """
        manifests = []
        known = dict.fromkeys(self.generations(artifact), self._manifest_here)
        if self.remote is not None:
            away = [one for one in self.remote.ids(artifact) if one not in known]
            known |= dict.fromkeys(away, self.remote.manifest)
        for generation_id, read in known.items():
            try:
                manifests.append(read(artifact, generation_id))
            except Corrupted:
                continue  # it will not serve again
        return manifests

    def _manifest_here(self, artifact: str, generation_id: str) -> Manifest:
        return read_manifest(artifact, self.root / artifact / generation_id)

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
            Unavailable: If there is an object store and it does not answer.
        """
        self.fetch(artifact)
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
        """Open one generation as `verify_generation` does."""
        return verify_generation(self.root, artifact, generation_id, format_version)

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
            Unavailable: If there is an object store and it does not answer.
        """
        self.fetch(artifact)
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
            Unavailable: If there is an object store and it does not answer; nothing is changed.
        """
        self.fetch(artifact)
        folder = self.root / artifact
        with locked(folder):
            current_id = self._current_id_or_newest(artifact)
            known = self.remote.ids(artifact) if self.remote else published_ids(folder)
            for generation_id in reversed(known):
                if generation_id >= current_id:
                    continue
                try:
                    if self.remote:
                        self._take(artifact, generation_id, self.remote)
                    generation = self.verify(artifact, generation_id)
                except Corrupted as fault:
                    log_refusal(artifact, generation_id, fault)
                    continue
                if self.remote:
                    self.remote.switch(artifact, generation_id)
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


def _checked_name(artifact: str) -> str:
    if not artifact.replace("_", "").isalnum() or not artifact.isascii():
        message = f"{artifact!r} cannot be an artifact's name: letters, digits and _ only"
        raise ValueError(message)
    return artifact
