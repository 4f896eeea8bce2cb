"""Candidate lists merged with dictionaries, one proposal at a time."""

from collections.abc import Iterable

from ranking_service.pool import Candidates


def merge(
    candidates: Candidates, excluded: Iterable[int]
) -> dict[int, dict[str, tuple[int, float, int]]]:
    """For each row in the pool: source to its rank, score and query index there."""
    banned = set(excluded)
    pool: dict[int, dict[str, tuple[int, float, int]]] = {}
    for proposals in candidates.lists:
        arrays = zip(proposals.rows, proposals.scores, proposals.query_indexes, strict=True)
        for rank, (row, score, query) in enumerate(arrays):
            if row >= 0 and row not in banned:
                pool.setdefault(int(row), {})[proposals.source] = (rank, float(score), int(query))
    return pool
