"""Walks from several query pins: who gets how many steps, when they end, what is remembered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service import kernels
from candidate_service.candidate import CandidateQuery, Segment, Stop
from candidate_service.graph import PinBoardGraph
from candidate_service.walk import (
    CHUNK_ROUNDS,
    QUERY_PIN_COUNT_MAX,
    PixieSettings,
    Visits,
    Walker,
    WalkScratch,
    first_best,
)
from candidate_service.walk_budgets import effective_count, restart_chance, step_budgets
from tests.candidate_service.test_kernels import lists_of, make_graph
from tests.naive import walk as naive


def ask(rows: list[int], **changes: Any) -> CandidateQuery:
    """A query from rows, every weight 1 when not said otherwise."""
    fields = {
        "weights": np.ones(len(rows), np.float32),
        "seed": 11,
        "segment": Segment(),
        "stop": Stop.never(),
    } | changes
    return CandidateQuery(query_rows=np.array(rows, np.int32), **fields)


def counts(visits: Visits) -> dict[int, float]:
    """Scores by row."""
    return dict(zip(visits.rows.tolist(), visits.scores.tolist(), strict=True))


def bow_tie(languages: list[int] | None = None) -> PinBoardGraph:
    """Two knots of six pins on three boards each, tied by pin 6, which is on a board of both."""
    left = [(pin, board) for pin in range(6) for board in range(3)]
    right = [(pin, board) for pin in range(7, 13) for board in range(3, 6)]
    return make_graph([*left, *right, (6, 0), (6, 3)], languages=languages)


def community_graph() -> PinBoardGraph:
    """300 pins in 10 communities of 20 boards; each board has 25 pins, one in ten from outside."""
    rng = np.random.default_rng(4)
    edges = []
    for board in range(200):
        for _ in range(25):
            home = board % 10 if rng.random() < 0.9 else int(rng.integers(10))
            edges.append((home + 10 * int(30 * rng.random() ** 2), board))
    return make_graph(edges)


@settings(deadline=None)
@given(
    degrees=st.lists(st.integers(1, 1000), min_size=1, max_size=20),
    weight=st.floats(0.01, 100),
    degree_max=st.integers(1000, 100_000),
)
def test_budgets_share_out_all_steps(degrees: list[int], weight: float, degree_max: int) -> None:
    """They sum to N, grow with the degree but less than in proportion, and nobody gets nothing."""
    given_degrees = np.array(sorted(degrees))
    weights = np.full(len(degrees), weight, np.float32)

    budgets = step_budgets(given_degrees, weights, degree_max=degree_max, step_count=10_000)

    assert budgets.sum() == pytest.approx(10_000)
    assert (budgets > 0).all()
    assert (np.diff(budgets) >= -1e-9).all()
    assert (np.diff(budgets / given_degrees) <= 1e-9).all()


def test_budget_follows_the_weight() -> None:
    """Of two pins alike, one with three times the weight gets three times the steps."""
    budgets = step_budgets(
        np.array([5, 5]), np.array([1, 3], np.float32), degree_max=9, step_count=400
    )

    np.testing.assert_allclose(budgets, [100, 300])


def test_the_largest_hub_is_walked_from() -> None:
    """With C = ln(max degree), as some print it, the largest hub would get no steps."""
    budgets = step_budgets(
        np.array([1, 50_000]), np.ones(2, np.float32), degree_max=50_000, step_count=1000
    )

    assert budgets[1] > budgets[0] > 0


def test_effective_count_is_of_equal_weights() -> None:
    """Four alike count as four; one that outweighs all as hardly more than one."""
    assert effective_count(np.ones(4, np.float32)) == pytest.approx(4)
    assert effective_count(np.array([5], np.float32)) == pytest.approx(1)
    assert effective_count(np.array([1e6, 1, 1], np.float32)) == pytest.approx(1, abs=1e-4)


def test_walks_are_shorter_from_more_query_pins() -> None:
    """One query pin walks as told; a hundred go back nearly always; never beyond certainty."""
    assert restart_chance(0.5, 1.0) == 0.5
    assert restart_chance(0.5, 4.0) == pytest.approx(0.75)
    assert restart_chance(0.5, 100.0) == pytest.approx(0.95)
    assert restart_chance(1.0, 3.0) == 1.0


def test_visits_are_the_sum_of_the_query_pins_walks() -> None:
    """Each query pin's walk equals its naive twin; the counts add up; the larger part is named."""
    graph = community_graph()
    settings_ = PixieSettings(step_count=6400, restart=0.25, early_stop_visit_count=0)
    rows = [0, 11, 25]

    visits = Walker(graph, settings_).visits(ask(rows))

    budgets = step_budgets(
        graph.degrees(np.array(rows, np.int32)),
        np.ones(3, np.float32),
        degree_max=graph.degree_max,
        step_count=6400,
    )
    parts = [
        naive.walk(
            lists_of(graph.pin_edges),
            lists_of(graph.board_edges),
            start=row,
            seed=11,
            round_count=round(budget / 64),
            walker_count=64,
            restart=restart_chance(0.25, 3),
        )[0]
        for row, budget in zip(rows, budgets, strict=True)
    ]
    order = list(dict.fromkeys(pin for part in parts for pin in part))
    assert order == visits.rows.tolist()
    assert [sum(part.get(pin, 0) for part in parts) for pin in order] == visits.scores.tolist()
    largest = [int(np.argmax([part.get(pin, 0) for part in parts])) for pin in order]
    assert largest == visits.query_indexes.tolist()


