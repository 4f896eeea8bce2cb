"""Live saves: walks over them equal walks over the graph that they make, at every moment."""

from __future__ import annotations

import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.candidate import Segment, Stop
from candidate_service.graph import PinBoardGraph, build_graph
from candidate_service.live.segment import LiveChanges, LivePin, LiveSave, LiveSegment
from candidate_service.live_graph import LiveGraph, serve_graph
from candidate_service.walk import PixieSettings, Walker
from service_runtime.errors import Exhausted
from service_runtime.id_table import IdTable
from tests.candidate_service.test_walk import ask, counts
from tests.integration.world import built_root
from tests.naive import walk as naive

PINS, BOARDS, LIVE_PINS, LIVE_BOARDS = 8, 5, 3, 2


class Segment0(LiveSegment):
    """A segment of nothing but live saves, fed by hand."""

    def __init__(self, part: LiveGraph) -> None:
        super().__init__(None, [part])
        self._change_count = 1


@pytest.fixture(scope="session")
def board_ids(tmp_path_factory: pytest.TempPathFactory) -> IdTable:
    """Boards b0 to b4, those of the sealed graphs here."""
    folder: Path = tmp_path_factory.mktemp("boards") / "ids"
    return IdTable.build([f"b{row}" for row in range(BOARDS)], folder)


def make_graph(
    edges: Sequence[tuple[int, int]], board_ids: IdTable, languages: Sequence[int] = ()
) -> PinBoardGraph:
    """A graph of 8 pins and 5 boards."""
    pins, boards = np.array(sorted(set(edges)), np.int32).reshape(-1, 2).T
    graph = build_graph(
        pins.copy(),
        boards.copy(),
        pin_count=PINS,
        board_count=BOARDS,
        pin_languages=np.array(languages, np.int16) if languages else None,
        languages=("en", "nl") if languages else (),
    )
    graph.board_ids = board_ids
    return graph


def save(pin: int, board: int, number: int, *, is_removed: bool = False) -> LiveSave:
    """A save of a pin on board `b<board>`."""
    return LiveSave(f"s{number}", f"b{board}", pin, is_removed=is_removed)


def edges_now(live: LiveGraph, graph: PinBoardGraph) -> tuple[Any, Any]:
    """Boards of each pin and pins of each board, as walks see them."""
    edges = live.edges(graph)
    if edges is None:
        return (
            [graph.pin_edges[1][a:b].tolist() for a, b in pairwise(graph.pin_edges[0])],
            [graph.board_edges[1][a:b].tolist() for a, b in pairwise(graph.board_edges[0])],
        )
    pins = [edges.boards_of(pin).tolist() for pin in range(PINS + LIVE_PINS)]
    return pins, [edges.pins_of(board).tolist() for board in range(edges.board_count)]


CHANGES = st.lists(
    st.tuples(
        st.integers(0, PINS + LIVE_PINS - 1),
        st.integers(0, BOARDS + LIVE_BOARDS - 1),
        st.booleans(),
    ),
    max_size=40,
)
EDGES = st.lists(st.tuples(st.integers(0, PINS - 1), st.integers(0, BOARDS - 1)), max_size=25)


