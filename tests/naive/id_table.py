"""The obvious id table: a dict and a list."""

from collections.abc import Sequence


class NaiveIdTable:
    """What IdTable must agree with."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = list(ids)
        self._rows = {name: row for row, name in enumerate(ids)}

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Return the row of each id, -1 where unknown."""
        return [self._rows.get(name, -1) for name in ids]

    def ids(self, rows: Sequence[int]) -> list[str]:
        """Return the id of each row."""
        return [self._ids[row] for row in rows]
