"""Pruning by topics: mixed boards go, a pin keeps the boards that speak of what it speaks of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.graph_pruning import PinTopics, PruneSettings, prune_edges, topic_agreement
from tests.candidate_service.test_graph import columns
from tests.naive import graph_pruning as naive

EDGES = st.lists(
    st.tuples(st.integers(0, 15), st.integers(0, 9)), min_size=1, max_size=60, unique=True
)
TOPICS = st.lists(st.lists(st.integers(0, 4), unique=True, max_size=3), min_size=16, max_size=16)


def as_rows(topics: list[list[int]]) -> PinTopics:
    """Topics as compressed rows."""
    offsets = np.cumsum([0, *map(len, topics)])
    return PinTopics(offsets, np.array([t for own in topics for t in own], np.int32), 5)


@settings(deadline=None)
@given(edges=EDGES, topics=TOPICS)
def test_agreement_equals_sums_in_dictionaries(
    edges: list[tuple[int, int]], topics: list[list[int]]
) -> None:
    """Cosine of each edge and entropy of each board."""
    closeness, entropies = topic_agreement(*columns(edges), as_rows(topics))

    about = naive.board_topics(edges, topics)
    for found, (pin, board) in zip(closeness.tolist(), edges, strict=True):
        assert found == pytest.approx(naive.closeness(topics[pin], about[board]), abs=1e-6)
    for board, known in about.items():
        assert entropies[board] == pytest.approx(naive.entropy(known), abs=1e-9)


@settings(deadline=None)
@given(edges=EDGES, topics=TOPICS, exponent=st.floats(0.1, 1.0), bare=st.floats(0.1, 1.0))
def test_degrees_are_kept_by_the_exponent_that_applies(
    edges: list[tuple[int, int]], topics: list[list[int]], exponent: float, bare: float
) -> None:
    """Pins with topics by one, pins without by the other; kept boards are the closest."""
    rules = PruneSettings(
        board_pin_count_min=1,
        degree_exponent=exponent,
        bare_degree_exponent=bare,
        degree_kept_min=1,
    )

    kept = prune_edges(*columns(edges), rules, seed=2, topics=as_rows(topics))

    about = naive.board_topics(edges, topics)
    for pin in range(16):
        mine = [at for at, edge in enumerate(edges) if edge[0] == pin]
        wanted = int(np.ceil(len(mine) ** (exponent if topics[pin] else bare))) if mine else 0
        assert kept[mine].sum() == wanted
        if topics[pin]:
            near = [naive.closeness(topics[pin], about[edges[at][1]]) for at in mine]
            worst = min((n for n, at in zip(near, mine, strict=True) if kept[at]), default=0)
            best_left = max(
                (n for n, at in zip(near, mine, strict=True) if not kept[at]), default=0
            )
            assert worst >= best_left - 1e-6  # 31 bits of closeness


def test_crowded_pin_keeps_the_boards_of_its_topic() -> None:
    """A pin of one topic on four boards of it and twelve of another: the four stay."""
    edges = [(0, board) for board in range(16)]
    edges += [(1 + board, board) for board in range(16)] + [
        (17 + board, board) for board in range(16)
    ]
    topics = [[0], *([[0]] * 4 + [[1]] * 12) * 2]
    rules = PruneSettings(degree_exponent=0.5, degree_kept_min=1)

    kept = prune_edges(*columns(edges), rules, seed=0, topics=as_rows(topics))

    boards = columns(edges)[1]
    assert set(boards[:16][kept[:16]].tolist()) == {0, 1, 2, 3}


def test_board_of_everything_is_left_out() -> None:
    """Above the bound of entropy a board goes; one of a single topic, or of none, stays."""
    edges = [(pin, 0) for pin in range(4)] + [(4, 1), (5, 1), (6, 2), (7, 2)]
    topics = [[0], [1], [2], [3], [0], [0], [], []] + [[]] * 8
    rules = PruneSettings(board_entropy_max=1.5)

    kept = prune_edges(*columns(edges), rules, seed=0, topics=as_rows(topics))

    assert kept.tolist() == [False] * 4 + [True] * 4


def test_nothing_to_prune() -> None:
    """No edges give no edges."""
    nothing = np.empty(0, np.int32)

    assert len(prune_edges(nothing, nothing, PruneSettings(), seed=0)) == 0
