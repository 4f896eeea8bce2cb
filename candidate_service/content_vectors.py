"""Vectors of texts and pictures that users bring: each kind a space and an artifact of its own.

An artifact has the layout of `vector_index`: the vectors, and a graph over them where there are
many. Pins that changed since are kept beside it and scanned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from candidate_service.live.segment import LiveChanges, LivePin
from candidate_service.selection import is_in
from candidate_service.vector_index import VectorIndex
from service_runtime.errors import NotReady

FORMAT_VERSION: Final = 1
TEXT: Final = "text_vectors"
VISUAL: Final = "visual_vectors"
COLUMNS: Final = {TEXT: "text_vector", VISUAL: "visual_vector"}
"""Imported column by artifact."""

EMBEDDED: Final = "embedded_images"
"""What `embed_images` makes of pictures, by catalogue row; used where none were imported."""
EMBEDDED_FORMAT_VERSION: Final = 1

_ROOM_AT_FIRST: Final = 64
_ROOM_MAX: Final = 1_000_000

T = TypeVar("T")

Neighbours = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(slots=True)
class _Scanned:
    """Vectors in the order they came; a row's last one counts."""

    rows: NDArray[np.int32]
    vectors: NDArray[np.float32]
    count: int = 0


class LiveVectorsOf:
    """Vectors of one kind of pins that were added or changed; scanned.

    Memory: 4 bytes a dimension for each change with a vector, until the next generation.
    """

    def __init__(self, read: Callable[[LivePin], NDArray[np.float32] | None]) -> None:
        """Start empty; *read* gives a pin's vector of this kind."""
        self._read = read
        self._kept: _Scanned | None = None
        self._place: dict[int, int] = {}
        self._replaced: set[int] = set()
        self._lock = Lock()

    def apply(self, changes: LiveChanges) -> None:
        """Take changed pins in; one without a vector keeps the one it had."""
        for pin in changes.pins:
            vector = self._read(pin)
            with self._lock:
                if pin.is_removed:
                    self._replaced.add(pin.row)
                    self._place.pop(pin.row, None)
                elif vector is not None:
                    self._add(pin.row, vector)

    def vector(self, row: int) -> NDArray[np.float32] | None:
        """Return a pin's vector, float32[d], None where it did not change."""
        with self._lock:
            place = self._place.get(row)
            return None if place is None or self._kept is None else self._kept.vectors[place]

    def nearest(self, query: NDArray[np.float32], count: int) -> Neighbours:
        """Return the live pins of highest cosine to a unit vector, float32[d], best first.

        A query of another dimension than theirs finds nothing.
        """
        with self._lock:
            kept = self._kept
            places = np.fromiter(self._place.values(), np.int64, len(self._place))
        if kept is None or not len(places) or kept.vectors.shape[1] != len(query) or count <= 0:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        rows, cosines = kept.rows[places], kept.vectors[places] @ query
        order = np.lexsort((rows, -cosines))[:count]
        return rows[order], cosines[order]

    def replaced(self) -> NDArray[np.int32]:
        """Return the rows of which the generation holds an old vector, int32[m], ascending."""
        with self._lock:
            return np.array(sorted(self._replaced), np.int32)

    def _add(self, row: int, vector: NDArray[np.float32]) -> None:
        kept = self._kept
        if kept is None:
            room = np.empty((_ROOM_AT_FIRST, len(vector)), np.float32)
            kept = self._kept = _Scanned(np.empty(_ROOM_AT_FIRST, np.int32), room)
        if len(vector) != kept.vectors.shape[1]:
            return  # refused where it came in; a space has one dimension
        if kept.count == len(kept.rows):
            kept = self._kept = _grown(kept, self._place)
        kept.rows[kept.count], kept.vectors[kept.count] = row, vector
        self._place[row] = kept.count
        self._replaced.add(row)
        kept.count += 1


def or_none(get: Callable[[], T]) -> T | None:
    """Return what *get* gives, None where there is nothing to get yet."""
    try:
        return get()
    except NotReady:
        return None


def vector_of(
    row: int, sealed: VectorIndex | None, live: LiveVectorsOf
) -> NDArray[np.float32] | None:
    """Return a pin's vector, float32[d], None where it has none."""
    changed = live.vector(row)
    if changed is not None:
        return changed
    if sealed is None or not sealed.has_vector(np.array([row], np.int32))[0]:
        return None
    return np.asarray(sealed.vectors[row])


def nearest_to(
    query: NDArray[np.float32],
    count: int,
    sealed: VectorIndex | None,
    live: LiveVectorsOf,
    *,
    allowed: NDArray[np.bool_] | None,
) -> Neighbours:
    """Return the pins of highest cosine to a unit vector, sealed and live together.

    Args:
        query: Unit, float32[d]; the sealed vectors of another dimension are passed over.
        count: How many, >= 0.
        sealed: The generation's; None = none.
        live: What changed since.
        allowed: Which rows may be found, bool[row_count]; None = all. Asked for twice as often as
            needed when few are allowed, at last for all.

    Returns:
        Rows and cosines, best first, lower row first among equals.
    """
    young = live.nearest(query, count if allowed is None else max(count, len(allowed)))
    parts = [_permitted(young, allowed)]
    if sealed is not None and sealed.dimension == len(query):
        replaced = live.replaced()
        asked = count + min(len(replaced), count)
        while True:
            ((rows, cosines),) = sealed.nearest(query[None], asked)
            kept = ~is_in(rows, replaced)
            old = _permitted((rows[kept], cosines[kept]), allowed)
            if len(old[0]) >= count or len(rows) < asked:
                break
            asked *= 4
        parts.append(old)
    rows = np.concatenate([part[0] for part in parts])
    cosines = np.concatenate([part[1] for part in parts])
    order = np.lexsort((rows, -cosines))[:count]
    return rows[order], cosines[order]


def _permitted(found: Neighbours, allowed: NDArray[np.bool_] | None) -> Neighbours:
    if allowed is None:
        return found
    rows, cosines = found
    kept = rows < len(allowed)
    kept[kept] = allowed[rows[kept]]
    return rows[kept], cosines[kept]


def _grown(kept: _Scanned, place: dict[int, int]) -> _Scanned:
    """Move what still counts to a longer array; *place* follows."""
    places = list(place.values())
    room = min(max(_ROOM_AT_FIRST, 2 * len(places)), len(places) + _ROOM_MAX)
    rows = np.empty(room, np.int32)
    vectors = np.empty((room, kept.vectors.shape[1]), np.float32)
    rows[: len(places)], vectors[: len(places)] = kept.rows[places], kept.vectors[places]
    place.update({row: at for at, row in enumerate(place)})
    return _Scanned(rows, vectors, len(places))
