"""Generations published once must open for ever: one tiny data root per format version.

Made by `python -m tests.candidate_service.test_golden FOLDER`; never made again for a version that
was released. A change of a format gets a new folder beside the old one.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from candidate_service import cooccurrence, graph, pin_statistics, vector_index
from candidate_service.candidate import Segment
from candidate_service.catalogue import PINS_SCHEMA, READABLE_VERSIONS, open_catalogue
from candidate_service.cooccurrence import NeighbourLists
from candidate_service.graph import PinBoardGraph
from candidate_service.jobs import (
    build_board_cooccurrence,
    build_catalogue,
    build_graph,
    build_popular,
    build_vector_index,
    learn_vectors,
)
from candidate_service.pin_vectors import open_vectors
from candidate_service.sources.popular import open_lists
from candidate_service.vector_index import open_index
from service_runtime.generations import Generation, GenerationStore
from tests.candidate_service.world import NOW_US, make_context, write_pins, write_saves

GOLDEN = Path(__file__).parents[1] / "golden" / "candidate_service"
VERSIONS = sorted(path.name for path in GOLDEN.glob("v*"))
JOBS = (
    build_catalogue,
    learn_vectors,
    build_vector_index,
    build_popular,
    build_graph,
    build_board_cooccurrence,
)


def make_golden(data_root: Path) -> None:
    """Publish one generation of every artifact over six pins on three boards."""
    pins = [
        {
            "pin_id": f"pin{at}",
            "title": f"Pin {at} ñ",
            "topics": ["a"],
            "language": ("en", "ja")[at % 2],
        }
        for at in range(6)
    ]
    write_pins(data_root, pins)
    boards = {"b0": (0, 1, 2), "b1": (1, 2, 3), "b2": (3, 4, 5)}
    saves = [(board, f"pin{at}", NOW_US - 1 - at) for board, held in boards.items() for at in held]
    write_saves(data_root, saves)
    for job in JOBS:
        settings = {"vector_dimension": 4, "index_exact_count_max": 0}
        context = make_context(data_root, popular_segment_pin_count_min=2, **settings)
        job.run(context)
        context.close()


def current(version: str, artifact: str, format_version: int | Collection[int] = 1) -> Generation:
    """Return the golden generation of an artifact, every checksum checked."""
    store = GenerationStore(GOLDEN / version / "generations")
    generation = store.current(artifact, format_version=format_version)
    assert generation is not None, artifact
    return generation


def test_there_are_golden_generations() -> None:
    """An empty folder would prove nothing."""
    assert VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
class TestGolden:
    def test_catalogue(self, version: str) -> None:
        """Ids, rows and attributes are read as they were written."""
        known = open_catalogue(current(version, "catalogue", READABLE_VERSIONS))

        assert known.ids.ids(range(6)) == [f"pin{at}" for at in range(6)]
        assert known.pins["title"].to_pylist()[3] == "Pin 3 ñ"
        assert known.pins.schema == PINS_SCHEMA
        assert not known.not_proposed(NOW_US).any()

    def test_vectors_and_index(self, version: str) -> None:
        """The graph of those days finds the vectors of those days."""
        vectors = open_vectors(current(version, "pin_vectors")).vectors
        index = open_index(current(version, "vector_index", vector_index.FORMAT_VERSIONS))

        ((rows, cosines),) = index.nearest(vectors[:1], 3)
        assert not index.is_exact
        assert rows[0] in {0, int(np.argmax(vectors @ vectors[0]))}
        assert cosines[0] == pytest.approx(1.0, abs=1e-5)

    def test_popular_and_statistics(self, version: str) -> None:
        """The lists and the counts are as they were."""
        rows, _ = open_lists(current(version, "popular")).best_for(Segment())
        counted = current(version, "pin_statistics", pin_statistics.FORMAT_VERSION)
        table = pa.ipc.open_file(str(counted.file("statistics.arrow"))).read_all()

        assert rows.tolist()[:3] == [1, 2, 3]
        assert table["board_count"].to_pylist() == [1, 2, 2, 2, 1, 1]

    def test_graph_and_neighbours(self, version: str) -> None:
        """Boards and neighbours are as they were."""
        opened = PinBoardGraph.open(current(version, "graph", graph.FORMAT_VERSIONS))
        lists = NeighbourLists.open(
            current(version, "board_cooccurrence", cooccurrence.FORMAT_VERSION)
        )

        assert (opened.pin_count, opened.board_count, opened.edge_count) == (6, 3, 9)
        assert set(lists.rows[lists.offsets[0] : lists.offsets[1]].tolist()) == {1, 2}


if __name__ == "__main__":
    target = Path(sys.argv[1])
    make_golden(target)
    for made_from in ("catalogue", "spill"):
        shutil.rmtree(target / made_from, ignore_errors=True)
    for lock in target.rglob(".lock"):
        lock.unlink()
