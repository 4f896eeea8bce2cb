"""What a source should beat: five models known from the literature, each a few lines of numpy.

They learn from the same pairs of user and pin as the product and rank the same full catalogue.
Their settings are the ones named here and are not tuned to the data set; neither are the product's.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

NEIGHBOURS = 1_000
RP3_BETA = 0.6
EASE_LAMBDA = 500.0
EASE_PINS_MAX = 12_000
ALS_FACTORS = 64
ALS_ITERATIONS = 15
ALS_REGULARISATION = 0.01
ALS_CONFIDENCE = 10.0
USERS_AT_ONCE = 256


class Model(Protocol):
    """Scores every pin for given histories."""

    def scores(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Scores float32[u, p] for users whose pins are the rows of *histories* (u by p)."""
        ...


@dataclass(frozen=True, slots=True)
class Baseline:
    """A model to compare with.

    Attributes:
        name: As tables show it.
        origin: Paper or library.
        fit: Learns from a matrix of users by pins, 1 for each pair.
    """

    name: str
    origin: str
    fit: Callable[[sp.csr_matrix], Model]


@dataclass(frozen=True, slots=True)
class _Constant:
    """The same score for everybody."""

    values: NDArray[np.float32]

    def scores(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        return np.tile(self.values, (histories.shape[0], 1))


@dataclass(frozen=True, slots=True)
class _PinByPin:
    """History times a matrix of pins by pins, sparse or dense."""

    weights: Any

    def scores(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        product = histories @ self.weights
        dense = product.toarray() if sp.issparse(product) else product
        return np.asarray(dense, np.float32)


@dataclass(frozen=True, slots=True)
class _Factors:
    """A model of `implicit`, users folded in from their histories."""

    model: Any

    def scores(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        confident = (histories * ALS_CONFIDENCE).astype(np.float32)
        users = self.model.recalculate_user(np.arange(histories.shape[0]), confident)
        return np.asarray(users @ self.model.item_factors.T, np.float32)


def fit_popularity(pairs: sp.csr_matrix) -> Model:
    """Users of each pin (Cremonesi et al. 2010, the non-personalised baseline)."""
    return _Constant(np.asarray(pairs.sum(axis=0), np.float32).ravel())


def fit_item_knn(pairs: sp.csr_matrix) -> Model:
    """Summed cosine to the history's pins, nearest neighbours only (Sarwar et al. 2001)."""
    degrees = np.maximum(np.asarray(pairs.sum(axis=0), np.float64).ravel(), 1.0)
    scaled = (pairs @ sp.diags(degrees**-0.5)).astype(np.float32).tocsr()
    return _PinByPin(_nearest(lambda rows: scaled.T.tocsr()[rows] @ scaled, pairs.shape[1]))


def fit_rp3beta(pairs: sp.csr_matrix) -> Model:
    """Walks of three steps, popular ends damped by degree^beta (Christoffel et al. 2015)."""
    pin_degrees = np.maximum(np.asarray(pairs.sum(axis=0), np.float64).ravel(), 1.0)
    user_degrees = np.maximum(np.asarray(pairs.sum(axis=1), np.float64).ravel(), 1.0)
    to_users = (sp.diags(1 / pin_degrees) @ pairs.T).astype(np.float32).tocsr()
    damped = sp.diags(1 / user_degrees) @ pairs @ sp.diags(pin_degrees**-RP3_BETA)
    to_pins = damped.astype(np.float32).tocsr()
    return _PinByPin(_nearest(lambda rows: to_users[rows] @ to_pins, pairs.shape[1]))


def fit_ease(pairs: sp.csr_matrix) -> Model:
    """Closed-form regression of pins on pins with an empty diagonal (Steck 2019).

    A matrix of all pins by all pins must fit: of more than `EASE_PINS_MAX` pins only the most
    popular ones take part, the others score 0.
    """
    popularity = np.asarray(pairs.sum(axis=0)).ravel()
    kept = np.sort(np.argsort(-popularity, kind="stable")[:EASE_PINS_MAX])
    few = pairs[:, kept].astype(np.float32)
    gram = (few.T @ few).toarray()
    gram[np.diag_indices_from(gram)] += EASE_LAMBDA
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices_from(weights)] = 0.0
    return _Some(_PinByPin(weights), kept, pairs.shape[1])


@dataclass(frozen=True, slots=True)
class _Some:
    """A model of some of the pins."""

    model: _PinByPin
    kept: NDArray[np.int64]
    pin_count: int

    def scores(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        found = np.zeros((histories.shape[0], self.pin_count), np.float32)
        found[:, self.kept] = self.model.scores(histories[:, self.kept].astype(np.float32))
        return found


def fit_als(pairs: sp.csr_matrix) -> Model:
    """Alternating least squares on implicit feedback (Hu et al. 2008), by the library implicit."""
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # its own threads are at work
        model = AlternatingLeastSquares(
            factors=ALS_FACTORS,
            iterations=ALS_ITERATIONS,
            regularization=ALS_REGULARISATION,
            num_threads=0,
            random_state=0,
        )
        model.fit((pairs * ALS_CONFIDENCE).astype(np.float32).tocsr(), show_progress=False)
    return _Factors(model)


BASELINES = (
    Baseline("popularity", "Cremonesi et al. 2010", fit_popularity),
    Baseline("ItemKNN", "Sarwar et al. 2001", fit_item_knn),
    Baseline("RP3beta", "Christoffel et al. 2015", fit_rp3beta),
    Baseline("EASE", "Steck 2019", fit_ease),
    Baseline("ALS", "Hu et al. 2008; implicit", fit_als),
)


def rank_all(
    model: Model, histories: sp.csr_matrix, seen: sp.csr_matrix, depth: int
) -> list[NDArray[np.int32]]:
    """The best *depth* pins of the full catalogue for each user, without those seen.

    Args:
        model: A fitted one.
        histories: Users by pins, what each did before.
        seen: Users by pins, what must not come back.
        depth: Length of the lists at the most; pins with a score of 0 are left out.

    Returns:
        One int32[n] a user, best first; ties by row.
    """
    lists = []
    for begin in range(0, histories.shape[0], USERS_AT_ONCE):
        part = slice(begin, begin + USERS_AT_ONCE)
        scores = model.scores(histories[part])
        scores[seen[part].nonzero()] = -np.inf
        for row in scores:
            best = np.argpartition(-row, min(depth, len(row) - 1))[:depth]
            best = best[np.lexsort((best, -row[best]))]
            lists.append(best[(row[best] != 0) & (row[best] > -np.inf)].astype(np.int32))
    return lists


def pair_matrix(
    users: NDArray[np.int32], pins: NDArray[np.int32], shape: tuple[int, int]
) -> sp.csr_matrix:
    """Users by pins, float32, 1 for each distinct pair."""
    ones = np.ones(len(users), np.float32)
    matrix = sp.csr_matrix((ones, (users, pins)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def scores_of(
    model: Model, histories: sp.csr_matrix, candidates: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Scores of given pins only, float64[u, c], for candidates int32[u, c]."""
    parts: Sequence[NDArray[np.float32]] = [
        np.take_along_axis(
            model.scores(histories[begin : begin + USERS_AT_ONCE]),
            candidates[begin : begin + USERS_AT_ONCE].astype(np.int64),
            axis=1,
        )
        for begin in range(0, histories.shape[0], USERS_AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float64)


def _nearest(
    product: Callable[[slice], sp.csr_matrix], pin_count: int, count: int = NEIGHBOURS
) -> sp.csr_matrix:
    """The *count* largest entries of each row of a product of pins by pins, without the diagonal.

    Made a block of rows at a time, so that the whole product never stands in memory.
    """
    blocks = []
    for begin in range(0, pin_count, 512):
        block = product(slice(begin, min(begin + 512, pin_count))).tocsr()
        indptr, indices, data = [0], [], []
        for at in range(block.shape[0]):
            part = slice(block.indptr[at], block.indptr[at + 1])
            row_indices, row_data = block.indices[part], block.data[part]
            others = row_indices != begin + at
            row_indices, row_data = row_indices[others], row_data[others]
            if len(row_data) > count:
                best = np.argpartition(-row_data, count)[:count]
                row_indices, row_data = row_indices[best], row_data[best]
            indices.append(row_indices)
            data.append(row_data)
            indptr.append(indptr[-1] + len(row_data))
        shape = (block.shape[0], pin_count)
        parts = (np.concatenate(data), np.concatenate(indices), np.array(indptr))
        blocks.append(sp.csr_matrix(parts, shape=shape))
    return sp.vstack(blocks).tocsr()


def fit_in_turn(
    chosen: Sequence[Baseline],
    histories: sp.csr_matrix,
    seen: sp.csr_matrix,
    tested_users: NDArray[np.int32],
    depth: int,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[Baseline, list[NDArray[np.int32]], float]]:
    """Fit each baseline and rank the full catalogue for the tested users.

    Args:
        chosen: The baselines.
        histories: Users by pins, what teaches.
        seen: Users by pins, what must not come back.
        tested_users: Rows of both.
        depth: Length of the lists at the most.
        say: Told which one is at work.

    Returns:
        Baseline, one list a tested user, and the seconds that ranking took.
    """
    mine = histories[tested_users]
    for baseline in chosen:
        say(f"baseline {baseline.name}")
        model = baseline.fit(histories)
        begin = time.perf_counter()
        lists = rank_all(model, mine, seen[tested_users], depth)
        yield baseline, lists, time.perf_counter() - begin
