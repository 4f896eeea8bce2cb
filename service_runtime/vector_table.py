"""Rows of float32 vectors in a file that is mapped, not loaded: unit length, or zero for none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from service_runtime.errors import Corrupted, InvalidRequest

Float32Array = NDArray[np.float32]

UNIT_TOLERANCE: Final = 1e-3
"""How far a row's length may be from one: bf16 rounding of a unit vector stays within it."""
_BLOCK_ROWS: Final = 65_536


class VectorTable:
    """
    One vector a row, read-only.

    Attributes:
        vectors: float32[n, d], each row of unit length, or zero where the row has no vector.
    """

    __slots__ = ("vectors",)

    def __init__(self, vectors: Float32Array) -> None:
        """Take the array as it lies in the file; use `open` instead."""
        self.vectors = vectors

    @classmethod
    def write(cls, path: Path | str, vectors: NDArray[Any]) -> Self:
        """
        Check and write vectors, and open them.

        Args:
            path: The file, in NumPy's own format; its folder must exist.
            vectors: Real numbers[n, d], d >= 1, each row of unit length (within 1e-3) or zero.

        Raises:
            InvalidRequest: If a value is not finite or a row is neither unit nor zero; it is named.
        """
        if vectors.ndim != 2 or vectors.shape[1] < 1:
            raise InvalidRequest(f"vectors must have the shape (n, d >= 1), not {vectors.shape}")
        out = np.lib.format.open_memmap(path, "w+", np.dtype(np.float32), vectors.shape)
        for start in range(0, len(vectors), _BLOCK_ROWS):
            block = np.ascontiguousarray(vectors[start : start + _BLOCK_ROWS], np.float32)
            _check_block(block, start)
            out[start : start + len(block)] = block
        out.flush()
        del out
        return cls.open(path)

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """
        Map a file of vectors.

        Raises:
            Corrupted: If it is missing, cut, or holds something else.
        """
        try:
            vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as fault:
            raise _unreadable(path, str(fault)) from fault
        if vectors.dtype != np.float32 or vectors.ndim != 2 or not vectors.flags.c_contiguous:
            found = f"{vectors.dtype}{list(vectors.shape)}"
            raise _unreadable(path, f"expected float32[n, d], found {found}")
        return cls(vectors)

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.vectors)

    def has_vector(self, rows: NDArray[np.integer[Any]] | None = None) -> NDArray[np.bool_]:
        """Return which rows (None = all) have a vector, bool[k]."""
        chosen = self.vectors if rows is None else self.vectors[rows]
        found: NDArray[np.bool_] = np.any(chosen, axis=1)
        return found


def unit_rows(vectors: NDArray[Any]) -> Float32Array:
    """
    Scale every row to length one; zero rows stay zero.

    Args:
        vectors: Real numbers[n, d], finite.

    Returns:
        float32[n, d], a new array. Lengths are summed in float64, so huge values do not overflow.
    """
    wide = np.asarray(vectors, np.float64)
    largest = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
    scaled = np.divide(wide, largest, out=np.zeros_like(wide), where=largest > 0)
    lengths = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    unit = np.divide(scaled, lengths, out=np.zeros_like(scaled), where=lengths > 0)
    result: Float32Array = unit.astype(np.float32)
    return result


def _check_block(block: Float32Array, start: int) -> None:
    squares = np.einsum("ij,ij->i", block, block, dtype=np.float64)
    lengths = np.sqrt(squares)
    bad = ~(np.abs(lengths - 1.0) <= UNIT_TOLERANCE) & (squares != 0)
    if bad.any():
        at = int(np.argmax(bad))
        what = f"length {lengths[at]:g}" if np.isfinite(squares[at]) else "a value not finite"
        raise InvalidRequest(
            f"vector of row {start + at} has {what}; it must be of unit length or zero"
        )


def _unreadable(path: Path | str, reason: str) -> Corrupted:
    return Corrupted(
        f"the vectors {path} cannot be opened: {reason}",
        hint="build the artifact they belong to anew with `corkboard build`",
    )