@settings(deadline=None, max_examples=150)
@given(edges=EDGES, changes=CHANGES, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_live_lists_are_the_graph_that_the_saves_make(
    board_ids: IdTable,
    edges: list[tuple[int, int]],
    changes: list[tuple[int, int, bool]],
    cuts: list[int],
) -> None:
    """In any batches, asked for before, between or after: the same edges as a set of pairs."""
    graph, live = make_graph(edges, board_ids), LiveGraph()
    expected = set(edges)
    bounds = [0, *sorted(min(cut, len(changes)) for cut in cuts), len(changes)]
    for first, last in pairwise(bounds):
        batch = []
        for pin, board, is_removed in changes[first:last]:
            # One save stands for each pair: taking it back takes the pin off the board.
            batch.append(save(pin, board, 100 * pin + board, is_removed=is_removed))
            (expected.discard if is_removed else expected.add)((pin, board))
        live.apply(LiveChanges(saves=batch))

        boards_of, pins_of = edges_now(live, graph)
        found = {(pin, board) for pin, boards in enumerate(boards_of) for board in boards}
        names = {board: board for board in range(BOARDS)}
        if overlay := live.edges(graph):
            names = {row: int(overlay.board_id(row)[1:]) for row in range(overlay.board_count)}
        assert {(pin, names[board]) for pin, board in found} == expected
        assert found == {(pin, board) for board, pins in enumerate(pins_of) for pin in pins}
        assert sum(map(len, boards_of)) == len(found)


@settings(deadline=None, max_examples=60)
@given(
    edges=EDGES,
    changes=CHANGES,
    languages=st.lists(st.integers(-1, 1), min_size=PINS, max_size=PINS),
    bias=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**64 - 1),
)
def test_walk_over_live_saves_equals_one_step_at_a_time(
    board_ids: IdTable,
    edges: list[tuple[int, int]],
    changes: list[tuple[int, int, bool]],
    languages: list[int],
    bias: float,
    seed: int,
) -> None:
    """The kernel on sealed and live lists visits what the naive walk visits on plain lists."""
    graph, live = make_graph(edges, board_ids, [*languages[:-2], 0, 1]), LiveGraph()
    languages = [*languages[:-2], 0, 1, 1, 0, -1]
    live.apply(
        LiveChanges(
            pins=[
                LivePin(PINS + at, f"p{at}", is_new=True, language=("nl", "en", "")[at])
                for at in range(LIVE_PINS)
            ],
            saves=[
                save(pin, board, number, is_removed=is_removed)
                for number, (pin, board, is_removed) in enumerate(changes)
            ],
        )
    )
    boards_of, pins_of = edges_now(live, graph)
    overlay = live.edges(graph)
    board_labels = [
        int(overlay._labels[1][board] if overlay else graph.board_labels[board])  # type: ignore[index]
        for board in range(len(pins_of))
    ]
    start = next((pin for pin, boards in enumerate(boards_of) if boards), None)
    walker = Walker(
        graph,
        PixieSettings(step_count=500, bias=bias, walker_count=8, early_stop_visit_count=0),
    )
    if start is None:
        return

    visits = walker.visits(
        ask([start], seed=seed, live=Segment0(live), segment=Segment(language="nl"))
    )

    expected, _ = naive.walk(
        boards_of,
        pins_of,
        start=start,
        seed=seed,
        round_count=visits.step_count // 8,
        walker_count=8,
        restart=0.5,
        languages=(languages, board_labels),
        language=1,
        bias=bias,
    )
    assert counts(visits) == expected


def test_new_pin_is_reached_and_leads_on(board_ids: IdTable) -> None:
    """A pin that nobody knew: one save later walks arrive at it, and start from it."""
    graph, live = make_graph([(0, 0), (1, 0), (2, 1), (3, 1)], board_ids), LiveGraph()
    walker = Walker(graph, PixieSettings(step_count=2000))
    segment = Segment0(live)

    assert PINS + 1 not in counts(walker.visits(ask([0], live=segment)))
    live.apply(LiveChanges(saves=[save(PINS + 1, 0, 1)]))

    assert PINS + 1 in counts(walker.visits(ask([0], live=segment)))
    assert {0, 1, PINS + 1} == set(counts(walker.visits(ask([PINS + 1], live=segment))))


def test_save_taken_back_is_not_walked_over(board_ids: IdTable) -> None:
    """Of the generation or live: when it is gone, what it tied together is apart."""
    graph, live = make_graph([(0, 0), (1, 0), (1, 1), (2, 1)], board_ids), LiveGraph()
    walker = Walker(graph, PixieSettings(step_count=2000))
    segment = Segment0(live)
    assert set(counts(walker.visits(ask([0], live=segment)))) == {0, 1, 2}

    live.apply(LiveChanges(saves=[LiveSave("sealed", "b1", 1, is_removed=True)]))
    assert set(counts(walker.visits(ask([0], live=segment)))) == {0, 1}
    assert set(counts(walker.visits(ask([2], live=segment)))) == {2}

    live.apply(LiveChanges(saves=[LiveSave("sealed", "b1", 2, is_removed=True)]))
    assert counts(walker.visits(ask([2], live=segment))) == {}

    live.apply(LiveChanges(saves=[save(2, 0, 1)]))
    assert set(counts(walker.visits(ask([2], live=segment)))) == {0, 1, 2}


def test_saves_taken_back_while_a_walk_is_on_its_way(board_ids: IdTable) -> None:
    """Between two chunks of a long walk its own pin, and all that it came by, loses every board."""
    edges = [(pin, board) for pin in range(4) for board in range(2)]
    graph, live = make_graph(edges, board_ids, [0, 1] * 4), LiveGraph()
    live.apply(LiveChanges(saves=[save(9, 0, 0)]))
    readings = iter(range(1_000_000))

    def take_all_back() -> float:
        if next(readings) == 2:
            gone = [
                LiveSave(f"x{at}", f"b{b}", p, is_removed=True) for at, (p, b) in enumerate(edges)
            ]
            live.apply(LiveChanges(saves=[*gone, save(9, 0, 0, is_removed=True)]))
        return 0.0

    walker = Walker(graph, PixieSettings(step_count=1_000_000, early_stop_visit_count=0))
    query = ask([0], live=Segment0(live), stop=Stop(deadline=1.0, clock=take_all_back))

    visits = walker.visits(query)

    assert visits.step_count == 1_000_000
    assert set(counts(visits)) == {0, 1, 2, 3, 9}
    assert counts(walker.visits(ask([0], live=Segment0(live)))) == {}


