"""The models that the ranker is compared with, each tuned on the same held-out pairs as ours.

ItemKNN, RP3beta and EASE are a few lines of numpy over dense matrices of pins by pins; ALS is the
library implicit. Each is tried with several settings on the pairs held out of the training set, and
the best one is fitted anew on all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray
from scipy.linalg.lapack import spotrf, spotri

from corkboard.evaluation.metrics import one_against_many

Scorer = Callable[[NDArray[np.int64], NDArray[np.int32]], NDArray[np.float64]]
"""Scores float64[n, m] of candidates int32[n, m] for users int64[n]."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """A model with the setting that did best on the held-out pairs.

    Attributes:
        name: As the table shows it.
        setting: In words.
        scorer: Fitted on all training pairs.
        held_out: Its scores there, for models on top of it; float64[n, m].
        seconds: Of the last fit.
    """

    name: str
    setting: str
    scorer: Scorer
    held_out: NDArray[np.float64]
    seconds: float


def tune(
    name: str,
    settings: dict[str, Any],
    fit: Callable[[sp.csr_matrix, Any], Scorer],
    *,
    less: sp.csr_matrix,
    more: sp.csr_matrix,
    users: NDArray[np.int64],
    candidates: NDArray[np.int32],
) -> Tuned:
    """Try every setting without the held-out pairs, fit the best one with them."""
    best = ("", -1.0, np.empty((0, 0)))
    for words, setting in settings.items():
        scores = fit(less, setting)(users, candidates)
        _, ndcg = one_against_many(scores)
        if ndcg > best[1]:
            best = (words, ndcg, scores)
    begin = time.monotonic()
    scorer = fit(more, settings[best[0]])
    return Tuned(name, best[0], scorer, best[2], time.monotonic() - begin)


def all_baselines(*, is_quick: bool) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Name, settings in words, and fit of each model."""
    yield (
        "ItemKNN",
        {f"cosine, {k or 'all'} neighbours": k for k in ([0, 20] if is_quick else [0, 200, 1000])},
        fit_item_knn,
    )
    betas = [0.4] if is_quick else [0.2, 0.3, 0.4, 0.5, 0.6]
    yield "RP3beta", {f"beta {beta}": beta for beta in betas}, fit_rp3beta
    ridges = [100.0] if is_quick else [500.0, 1000.0, 2000.0]
    yield "EASE", {f"lambda {ridge:g}": ridge for ridge in ridges}, fit_ease
    grids = [(128, 4.0, 0.05), (128, 16.0, 40.0), (64, 40.0, 100.0), (128, 40.0, 150.0)]
    wide = [(128, 40.0, 250.0), (128, 40.0, 400.0)]
    yield (
        "implicit ALS",
        {
            f"{factors} factors, confidence {confidence:g}, ridge {ridge:g}": (
                factors,
                confidence,
                ridge,
            )
            for factors, confidence, ridge in ([(16, 5.0, 0.1)] if is_quick else [*grids, *wide])
        },
        fit_als,
    )


@njit(cache=True, nogil=True)
def _history_sums(
    offsets: NDArray[np.int32],
    pins: NDArray[np.int32],
    weights: NDArray[np.float32],
    users: NDArray[np.int64],
    candidates: NDArray[np.int32],
) -> NDArray[np.float64]:
    """Sum of weights[h, c] over each user's pins h, for each candidate c."""
    scores = np.zeros(candidates.shape)
    for i in range(users.size):
        for k in range(offsets[users[i]], offsets[users[i] + 1]):
            row = weights[pins[k]]
            for j in range(candidates.shape[1]):
                scores[i, j] += row[candidates[i, j]]
    return scores


def pin_by_pin(pairs: sp.csr_matrix, weights: NDArray[np.float32]) -> Scorer:
    """History times a matrix of pins by pins."""

    def score(users: NDArray[np.int64], candidates: NDArray[np.int32]) -> NDArray[np.float64]:
        return np.asarray(
            _history_sums(pairs.indptr, pairs.indices, weights, users, candidates), np.float64
        )

    return score


def _together(pairs: sp.csr_matrix, scale: NDArray[np.float64] | None = None) -> Any:
    """Users that two pins share, float32[p, p]; *scale* weighs the users."""
    matrix = pairs.astype(np.float32)
    other = matrix if scale is None else sp.diags(scale.astype(np.float32)) @ matrix
    found: NDArray[np.float32] = (matrix.T @ other).toarray()
    return found


def fit_item_knn(pairs: sp.csr_matrix, neighbours: int) -> Scorer:
    """Summed cosine to the history (Sarwar et al. 2001); 0 = all neighbours."""
    weights = _together(pairs)
    degrees = np.maximum(np.diag(weights), 1.0) ** -0.5
    weights *= degrees[:, None]
    weights *= degrees[None, :]
    np.fill_diagonal(weights, 0.0)
    if neighbours and neighbours < len(weights):
        for row in weights:
            row[row < np.partition(row, -neighbours)[-neighbours]] = 0.0
    return pin_by_pin(pairs, weights)


def fit_rp3beta(pairs: sp.csr_matrix, beta: float) -> Scorer:
    """Walks of three steps, popular ends damped (Christoffel et al. 2015)."""
    degrees = np.maximum(np.asarray(pairs.sum(axis=0)).ravel(), 1.0)
    sizes = np.maximum(np.asarray(pairs.sum(axis=1)).ravel(), 1.0)
    weights = _together(pairs, 1.0 / sizes)
    weights *= (1.0 / degrees)[:, None].astype(np.float32)
    weights *= (degrees**-beta)[None, :].astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return pin_by_pin(pairs, weights)


def fit_ease(pairs: sp.csr_matrix, ridge: float) -> Scorer:
    """Closed-form regression of pins on pins with an empty diagonal (Steck 2019)."""
    gram = _together(pairs)
    gram[np.diag_indices_from(gram)] += np.float32(ridge)
    factor, failed = spotrf(gram.T, overwrite_a=True)
    inverse, failed_again = spotri(factor, overwrite_c=True)
    assert not failed
    assert not failed_again
    upper = np.triu(inverse, 1)
    diagonal = np.diag(inverse).copy()
    weights = (upper + upper.T) / -diagonal
    return pin_by_pin(pairs, np.ascontiguousarray(weights, np.float32))


def fit_als(pairs: sp.csr_matrix, setting: tuple[int, float, float]) -> Scorer:
    """Alternating least squares (Hu, Koren and Volinsky 2008) by the library implicit."""
    from implicit.cpu.als import AlternatingLeastSquares

    factors, confidence, ridge = setting
    model = AlternatingLeastSquares(
        factors=factors,
        iterations=15,
        regularization=ridge,
        alpha=confidence,
        num_threads=1,
        random_state=0,
    )
    model.fit(pairs.astype(np.float32).tocsr(), show_progress=False)

    def score(users: NDArray[np.int64], candidates: NDArray[np.int32]) -> NDArray[np.float64]:
        scores = [
            model.item_factors[row] @ model.user_factors[user]
            for user, row in zip(users, candidates, strict=True)
        ]
        return np.array(scores, np.float64)

    return score
