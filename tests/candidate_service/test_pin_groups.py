"""Who owns a pin, and which board counts it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.candidate import CandidateList
from candidate_service.catalogue import PINS_SCHEMA, Catalogue
from candidate_service.graph import PinBoardGraph
from candidate_service.live.segment import LiveChanges, LivePin, LiveSegment
from candidate_service.pin_columns import PinColumns
from candidate_service.pin_groups import BoardGroups, largest_boards, owner_groups
from candidate_service.selection import UNGROUPED, Cap, Screen, is_within, screened
from service_runtime.errors import NotReady

EDGES = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=20)


def make_graph(edges: set[tuple[int, int]], pin_count: int = 7) -> PinBoardGraph:
    """Return a graph of (pin, board) edges with five boards."""
    sides = []
    for side, count in ((0, pin_count), (1, 5)):
        ordered = sorted(edges, key=lambda edge: (edge[side], edge[1 - side]))
        degrees = np.bincount([edge[side] for edge in ordered], minlength=count)
        offsets = np.concatenate([[0], np.cumsum(degrees)]).astype(np.uint32)
        sides.append((offsets, np.array([edge[1 - side] for edge in ordered], np.int32)))
    return PinBoardGraph((sides[0], sides[1]))


@given(edges=EDGES)
@settings(deadline=None)
def test_largest_board_of_each_pin(edges: set[tuple[int, int]]) -> None:
    """The board with most pins, the higher row among equals; none for a pin on no board."""
    sizes = [sum(board == wanted for _, board in edges) for wanted in range(5)]

    found = largest_boards(make_graph(edges)).tolist()

    assert found == [
        max(((sizes[b], b) for p, b in edges if p == pin), default=(0, UNGROUPED))[1]
        for pin in range(7)
    ]


def test_boards_follow_the_graph() -> None:
    """Without a graph nothing is capped; a new graph is read when it comes."""
    graphs: list[PinBoardGraph] = []

    def current() -> PinBoardGraph:
        if not graphs:
            raise NotReady("no graph")
        return graphs[-1]

    groups, rows = BoardGroups(current), np.array([0, 1, 99], np.int32)
    assert groups.of(rows).tolist() == [UNGROUPED] * 3
    graphs.append(make_graph({(0, 2), (1, 2)}))
    assert groups.of(rows).tolist() == [2, 2, UNGROUPED]
    graphs.append(make_graph({(1, 3)}))
    assert groups.of(rows).tolist() == [UNGROUPED, 3, UNGROUPED]


def test_owners_of_old_new_and_changed_pins() -> None:
    """Equal owners have equal numbers, wherever they are known from; no owner is no group."""
    owners = ["a", "b", None, "a"]
    table = pa.Table.from_pylist([{"owner_id": owner} for owner in owners], PINS_SCHEMA)
    catalogue = Catalogue(["p0", "p1", "p2", "p3"], table, "space")  # type: ignore[arg-type]
    live = LiveSegment(catalogue)
    live.apply(
        LiveChanges(
            pins=[
                LivePin(4, "p4", is_new=True, owner_id="b"),
                LivePin(5, "p5", is_new=True, owner_id="new"),
                LivePin(6, "p6", is_new=True, owner_id="new"),
                LivePin(7, "p7", is_new=True),
                LivePin(3, "p3", is_new=False, owner_id="b"),
            ]
        )
    )

    found = owner_groups(PinColumns(table), live, np.arange(8, dtype=np.int32)).tolist()

    assert found[1] == found[3] == found[4]
    assert found[5] == found[6]
    assert found[2] == found[7] == UNGROUPED
    assert len({found[0], found[1], found[5], UNGROUPED}) == 4


@given(groups=st.lists(st.integers(-1, 4), max_size=30), count_max=st.integers(1, 4))
@settings(deadline=None)
def test_is_within_counts(groups: list[int], count_max: int) -> None:
    """The first so many of each group stay, all without a group do."""
    seen: dict[int, int] = {}
    expected = []
    for group in groups:
        seen[group] = seen.get(group, 0) + 1
        expected.append(group == UNGROUPED or seen[group] <= count_max)

    assert is_within(np.array(groups, np.int64), count_max).tolist() == expected


@pytest.mark.parametrize(("counts", "expected"), [((1,), [0, 1, 4]), ((2,), [0, 1, 2, 3, 4])])
def test_caps_leave_the_best_of_each_group(counts: tuple[int, ...], expected: list[int]) -> None:
    """A cap drops the later pins of a group and keeps the order of the others."""
    rows = np.arange(6, dtype=np.int32)
    scores = np.linspace(1, 0, 6, dtype=np.float32)
    found = CandidateList("s", rows, scores, np.zeros(6, np.int32))
    groups = np.array([7, 8, 7, 8, UNGROUPED, 7], np.int64)
    caps = [Cap(lambda rows: groups[rows], count) for count in counts]

    kept = screened(found, Screen(np.empty(0, np.int32), 6, None, caps), 6)

    assert kept.rows.tolist() == expected
