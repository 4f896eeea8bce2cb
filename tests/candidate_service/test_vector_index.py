"""The index finds what a full scan finds, and its library's traps stay shut."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from candidate_service.vector_index import (
    IndexReport,
    IndexSettings,
    LiveVectorIndex,
    VectorIndex,
    build_index,
    present_rows,
)
from candidate_service.vector_kernels import scan_cosines
from service_runtime.errors import Corrupted

GRAPH = IndexSettings(exact_count_max=0, recall_depth=20, sample_count=100)


def make_vectors(count: int, dimension: int = 16, *, seed: int = 1) -> NDArray[np.float32]:
    """Return unit rows around a tenth as many centres, in the order of their centres."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(count // 10, 1), dimension))
    vectors = np.repeat(centres, 10, axis=0)[:count] + 0.5 * rng.standard_normal((count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def build(vectors: NDArray[np.float32], path: Path, settings: IndexSettings) -> IndexReport:
    """Build with a fixed seed and no progress bar."""
    return build_index(
        vectors, path, settings, rng=np.random.default_rng(5), advance=lambda _: None
    )


def make_graph(vectors: NDArray[np.float32], path: Path) -> VectorIndex:
    """Return an index that walks a graph, however small the world."""
    report = build(vectors, path, GRAPH)
    return VectorIndex(vectors, path=path, expansion_search=report.expansion_search)


def test_scan_equals_products() -> None:
    """One pass over memory gives what one product a query gives."""
    vectors = make_vectors(300, 24)

    np.testing.assert_allclose(
        scan_cosines(vectors, vectors[:3]), vectors[:3] @ vectors.T, atol=1e-6
    )


def test_exact_index_returns_the_true_neighbours_in_order() -> None:
    """A scan gives the neighbours by cosine, the lower row first among equals."""
    vectors = make_vectors(400)
    vectors[7] = vectors[3]
    index = VectorIndex(vectors, path=None)

    ((rows, cosines),) = index.nearest(vectors[3:4], 10)

    expected = np.lexsort((np.arange(400), -(vectors @ vectors[3])))[:10]
    assert rows.tolist()[:2] == [3, 7]
    assert set(rows.tolist()) == set(expected.tolist())
    assert (np.diff(cosines) <= 0).all()


def test_graph_reaches_the_recall_it_reports(tmp_path: Path) -> None:
    """What the build measured on its sample holds on other pins (100 lists, 3 % allowed)."""
    vectors = make_vectors(3000)
    report = build(vectors, tmp_path / "g", GRAPH)
    index = VectorIndex(vectors, path=tmp_path / "g", expansion_search=report.expansion_search)

    queries = vectors[::30]
    exact = [set(np.argsort(-(vectors @ query))[:20].tolist()) for query in queries]
    found = [set(rows.tolist()) for rows, _ in index.nearest(queries, 20)]

    recall = np.mean([len(a & b) / 20 for a, b in zip(exact, found, strict=True)])
    assert report.recall >= 0.95
    assert recall >= report.recall - 0.03


def test_graph_scores_are_exact_cosines(tmp_path: Path) -> None:
    """The graph finds in bf16; what it returns is scored from the float32 rows."""
    vectors = make_vectors(500)
    ((rows, cosines),) = make_graph(vectors, tmp_path / "g").nearest(vectors[:1], 30)

    np.testing.assert_allclose(cosines, vectors[rows] @ vectors[0], atol=1e-6)
    assert (np.diff(cosines) <= 0).all()


def test_short_answers_are_not_padded(tmp_path: Path) -> None:
    """Asking for more than there are gives what there is: no key 0, no NaN."""
    vectors = make_vectors(30)
    vectors[0] = 0.0
    ((rows, cosines),) = make_graph(vectors, tmp_path / "g").nearest(vectors[5:6], 100)

    assert len(rows) == 29
    assert 0 not in rows.tolist()
    assert np.isfinite(cosines).all()


@pytest.mark.parametrize("is_exact", [True, False])
def test_pins_below_the_wanted_cosine_are_left_out(is_exact: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """The library ignores its radius; ours cuts."""
    vectors = make_vectors(500)
    index = VectorIndex(vectors, path=None) if is_exact else make_graph(vectors, tmp_path / "g")

    ((rows, cosines),) = index.nearest(vectors[:1], 400, cosine_min=0.5)

    assert 0 < len(rows) < 400
    assert (cosines >= 0.5).all()


def test_search_effort_is_restored_on_every_thread(tmp_path: Path) -> None:
    """A view opens with the library's own effort; ours is set again, on each thread's view."""
    vectors = make_vectors(200)
    build(vectors, tmp_path / "g", GRAPH)
    index = VectorIndex(vectors, path=tmp_path / "g", expansion_search=321)

    with ThreadPoolExecutor(1) as pool:
        view = pool.submit(index._view).result()

    assert view.expansion_search == 321
    assert index._view().expansion_search == 321
    assert view is not index._view()


def test_threads_get_the_same_answer(tmp_path: Path) -> None:
    """Eight threads on their own views agree with one."""
    vectors = make_vectors(2000)
    index = make_graph(vectors, tmp_path / "g")
    expected = [rows.tolist() for rows, _ in index.nearest(vectors[:64], 10)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: index.nearest(vectors[i : i + 1], 10)[0], range(64)))

    assert expected == [rows.tolist() for rows, _ in found]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """With one thread a build can be repeated to the byte."""
    vectors = make_vectors(800)
    build(vectors, tmp_path / "a", GRAPH)
    build(vectors, tmp_path / "b", GRAPH)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_equal_vectors_do_not_spoil_the_measured_recall(tmp_path: Path) -> None:
    """Pins of one board have one vector: any of them is as right as the other."""
    vectors = np.repeat(make_vectors(40), 50, axis=0)

    assert build(vectors, tmp_path / "g", GRAPH).recall >= 0.95


def test_recall_of_fewer_pins_than_the_lists_are_long(tmp_path: Path) -> None:
    """With 30 pins, lists of 100 are complete at 30."""
    report = build(make_vectors(30), tmp_path / "g", IndexSettings(exact_count_max=0))

    assert report.recall == 1.0


def test_small_world_is_scanned(tmp_path: Path) -> None:
    """Below the threshold no graph is written."""
    report = build(make_vectors(50), tmp_path / "g", IndexSettings(exact_count_max=50))

    assert report.is_exact
    assert not (tmp_path / "g").exists()


def test_rows_without_vector_are_not_there() -> None:
    """A zero row cannot be found and cannot be searched from."""
    vectors = make_vectors(20)
    vectors[4] = 0.0
    index = VectorIndex(vectors, path=None)

    assert 4 not in index.nearest(vectors[:1], 20)[0][0].tolist()
    assert index.has_vector(np.array([3, 4, 19, 20, -1], np.int32)).tolist() == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert 4 not in present_rows(vectors).tolist()


def test_world_without_vectors_is_empty() -> None:
    """Nobody saved anything: an empty answer, no error."""
    index = VectorIndex(np.zeros((3, 8), np.float32), path=None)

    assert len(index.nearest(np.eye(8, dtype=np.float32)[:1], 5)[0][0]) == 0


def test_graph_of_another_dimension_is_refused(tmp_path: Path) -> None:
    """Vectors and graph that do not belong together are found when opening, not when serving."""
    build(make_vectors(100, 16), tmp_path / "g", GRAPH)

    with pytest.raises(Corrupted, match="16 dimensions"):
        VectorIndex(make_vectors(100, 24), path=tmp_path / "g", expansion_search=64)


def test_query_of_another_dimension_is_refused() -> None:
    """A vector from another space has no neighbours here."""
    with pytest.raises(ValueError, match="16"):
        VectorIndex(make_vectors(10), path=None).nearest(np.ones((1, 8), np.float32), 1)


def test_live_index_finds_replaces_and_forgets() -> None:
    """A pin added while serving is found at once, moves with its vector, and can be removed."""
    vectors = make_vectors(200)
    live = LiveVectorIndex(16, settings=IndexSettings(), expansion_search=64)
    assert len(live.nearest(vectors[0], 3)[0]) == 0
    for row, vector in enumerate(vectors):
        live.add(row, vector)

    assert live.nearest(vectors[9], 1)[0].tolist() == [9]
    live.add(9, -vectors[9])
    assert 9 not in live.nearest(vectors[9], 5)[0].tolist()
    live.remove(10)
    live.remove(10)
    assert live.nearest(vectors[10], 1)[0].tolist() != [10]
    assert len(live) == 199


def test_live_index_is_searched_while_it_grows() -> None:
    """Four searching threads beside one that adds: no error, no row that was never added."""
    vectors = make_vectors(600)
    live = LiveVectorIndex(16, settings=IndexSettings(), expansion_search=64)
    for row in range(100):
        live.add(row, vectors[row])

    def search(first: int) -> set[int]:
        return {
            row
            for at in range(first, first + 150)
            for row in live.nearest(vectors[at % 600], 10)[0].tolist()
        }

    with ThreadPoolExecutor(5) as pool:
        adding = pool.submit(lambda: [live.add(row, vectors[row]) for row in range(100, 600)])
        found = [pool.submit(search, first) for first in (0, 150, 300, 450)]
        adding.result()
        rows = set().union(*(one.result() for one in found))

    assert rows <= set(range(600))
    assert len(live) == 600
    assert all(row in live.nearest(vectors[row], 5)[0].tolist() for row in range(0, 600, 50))


def test_lightgbm_works_after_the_index_was_imported() -> None:
    """The index library brings its own C++ runtime; imported here it does not break LightGBM."""
    program = """
import candidate_service.vector_index
import lightgbm, numpy
x = numpy.random.default_rng(0).random((200, 12)); y = x[:, 0] + x[:, 11]
booster = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(x, y), 3)
again = lightgbm.Booster(model_str=booster.model_to_string())
assert (again.predict(x) == booster.predict(x)).all()
print("ok", again.num_feature())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )

    assert done.stdout.split() == ["ok", "12"], done.stderr
