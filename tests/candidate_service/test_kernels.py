"""Walks and tallies: equal to one step at a time, and to the chances that theory gives."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from candidate_service import kernels, list_kernels
from candidate_service.graph import PinBoardGraph, build_graph
from tests.naive import walk as naive

K = 8
NEVER = (0, 2**40)


def make_graph(
    edges: list[tuple[int, int]], *, languages: list[int] | None = None
) -> PinBoardGraph:
    """A graph from (pin, board) pairs; languages by pin, -1 = unknown."""
    pins, boards = np.array(sorted(set(edges)), np.int32).reshape(-1, 2).T
    tags = tuple(f"l{i}" for i in range(max(languages) + 1)) if languages else ()
    return build_graph(
        pins.copy(),
        boards.copy(),
        pin_count=len(languages) if languages else int(pins.max(initial=-1)) + 1,
        board_count=int(boards.max(initial=-1)) + 1,
        pin_languages=np.array(languages, np.int16) if languages else None,
        languages=tags,
    )


def lists_of(edges: Any) -> list[list[int]]:
    """Compressed rows as lists."""
    offsets, neighbours = edges
    return [neighbours[a:b].tolist() for a, b in pairwise(offsets)]


class Walking:
    """One thread's scratch, made by hand."""

    def __init__(self, graph: PinBoardGraph, *, walkers: int = K, room: int = 4096) -> None:
        self.graph = graph
        self.label_step = len(graph.topics) + 1
        self.table = np.zeros(1 << (2 * room - 1).bit_length(), np.uint64)
        self.touched = np.empty(room, np.uint64)
        self.lanes = (np.empty(walkers, np.uint64), *np.empty((3, walkers), np.uint32))
        self.tally = np.zeros(2, np.int64)

    def walk(
        self,
        *,
        start: int,
        seed: int = 1,
        rounds: tuple[int, int] = (0, 10),
        restart: float = 0.25,
        early_stop: tuple[int, int] = NEVER,
        epoch: int = 1,
        language: int | None = None,
        bias: float = 0.0,
        topic: int = -1,
        topic_bias: float = 0.0,
    ) -> int:
        """Run the kernel, from the first round with a clean tally."""
        if rounds[0] == 0:
            self.tally[:] = 0
        preferences = None
        if language is not None:
            ranges = (language * self.label_step, (language + 1) * self.label_step)
            chances = (int(topic_bias * 2**32), int(bias * 2**32))
            topics = (ranges[0] + topic + 1, ranges[0] + topic + 2)
            preferences = (
                self.graph.pin_groups,
                self.graph.board_groups,
                np.array([*chances, *topics, *ranges], np.int64),
            )
        return int(
            kernels.walk(
                self.graph.pin_edges,
                self.graph.board_edges,
                preferences,
                None,
                None,
                np.uint64(restart * 2**32),
                start,
                np.uint64(seed),
                rounds,
                early_stop,
                epoch,
                self.table,
                self.touched,
                self.lanes,
                self.tally,
            )
        )

    def visits(self) -> dict[int, int]:
        """The tally, in the order of first visit; the table stays as the walk left it."""
        room = len(self.touched)
        united = (
            np.empty(room, np.int32),
            np.empty(room, np.float64),
            np.empty(room, np.uint32),
            np.empty(room, np.int32),
        )
        table = self.table.copy()
        end = list_kernels.unite_visits(table, self.touched, self.tally[0], 0, 0, 0, united)
        counts = united[1][:end].astype(int).tolist()
        return dict(zip(united[0][:end].tolist(), counts, strict=True))


GRAPHS = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 7)), min_size=1, max_size=50, unique=True
)
SEEDS = st.integers(0, 2**64 - 1)


@settings(deadline=None)  # the first example compiles
@given(edges=GRAPHS, seed=SEEDS, restart=st.floats(0, 1), data=st.data())
def test_walk_equals_one_step_at_a_time(
    edges: list[tuple[int, int]], seed: int, restart: float, data: st.DataObject
) -> None:
    """Interleaving, prefetching and the table change nothing: same visits, in the same order."""
    graph = make_graph(edges)
    walking = Walking(graph)
    start = data.draw(st.sampled_from(sorted({pin for pin, _ in edges})))
    stop = data.draw(st.sampled_from([None, (1, 3), (2, 2), (4, 1)]))

    done = walking.walk(
        start=start, seed=seed, restart=int(restart * 2**32) / 2**32, early_stop=stop or NEVER
    )

    expected, expected_done = naive.walk(
        lists_of(graph.pin_edges),
        lists_of(graph.board_edges),
        start=start,
        seed=seed,
        round_count=10,
        walker_count=K,
        restart=int(restart * 2**32) / 2**32,
        early_stop=stop,
    )
    assert list(expected.items()) == list(walking.visits().items())
    assert expected_done == done


