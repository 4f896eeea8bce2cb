"""The opened generations that the sources answer from, all in the catalogue's row space."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from candidate_service import catalogue
from candidate_service.catalogue import Catalogue, open_catalogue
from service_runtime.errors import NotReady
from service_runtime.generations import Generation, GenerationStore, Live

T = TypeVar("T")

Listener = Callable[[str, str], None]


class Artifacts:
    """Every artifact that the service reads, following its newest good generation.

    One that is missing, damaged or of another row space than the catalogue disables what reads it,
    and nothing else. Reading is a few attribute look-ups; safe from any number of threads.
    """

    def __init__(self, store: GenerationStore, *, on_refused: Listener = lambda *_: None) -> None:
        """Open the catalogue, if there is one yet.

        Args:
            store: Where generations are.
            on_refused: Told artifact and reason when a generation is found bad.
        """
        self._store = store
        self._on_refused = on_refused
        self._lives: dict[str, Live[Any]] = {}
        self._catalogue: Live[Catalogue] = self._open(
            catalogue.ARTIFACT, catalogue.READABLE_VERSIONS, open_catalogue
        )

    def add(
        self,
        artifact: str,
        format_version: int | Collection[int],
        open_generation: Callable[[Generation], T],
    ) -> Callable[[], T]:
        """Open an artifact, if there is one yet.

        Returns:
            A function that gives what serves now, or raises NotReady.
        """

        def open_in_space(generation: Generation) -> T:
            if (space := _space(generation)) != self.catalogue().id_space:
                raise NotReady(f"{artifact} {generation.id} belongs to the row space {space}")
            return open_generation(generation)

        live = self._open(artifact, format_version, open_in_space)

        def get() -> T:
            self._check(artifact)
            return live.get()

        return get

    def catalogue(self) -> Catalogue:
        """Return the catalogue.

        Raises:
            NotReady: None has been built.
        """
        return self._catalogue.get()

    def current_catalogue(self) -> tuple[str, Catalogue]:
        """Return the catalogue and its generation, which belong together.

        Raises:
            NotReady: None has been built.
        """
        pair = self._catalogue.snapshot()
        if pair is None:
            return "", self._catalogue.get()  # raises, and says why
        return pair[0].id, pair[1]

    def catalogue_size(self) -> tuple[str, int]:
        """Return the catalogue's generation and number of pins; "" and 0 before there is one."""
        pair = self._catalogue.snapshot()
        return ("", 0) if pair is None else (pair[0].id, len(pair[1]))

    def generation(self, artifact: str) -> str:
        """Return the id of the generation that serves.

        Raises:
            NotReady: There is none, or it is of another row space than the catalogue.
        """
        self._check(artifact)
        return self._lives[artifact].generation.id

    def generations(self, artifacts: Sequence[str]) -> Mapping[str, str]:
        """Return the generations of several artifacts by name; NotReady if one is missing."""
        return {artifact: self.generation(artifact) for artifact in artifacts}

    def lives(self) -> list[Live[Any]]:
        """Return what a watcher must poll, the catalogue first."""
        return list(self._lives.values())

    def _open(
        self,
        artifact: str,
        format_version: int | Collection[int],
        open_generation: Callable[[Generation], T],
    ) -> Live[T]:
        live = Live(
            self._store,
            artifact,
            format_version,
            open_generation,
            on_refused=lambda _, reason: self._on_refused(artifact, reason),
        )
        self._lives[artifact] = live
        return live

    def _check(self, artifact: str) -> None:
        """Refuse rows of another space: they would name the wrong pins."""
        space = _space(self._lives[artifact].generation)
        if space != self.catalogue().id_space:
            raise NotReady(
                f"{artifact} was built for another catalogue",
                hint=f"build it again: corkboard build {artifact}",
            )


def _space(generation: Generation) -> str:
    return str(generation.manifest.details.get("id_space", ""))
