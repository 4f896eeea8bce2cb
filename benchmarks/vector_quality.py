"""How good are vectors learned from pairs: one held-out pin against 99 others, HR@10 and NDCG@10.

Takes any table of pairs (columns user_id, item_id and, if there is one, timestamp or pos); a user
is read as a board. Held out is each user's newest pair (a random one without times), unless the
test pairs and negatives of a published split are given (columns user_id, item_id; 99 negatives a
user). A pin is scored by its mean cosine to the user's other pins.

Not part of `make bench`: the sets that it was written for may not be shipped.

    .venv/bin/python benchmarks/vector_quality.py train.parquet --test test.parquet \
        --negatives test_negatives.parquet
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sp
from numpy.typing import NDArray

from candidate_service import factorisation
from candidate_service.factorisation import discounted_matrix, leading_vectors

NEGATIVE_COUNT = 99
DEPTH = 10


@dataclass(frozen=True, slots=True)
class Split:
    """Training pairs, and for each tested user the held-out pin followed by 99 others."""

    users: NDArray[np.int32]
    pins: NDArray[np.int32]
    tested_users: NDArray[np.int32]
    candidates: NDArray[np.int32]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of users and of pins."""
        users = max(self.users.max(), self.tested_users.max()) + 1
        return int(users), int(max(self.pins.max(), self.candidates.max()) + 1)

    def matrix(self) -> sp.csr_matrix:
        """Users by pins, 1 for each pair."""
        ones = np.ones(len(self.users), np.float32)
        return sp.csr_matrix((ones, (self.users, self.pins)), shape=self.shape)


def read_split(options: argparse.Namespace) -> Split:
    """Read the given split, or hold out each user's newest pair."""
    table = pq.read_table(options.pairs)
    if options.rating_min is not None:
        table = table.filter(table.column("rating").to_numpy() >= options.rating_min)
    users = table.column("user_id").to_numpy().astype(np.int32)
    pins = table.column("item_id").to_numpy().astype(np.int32)
    if options.test is not None:
        return _published(users, pins, options)
    rng = np.random.default_rng(options.seed)
    times = next((name for name in ("timestamp", "pos") if name in table.column_names), None)
    order = rng.random(len(users)) if times is None else table.column(times).to_numpy()
    at = np.lexsort((order, users))
    users = np.unique(users[at], return_inverse=True)[1].astype(np.int32)
    pins = np.unique(pins[at], return_inverse=True)[1].astype(np.int32)
    is_last = np.append(users[1:] != users[:-1], True)
    enough = np.bincount(users)[users] >= 4
    held = np.flatnonzero(is_last & enough)
    matrix = sp.csr_matrix((np.ones(len(users)), (users, pins)))
    candidates = np.array(
        [[pins[row], *_negatives(matrix[users[row]].indices, matrix.shape[1], rng)] for row in held]
    )
    kept = ~(is_last & enough)
    return Split(users[kept], pins[kept], users[held], candidates.astype(np.int32))


def _published(
    users: NDArray[np.int32], pins: NDArray[np.int32], options: argparse.Namespace
) -> Split:
    test = pq.read_table(options.test).sort_by("user_id")
    negatives = pq.read_table(options.negatives).sort_by("user_id")
    tested = test.column("user_id").to_numpy().astype(np.int32)
    others = negatives.column("item_id").to_numpy().reshape(-1, NEGATIVE_COUNT)
    held = test.column("item_id").to_numpy()[:, None]
    return Split(users, pins, tested, np.hstack([held, others]).astype(np.int32))


def _negatives(
    seen: NDArray[np.int32], pin_count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    drawn = rng.permutation(pin_count)[: NEGATIVE_COUNT + len(seen)]
    return drawn[~np.isin(drawn, seen)][:NEGATIVE_COUNT]


def judge(scores: NDArray[np.float64]) -> tuple[float, float]:
    """HR@10 and NDCG@10 of scores[n, 100], the held-out pin first; ties count half."""
    better = (scores[:, 1:] > scores[:, :1]).sum(axis=1)
    ranks = better + 0.5 * (scores[:, 1:] == scores[:, :1]).sum(axis=1)
    hits = ranks < DEPTH
    return float(hits.mean()), float(np.where(hits, 1 / np.log2(ranks + 2), 0).mean())


def by_vectors(split: Split, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean cosine of each candidate to the user's pins."""
    means = split.matrix() @ vectors
    return np.einsum("ud,ucd->uc", means[split.tested_users], vectors[split.candidates])


def by_item_knn(split: Split) -> NDArray[np.float64]:
    """Item-kNN over all neighbours: summed cosine of board lists, the usual strong baseline."""
    matrix = split.matrix()
    degrees = np.maximum(np.asarray(matrix.sum(axis=0)).ravel(), 1)
    scaled = (matrix @ sp.diags(degrees**-0.5)).tocsc()
    cosines = (scaled.T @ scaled).tolil()
    cosines.setdiag(0)
    cosines = cosines.tocsr()
    return np.array(
        [
            np.asarray(cosines[pins][:, matrix[user].indices].sum(axis=1)).ravel()
            for user, pins in zip(split.tested_users, split.candidates, strict=True)
        ]
    )


def learn(split: Split, dimension: int, *, offset_share: float) -> NDArray[np.float32]:
    """Learn as the job does."""
    factorisation.OFFSET_SHARE = offset_share
    user_count, pin_count = split.shape
    matrix = discounted_matrix(split.pins, split.users, pin_count=pin_count, board_count=user_count)
    rng = np.random.default_rng(0)
    return leading_vectors(matrix, dimension, iteration_count=6, rng=rng, advance=lambda _: None)


def with_islands(split: Split, count: int) -> Split:
    """Add boards of three pins each that nothing else knows."""
    user_count, pin_count = split.shape
    boards = user_count + np.repeat(np.arange(count), 3)
    islanders = pin_count + np.arange(3 * count)
    return Split(
        np.append(split.users, boards).astype(np.int32),
        np.append(split.pins, islanders).astype(np.int32),
        split.tested_users,
        split.candidates,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--negatives", type=Path)
    parser.add_argument("--rating-min", type=float)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    split = read_split(options)
    popularity = np.asarray(split.matrix().sum(axis=0)).ravel()
    islands = with_islands(split, 500)
    rows = [
        ("popularity", popularity[split.candidates]),
        ("item-kNN, full matrix", by_item_knn(split)),
        *(
            (f"learned, {d} directions", by_vectors(split, learn(split, d, offset_share=0.5)))
            for d in (64, 128, 192)
        ),
        ("128, no offsets", by_vectors(split, learn(split, 128, offset_share=0.0))),
        ("128, 500 islands", by_vectors(islands, learn(islands, 128, offset_share=0.5))),
        ("128, islands, no offsets", by_vectors(islands, learn(islands, 128, offset_share=0.0))),
    ]
    print(f"{len(split.tested_users):,} users tested, {len(split.pins):,} pairs to learn from\n")
    print("| | HR@10 | NDCG@10 |\n| --- | --- | --- |")
    for name, scores in rows:
        hit_rate, gain = judge(scores)
        print(f"| {name} | {hit_rate:.3f} | {gain:.3f} |")


if __name__ == "__main__":
    main()
