"""Arrays written piece by piece: the same file as at once."""

from pathlib import Path

import numpy as np
import pytest

from service_runtime.array_writer import ArrayWriter


@pytest.mark.parametrize("lengths", [[], [0], [3], [1, 0, 7], [99_999, 1], [9_999_999, 2]])
def test_pieces_make_the_file_that_numpy_makes(tmp_path: Path, lengths: list[int]) -> None:
    """Whatever the pieces, also where the length takes another digit."""
    pieces = [np.arange(n, dtype=np.int64) for n in lengths]
    whole = np.concatenate([np.empty(0, np.int32), *pieces]).astype(np.int32)

    with ArrayWriter(tmp_path / "a.npy", np.int32) as writer:
        for piece in pieces:
            writer.append(piece)
    np.save(tmp_path / "b.npy", whole, allow_pickle=False)

    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
