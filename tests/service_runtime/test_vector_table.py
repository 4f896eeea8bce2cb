"""A vector table holds unit rows or none."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service_runtime.errors import Corrupted, InvalidRequest
from service_runtime.vector_table import VectorTable, unit_rows


def test_vectors_come_back_read_only(tmp_path: Path) -> None:
    """What was written is mapped, equal, and cannot be changed."""
    vectors = unit_rows(np.random.default_rng(1).normal(size=(70_000, 3)))
    table = VectorTable.write(tmp_path / "v.npy", vectors)

    assert np.array_equal(table.vectors, vectors)
    assert table.dimension == 3
    assert len(table) == 70_000
    with pytest.raises(ValueError, match="read-only"):
        table.vectors[0, 0] = 1


def test_zero_rows_mean_no_vector(tmp_path: Path) -> None:
    """A row of zeros is allowed and reported as having none."""
    table = VectorTable.write(tmp_path / "v.npy", np.array([[0, 0], [0, 1], [0, 0]]))

    assert table.has_vector().tolist() == [False, True, False]
    assert table.has_vector(np.array([1])).tolist() == [True]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([1.0, np.nan], "row 1 has a value not finite"),
        ([np.inf, 0.0], "row 1 has a value not finite"),
        ([0.5, 0.5], "row 1 has length 0.707"),
    ],
)
def test_rows_that_break_the_rule_are_named(tmp_path: Path, bad: list[float], reason: str) -> None:
    """Neither NaN nor infinity nor a row of another length gets in."""
    with pytest.raises(InvalidRequest, match=reason):
        VectorTable.write(tmp_path / "v.npy", np.array([[1.0, 0.0], bad]))


@pytest.mark.parametrize("shape", [(3,), (3, 0)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Vectors are rows of at least one number."""
    with pytest.raises(InvalidRequest, match="shape"):
        VectorTable.write(tmp_path / "v.npy", np.zeros(shape))


def test_no_rows_are_fine(tmp_path: Path) -> None:
    """A table of nothing keeps its dimension."""
    VectorTable.write(tmp_path / "v.npy", np.zeros((0, 5)))

    assert VectorTable.open(tmp_path / "v.npy").dimension == 5


def test_cut_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    """Damage and other contents are named when opening."""
    path = tmp_path / "v.npy"
    VectorTable.write(path, np.eye(4))
    whole = path.read_bytes()
    for length in (0, 10, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(Corrupted, match=r"v\.npy"):
            VectorTable.open(path)
    np.save(path, np.eye(4))
    with pytest.raises(Corrupted, match="expected float32"):
        VectorTable.open(path)
    path.unlink()
    with pytest.raises(Corrupted):
        VectorTable.open(path)


@given(
    arrays(np.float32, (4, 3), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
)
def test_unit_rows_are_unit_or_zero(vectors: np.ndarray) -> None:
    """Any finite rows, however huge or tiny, become rows of length one; zero stays zero."""
    unit = unit_rows(vectors)

    lengths = np.linalg.norm(unit.astype(np.float64), axis=1)
    expected = (vectors != 0).any(axis=1).astype(float)
    np.testing.assert_allclose(lengths, expected, atol=1e-6)  # float32 rounding of three values
