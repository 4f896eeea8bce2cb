"""Which medoids to query and how to unite their neighbours: the choices of a request, compared.

Takes pairs as `vector_quality.py` does. A user's pins are grouped as in profile_service (Ward); the
clusters' medoids, weighted by how many pins they hold, are what `ann` is asked with. Judged is
whether the held-out pin is among the first 10, 100 or 400 of all pins that the user does not have.

Not part of `make bench`: the sets that it was written for may not be shipped.

    .venv/bin/python benchmarks/merge_quality.py train.parquet --test test.parquet \
        --negatives test_negatives.parquet
"""

from __future__ import annotations

import argparse
import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time
from pathlib import Path

import numpy as np
from vector_quality import Split, learn, read_split

from candidate_service.candidate import CandidateList, CandidateQuery, QueryMerge, Segment, Stop
from candidate_service.medoid_sampling import sample_medoids
from candidate_service.neighbours import NeighbourCache
from candidate_service.sources.ann import AnnSource
from candidate_service.vector_index import VectorIndex
from profile_service.clustering import cluster_actions

LIMIT = 400
DEPTHS = (10, 100, 400)
CHOICES = {"3 sampled": 3, "all": 100}
MERGES = {
    "equal shares, by score": (QueryMerge.ROUND_ROBIN, False, False),
    "shares by weight, by score": (QueryMerge.ROUND_ROBIN, True, False),
    "shares by weight, in turns": (QueryMerge.ROUND_ROBIN, True, True),
    "best score": (QueryMerge.BEST_SCORE, True, False),
}


def in_turns(found: CandidateList, weights: np.ndarray) -> CandidateList:
    """Order a list as a weighted round-robin deals it: the j-th of a query pin at (j + 1) / w."""
    indexes = found.query_indexes
    order = np.argsort(indexes, kind="stable")
    begins = np.searchsorted(indexes[order], indexes[order])
    turns = np.empty(len(found))
    turns[order] = (np.arange(len(found)) - begins + 1) / weights[indexes[order]]
    dealt = np.lexsort((indexes, turns))
    return CandidateList(found.source, found.rows[dealt], found.scores[dealt], indexes[dealt])


def queries(
    split: Split, vectors: np.ndarray, users: np.ndarray, alpha: float
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return each user's medoids, weights and own pins."""
    matrix = split.matrix()
    asked = []
    for user in users.tolist():
        pins = np.sort(matrix[user].indices).astype(np.int32)
        times, strengths = np.zeros(len(pins)), np.ones(len(pins), np.float32)
        found = cluster_actions(
            pins, vectors[pins], times, strengths, now=0.0, alpha=alpha, decay_per_day=0.0
        )
        asked.append((found.medoids.astype(np.int32), found.importances, pins))
    return asked


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--negatives", type=Path)
    parser.add_argument("--rating-min", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--alpha", type=float, default=1.0, help="as in profile_service")
    options = parser.parse_args()
    split = read_split(options)
    vectors = learn(split, 128, offset_share=0.5)
    rng = np.random.default_rng(options.seed)
    at = rng.permutation(len(split.tested_users))[: options.users]
    users, held = split.tested_users[at], split.candidates[at, 0]
    asked = queries(split, vectors, users, options.alpha)
    sizes = [len(medoids) for medoids, _, _ in asked]
    print(
        f"{len(users):,} users, medoids a user: median {np.median(sizes):.0f}, max {max(sizes)}\n"
    )
    print("| medoids | merged by | HR@10 | HR@100 | HR@400 | interests in the first 100 | CPU ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    cache = NeighbourCache(VectorIndex(vectors, path=None), 0)
    source = AnnSource(lambda: cache)
    for choice, count in CHOICES.items():
        for name, (merge, is_weighted, is_dealt) in MERGES.items():
            hits = np.zeros(len(DEPTHS))
            interests, started = 0, time.process_time()
            for number, ((medoids, weights, own), pin) in enumerate(zip(asked, held, strict=True)):
                drawn = sample_medoids(weights, count, number).indexes
                chosen = weights[drawn] if is_weighted else np.ones(len(drawn))
                query = CandidateQuery(
                    query_rows=medoids[drawn],
                    weights=chosen.astype(np.float32),
                    seed=number,
                    segment=Segment(),
                    stop=Stop.never(),
                    excluded_rows=own.copy(),
                    merge=merge,
                )
                found = source.retrieve(query, LIMIT)
                if is_dealt:
                    found = in_turns(found, chosen)
                hits += [pin in found.rows[:depth] for depth in DEPTHS]
                interests += len(set(found.query_indexes[:100].tolist()))
            seconds = time.process_time() - started
            rates = " | ".join(f"{rate:.3f}" for rate in hits / len(users))
            print(
                f"| {choice} | {name} | {rates} | {interests / len(users):.1f} "
                f"| {seconds / len(users) * 1000:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
