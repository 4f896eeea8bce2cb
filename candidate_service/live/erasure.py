"""Forget a user who made saves, and say of every store whether it still knows them.

A user is not our concern beyond that: saves stay on their boards without a name, the unnamed board
of the user goes. The journal hides them at once; files follow when export_changes runs, generations
when they are built anew, the log when it is trimmed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq

from candidate_service import save_index
from candidate_service.live import journal as live_journal
from candidate_service.live.journal import LiveJournal
from candidate_service.live.records import unnamed_board
from service_runtime.errors import CorkboardError
from service_runtime.event_log import read_log
from service_runtime.generations import GenerationStore
from service_runtime.id_table import IdTable
from service_runtime.log_folders import log_folders

EXPORT_HINT: Final = "removed for good by the next run of export_changes"


class ErasureState(StrEnum):
    """How far an erasure has come in one store."""

    ERASED = "erased"
    HIDDEN = "hidden"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True)
class ErasedStore:
    """One store and what it still knows of a user."""

    store: str
    state: ErasureState
    record_count: int = 0
    detail: str = ""


class Erasures:
    """Forgets users; safe from any thread."""

    def __init__(self, journal: LiveJournal, data_root: Path) -> None:
        """Remember where saves are kept."""
        self._journal = journal
        self._data_root = data_root
        self._stores: tuple[tuple[str, Callable[[str], int], str], ...] = (
            ("live_segment", self._in_segment, "hidden when this process has read the log"),
            (
                "live_log",
                self._in_logs,
                "deleted when no generation that is kept for roll-back needs these records",
            ),
            ("imported_saves", self._in_files, EXPORT_HINT),
            (
                "generations",
                self._in_generations,
                "the unnamed board is gone from the next build, and from old ones with them",
            ),
        )

    def erase(self, user_id: str) -> list[ErasedStore]:
        """Forget a user; durable when it returns. Asking again changes nothing.

        Returns:
            How it stands in every store.
        """
        self._journal.commit(lambda open_: open_.erase_user(user_id))
        return self.stores(user_id)

    def stores(self, user_id: str) -> list[ErasedStore]:
        """Ask every store whether it still knows a user; reads logs and files."""
        return [self._asked(name, count, hint, user_id) for name, count, hint in self._stores]

    def _asked(
        self, name: str, count: Callable[[str], int], hint: str, user_id: str
    ) -> ErasedStore:
        try:
            found = count(user_id)
        except (OSError, CorkboardError) as fault:
            told = f"could not be asked, mend it and ask again: {fault}"
            return ErasedStore(name, ErasureState.NOT_REACHED, detail=told)
        if found:
            return ErasedStore(name, ErasureState.HIDDEN, found, hint)
        return ErasedStore(name, ErasureState.ERASED)

    def _in_segment(self, user_id: str) -> int:
        saves = self._journal.serving.segment.saves()
        board = unnamed_board(user_id)
        return sum(
            save.user_id == user_id or (save.board_id == board and not save.is_removed)
            for save in saves
        )

    def _in_logs(self, user_id: str) -> int:
        """Count the records that name the user, the wish to be forgotten among them."""
        told = orjson.dumps(user_id)
        needles = (b'"u":' + told, b'"e":' + told, b'"b":' + orjson.dumps(unnamed_board(user_id)))
        folder = self._data_root / live_journal.FOLDER
        return sum(
            any(needle in record.payload for needle in needles)
            for log in log_folders(folder)
            for record in read_log(log)
        )

    def _in_files(self, user_id: str) -> int:
        count = 0
        for path in sorted((self._data_root / "catalogue" / "saves").glob("*.parquet")):
            column = pq.read_table(path, columns=["user_id"], partitioning=None).column("user_id")
            count += pc.sum(pc.equal(column, user_id)).as_py() or 0
        return count

    def _in_generations(self, user_id: str) -> int:
        """Count the saves on the unnamed board, in every generation that is kept."""
        store = GenerationStore(self._data_root / "generations")
        count = 0
        for generation_id in store.generations(save_index.ARTIFACT):
            folder = store.root / save_index.ARTIFACT / generation_id
            board = IdTable.open(folder / "board_ids").row(unnamed_board(user_id))
            if board >= 0:
                rows = np.load(folder / "board_rows.npy", mmap_mode="r", allow_pickle=False)
                count += int(np.count_nonzero(rows == board))
        return count