def test_order_of_query_pins_makes_no_difference() -> None:
    """The same query pins in another order give the same visits."""
    walker = Walker(community_graph(), PixieSettings(step_count=20_000))

    one, other = walker.visits(ask([3, 14, 50])), walker.visits(ask([50, 3, 14]))

    assert counts(one) == counts(other)


def test_boost_favours_pins_of_several_query_pins() -> None:
    """Eq. 3 leaves a pin of one query pin alone and raises those that several lead to."""
    graph = bow_tie()
    plain = counts(Walker(graph, PixieSettings(step_count=20_000)).visits(ask([0, 12])))
    boosted = counts(
        Walker(graph, PixieSettings(step_count=20_000, boost=True)).visits(ask([0, 12]))
    )

    assert plain.keys() == boosted.keys()
    assert all(boosted[pin] >= plain[pin] - 1e-6 for pin in plain)
    assert boosted[6] / plain[6] > 1.5
    single = counts(Walker(graph, PixieSettings(step_count=20_000, boost=True)).visits(ask([0])))
    alone = counts(Walker(graph, PixieSettings(step_count=20_000)).visits(ask([0])))
    assert single == pytest.approx(alone)  # a root, squared


def test_isolated_query_pins_lend_their_steps() -> None:
    """A pin on no board, or unknown to the graph, changes nothing for the others."""
    graph = make_graph([(0, 0), (1, 0), (2, 0), (5, 1), (6, 1)])
    walker = Walker(graph, PixieSettings(step_count=5000))

    alone, beside = walker.visits(ask([0])), walker.visits(ask([3, 0, 999]))

    assert counts(alone) == counts(beside)
    assert set(beside.query_indexes.tolist()) == {1}


def test_only_isolated_query_pins_give_nothing() -> None:
    """No walk begins where no board is; it ends at once."""
    visits = Walker(make_graph([(0, 0), (5, 0)]), PixieSettings()).visits(ask([2, 3]))

    assert (len(visits.rows), visits.step_count) == (0, 0)


def test_pin_alone_on_its_board_ends() -> None:
    """A walk that can only come back to its start uses up its steps and ends."""
    visits = Walker(make_graph([(0, 0)]), PixieSettings(step_count=1000)).visits(ask([0]))

    assert visits.rows.tolist() == [0]


def test_early_stop_saves_steps_and_keeps_the_head() -> None:
    """On a world of communities the best 20 hardly change when the walk ends early."""
    graph = community_graph()
    long = Walker(graph, PixieSettings(step_count=200_000, early_stop_visit_count=0)).visits(
        ask([0])
    )
    short = Walker(
        graph,
        PixieSettings(step_count=200_000, early_stop_visit_count=40, early_stop_pin_count=60),
    ).visits(ask([0]))

    assert short.step_count < long.step_count / 4
    best = [set(found.rows[first_best(found.scores, 20)].tolist()) for found in (long, short)]
    assert len(best[0] & best[1]) >= 15


