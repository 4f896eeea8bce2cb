"""The artifacts of one request, all seen at one moment, and what is missing of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ranking_service.catalogue import (
    CATALOGUE,
    CATALOGUE_FORMATS,
    FORMAT_VERSION,
    PIN_STATISTICS,
    PIN_VECTORS,
    Catalogue,
    PinStatistics,
    open_vectors,
)
from ranking_service.live_pins import LivePins
from ranking_service.side_tables import NO_SIDE_TABLES, SideArtifacts, SideTables
from service_runtime.errors import NotReady
from service_runtime.generation_store import GenerationStore
from service_runtime.live import Live

Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True, slots=True)
class World:
    """
    What is known of pins at one moment.

    Attributes:
        catalogue: Ids and what describes pins.
        vectors: float32[N', d], N' at most the number of pins; None = missing.
        statistics: None = missing.
        generations: Generation of each artifact that is there.
        as_of_us: Nothing in here is later, microseconds since the epoch.
        id_space: Name of the numbering of pins; rows of one id space stay valid in later worlds.
        missing: Artifact and why it is not there.
        live: Pins of this request that are younger than the catalogue; None = none.
        side: Tables that candidates are compared by, as far as there are any.
    """

    catalogue: Catalogue
    vectors: NDArray[np.float32] | None
    statistics: PinStatistics | None
    generations: Mapping[str, str]
    as_of_us: int
    id_space: str
    missing: tuple[tuple[str, str], ...] = ()
    live: LivePins | None = None
    side: SideTables = NO_SIDE_TABLES

    def rows(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """Row of each pin, young ones included, int32[n]; -1 where nobody knows it."""
        rows = self.catalogue.pin_ids.rows(ids)
        if self.live is not None:
            for place in np.flatnonzero(rows < 0).tolist():
                rows[place] = self.live.row(ids[place])
        return rows

    def ids(self, rows: NDArray[np.int32]) -> list[str]:
        """Id of each row, young ones included."""
        live = self.live
        if live is None:
            return self.catalogue.pin_ids.ids(rows)
        is_live = rows >= live.base_count
        known = iter(self.catalogue.pin_ids.ids(rows[~is_live]))
        young = (live.ids[row - live.base_count] for row in rows[is_live].tolist())
        return [next(young) if is_young else next(known) for is_young in is_live.tolist()]

    def owner_keys(self, rows: NDArray[np.int32]) -> NDArray[np.uint64]:
        """Key of each row's owner, uint64[n]; 0 = not known."""
        young = None if self.live is None else self.live.owner_keys
        return self._joined(rows, self.catalogue.owner_keys, young)

    def pin_keys(self, rows: NDArray[np.int32]) -> NDArray[np.uint64]:
        """Key of each row's pin, uint64[n]."""
        young = None if self.live is None else self.live.pin_keys
        return self._joined(rows, self.catalogue.pin_keys, young)

    def language_codes(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Language of each row in the catalogue's numbers, int32[n]; -1 = not known."""
        young = None if self.live is None else self.live.language_codes
        return self._joined(rows, self.catalogue.languages.codes, young)

    def country_codes(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Country of each row in the catalogue's numbers, int32[n]; -1 = not known."""
        young = None if self.live is None else self.live.country_codes
        return self._joined(rows, self.catalogue.countries.codes, young)

    def creation_times(self, rows: NDArray[np.int32]) -> NDArray[np.float64]:
        """When each row's pin was made, Unix seconds, float64[n]; NaN = not known."""
        young = None if self.live is None else self.live.creation_times
        return self._joined(rows, self.catalogue.creation_times, young)

    def _joined(
        self, rows: NDArray[np.int32], known: NDArray[Value], young: NDArray[Value] | None
    ) -> NDArray[Value]:
        """Values of rows from a column of the catalogue and one of the young pins."""
        if young is None:
            return known[rows]
        is_live = rows >= known.size
        values = np.empty(rows.size, known.dtype)
        values[~is_live] = known[rows[~is_live]]
        values[is_live] = young[rows[is_live] - known.size]
        return values

    @property
    def dimension(self) -> int:
        """Length of the vectors; 0 without any."""
        return 0 if self.vectors is None else self.vectors.shape[1]


class Artifacts:
    """
    Follows the newest good generations of the artifacts that describe pins.

    Args:
        store: Where the generations are.
    """

    def __init__(self, store: GenerationStore) -> None:
        self._catalogue: Live[Catalogue] = Live(store, CATALOGUE, CATALOGUE_FORMATS, Catalogue.open)
        self._vectors: Live[NDArray[np.float32]] = Live(
            store, PIN_VECTORS, FORMAT_VERSION, open_vectors
        )
        self._statistics: Live[PinStatistics] = Live(
            store, PIN_STATISTICS, FORMAT_VERSION, PinStatistics.open
        )
        self._side = SideArtifacts(store)

    @property
    def lives(self) -> tuple[Live[Any], ...]:
        """What a watcher has to poll, the catalogue first."""
        return (self._catalogue, self._vectors, self._statistics, *self._side.lives)

    def world(self) -> World:
        """
        What is there now; vectors or statistics that are missing are named, not awaited.

        Raises:
            NotReady: If there is no catalogue: nothing can be recommended without one.
        """
        snapshot = self._catalogue.snapshot()
        if snapshot is None:
            raise NotReady(
                "there is no usable catalogue", hint="import pins and run `corkboard build`"
            )
        base, catalogue = snapshot
        generations = {CATALOGUE: base.id}
        as_of_us = base.manifest.as_of_us
        missing: list[tuple[str, str]] = []
        values: list[Any] = []
        for live in (self._vectors, self._statistics):
            other = live.snapshot()
            if other is None:
                missing.append((live.artifact, "there is no usable generation"))
                values.append(None)
            elif not _same_rows(base.manifest.details, other[0].manifest.details):
                missing.append((live.artifact, "it numbers pins otherwise than the catalogue"))
                values.append(None)
            else:
                generations[live.artifact] = other[0].id
                as_of_us = max(as_of_us, other[0].manifest.as_of_us)
                values.append(other[1])
        vectors, statistics = values
        side, side_generations, side_as_of_us = self._side.tables(
            base, generations.get(PIN_VECTORS, "")
        )
        return World(
            catalogue=catalogue,
            vectors=vectors,
            statistics=statistics,
            generations={**generations, **side_generations},
            as_of_us=max(as_of_us, side_as_of_us),
            id_space=str(base.manifest.details.get("id_space", "")),
            missing=tuple(missing),
            side=side,
        )


def _same_rows(catalogue: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return catalogue.get("id_space") == other.get("id_space")
