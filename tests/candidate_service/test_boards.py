"""Recommended boards are those that the walks pass, with their pins, titles and query pins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from candidate_service.boards import SHOWN_PIN_COUNT, BoardFinder
from candidate_service.candidate import Stop
from candidate_service.graph import PinBoardGraph, build_graph
from candidate_service.live.segment import LiveChanges, LiveSave
from candidate_service.live_graph import LiveGraph
from candidate_service.walk import PixieSettings, Walker
from service_runtime.id_table import IdTable
from tests.candidate_service.test_kernels import lists_of
from tests.candidate_service.test_live_graph import Segment0
from tests.candidate_service.test_walk import ask, counts
from tests.naive import walk as naive

KNOTS = [(pin, board) for pin in range(6) for board in range(3)] + [
    (pin, board) for pin in range(6, 26) for board in range(3, 6)
]


def settings_of(**changes: object) -> PixieSettings:
    """Short walks without an early stop, changed as told."""
    settings: dict[str, object] = {"step_count": 5000, "early_stop_visit_count": 0} | changes
    return PixieSettings(**settings)  # type: ignore[arg-type]


def make_finder(
    folder: Path, edges: Sequence[tuple[int, int]] = KNOTS, **changes: object
) -> tuple[BoardFinder, PinBoardGraph]:
    """Boards b0 to b5 over (pin, board) pairs; every other one has a title."""
    pins, boards = np.array(edges, np.int32).reshape(-1, 2).T
    graph = build_graph(pins.copy(), boards.copy(), pin_count=30, board_count=6)
    graph.board_ids = IdTable.build([f"b{row}" for row in range(6)], folder / "ids")
    titles = [f"Board {row}" if row % 2 else None for row in range(6)]
    graph.board_titles = pa.array(titles, pa.large_string())
    walker = Walker(graph, settings_of(**changes))
    return BoardFinder(lambda: walker), graph


def test_boards_of_the_query_pins_knot_come_and_no_other(tmp_path: Path) -> None:
    """Two knots without a tie: only boards of the query pin's are passed, with their pins."""
    finder, _ = make_finder(tmp_path)

    found = finder.find(ask([0]), 10)

    assert {board.board_id for board in found} == {"b0", "b1", "b2"}
    assert sum(board.score for board in found) == pytest.approx(1)
    assert [board.score for board in found] == sorted(
        (board.score for board in found), reverse=True
    )
    for board in found:
        assert board.title == ("Board 1" if board.board_id == "b1" else "")
        assert board.pin_count == 6
        assert sorted(board.pin_rows.tolist()) == list(range(6))


def test_passes_are_counted_as_by_one_walker_after_the_other(tmp_path: Path) -> None:
    """The same walks, but boards are counted."""
    finder, graph = make_finder(tmp_path, walker_count=8, step_count=800)

    found = finder.find(ask([0], seed=5), 10)

    passes, rounds = naive.walk(
        lists_of(graph.pin_edges),
        lists_of(graph.board_edges),
        start=0,
        seed=5,
        round_count=100,
        walker_count=8,
        restart=0.5,
        counts_boards=True,
    )
    assert {f"b{board}": n / (8 * rounds) for board, n in passes.items()} == {
        board.board_id: board.score for board in found
    }


def test_each_board_names_its_query_pin_and_its_most_visited_pins(tmp_path: Path) -> None:
    """From a pin of each knot: the right one stands behind; of many pins the best ten are shown."""
    finder, graph = make_finder(tmp_path)

    found = finder.find(ask([0, 7]), 10)

    for board in found:
        assert board.query_index == (0 if board.board_id < "b3" else 1)
    large = next(board for board in found if board.board_id == "b3")
    assert (large.pin_count, len(large.pin_rows)) == (20, SHOWN_PIN_COUNT)
    visits = counts(Walker(graph, settings_of()).visits(ask([0, 7])))
    assert [visits[pin] for pin in large.pin_rows.tolist()] == sorted(
        (visits[pin] for pin in range(6, 26)), reverse=True
    )[:SHOWN_PIN_COUNT]


def test_unwanted_boards_are_made_up_for(tmp_path: Path) -> None:
    """The user's own boards cost no places; unknown ids do no harm."""
    finder, _ = make_finder(tmp_path)
    best = finder.find(ask([0]), 1)[0].board_id

    again = finder.find(ask([0]), 1, excluded_ids=[best, "nobody's"])

    assert len(again) == 1
    assert again[0].board_id != best


def test_board_of_hidden_pins_is_not_recommended(tmp_path: Path) -> None:
    """What cannot be shown is not named, and a board with nothing to show is left out."""
    finder, _ = make_finder(tmp_path, [*KNOTS, (26, 5), (0, 5)])
    allowed = np.zeros(30, np.bool_)
    allowed[:3] = True

    found = finder.find(ask([0], allowed=allowed), 10)

    assert all(set(board.pin_rows.tolist()) <= {0, 1, 2} for board in found)
    assert {board.board_id for board in found} == {"b0", "b1", "b2", "b5"}


def test_new_board_and_new_title_are_there_at_once(tmp_path: Path) -> None:
    """Made a moment ago: it is passed, with its title; a renamed one has its new title."""
    finder, _ = make_finder(tmp_path)
    live = LiveGraph()
    live.apply(
        LiveChanges(
            saves=[
                LiveSave("s1", "fresh", 0, board_title="Fresh"),
                LiveSave("s2", "fresh", 33),
                LiveSave("s3", "b1", 34, board_title="Renamed"),
            ]
        )
    )

    found = {board.board_id: board for board in finder.find(ask([0], live=Segment0(live)), 10)}

    assert found["fresh"].title == "Fresh"
    assert sorted(found["fresh"].pin_rows.tolist()) == [0, 33]
    assert (found["b1"].title, found["b1"].pin_count) == ("Renamed", 7)


@pytest.mark.parametrize("rows", [[], [29], [999]])
def test_nothing_to_start_from(rows: list[int], tmp_path: Path) -> None:
    """No query pin, one on no board, one that the graph does not know: no boards, no error."""
    assert make_finder(tmp_path)[0].find(ask(rows), 10) == []


def test_stop_that_has_come(tmp_path: Path) -> None:
    """Whoever has gone gets nothing, soon."""
    gone = Stop(deadline=0.0, clock=lambda: 1.0)

    assert make_finder(tmp_path)[0].find(ask([0], stop=gone), 10) == []
