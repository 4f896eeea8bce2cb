"""Features of the user's own pins, of the session and of words, in a world that can be checked."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ranking_service.feature_context import SESSION_SECONDS
from ranking_service.features import FEATURE_NAMES, FEATURES, feature_rows, make_context
from ranking_service.pool import pool_of
from ranking_service.profile import RecentActions
from ranking_service.query import Origin, RequestContext, Surface, Viewer
from ranking_service.side_tables import PinWords, SaveGraph, VectorGeometry
from ranking_service.world import Artifacts
from service_runtime.errors import Corrupted
from service_runtime.generation_store import GenerationStore
from service_runtime.id_table import IdTable
from tests.ranking_service.worlds import (
    NOW,
    make_profile,
    publish_catalogue,
    publish_statistics,
    publish_vectors,
    unit_vectors,
    write_arrow,
)

BOARDS = [[0, 1, 2], [0, 1], [2, 3], [4, 5]]
"""Pins of each board; pin 6 is on none."""
COUNT = 7


def publish_graph(store: Any, *, id_space: str = "space") -> None:
    """The boards as candidate_service writes them."""
    by_pin = [[b for b, pins in enumerate(BOARDS) if pin in pins] for pin in range(COUNT)]
    with store.draft("graph", format_version=2) as draft:
        for side, lists in (("pin", by_pin), ("board", BOARDS)):
            offsets = np.cumsum([0, *(len(row) for row in lists)]).astype(np.int32)
            flat = np.array([x for row in lists for x in row], np.int32)
            np.save(draft.path(f"{side}_offsets.npy"), offsets)
            np.save(draft.path(f"{side}_neighbours.npy"), flat)
        IdTable.build([f"board-{n}" for n in range(len(BOARDS))], draft.path("board_ids"))
        draft.publish(as_of_us=5, details={"id_space": id_space})


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """A catalogue with titles, vectors and the graph."""
    store = GenerationStore(tmp_path / "generations")
    publish_catalogue(store, COUNT)
    publish_vectors(store, unit_vectors(COUNT, 8, 0))
    publish_statistics(store, COUNT)
    publish_graph(store)
    return store


def rows_of(world: Any, profile: Any, **fields: Any) -> Any:
    """Rows of all pins."""
    given = {"surface": Surface.HOME_FEED, "query_row": -1, "now": NOW} | fields
    context = make_context(world, profile, Viewer(), **given)
    return feature_rows(pool_of(np.arange(COUNT, dtype=np.int32)), context)


def column(rows: Any, name: str) -> Any:
    """One feature of all pins."""
    return rows[:, FEATURE_NAMES.index(name)]


def test_boards_of_the_users_own_pins_speak(store: Any) -> None:
    """From pin 0: pin 1 shares two boards, pin 2 one of its two, pin 3 none of its one."""
    world = Artifacts(store).world()

    rows = rows_of(world, make_profile([], acted_pin_ids=("pin-0",)))

    near = column(rows, "history_item_neighbours")
    np.testing.assert_allclose(near, [1, 1, 0.5, 0, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(column(rows, "history_board_share")[:4], [1, 1, 0.5, 0])
    np.testing.assert_allclose(
        column(rows, "history_walk")[1], (0.5 / 3 + 0.5 / 2) * 2**-0.4, rtol=1e-6
    )
    assert column(rows, "history_count")[0] == pytest.approx(np.log(2))
    assert "graph" in world.generations


def test_hidden_pins_are_no_taste(store: Any) -> None:
    """What the user hid is not among the pins that candidates are compared with."""
    world = Artifacts(store).world()
    profile = make_profile([], acted_pin_ids=("pin-0",), hidden_pin_ids=("pin-0",))

    assert column(rows_of(world, profile), "history_item_neighbours").sum() == 0


def test_query_session_and_board_have_their_own_columns(store: Any) -> None:
    """Each set of pins fills its columns and no other's; old actions are no session."""
    world = Artifacts(store).world()
    recent = RecentActions(
        ("pin-4", "pin-2"), ("click", "save"), np.array([NOW - 60, NOW - SESSION_SECONDS - 1])
    )
    profile = make_profile([], recent_actions=recent)
    context = RequestContext(origin=Origin.BOARD, board_id="board-2")

    rows = rows_of(world, profile, query_row=1, surface=Surface.RELATED_PINS, context=context)

    np.testing.assert_allclose(
        column(rows, "query_cooccurrence"), [1, 1, 0.5, 0, 0, 0, 0], rtol=1e-6
    )
    np.testing.assert_allclose(column(rows, "session_cooccurrence")[4:6], [1, 1])
    assert column(rows, "session_cooccurrence")[:4].sum() == 0
    assert column(rows, "board_cooccurrence_own")[3] == pytest.approx(1 + 0.5**0.5)
    assert column(rows, "from_board").tolist() == [1] * COUNT
    assert column(rows, "session_count").tolist() == [1] * COUNT
    vectors = np.asarray(world.vectors)
    np.testing.assert_allclose(column(rows, "last_click_cosine"), vectors @ vectors[4], atol=1e-6)
    np.testing.assert_allclose(column(rows, "last_save_cosine"), vectors @ vectors[2], atol=1e-6)
    np.testing.assert_allclose(column(rows, "session_cosine_max"), vectors @ vectors[4], atol=1e-6)
    assert column(rows, "last_long_click_cosine").sum() == 0