@settings(deadline=None)  # the first example compiles
@given(edges=GRAPHS, seed=SEEDS, bias=st.sampled_from([0.0, 0.5, 1.0]), data=st.data())
def test_biased_walk_equals_one_step_at_a_time(
    edges: list[tuple[int, int]], seed: int, bias: float, data: st.DataObject
) -> None:
    """Drawing from sub-ranges equals choosing among the neighbours of the language, or all."""
    languages = data.draw(st.lists(st.integers(-1, 2), min_size=12, max_size=12))
    languages[:2] = [0, 1]
    graph = make_graph(edges, languages=languages)
    walking = Walking(graph)
    start = data.draw(st.sampled_from(sorted({pin for pin, _ in edges})))

    walking.walk(start=start, seed=seed, language=1, bias=bias)

    pins_of = lists_of(graph.board_edges)
    expected, _ = naive.walk(
        lists_of(graph.pin_edges),
        pins_of,
        start=start,
        seed=seed,
        round_count=10,
        walker_count=K,
        restart=0.25,
        languages=(languages, [board_language(pins, languages) for pins in pins_of]),
        language=1,
        bias=bias,
    )
    assert list(expected.items()) == list(walking.visits().items())


@settings(deadline=None)  # the first example compiles
@given(
    edges=GRAPHS,
    seed=SEEDS,
    bias=st.sampled_from([0.0, 0.5, 1.0]),
    topic_bias=st.sampled_from([0.0, 0.25, 1.0]),
    data=st.data(),
)
def test_walk_with_a_topic_equals_one_step_at_a_time(
    edges: list[tuple[int, int]], seed: int, bias: float, topic_bias: float, data: st.DataObject
) -> None:
    """A sub-range of a sub-range: the topic in the language, else the language, else all."""
    tags = data.draw(st.lists(st.integers(-1, 1), min_size=12, max_size=12))
    topics = data.draw(st.lists(st.integers(-1, 2), min_size=12, max_size=12))
    pins, boards = np.array(sorted(set(edges)), np.int32).T
    graph = build_graph(
        pins.copy(),
        boards.copy(),
        pin_count=12,
        board_count=int(boards.max()) + 1,
        pin_languages=np.array(tags, np.int16),
        languages=("en", "nl"),
        pin_topics=np.array(topics, np.int16),
        topics=("art", "food", "cars"),
    )
    walking = Walking(graph)
    start = data.draw(st.sampled_from(sorted({pin for pin, _ in edges})))

    walking.walk(start=start, seed=seed, language=1, bias=bias, topic=2, topic_bias=topic_bias)

    pins_of = lists_of(graph.board_edges)
    board_tags, board_topics = (
        [board_language(held, labels) for held in pins_of] for labels in (tags, topics)
    )
    expected, _ = naive.walk(
        lists_of(graph.pin_edges),
        pins_of,
        start=start,
        seed=seed,
        round_count=10,
        walker_count=K,
        restart=0.25,
        languages=(tags, board_tags),
        language=1,
        bias=bias,
        topics=(topics, board_topics),
        topic=2,
        topic_bias=topic_bias,
    )
    assert list(expected.items()) == list(walking.visits().items())


def board_language(pins: list[int], languages: list[int]) -> int:
    """The most frequent known language of a board's pins, the lowest of equal ones."""
    known = [languages[pin] for pin in pins if languages[pin] >= 0]
    return min(known, key=lambda tag: (-known.count(tag), tag), default=-1)


@settings(deadline=None)  # the first example compiles
@given(seed=SEEDS, cuts=st.lists(st.integers(0, 10), max_size=4))
def test_walk_may_be_done_in_pieces(seed: int, cuts: list[int]) -> None:
    """Looking up between rounds, for the stop, leaves no trace in the result."""
    graph = make_graph([(p, b) for p in range(12) for b in range(5) if (p * b) % 3 != 1])
    whole, pieces = Walking(graph), Walking(graph)

    whole.walk(start=3, seed=seed)
    bounds = [0, *sorted(cuts), 10]
    for first, last in pairwise(bounds):
        if first < last:
            pieces.walk(start=3, seed=seed, rounds=(first, last))

    assert list(whole.visits().items()) == list(pieces.visits().items())


