"""Neighbour lists: the same from any number of threads, written and opened, refused when torn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from candidate_service import cooccurrence
from candidate_service.cooccurrence import NeighbourLists, blocks_of, exact_counter, write_lists
from candidate_service.graph import PinBoardGraph, build_graph
from service_runtime.errors import Corrupted
from service_runtime.generations import Generation, GenerationStore
from service_runtime.ordered_map import ordered_map


def ring(pin_count: int) -> PinBoardGraph:
    """Pins in a ring, each on a board with its neighbour."""
    pins = np.arange(pin_count, dtype=np.int32)
    return build_graph(
        np.concatenate((pins, (pins + 1) % pin_count)).astype(np.int32),
        np.concatenate((pins, pins)),
        pin_count=pin_count,
        board_count=pin_count,
    )


def publish(root: Path, lists: NeighbourLists, *, pin_count: int) -> Generation:
    """Publish lists as the job does."""
    store = GenerationStore(root)
    with store.draft(cooccurrence.ARTIFACT, format_version=cooccurrence.FORMAT_VERSION) as draft:
        write_lists(draft.folder, [lists])
        return draft.publish(as_of_us=1, details={"pin_count": pin_count})


def all_lists(graph: PinBoardGraph, neighbour_count: int) -> NeighbourLists:
    """The lists of all pins in one block."""
    return exact_counter(graph, neighbour_count)(range(graph.pin_count))


def test_number_of_threads_makes_no_difference(tmp_path: Path) -> None:
    """9,000 pins in three blocks, from four threads: the files are those of one block."""
    graph = ring(9000)
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    whole.mkdir()
    pieces.mkdir()

    one = all_lists(graph, 5)
    write_lists(whole, [one])
    lengths = write_lists(pieces, ordered_map(exact_counter(graph, 5), blocks_of(9000), threads=4))

    for name in ("offsets.npy", "rows.npy", "scores.npy"):
        assert (whole / name).read_bytes() == (pieces / name).read_bytes()
    assert len(blocks_of(9000)) == 3
    assert lengths.tolist() == [2] * 9000
    np.testing.assert_allclose(one.scores, 0.25)  # one shared board of two; each pin on two


def test_block_of_lists_is_what_was_counted_of_its_pins() -> None:
    """Cut out of all lists or counted alone: the same neighbours."""
    graph = ring(100)
    cut, counted = all_lists(graph, 5).of(range(40, 60)), exact_counter(graph, 5)(range(40, 60))

    assert cut.first_pin == counted.first_pin == 40
    np.testing.assert_array_equal(cut.offsets, counted.offsets)
    np.testing.assert_array_equal(cut.rows, counted.rows)
    np.testing.assert_array_equal(cut.scores, counted.scores)


def test_published_lists_open_as_they_were(tmp_path: Path) -> None:
    """Offsets, rows and scores come back, read-only."""
    lists = all_lists(ring(30), 5)

    opened = NeighbourLists.open(publish(tmp_path, lists, pin_count=30))

    np.testing.assert_array_equal(lists.offsets, opened.offsets)
    np.testing.assert_array_equal(lists.rows, opened.rows)
    np.testing.assert_array_equal(lists.scores, opened.scores)
    assert not opened.rows.flags.writeable


def test_lists_of_another_length_are_refused(tmp_path: Path) -> None:
    """Lists that do not cover the pins that the manifest speaks of are damage."""
    lists = all_lists(ring(30), 5)

    with pytest.raises(Corrupted):
        NeighbourLists.open(publish(tmp_path, lists, pin_count=31))


def test_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    """A file of the right name and the wrong contents is named."""
    lists = all_lists(ring(30), 5)
    store = GenerationStore(tmp_path)
    with store.draft(cooccurrence.ARTIFACT, format_version=cooccurrence.FORMAT_VERSION) as draft:
        write_lists(draft.folder, [lists])
        draft.path("rows.npy").write_bytes(b"not an array")
        generation = draft.publish(as_of_us=1, details={"pin_count": 30})

    with pytest.raises(Corrupted, match=r"rows\.npy"):
        NeighbourLists.open(generation)
