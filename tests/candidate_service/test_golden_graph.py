"""Graphs with languages, topics and titles, published once, must open for ever.

Made by `python -m tests.candidate_service.test_golden_graph FOLDER`; never made again for a version
that was released. A change of the format gets a new folder beside the old one. The first format is
in `test_golden`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from candidate_service import graph
from candidate_service.graph import PinBoardGraph
from candidate_service.jobs import build_catalogue, build_graph
from service_runtime.generations import GenerationStore
from tests.candidate_service.test_graph import listed
from tests.candidate_service.world import NOW_US, make_context, write_pins, write_saves

GOLDEN = Path(__file__).parents[1] / "golden" / "candidate_graph"
VERSIONS = sorted(path.name for path in GOLDEN.glob("v*"))


def make_golden(data_root: Path) -> None:
    """Publish a graph over six pins of two languages and two topics on three boards."""
    write_pins(
        data_root,
        [
            {
                "pin_id": f"pin{at}",
                "language": ("en", "ja")[at % 2],
                "topics": ["ñam"] if at < 3 else ["cars", "ñam"],
            }
            for at in range(6)
        ],
    )
    boards = {"b0": (0, 1, 2), "b1": (1, 2, 3), "b2": (3, 4, 5)}
    saves = [(board, f"pin{at}", NOW_US - 1 - at) for board, held in boards.items() for at in held]
    write_saves(data_root, [*saves, ("b0", "pin0", NOW_US - 9)])
    for job in (build_catalogue, build_graph):
        context = make_context(data_root, pixie_topic_bias=0.5)
        job.run(context)
        context.close()


def test_there_are_golden_graphs() -> None:
    """An empty folder would prove nothing."""
    assert VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_graph_is_as_it_was(version: str) -> None:
    """Edges, labels, groups, ids of the boards, and how many saves say the same."""
    store = GenerationStore(GOLDEN / version / "generations")
    generation = store.current("graph", format_version=graph.FORMAT_VERSIONS)
    assert generation is not None
    opened = PinBoardGraph.open(generation)

    assert listed(opened.board_edges) == [
        *((0, 0), (0, 2), (0, 1)),
        *((1, 2), (1, 1), (1, 3)),
        *((2, 4), (2, 3), (2, 5)),
    ]
    assert opened.languages == {"en": 0, "ja": 1}
    assert opened.topics == {"ñam": 0, "cars": 1}
    assert opened.pin_labels is not None
    assert opened.pin_labels.tolist() == [1, 4, 1, 5, 2, 5]
    assert opened.board_labels is not None
    assert opened.board_labels.tolist() == [1, 4, 5]
    assert opened.label_ranges("ja", opened.label_of(0)) == (4, 5, 3, 6)
    assert opened.label_ranges("", opened.label_of(4)) == (2, 3, 0, 0)
    assert opened.repeated_saves == {(0, 0): 2}
    assert opened.board_ids is not None
    assert opened.board_ids.ids(np.arange(3)) == ["b0", "b1", "b2"]
    assert opened.board_titles.null_count == 3


if __name__ == "__main__":
    target = Path(sys.argv[1])
    make_golden(target)
    for made_from in ("catalogue", "spill"):
        shutil.rmtree(target / made_from, ignore_errors=True)
    for made_with in ("catalogue", "save_index"):
        shutil.rmtree(target / "generations" / made_with)
    for lock in target.rglob(".lock"):
        lock.unlink()
