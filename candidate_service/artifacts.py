"""The opened generations that the sources answer from, all in the catalogue's row space."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from candidate_service import catalogue
from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.live.segment import LiveSegment
from service_runtime.errors import NotReady, Unavailable
from service_runtime.generations import Generation, GenerationStore, Live, Manifest
from service_runtime.telemetry import logger

T = TypeVar("T")

log = logger("candidate_service.artifacts")

Listener = Callable[[str, str], None]

STEADY_TRIES_MAX: Final = 3
"""The catalogue does not change twice within a call; if it does, the third answer is taken."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a request is answered with, all of one moment.

    Attributes:
        generation: Of the catalogue.
        catalogue: Its pins.
        live: What changed since.
    """

    generation: str
    catalogue: Catalogue
    live: LiveSegment


def steady(served: Callable[[], Served], answer: Callable[[Served], T]) -> T:
    """Return an answer that was made while one catalogue served.

    Rows behind the catalogue mean live pins, which have other rows behind the next one; so what was
    asked while the catalogue changed is asked again.

    Raises:
        NotReady: No catalogue has been built.
    """
    for _ in range(STEADY_TRIES_MAX - 1):
        seen = served()
        answered = answer(seen)
        if served() is seen:
            return answered
    return answer(served())


class ChangeFollower(Protocol):
    """Keeps a segment up to date for as long as its catalogue serves."""

    def begin(
        self, generation: str, catalogue: Catalogue, positions: Mapping[str, int]
    ) -> LiveSegment:
        """Return a segment with all changes after some positions of the logs, followed from now."""
        ...

    def switched_to(self, segment: LiveSegment) -> None:
        """Take note that this segment serves; others need not be followed any longer."""
        ...

    def trim(self, positions: Mapping[str, int]) -> int:
        """Forget what every generation knows that is kept, return how many bytes that were."""
        ...


class _NoChanges:
    """Follows nothing: the catalogue is all there is."""

    def begin(
        self,
        generation: str,
        catalogue: Catalogue,
        positions: Mapping[str, int],  # noqa: ARG002
    ) -> LiveSegment:
        return LiveSegment(catalogue, generation=generation)

    def switched_to(self, segment: LiveSegment) -> None:
        pass

    def trim(self, positions: Mapping[str, int]) -> int:  # noqa: ARG002
        return 0


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
        self._follower: ChangeFollower = _NoChanges()
        self._lives: dict[str, dict[Callable[[Generation], Any], Live[Any]]] = {}
        self._served: Live[Served] = self._open(
            catalogue.ARTIFACT,
            catalogue.READABLE_VERSIONS,
            self._open_served,
            on_swap=self._switched,
        )

    def follow(self, follower: ChangeFollower) -> None:
        """Have changes followed from now on; call it when all artifacts were added.

        Each catalogue is then served together with a segment of what changed since, made before
        the two are switched to.
        """
        self._follower = follower
        self._served.reopen()

    def add(
        self,
        artifact: str,
        format_version: int | Collection[int],
        open_generation: Callable[[Generation], T],
    ) -> Callable[[], T]:
        """Open an artifact, if there is one yet.

        Whoever adds one with the same *open_generation* shares what was opened.

        Returns:
            A function that gives what serves now, or raises NotReady.
        """

        def open_in_space(generation: Generation) -> T:
            if (space := _space(generation)) != self.catalogue().id_space:
                raise NotReady(f"{artifact} {generation.id} belongs to the row space {space}")
            if _is_younger(generation, self.catalogue()):
                raise NotReady(f"{artifact} {generation.id} waits for its catalogue")
            return open_generation(generation)

        known = self._lives.get(artifact, {}).get(open_generation)
        live = known or self._open(artifact, format_version, open_in_space, key=open_generation)

        def get() -> T:
            self._check(live)
            value: T = live.get()
            return value

        return get

    def served(self) -> Served:
        """Return the catalogue and what changed since, which belong together.

        Raises:
            NotReady: No catalogue has been built.
        """
        return self._served.get()

    def catalogue(self) -> Catalogue:
        """Return the catalogue.

        Raises:
            NotReady: None has been built.
        """
        return self._served.get().catalogue

    def current_catalogue(self) -> tuple[str, Catalogue]:
        """Return the catalogue and its generation, which belong together.

        Raises:
            NotReady: None has been built.
        """
        served = self._served.get()
        return served.generation, served.catalogue

    def catalogue_size(self) -> tuple[str, int]:
        """Return the catalogue's generation and number of pins; "" and 0 before there is one."""
        pair = self._served.snapshot()
        return ("", 0) if pair is None else (pair[0].id, len(pair[1].catalogue))

    def generation(self, artifact: str) -> str:
        """Return the id of the generation that serves.

        Raises:
            NotReady: There is none, or it is of another row space than the catalogue.
        """
        live = next(iter(self._lives[artifact].values()))
        self._check(live)
        return live.generation.id

    def generations(self, artifacts: Sequence[str]) -> Mapping[str, str]:
        """Return the generations of several artifacts by name; NotReady if one is missing."""
        return {artifact: self.generation(artifact) for artifact in artifacts}

    def lives(self) -> list[Live[Any]]:
        """Return what a watcher must poll, the catalogue first."""
        return [live for lives in self._lives.values() for live in lives.values()]

    def _open(
        self,
        artifact: str,
        format_version: int | Collection[int],
        open_generation: Callable[[Generation], T],
        on_swap: Callable[[Generation, T], None] | None = None,
        key: Callable[[Generation], T] | None = None,
    ) -> Live[T]:
        live = Live(
            self._store,
            artifact,
            format_version,
            open_generation,
            on_swap=on_swap,
            on_refused=lambda _, reason: self._on_refused(artifact, reason),
        )
        self._lives.setdefault(artifact, {})[key or open_generation] = live
        return live

    def _open_served(self, generation: Generation) -> Served:
        opened = open_catalogue(generation)
        positions = self._oldest_positions(opened.live_positions)
        return Served(generation.id, opened, self._follower.begin(generation.id, opened, positions))

    def _switched(self, _: Generation, served: Served) -> None:
        self._follower.switched_to(served.live)
        try:
            self._follower.trim(self.kept_positions())
        except Unavailable as fault:  # the next catalogue trims
            log.warning("live_log.not_trimmed", reason=str(fault))

    def kept_positions(self) -> dict[str, int]:
        """
        Return up to where every generation knows the live logs that could serve again.

        Raises:
            Unavailable: An object store that may have further ones does not answer.
        """
        known: list[Mapping[str, int]] = []
        for artifact in self._lives:
            for manifest in self._store.kept_manifests(artifact):
                known += _positions(manifest)
        return _least(known)

    def _oldest_positions(self, positions: Mapping[str, int]) -> dict[str, int]:
        """Return from where changes are needed so that no artifact that serves misses one."""
        known = [positions]
        for live in self.lives():
            pair = live.snapshot()
            if pair is not None and live.artifact != catalogue.ARTIFACT:
                known += _positions(pair[0].manifest)
        return _least(known)

    def _check(self, live: Live[Any]) -> None:
        """Refuse rows of another space, and rows behind the catalogue: they name wrong pins."""
        generation, served = live.generation, self.catalogue()
        if _space(generation) != served.id_space:
            raise NotReady(
                f"{live.artifact} was built for another catalogue",
                hint=f"build it again: corkboard build {live.artifact}",
            )
        if _is_younger(generation, served):
            raise NotReady(
                f"{live.artifact} was built for a younger catalogue than the one that serves",
                hint=f"roll it back as well: corkboard rollback {live.artifact}",
            )


def _least(known: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return the least position of each log; one that somebody does not know is at its start."""
    shared = set.intersection(*(set(one) for one in known)) if known else set()
    return {name: min(one[name] for one in known) for name in shared}


def _positions(manifest: Manifest) -> list[Mapping[str, int]]:
    """Return up to where an artifact knows the live logs; none if it does not say."""
    details = manifest.details
    return [details["live_positions"]] if "live_positions" in details else []


def _is_younger(generation: Generation, served: Catalogue) -> bool:
    return int(generation.manifest.details.get("pin_count", 0)) > len(served)


def _space(generation: Generation) -> str:
    return str(generation.manifest.details.get("id_space", ""))
