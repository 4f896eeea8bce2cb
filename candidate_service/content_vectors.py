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


class ChangedRows:
    """Rows of pins that changed; as a sorted array, made again only after there was a new one."""

    def __init__(self) -> None:
        """Start empty."""
        self._rows: set[int] = set()
        self._sorted: NDArray[np.int32] | None = None

    def add(self, row: int) -> None:
        """Take a row in."""
        if row not in self._rows:
            self._rows.add(row)
            self._sorted = None

    def sorted(self) -> NDArray[np.int32]:
        """Return them, int32[m], ascending; under the lock of whoever adds."""
        if self._sorted is None:
            self._sorted = np.array(sorted(self._rows), np.int32)
        return self._sorted


@dataclass(slots=True)
class _Scanned:
    """Vectors in the order they came; a row's last one is current."""

    rows: NDArray[np.int32]
    vectors: NDArray[np.float32]
    is_current: NDArray[np.bool_]
    count: int = 0

    @classmethod
    def with_room(cls, room: int, dimension: int) -> _Scanned:
        rows, vectors = np.empty(room, np.int32), np.empty((room, dimension), np.float32)
        return cls(rows, vectors, np.zeros(room, np.bool_))


class LiveVectorsOf:
    """Vectors of one kind of pins that were added or changed; scanned.

    Memory: 4 bytes a dimension for each change with a vector, until the next generation.
    """

    def __init__(self, read: Callable[[LivePin], NDArray[np.float32] | None]) -> None:
        """Start empty; *read* gives a pin's vector of this kind."""
        self._read = read
        self._kept: _Scanned | None = None
        self._place: dict[int, int] = {}
        self._replaced = ChangedRows()
        self._lock = Lock()

    def apply(self, changes: LiveChanges) -> None:
        """Take changed pins in; one without a vector keeps the one it had."""
        for pin in changes.pins:
            vector = self._read(pin)
            with self._lock:
                if pin.is_removed:
                    self._replaced.add(pin.row)
                    self._forget(pin.row)
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
            known = 0 if kept is None else kept.count
        if kept is None or kept.vectors.shape[1] != len(query) or count <= 0:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        places = np.flatnonzero(kept.is_current[:known])
        rows = kept.rows[places]
        cosines = np.asarray((kept.vectors[:known] @ query)[places], np.float32)
        if count < len(rows):
            best = np.argpartition(-cosines, count - 1)[:count]
            rows, cosines = rows[best], cosines[best]
        order = np.lexsort((rows, -cosines))
        return rows[order], cosines[order]

    def replaced(self) -> NDArray[np.int32]:
        """Return the rows of which the generation holds an old vector, int32[m], ascending."""
        with self._lock:
            return self._replaced.sorted()

    def _forget(self, row: int) -> None:
        place = self._place.pop(row, None)
        if place is not None and self._kept is not None:
            self._kept.is_current[place] = False

    def _add(self, row: int, vector: NDArray[np.float32]) -> None:
        kept = self._kept
        if kept is None:
            kept = self._kept = _Scanned.with_room(_ROOM_AT_FIRST, len(vector))
        if len(vector) != kept.vectors.shape[1]:
            return  # refused where it came in; a space has one dimension
        if kept.count == len(kept.rows):
            kept = self._kept = _grown(kept, self._place)
        self._forget(row)
        kept.rows[kept.count], kept.vectors[kept.count] = row, vector
        kept.is_current[kept.count] = True
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
    grown = _Scanned.with_room(room, kept.vectors.shape[1])
    grown.count = len(places)
    grown.rows[: len(places)], grown.vectors[: len(places)] = (
        kept.rows[places],
        kept.vectors[places],
    )
    grown.is_current[: len(places)] = True
    place.update({row: at for at, row in enumerate(place)})
    return grown