def test_early_stop_is_counted_for_each_query_pin() -> None:
    """A query pin whose walk ends early does not end the next one's."""
    walker = Walker(
        bow_tie(),
        PixieSettings(step_count=40_000, early_stop_visit_count=4, early_stop_pin_count=5),
    )

    visits = walker.visits(ask([0, 12]))

    assert visits.step_count < 20_000
    assert {0, 1} == set(visits.query_indexes.tolist())


def test_bias_keeps_to_the_viewers_language() -> None:
    """From the knot of the bow-tie a walk goes the viewer's way: nearly always, not half the time.

    40,000 steps; the unbiased share is within 0.5 +- 0.1 by symmetry, the biased one far above.
    """
    languages = [0] * 6 + [-1] + [1] * 6
    graph = bow_tie(languages)
    shares = {}
    for tag, bias in (("l1", 0.9), ("l1", 0.0), ("", 0.9), ("other", 0.9)):
        walker = Walker(
            graph, PixieSettings(step_count=40_000, bias=bias, early_stop_visit_count=0)
        )
        found = counts(walker.visits(ask([6], segment=Segment(language=tag))))
        right = sum(n for pin, n in found.items() if pin > 6)
        shares[tag, bias] = right / (right + sum(n for pin, n in found.items() if pin < 6))

    assert shares["l1", 0.9] > 0.9
    for unbiased in (("l1", 0.0), ("", 0.9), ("other", 0.9)):
        assert abs(shares[unbiased] - 0.5) < 0.1


def test_stop_ends_the_walk_between_chunks() -> None:
    """When the asker has gone, what was counted until then comes back soon."""
    readings = iter(range(100))
    stop = Stop(deadline=3.0, clock=lambda: float(next(readings)))
    walker = Walker(bow_tie(), PixieSettings(step_count=2_000_000, early_stop_visit_count=0))

    visits = walker.visits(ask([0, 12], stop=stop))

    assert 0 < visits.step_count <= 3 * CHUNK_ROUNDS * 64


def test_thousands_of_walks_on_one_scratch_stay_right() -> None:
    """When the epochs run out the table is cleared: answers after the wrap equal fresh ones."""
    graph = bow_tie()
    used = Walker(graph, PixieSettings(step_count=1000))
    scratch = WalkScratch(graph.pin_count, used.settings)
    scratch._epoch = kernels.EPOCH_MAX - 5
    scratch.table[:] = (np.uint64(2) << np.uint64(53)) | np.uint64(7 << 21)  # as left by epoch 2
    used._idle.append(scratch)

    for seed in range(12):
        query = ask([0, 12], seed=seed)
        fresh = Walker(graph, PixieSettings(step_count=1000)).visits(query)
        assert counts(fresh) == counts(used.visits(query))
    assert used._idle[0] is scratch
    assert scratch._epoch < 100


def test_more_query_pins_than_can_be_walked_from() -> None:
    """The heaviest are walked from; the answer is still one."""
    count = QUERY_PIN_COUNT_MAX + 50
    graph = make_graph([(pin, pin // 5) for pin in range(400)])
    weights = np.ones(count, np.float32)
    weights[:50] = 0.1

    visits = Walker(graph, PixieSettings(step_count=1000)).visits(
        ask(list(range(count)), weights=weights)
    )

    assert visits.query_indexes.min() >= 50


def test_scratch_does_not_grow_with_the_graph() -> None:
    """Memory for walking depends on the step budget, not on the number of pins."""
    sizes = {
        pins: WalkScratch(pins, PixieSettings(step_count=10_000)).table.nbytes
        for pins in (100, 10**6, 10**9)
    }

    assert sizes[100] < sizes[10**6] == sizes[10**9]


@pytest.mark.parametrize("step_count", [0, 3_000_000])
def test_budget_must_fit_the_counters(step_count: int) -> None:
    """A budget that could overflow a counter is refused at once."""
    with pytest.raises(ValueError, match="step_count"):
        Walker(bow_tie(), PixieSettings(step_count=step_count))


@settings(deadline=None)
@given(scores=st.lists(st.integers(1, 6), max_size=40), count=st.integers(0, 50))
def test_first_best_is_a_stable_sort(scores: list[int], count: int) -> None:
    """Best first; among equals the first; never more than asked for."""
    values = np.array(scores, np.float64)

    expected = np.argsort(-values, kind="stable")[:count]
    np.testing.assert_array_equal(expected, first_best(values, count))
