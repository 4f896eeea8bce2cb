"""The index of saves says of every save what a dictionary would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from candidate_service import save_index
from candidate_service.save_index import SaveIndex, write_save_index
from service_runtime.errors import Corrupted
from service_runtime.generations import Generation, GenerationStore
from service_runtime.id_table import IdTable


def publish(root: Path, saves: list[tuple[str, str, str]]) -> Generation:
    """Publish an index of saves, each (save, board, pin)."""
    pins = IdTable.build(sorted({pin for _, _, pin in saves}), root / "pins")
    with GenerationStore(root).draft(save_index.ARTIFACT, format_version=1) as draft:
        columns = zip(*saves, strict=True) if saves else ((), (), ())
        names = ("save_id", "board_id", "pin_id")
        table = pa.table(
            {n: pa.array(list(c), pa.string()) for n, c in zip(names, columns, strict=True)}
        )
        write_save_index(draft, table, pins)
        return draft.publish(as_of_us=0)


def test_index_equals_a_dictionary(tmp_path: Path) -> None:
    """Every save by its id, every board with all its saves, nothing that is not there."""
    rng = np.random.default_rng(5)
    saves = [
        (f"s{at:03d}", f"b{rng.integers(12)}", f"p{rng.integers(30):02d}") for at in range(300)
    ]
    index = SaveIndex.open(publish(tmp_path, saves))
    pins = IdTable.open(tmp_path / "pins")
    known = {save: (pins.row(pin), board) for save, board, pin in saves}

    asked = [f"s{at:03d}" for at in rng.permutation(400)]
    assert index.find(asked) == [known.get(save) for save in asked]
    for board in {board for _, board, _ in saves}:
        expected = [(save, row) for save, (row, on) in known.items() if on == board]
        assert index.saves_on(board) == expected


def test_an_index_without_saves_opens(tmp_path: Path) -> None:
    """A catalogue of pins alone."""
    index = SaveIndex.open(publish(tmp_path, []))

    assert index.find(["a"]) == [None]
    assert index.find([]) == []
    assert index.saves_on("b") == []


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A file of another generation is not read as this one's."""
    generation = publish(tmp_path, [("s", "b", "p")])
    np.save(generation.path / "pin_rows.npy", np.zeros(2, np.int32))

    with pytest.raises(Corrupted, match="save_index"):
        SaveIndex.open(generation)
