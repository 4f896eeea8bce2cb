"""The changes since one generation of the catalogue, as the sources see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LiveChanges:
    """Changes in the order of the log."""

    pins: Sequence[Any]
    saves: Sequence[Any]


class LivePart(Protocol):
    """What one source keeps of the changes."""

    def apply(self, changes: LiveChanges) -> None:
        """Take changes in; one writer thread; visible to readers when it returns."""
        ...


P = TypeVar("P")


class LiveSegment:
    """The changes since one generation of the catalogue.

    Attributes:
        base_count: Rows of that generation; rows from there on are live pins.
        removed: Rows that are deleted, hidden or expired, bool[row_count]; None = none.
    """

    def __init__(self, base_count: int = 0, parts: Iterable[LivePart] = ()) -> None:
        """Start without changes."""
        self.base_count = base_count
        self.removed: NDArray[np.bool_] | None = None
        self._parts: dict[type, Any] = {type(part): part for part in parts}

    @property
    def row_count(self) -> int:
        """Rows of the catalogue and of live pins together."""
        return self.base_count

    def part(self, kind: type[P]) -> P:
        """Return the part of that class; a fresh empty one where nobody registered it."""
        return self._parts.get(kind) or kind()


EMPTY: Final = LiveSegment()
"""No changes."""
