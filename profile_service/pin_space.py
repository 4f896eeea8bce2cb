"""What this service reads of the catalogue: the number of each pin, and its vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service_runtime.errors import NotReady
from service_runtime.generations import Generation, GenerationStore, Live
from service_runtime.id_table import IdTable
from service_runtime.vector_table import VectorTable

CATALOGUE: Final = "catalogue"
PIN_VECTORS: Final = "pin_vectors"
FORMAT_VERSION: Final = 1
CATALOGUE_FORMATS: Final = (1, 2)
"""Layouts of the catalogue that are read; only its ids are."""

_NO_VECTORS: Final = np.zeros((0, 1), np.float32)


@dataclass(frozen=True, slots=True)
class CataloguePins:
    """
    The pins of a catalogue; see `online.PinSpace`.

    Attributes:
        ids: None without a catalogue: then every pin is taken as known, and none has a vector.
        table: Vectors of the first rows, float32[n, d]; pins beyond have none (yet).
    """

    ids: IdTable | None
    table: NDArray[np.float32]

    def rows(self, pin_ids: Sequence[str]) -> NDArray[np.int32]:
        """Row of each pin, -1 for a pin that the catalogue does not know."""
        if self.ids is not None:
            return self.ids.rows(pin_ids)
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(name, len(numbers)) for name in pin_ids], np.int32)

    def vectors_of(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Vector of each row, zero where there is none."""
        if len(self.table) == 0 or len(rows) == 0:
            return np.zeros((len(rows), self.table.shape[1]), np.float32)
        if rows.max() < len(self.table):
            found: NDArray[np.float32] = self.table[rows]
            return found
        return self.table[np.minimum(rows, len(self.table) - 1)] * (rows < len(self.table))[:, None]


class LivePins:
    """The newest catalogue and the newest vectors that fit it."""

    def __init__(self, store: GenerationStore) -> None:
        """Open what there is; without a catalogue there are simply no vectors."""
        self.catalogue = Live(store, CATALOGUE, CATALOGUE_FORMATS, open_ids)
        self.vectors = Live(store, PIN_VECTORS, FORMAT_VERSION, self._open_vectors)

    def get(self) -> CataloguePins:
        """What is known of pins at this moment."""
        catalogue, vectors = self.catalogue.snapshot(), self.vectors.snapshot()
        if catalogue is None:
            return CataloguePins(None, _NO_VECTORS)
        if vectors is None or not _fits(vectors[0], catalogue[0]):
            return CataloguePins(catalogue[1], _NO_VECTORS)
        return CataloguePins(catalogue[1], vectors[1].vectors)

    def _open_vectors(self, generation: Generation) -> VectorTable:
        catalogue = self.catalogue.snapshot()
        if catalogue is None or not _fits(generation, catalogue[0]):
            raise NotReady("these vectors belong to a catalogue that is not open yet")
        return VectorTable.open(generation.file("vectors.npy"))


def open_ids(generation: Generation) -> IdTable:
    """Map the ids of a catalogue generation."""
    return IdTable.open(generation.file("pin_ids"))


def _fits(vectors: Generation, catalogue: Generation) -> bool:
    """Whether row numbers mean the same pins in both."""
    return bool(
        vectors.manifest.details.get("id_space") == catalogue.manifest.details.get("id_space")
    )
