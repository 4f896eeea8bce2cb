"""Vectors learned from saves: pins of one board are near, whatever else is in the matrix."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from candidate_service.factorisation import discounted_matrix, leading_vectors

BOARDS = 40
SIZE = 12


def make_edges(seed: int = 0) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return saves of two communities of 50 pins: each board draws from one of them."""
    rng = np.random.default_rng(seed)
    pins = [rng.choice(50, SIZE, replace=False) + 50 * (board % 2) for board in range(BOARDS)]
    return np.concatenate(pins).astype(np.int32), np.repeat(np.arange(BOARDS), SIZE).astype(
        np.int32
    )


def learn(
    pins: NDArray[np.int32], boards: NDArray[np.int32], *, pin_count: int, dimension: int = 8
) -> NDArray[np.float32]:
    """Factorise with a fixed seed."""
    matrix = discounted_matrix(
        pins, boards, pin_count=pin_count, board_count=int(boards.max(initial=-1)) + 1
    )
    return leading_vectors(
        matrix,
        dimension,
        iteration_count=6,
        rng=np.random.default_rng(1),
        advance=lambda _: None,
    )


def test_discount_is_the_formula() -> None:
    """A save counts 1 / sqrt((pin degree + t_p) (board degree + t_b)), t half the mean degree."""
    pins = np.array([0, 1, 0, 1, 2], np.int32)
    boards = np.array([0, 0, 1, 1, 1], np.int32)

    matrix = discounted_matrix(pins, boards, pin_count=3, board_count=2).toarray()

    pin_offset, board_offset = 0.5 * 5 / 3, 0.5 * 5 / 2
    for pin, board in zip(pins, boards, strict=True):
        degrees = ([2, 2, 1][pin] + pin_offset) * ([2, 3][board] + board_offset)
        assert matrix[pin, board] == pytest.approx(degrees**-0.5, rel=1e-6)


def test_boards_with_one_pin_say_nothing() -> None:
    """A pin whose only board holds nothing else has no vector."""
    pins = np.array([0, 1, 2], np.int32)
    boards = np.array([0, 0, 1], np.int32)

    vectors = learn(pins, boards, pin_count=3)

    assert vectors[:2].any(axis=1).all()
    assert not vectors[2].any()


def test_vectors_span_what_the_exact_factorisation_spans() -> None:
    """Cosines equal those of the dense singular value decomposition."""
    pins, boards = make_edges()
    matrix = discounted_matrix(pins, boards, pin_count=100, board_count=BOARDS).toarray()
    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    exact = left[:, :8] * values[:8]
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)

    vectors = learn(pins, boards, pin_count=100)

    # Six subspace iterations: the last directions converge slowest, cosines agree to 0.02.
    np.testing.assert_allclose(vectors @ vectors.T, exact @ exact.T, atol=0.02)


def test_pins_of_one_community_are_nearer_than_strangers() -> None:
    """Two groups of boards that share no pin give two groups of vectors."""
    pins, boards = make_edges()
    vectors = learn(pins, boards, pin_count=100)
    cosines = vectors @ vectors.T

    assert cosines[:50, :50].mean() > cosines[:50, 50:].mean() + 0.2


def test_many_islands_do_not_take_the_directions_of_the_mainland() -> None:
    """Two hundred boards of two pins of their own leave the two communities apart."""
    pins, boards = make_edges()
    islands = np.arange(200, dtype=np.int32)
    pins = np.concatenate([pins, 100 + np.repeat(islands, 2) * 2 + np.tile([0, 1], 200)])
    boards = np.concatenate([boards, BOARDS + np.repeat(islands, 2)])

    vectors = learn(pins.astype(np.int32), boards.astype(np.int32), pin_count=500)
    cosines = vectors[:100] @ vectors[:100].T

    assert cosines[:50, :50].mean() > cosines[:50, 50:].mean() + 0.2


def test_islands_keep_together() -> None:
    """A pin of an island has its only neighbour nearest, though no direction is the island's."""
    pins, boards = make_edges()
    islands = np.arange(30, dtype=np.int32)
    pins = np.concatenate([pins, 100 + np.repeat(islands, 2) * 2 + np.tile([0, 1], 30)])
    boards = np.concatenate([boards, BOARDS + np.repeat(islands, 2)])

    vectors = learn(pins.astype(np.int32), boards.astype(np.int32), pin_count=160)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)

    nearest = cosines[100:].argmax(axis=1)
    assert nearest.tolist() == [100 + (at ^ 1) for at in range(60)]


def test_rows_are_unit_or_zero() -> None:
    """Every pin with a telling save has a unit vector, every other none."""
    pins, boards = make_edges()
    vectors = learn(pins, boards, pin_count=130)

    lengths = np.linalg.norm(vectors, axis=1)
    saved = np.isin(np.arange(130), pins)
    np.testing.assert_allclose(lengths[saved], 1.0, atol=1e-5)
    assert not lengths[~saved].any()


def test_same_seed_same_vectors() -> None:
    """Learning can be repeated to the bit."""
    pins, boards = make_edges()

    np.testing.assert_array_equal(
        learn(pins, boards, pin_count=100), learn(pins, boards, pin_count=100)
    )


def test_no_saves_no_vectors() -> None:
    """A world without saves has zero rows of the asked length."""
    nothing = np.empty(0, np.int32)

    assert not learn(nothing, nothing, pin_count=5).any()
    assert learn(nothing, nothing, pin_count=5).shape == (5, 8)