def test_one_of_two_saves_taken_back_leaves_the_other(board_ids: IdTable) -> None:
    """A pin that two people put on a board stays there until both have taken it off."""
    graph, live = make_graph([(0, 0), (1, 0)], board_ids), LiveGraph()
    graph.repeated_saves = {(1, 0): 2}
    for number, expected in enumerate(([0, 1], [0])):
        live.apply(LiveChanges(saves=[LiveSave(f"old{number}", "b0", 1, is_removed=True)]))
        edges = live.edges(graph)
        assert (edges.pins_of(0).tolist() if edges else [0, 1]) == expected

    live.apply(LiveChanges(saves=[save(1, 0, 1), save(1, 0, 2), save(1, 0, 1, is_removed=True)]))
    assert edges is not None
    assert edges.pins_of(0).tolist() == [0, 1]


def test_the_same_changes_again_change_nothing(board_ids: IdTable) -> None:
    """Replayed from an earlier position of the log, and over a graph that has them already."""
    changes = LiveChanges(saves=[save(1, 1, 1), save(9, 6, 2), save(0, 0, 3, is_removed=True)])
    once, twice = LiveGraph(), LiveGraph()
    graph = make_graph([(0, 0), (1, 0)], board_ids)
    once.apply(changes)
    twice.apply(changes)
    twice.apply(changes)
    assert edges_now(once, graph) == edges_now(twice, graph)

    folded = LiveGraph()
    folded.apply(LiveChanges(saves=[save(1, 1, 1)]))
    assert folded.edges(make_graph([(0, 0), (1, 0), (1, 1)], board_ids)) is None


def test_next_generation_takes_over(board_ids: IdTable) -> None:
    """A graph that has some of the saves: the others are still live over it."""
    live = LiveGraph()
    live.apply(LiveChanges(saves=[save(1, 1, 1), save(2, 1, 2)]))
    graphs = [make_graph([(0, 0)], board_ids), make_graph([(0, 0), (1, 1)], board_ids)]
    before, after = (live.edges(graph) for graph in graphs)

    assert before is not None
    assert after is not None
    assert sorted(after.pins_of(1).tolist()) == sorted(before.pins_of(1).tolist()) == [1, 2]
    assert after.is_new(2, 1)
    assert not after.is_new(1, 1)


class Pins:
    """As much of a catalogue as a part asks for: how many pins, and whose rows."""

    id_space = "rows"

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


def test_lists_are_made_before_a_graph_or_a_segment_serves(board_ids: IdTable) -> None:
    """A new graph finds the segment, a new segment the graph; other rows' are left alone."""
    live, stranger = LiveGraph(Pins(PINS)), LiveGraph(Pins(PINS))  # type: ignore[arg-type]
    stranger._id_space = "others"
    live.apply(LiveChanges(saves=[save(1, 1, 1)]))
    graph = make_graph([(0, 0)], board_ids)
    graph.id_space = "rows"

    serve_graph(graph)

    assert live._over[graph].pins_of(1).tolist() == [1]
    assert graph not in stranger._over
    younger = LiveGraph(Pins(PINS + 1))  # type: ignore[arg-type]
    younger.apply(LiveChanges(saves=[save(2, 1, 2)]))
    assert younger._over[graph].pins_of(1).tolist() == [2]


def test_graph_that_serves_no_more_is_let_go(board_ids: IdTable) -> None:
    """Lists over a graph do not keep it in memory."""
    live = LiveGraph()
    live.apply(LiveChanges(saves=[save(1, 1, 1)]))
    graph = make_graph([(0, 0)], board_ids)
    assert live.edges(graph) is not None
    gone = weakref.ref(graph)

    del graph

    assert gone() is None
    live.apply(LiveChanges(saves=[save(2, 1, 2)]))


def test_graph_younger_than_the_catalogue_is_walked_without_changes(board_ids: IdTable) -> None:
    """Its rows and those of the live pins are different pins: never mix them."""
    live = LiveGraph(Pins(4))  # type: ignore[arg-type]
    live.apply(LiveChanges(saves=[save(4, 0, 1)]))

    assert live.edges(make_graph([(0, 0), (5, 0)], board_ids)) is None


