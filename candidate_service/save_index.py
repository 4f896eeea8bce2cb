"""Which pin each imported save put on which board, so that it can be taken back by its id.

A generation of its own, row aligned: `save_ids` (id table), `pin_rows` int32, `board_rows` int32,
and `board_ids` (id table). About 50 bytes a save beside its id, read only where it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service_runtime.errors import Corrupted
from service_runtime.generations import Draft, Generation
from service_runtime.id_table import IdTable

ARTIFACT: Final = "save_index"
FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class SaveIndex:
    """One opened generation; safe from any number of threads.

    Attributes:
        saves: Save ids to rows of the two arrays.
        pin_rows: Catalogue row of each save's pin, int32[n].
        boards: Board ids to rows.
        board_rows: Row of each save's board, int32[n].
    """

    saves: IdTable
    pin_rows: NDArray[np.int32]
    boards: IdTable
    board_rows: NDArray[np.int32]

    @classmethod
    def open(cls, generation: Generation) -> Self:
        """Map a generation.

        Raises:
            Corrupted: Its parts do not fit each other.
        """
        opened = cls(
            IdTable.open(generation.path / "save_ids"),
            np.load(generation.file("pin_rows.npy"), mmap_mode="r", allow_pickle=False),
            IdTable.open(generation.path / "board_ids"),
            np.load(generation.file("board_rows.npy"), mmap_mode="r", allow_pickle=False),
        )
        if not len(opened.saves) == len(opened.pin_rows) == len(opened.board_rows):
            raise Corrupted(
                f"save_index {generation.id}: {len(opened.saves)} ids, "
                f"{len(opened.pin_rows)} pins, {len(opened.board_rows)} boards",
                hint="build it again: corkboard build save_index",
            )
        return opened

    def find(self, save_ids: Sequence[str]) -> list[tuple[int, str] | None]:
        """Return pin row and board of each save, None where it is not known."""
        at = self.saves.rows(save_ids)
        found = at[at >= 0]
        boards = iter(self.boards.ids(np.asarray(self.board_rows)[found]))
        pins = iter(self.pin_rows[found].tolist())
        return [None if row < 0 else (next(pins), next(boards)) for row in at.tolist()]

    def saves_on(self, board_id: str) -> list[tuple[str, int]]:
        """Return id and pin row of each save on a board; looks through the boards of all saves."""
        board = self.boards.row(board_id)
        if board < 0:
            return []
        at = np.flatnonzero(np.asarray(self.board_rows) == board).astype(np.int32)
        return list(zip(self.saves.ids(at), self.pin_rows[at].tolist(), strict=True))


def write_save_index(draft: Draft, saves: pa.Table, pins: IdTable) -> int:
    """Write the index of saves, and return how many boards there are.

    Args:
        draft: Generation in the making.
        saves: Columns save_id (each once), board_id, pin_id; sorted for the same bytes each time.
        pins: The catalogue's; knows every pin.
    """
    IdTable.build(saves.column("save_id"), draft.path("save_ids"))
    boards, board_rows = IdTable.extend(
        None, saves.column("board_id").combine_chunks(), draft.path("board_ids")
    )
    np.save(draft.path("board_rows.npy"), board_rows, allow_pickle=False)
    pin_rows = pins.rows_arrow(saves.column("pin_id"))
    np.save(draft.path("pin_rows.npy"), pin_rows, allow_pickle=False)
    return len(boards)
