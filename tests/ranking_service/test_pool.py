"""Merging candidate lists into a pool."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service import pool as pools
from tests.naive import merge as naive
from tests.ranking_service.worlds import make_candidates, make_list

SOURCES = ("ann", "board_cooccurrence", "pixie", "popular", "other")


def random_candidates(seed: int) -> Any:
    """Up to five overlapping lists with unknown pins among them."""
    rng = np.random.default_rng(seed)
    lists = []
    for source in rng.permutation(SOURCES)[: rng.integers(0, 6)]:
        count = int(rng.integers(0, 15))
        rows = rng.permutation(20)[:count]
        rows[rng.random(count) < 0.1] = -1
        lists.append(make_list(str(source), rows.tolist(), rng.integers(-1, 3, count).tolist()))
    return make_candidates(*lists, queried=[30, 31, 32]), rng.integers(-1, 20, rng.integers(0, 8))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_merge_equals_the_naive_twin(seed: int) -> None:
    """Every pin once, every source's rank, score and query pin kept, excluded pins gone."""
    candidates, excluded = random_candidates(seed)
    expected = naive.merge(candidates, excluded.tolist())

    pool = pools.merge(candidates, excluded_rows=excluded.astype(np.int32))

    assert pool.rows.tolist() == sorted(expected)
    for place, row in enumerate(pool.rows.tolist()):
        actual = {
            source: (
                int(pool.ranks[place, column]),
                float(pool.scores[place, column]),
                int(pool.query_indexes[place, column]),
            )
            for column, source in enumerate(pool.sources)
            if pool.ranks[place, column] >= 0
        }
        assert actual == expected[row]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_order_of_lists_does_not_matter(seed: int) -> None:
    """Merging the lists in another order gives the same pool, array by array."""
    candidates, excluded = random_candidates(seed)
    turned = make_candidates(*candidates.lists[::-1], queried=[30, 31, 32])
    excluded_rows = excluded.astype(np.int32)

    first = pools.merge(candidates, excluded_rows=excluded_rows)
    second = pools.merge(turned, excluded_rows=excluded_rows)

    assert first.sources == second.sources
    for name in ("rows", "ranks", "scores", "query_indexes", "top_scores"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_merge_of_nothing_is_empty() -> None:
    """No list at all and empty lists give a pool without rows."""
    nothing = np.empty(0, np.int32)

    for candidates in (make_candidates(), make_candidates(make_list("ann", []))):
        pool = pools.merge(candidates, excluded_rows=nothing)
        pool = pools.keep_most_promising(pool, np.zeros(len(pool)), 5)
        assert len(pool) == 0
        assert pool.query_behind().size == 0


def test_query_behind_is_that_of_the_best_rank() -> None:
    """Of the sources that start from a pin, the one that ranked the candidate highest speaks."""
    candidates = make_candidates(
        make_list("ann", [1, 2], [0, 0]),
        make_list("pixie", [2, 3], [1, 1]),
        make_list("popular", [4, 2]),
        queried=[10, 11],
    )

    pool = pools.merge(candidates, excluded_rows=np.empty(0, np.int32))

    assert dict(zip(pool.rows.tolist(), pool.query_behind().tolist(), strict=True)) == {
        1: 0,
        2: 1,
        3: 1,
        4: -1,
    }


def test_the_cut_keeps_the_highest_scores_and_of_equals_the_lower_rows() -> None:
    """Infinity stays in any case; a pool that fits stays as it is."""
    candidates = make_candidates(make_list("ann", [1, 2, 9]), make_list("pixie", [3, 4, 9]))
    pool = pools.merge(candidates, excluded_rows=np.empty(0, np.int32))
    scores = np.array([1.0, 2.0, 1.0, np.inf, 1.0])

    assert pool.rows.tolist() == [1, 2, 3, 4, 9]
    assert pools.keep_most_promising(pool, scores, 3).rows.tolist() == [1, 2, 4]
    assert pools.keep_most_promising(pool, scores, 1).rows.tolist() == [4]
    assert pools.keep_most_promising(pool, scores, 5) is pool
    assert pool.is_from(("pixie", "unheard of")).tolist() == [False, False, True, True, True]
    assert not pool.is_from(()).any()
