"""Neighbour lists: the same from any number of threads, written and opened, refused when torn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from candidate_service import cooccurrence
from candidate_service.cooccurrence import NeighbourLists, count_exactly
from candidate_service.graph import PinBoardGraph, build_graph
from service_runtime.errors import Corrupted
from service_runtime.generations import Generation, GenerationStore


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
        lists.write(draft.folder)
        return draft.publish(as_of_us=1, details={"pin_count": pin_count})


def test_number_of_threads_makes_no_difference() -> None:
    """9,000 pins in three blocks: one thread or four, the same bytes; progress tells all."""
    graph = ring(9000)
    told: list[int] = []

    one = count_exactly(graph, 5, threads=1, advance=told.append)
    four = count_exactly(graph, 5, threads=4, advance=lambda _: None)

    np.testing.assert_array_equal(one.rows, four.rows)
    np.testing.assert_array_equal(one.scores, four.scores)
    assert sum(told) == 9000
    assert np.diff(one.offsets).tolist() == [2] * 9000
    np.testing.assert_allclose(one.scores, 0.25)  # one shared board of two; each pin on two


def test_published_lists_open_as_they_were(tmp_path: Path) -> None:
    """Offsets, rows and scores come back, read-only."""
    lists = count_exactly(ring(30), 5, threads=1, advance=lambda _: None)

    opened = NeighbourLists.open(publish(tmp_path, lists, pin_count=30))

    np.testing.assert_array_equal(lists.offsets, opened.offsets)
    np.testing.assert_array_equal(lists.rows, opened.rows)
    np.testing.assert_array_equal(lists.scores, opened.scores)
    assert not opened.rows.flags.writeable


def test_lists_of_another_length_are_refused(tmp_path: Path) -> None:
    """Lists that do not cover the pins that the manifest speaks of are damage."""
    lists = count_exactly(ring(30), 5, threads=1, advance=lambda _: None)

    with pytest.raises(Corrupted):
        NeighbourLists.open(publish(tmp_path, lists, pin_count=31))


def test_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    """A file of the right name and the wrong contents is named."""
    lists = count_exactly(ring(30), 5, threads=1, advance=lambda _: None)
    store = GenerationStore(tmp_path)
    with store.draft(cooccurrence.ARTIFACT, format_version=cooccurrence.FORMAT_VERSION) as draft:
        lists.write(draft.folder)
        draft.path("rows.npy").write_bytes(b"not an array")
        generation = draft.publish(as_of_us=1, details={"pin_count": 30})

    with pytest.raises(Corrupted, match=r"rows\.npy"):
        NeighbourLists.open(generation)