def test_own_pins_are_compared_by_their_vectors(store: Any) -> None:
    """Closest, mean, squares, and ridge regression, against numpy."""
    world = Artifacts(store).world()
    own = ("pin-1", "pin-3", "pin-5")

    rows = rows_of(world, make_profile([], acted_pin_ids=own))

    vectors = np.asarray(world.vectors, np.float64)
    mine = vectors[[1, 3, 5]]
    cosines = vectors @ mine.T
    np.testing.assert_allclose(column(rows, "history_cosine_max"), cosines.max(1), atol=1e-5)
    np.testing.assert_allclose(column(rows, "history_cosine_mean"), cosines.mean(1), atol=1e-5)
    squares = (np.maximum(cosines, 0) ** 2).sum(1)
    np.testing.assert_allclose(column(rows, "history_cosine_squares"), squares, atol=1e-5)
    gram = vectors.T @ vectors
    spread = gram / (np.trace(gram) / 8)
    ridge = np.linalg.solve(spread + 2.6 * np.eye(8), mine.mean(0))
    np.testing.assert_allclose(column(rows, "history_regression"), vectors @ ridge, atol=1e-5)
    prior = 1.5 * spread + np.eye(8)
    interest = np.linalg.solve(prior + mine.T @ mine, mine.sum(0))
    np.testing.assert_allclose(column(rows, "history_interest"), vectors @ interest, atol=1e-5)


def test_words_of_titles_meet_searches_and_pins() -> None:
    """Words are letters and digits of any script, lower case; unknown ones say nothing."""
    words = PinWords.of(pa.array(["Red Bike", "red-car!", None, "", "京都 2024"]))

    assert words.offsets.tolist()[:3] == [0, 2, 4]
    assert words.codes_of(("RED bikes", "kyoto 京都")).tolist() == sorted(
        words.code_by_word[word] for word in ("red", "京都")
    )
    assert words.codes_of(()).size == 0
    assert words.code_count >= len(words.code_by_word)


def test_searches_find_titles(tmp_path: Path) -> None:
    """The share of a title's words that the latest searches name, as a cosine."""
    store = GenerationStore(tmp_path / "generations")
    with store.draft("catalogue", format_version=1) as draft:
        IdTable.build([f"pin-{n}" for n in range(COUNT)], draft.path("pin_ids"))
        titles = ["red bike", "red car", "blue", None, "", "bike", "x"]
        write_arrow(draft.path("pins.arrow"), pa.table({"title": pa.array(titles)}))
        draft.publish(as_of_us=1, details={"id_space": "space"})
    world = Artifacts(store).world()

    rows = rows_of(world, make_profile([]), context=RequestContext(queries=("Red bike",)))

    np.testing.assert_allclose(
        column(rows, "word_search"), [1, 0.5, 0, 0, 0, 2**-0.5, 0], rtol=1e-6
    )
    related = rows_of(world, make_profile([]), query_row=5, surface=Surface.RELATED_PINS)
    np.testing.assert_allclose(column(related, "word_query")[:2], [2**-0.5, 0], rtol=1e-6)


def test_families_can_be_left_out(store: Any) -> None:
    """Every column of the family is 0, all others are as they were."""
    world = Artifacts(store).world()
    context = make_context(
        world,
        make_profile([1], acted_pin_ids=("pin-0",)),
        Viewer(),
        surface=Surface.HOME_FEED,
        query_row=-1,
        now=NOW,
    )
    pool = pool_of(np.arange(COUNT, dtype=np.int32))
    whole, without = feature_rows(pool, context), feature_rows(pool, context, left_out=["user"])

    is_user = np.array([feature.family == "user" for feature in FEATURES])
    assert whole[:, is_user].any()
    assert not without[:, is_user].any()
    assert without[:, ~is_user].tobytes() == whole[:, ~is_user].tobytes()


def test_tables_of_another_numbering_are_left_alone(store: Any) -> None:
    """A graph that numbers pins otherwise is not read; the features say nothing."""
    publish_graph(store, id_space="other")
    world = Artifacts(store).world()

    assert world.side.graph is None
    assert world.side.geometry is not None
    rows = rows_of(world, make_profile([], acted_pin_ids=("pin-0",)))
    assert column(rows, "history_item_neighbours").sum() == 0


def test_a_damaged_graph_is_refused(tmp_path: Path) -> None:
    """Offsets that do not fit never reach a kernel."""
    store = GenerationStore(tmp_path / "generations")
    with store.draft("graph", format_version=2) as draft:
        for side in ("pin", "board"):
            np.save(draft.path(f"{side}_offsets.npy"), np.array([0, 9]))
            np.save(draft.path(f"{side}_neighbours.npy"), np.array([1, 2], np.int32))
        generation = draft.publish(as_of_us=1, details={"id_space": "space"})

    with pytest.raises(Corrupted, match="do not fit"):
        SaveGraph.open(generation)


def test_boards_are_sampled_at_even_steps() -> None:
    """A large board gives at most so many pins, spread over all of it; an unknown one none."""
    graph = SaveGraph(
        np.zeros(1, np.int64),
        np.empty(0, np.int32),
        np.array([0, 1000], np.int64),
        np.arange(1000, dtype=np.int32),
    )

    assert graph.pins_of("anything", 10).size == 0


def test_the_geometry_of_nothing_is_harmless() -> None:
    """Vectors that are all zero give finite directions."""
    geometry = VectorGeometry.of(np.zeros((4, 3), np.float32))

    assert np.isfinite(geometry.directions(np.zeros((2, 3), np.float32))).all()