def test_arrivals_have_the_right_chances() -> None:
    """Pins are arrived at, step by step, with the chances of the Markov chain.

    Per step 64 walkers x 1,500 seeds = 96,000 independent arrivals, one chi-square test for each of
    4 steps; false alarm once in 250,000 runs of this test (and the seeds are fixed).
    """
    edges = [(0, 0), (1, 0), (2, 0), (2, 1), (3, 1), (4, 1), (4, 2), (5, 2), (0, 3), (5, 3), (6, 3)]
    graph = make_graph(edges)
    walking = Walking(graph, walkers=64)
    chances = naive.arrival_chances(
        lists_of(graph.pin_edges), lists_of(graph.board_edges), start=2, step_count=4, restart=0.3
    )
    arrivals = np.zeros((4, 7))
    for seed in range(1500):
        before: dict[int, int] = {}
        for step in range(4):
            walking.table.fill(0)
            walking.walk(start=2, seed=seed, rounds=(0, step + 1), restart=0.3)
            now = walking.visits()
            for pin, count in now.items():
                arrivals[step, pin] += count - before.get(pin, 0)
            before = now

    for step in range(4):
        possible = chances[step] > 0
        expected = chances[step][possible] * 96_000
        statistic = ((arrivals[step][possible] - expected) ** 2 / expected).sum()
        assert arrivals[step][~possible].sum() == 0
        assert statistic < chi2.ppf(1 - 1e-6, possible.sum() - 1)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_offsets_of_either_width_give_the_same_walk(dtype: type[np.signedinteger[Any]]) -> None:
    """Beyond 2**31 edges positions are stored in 64 bits; the walk is the same."""
    graph = make_graph([(p, b) for p in range(9) for b in range(6) if (p + b) % 2])
    wide = PinBoardGraph(
        (
            (graph.pin_edges[0].astype(dtype), graph.pin_edges[1]),
            (graph.board_edges[0].astype(dtype), graph.board_edges[1]),
        )
    )
    narrow_walk, wide_walk = Walking(graph), Walking(wide)

    narrow_walk.walk(start=1)
    wide_walk.walk(start=1)

    assert narrow_walk.visits() == wide_walk.visits()


def test_full_list_of_pins_ends_the_walk() -> None:
    """A walk that meets more pins than there is room for ends in time."""
    graph = make_graph([(p, 0) for p in range(200)])
    walking = Walking(graph, room=20)

    done = walking.walk(start=0, rounds=(0, 1000))

    assert done < 10
    assert len(walking.visits()) <= 20


def test_stale_table_is_refused_instead_of_probed_for_ever() -> None:
    """An epoch used again over a table full of its entries gives -1, not an endless search."""
    graph = make_graph([(p, 0) for p in range(200)])
    walking = Walking(graph, room=32)
    stale = np.arange(len(walking.table), dtype=np.uint64) + np.uint64(10_000)
    walking.table[:] = (np.uint64(1) << np.uint64(53)) | (stale << np.uint64(21))

    assert walking.walk(start=0) == -1
    assert walking.walk(start=0, epoch=2) > 0


LISTS = st.lists(
    st.dictionaries(st.integers(0, 40), st.integers(1, 9), max_size=20), min_size=1, max_size=5
)


@settings(deadline=None)  # the first example compiles
@given(lists=LISTS)
def test_merge_adds_up_and_remembers_the_largest(lists: list[dict[int, int]]) -> None:
    """Each pin once, in order of appearance; the sum; the first list with the largest value."""
    bounds = np.cumsum([0, *map(len, lists)])
    rows = np.array([row for found in lists for row in found], np.int32)
    values = np.array([value for found in lists for value in found.values()], np.float32)

    merged, count = merge(bounds, rows, values)

    order = list(dict.fromkeys(rows.tolist()))
    parts = {
        row: [(found[row], q) for q, found in enumerate(lists) if row in found] for row in order
    }
    assert order == merged[0][:count].tolist()
    assert [sum(value for value, _ in parts[row]) for row in order] == merged[1][:count].tolist()
    assert [max(parts[row], key=lambda part: (part[0], -part[1])) for row in order] == list(
        zip(merged[2][:count].tolist(), merged[3][:count].tolist(), strict=True)
    )


def merge(
    bounds: NDArray[np.int64], rows: NDArray[np.int32], values: NDArray[np.float32]
) -> tuple[tuple[NDArray[Any], ...], int]:
    """Run the kernel on fresh scratch."""
    size = len(rows)
    merged = (
        np.empty(size, np.int32),
        np.empty(size),
        np.empty(size, np.float32),
        np.empty(size, np.int32),
    )
    table = np.zeros(256, np.uint64)
    return merged, list_kernels.merge_lists(bounds, rows, values, 1, table, merged)


def test_merge_refuses_a_full_table() -> None:
    """More pins than slots give -1, not an endless search."""
    rows = np.arange(300, dtype=np.int32)

    _, count = merge(np.array([0, 300]), rows, np.ones(300, np.float32))

    assert count == -1


@settings(deadline=None)  # the first example compiles
@given(
    scores=st.lists(st.floats(0.0, 1e5) | st.integers(1, 5).map(float), max_size=60),
    count=st.integers(1, 70),
)
def test_shortlist_holds_the_best(scores: list[float], count: int) -> None:
    """None of the highest scores is missing, and the first of equal ones are there."""
    spread = list_kernels.SHORTLIST_RANGE / max(max(scores, default=0), 1e-300)
    found = list_kernels.shortlist(np.array(scores), count, spread)

    best = np.argsort(-np.array(scores), kind="stable")[:count]
    assert set(best.tolist()) <= set(found.tolist())
    assert found.tolist() == sorted(found.tolist())
