"""Pin vectors from who was saved with whom: the leading directions of the pin-board matrix.

Two pins are alike when they are saved to the same boards, the more so the rarer both are. A save
counts 1 / sqrt((pin degree + t_p) (board degree + t_b)), and a pin's vector is its row of that
matrix projected on the leading right singular vectors, scaled to unit length. The offsets t, half
the mean degrees, keep islands of two or three pins from taking a direction each.

Source: Qin and Rohe 2013 (regularised spectral clustering) for the offsets; Halko, Martinsson and
Tropp 2011, algorithm 4.4, for the factorisation. README.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

OFFSET_SHARE = 0.5
"""Of the mean degree, added to every degree before it discounts."""
OVERSAMPLING = 16
"""Directions carried beyond those wanted, so that the last wanted ones converge too."""
CAPTURE_MIN = 3e-4
"""A row of whose square less lies in the leading directions is projected at random instead."""

Float32Array = NDArray[np.float32]


def discounted_matrix(
    pin_rows: NDArray[np.int32],
    board_rows: NDArray[np.int32],
    *,
    pin_count: int,
    board_count: int,
) -> sp.csr_matrix:
    """Weigh each save by how rare its pin and its board are.

    Args:
        pin_rows: Row of the pin of each save, int32[m].
        board_rows: Row of its board, int32[m]; no (pin, board) twice.
        pin_count: Pins, those without saves included.
        board_count: Boards.

    Returns:
        float32 matrix of shape (pin_count, boards with at least two pins). Boards with one pin say
        nothing about what goes together and are left out.
    """
    ones = np.ones(len(pin_rows), np.float32)
    matrix = sp.csr_matrix((ones, (pin_rows, board_rows)), shape=(pin_count, board_count))
    matrix = matrix[:, np.flatnonzero(matrix.getnnz(axis=0) >= 2)]
    pin_weights = _discounts(matrix.getnnz(axis=1))
    board_weights = _discounts(matrix.getnnz(axis=0))
    matrix.data *= np.repeat(pin_weights, np.diff(matrix.indptr))
    matrix.data *= board_weights[matrix.indices]
    return matrix


def _discounts(degrees: NDArray[np.intp]) -> Float32Array:
    present = degrees[degrees > 0]
    offset = OFFSET_SHARE * float(present.mean()) if len(present) else 0.0
    return np.asarray(np.maximum(degrees + offset, 1.0) ** -0.5, np.float32)


def leading_vectors(
    matrix: sp.csr_matrix,
    dimension: int,
    *,
    iteration_count: int,
    rng: np.random.Generator,
    advance: Callable[[int], None],
) -> Float32Array:
    """Project every row on the leading right singular vectors, unit length.

    Args:
        matrix: float32[n, b].
        dimension: Length of the vectors; more than the matrix has directions are left zero.
        iteration_count: Subspace iterations, >= 1.
        rng: Draws where to start.
        advance: Told 1 after each iteration.

    Returns:
        float32[n, dimension], unit rows; empty matrix rows give zero rows.

    Cost: (2 iterations + 1) products of m saves with dimension + 16 columns, and as many
        orthogonalisations of O(b dimension^2).
    """
    pin_count, board_count = matrix.shape
    width = min(dimension + OVERSAMPLING, board_count)
    vectors = np.zeros((pin_count, dimension), np.float32)
    if width == 0:
        return vectors
    transposed = matrix.T.tocsr()
    basis = _orthonormal(rng.standard_normal((board_count, width), dtype=np.float32))
    for _ in range(iteration_count):
        basis = _orthonormal(np.asarray(transposed @ (matrix @ basis)))
        advance(1)
    projected = np.asarray(matrix @ basis)
    _, rotation = np.linalg.eigh((projected.T @ projected).astype(np.float64))
    kept = min(dimension, width)
    vectors[:, :kept] = projected @ rotation[:, ::-1][:, :kept].astype(np.float32)
    return _unit_or_projected(matrix, vectors, rng)


def _orthonormal(columns: Float32Array) -> Float32Array:
    """Return an orthonormal basis of the columns' span, by two rounds of Cholesky QR."""
    for _ in range(2):
        gram = (columns.T @ columns).astype(np.float64)
        values, directions = np.linalg.eigh(gram)
        scale = np.where(values > values[-1] * 1e-12, values, np.inf) ** -0.5
        columns = columns @ (directions * scale).astype(np.float32)
    return columns


def _unit_or_projected(
    matrix: sp.csr_matrix, vectors: Float32Array, rng: np.random.Generator
) -> Float32Array:
    """Scale to unit length; rows that the leading directions miss are projected at random.

    A random projection keeps the cosines of the rows within about dimension^-1/2, so pins of a
    remote corner are near each other and far from the rest.
    """
    row_squares = np.bincount(
        np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)),
        weights=matrix.data.astype(np.float64) ** 2,
        minlength=matrix.shape[0],
    )
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    missed = np.flatnonzero((squares < CAPTURE_MIN * row_squares) & (row_squares > 0))
    if len(missed):
        corner = matrix[missed]
        boards, columns = np.unique(corner.indices, return_inverse=True)
        directions = rng.standard_normal((len(boards), vectors.shape[1]), dtype=np.float32)
        small = sp.csr_matrix(
            (corner.data, columns, corner.indptr), shape=(len(missed), len(boards))
        )
        vectors[missed] = small @ directions
        squares[missed] = np.einsum("ij,ij->i", vectors[missed], vectors[missed])
    lengths = np.sqrt(squares)
    vectors[row_squares == 0] = 0.0
    lengths[lengths == 0] = 1.0
    vectors /= lengths[:, None].astype(np.float32)
    return vectors
