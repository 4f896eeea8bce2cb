"""What is known of pins now: the catalogue's row, or the newest change of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from candidate_service.artifacts import Served
from candidate_service.live.segment import LivePin
from candidate_service.live_vectors import LiveVectors
from service_runtime.errors import NotReady
from service_runtime.vector_table import VectorTable

_PLACE: Final = {"row", "pin_id", "is_new", "is_removed", "vector", "text_vector", "visual_vector"}
TOLD: Final = tuple(one.name for one in fields(LivePin) if one.name not in _PLACE)
"""What can be told of a pin beside its vector, names of `LivePin` and columns of the catalogue."""


@dataclass(frozen=True, slots=True, eq=False)
class PinFacts:
    """What is known of one pin.

    Attributes:
        pin_id: Which.
        is_known: False where nobody knows it, or it was deleted; the rest is then empty.
        is_live: Whether it is younger than the catalogue.
        known: Values by the names of `LivePin`; those that are not known are left out or empty.
        vector: float32[d], unit length; None where it has none or nobody asked.
    """

    pin_id: str
    is_known: bool = False
    is_live: bool = False
    known: Mapping[str, Any] = field(default_factory=dict)
    vector: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, pin: LivePin, *, is_live: bool, vector: NDArray[np.float32] | None = None) -> Self:
        """Return what a change says of a pin."""
        if pin.is_removed:
            return cls(pin.pin_id)
        known = {name: getattr(pin, name) for name in TOLD}
        return cls(pin.pin_id, is_known=True, is_live=is_live, known=known, vector=vector)


class PinView:
    """Looks pins up; safe from any number of threads."""

    def __init__(self, served: Callable[[], Served], vectors: Callable[[], VectorTable]) -> None:
        """Take where things are looked up.

        Args:
            served: Gives the catalogue with its changes.
            vectors: Gives the vectors of the catalogue's pins, or raises NotReady.
        """
        self._served = served
        self._vectors = vectors

    def facts(
        self, pin_ids: Sequence[str], *, with_vectors: bool, columns: Sequence[str] = TOLD
    ) -> list[PinFacts]:
        """Return what is known of pins, in the order asked.

        Args:
            pin_ids: Which.
            with_vectors: Whether to look their vectors up.
            columns: What to read of the catalogue's pins, of `TOLD`; of live pins everything is
                told, it is in memory anyway.

        Raises:
            NotReady: No catalogue has been built.
        """
        served = self._served()
        live = served.live
        rows = live.rows(pin_ids).tolist()
        changed = {row: pin for row in rows if (pin := live.pin(row)) is not None}
        still = np.array([row for row in rows if row >= 0 and row not in changed], np.int32)
        table = served.catalogue.known_of(still, columns=(*columns, "is_deleted"))
        known = dict(zip(still.tolist(), table.to_pylist(), strict=True))
        vectors = self._vectors_of(served, rows) if with_vectors else {}
        facts = []
        for pin_id, row in zip(pin_ids, rows, strict=True):
            is_live, vector = row >= live.base_count, vectors.get(row)
            if row in changed:
                facts.append(PinFacts.of(changed[row], is_live=is_live, vector=vector))
            else:
                facts.append(_facts_of(pin_id, known.get(row), vector))
        return facts

    def _vectors_of(self, served: Served, rows: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        part, found = served.live.part(LiveVectors), {}
        for row in rows:
            pin = served.live.pin(row)
            given = None if pin is None else pin.vector
            vector = part.vector(row) if given is None else given
            if vector is not None:
                found[row] = vector
        try:
            table = self._vectors().vectors
        except NotReady:
            return found
        known_count = min(len(table), served.live.base_count)  # rows behind are live pins
        for row in rows:
            if row not in found and 0 <= row < known_count and table[row].any():
                found[row] = table[row]
        return found


def _facts_of(
    pin_id: str, attributes: Mapping[str, Any] | None, vector: NDArray[np.float32] | None
) -> PinFacts:
    """Return what a row of the catalogue says."""
    if attributes is None or attributes["is_deleted"]:
        return PinFacts(pin_id)
    told = {name: value for name in TOLD if (value := attributes.get(name)) is not None}
    if "attributes" in told:
        told["attributes"] = dict(told["attributes"])
    return PinFacts(pin_id, is_known=True, known=told, vector=vector)