def test_lists_move_when_there_is_no_room_and_old_views_stay(board_ids: IdTable) -> None:
    """Thousands of changes of a few nodes: lists are packed anew, and who walks is undisturbed."""
    graph, live = make_graph([(0, 0), (1, 0)], board_ids, [0, 1] * 4), LiveGraph()
    live.apply(LiveChanges(saves=[save(2, 0, 0)]))
    edges = live.edges(graph)
    assert edges is not None
    first_view, before = edges.view, edges.pins_of(0).tolist()
    for number in range(3000):
        live.apply(LiveChanges(saves=[save(PINS + number % 900, number % 7, number)]))

    assert edges.view is not first_view
    edges_of_now, edges.view = edges.view, first_view
    assert set(before) <= set(edges.pins_of(0).tolist())
    edges.view = edges_of_now
    assert sorted(edges.pins_of(6).tolist()) == sorted(
        {PINS + number % 900 for number in range(3000) if number % 7 == 6}
    )


def test_lists_beyond_their_limit_are_refused(board_ids: IdTable) -> None:
    """What does not fit is refused with the remedy, and what was there still answers."""
    graph, live = make_graph([(0, 0), (1, 0)], board_ids), LiveGraph(entry_count_max=70_000)
    live.apply(LiveChanges(saves=[save(2, 0, 0)]))
    edges = live.edges(graph)
    assert edges is not None

    with pytest.raises(Exhausted, match="live lists"):
        live.apply(LiveChanges(saves=[save(pin, 1, pin) for pin in range(40_000)]))

    assert sorted(edges.pins_of(0).tolist()) == [0, 1, 2]
    assert edges.degrees(np.array([0, 30_000], np.int32)).tolist() == [1, 0]


def test_walks_while_saves_come_and_go(board_ids: IdTable) -> None:
    """Two thousand saves while two threads walk: none crashes, none leaves the graph."""
    rng = np.random.default_rng(3)
    edges = [(pin, board) for pin in range(PINS) for board in range(BOARDS) if (pin + board) % 2]
    graph, live = make_graph(edges, board_ids, [0, 1] * 4), LiveGraph()
    segment, stopped = Segment0(live), Event()
    live.apply(LiveChanges(saves=[save(0, 0, -1)]))
    faults: list[BaseException] = []

    def read() -> None:
        walker = Walker(graph, PixieSettings(step_count=5000))
        try:
            for seed in _until(stopped):
                query = ask([seed % PINS, PINS + 5], seed=seed, live=segment)
                visits = walker.visits(query, counts_boards=bool(seed % 2))
                assert ((visits.rows >= 0) & (visits.rows < PINS + 2000)).all()
        except BaseException as fault:  # noqa: BLE001  told to the test's own thread
            faults.append(fault)

    readers = [Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(2500):
        pin, board = int(rng.integers(0, PINS + 2000)), int(rng.integers(0, BOARDS + 50))
        is_removed = bool(rng.random() < 0.4)
        live.apply(LiveChanges(saves=[save(pin, board, 7 * pin + board, is_removed=is_removed)]))
    stopped.set()
    for reader in readers:
        reader.join(30)

    assert faults == []


def _until(stopped: Event) -> Iterator[int]:
    seed = 0
    while not stopped.is_set():
        yield seed
        seed += 1


_FIRST_CHANGE = """
import sys
from pathlib import Path
import numpy as np
from candidate_service import graph, live_kernels
from candidate_service.artifacts import Artifacts
from candidate_service.graph_access import walker_of
from candidate_service.graph_config import GraphConfig
from candidate_service.live.segment import LiveChanges, LiveSave
from candidate_service.live_graph import LiveGraph
from service_runtime.generations import GenerationStore

def compiled():
    kernels = vars(live_kernels).items()
    return {name: len(it.signatures) for name, it in kernels if hasattr(it, "signatures")}

artifacts = Artifacts(GenerationStore(Path(sys.argv[1]) / "generations"))
opened = walker_of(artifacts, GraphConfig())().graph
before = compiled()
assert sum(before.values()) >= 5, before
part = LiveGraph()
part.prepare(opened)
for number in range(3):
    part.apply(LiveChanges(saves=(LiveSave(f"s{number}", "a board", number),)))
assert part.edges(opened).degrees(np.zeros(1, np.int32))[0] > 0
assert compiled() == before, (before, compiled())
"""


def test_nothing_is_left_to_compile_for_the_first_save() -> None:
    """Or it would miss its deadline on a fresh machine; in a process that has compiled nothing."""
    command = [sys.executable, "-c", _FIRST_CHANGE, str(built_root())]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr[-2000:]
