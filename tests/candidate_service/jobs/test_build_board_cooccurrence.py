"""Neighbours are right: exactly, through the batch engine, and on average when sampled."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candidate_service.cooccurrence import FORMAT_VERSION, NeighbourLists, pair_count_of
from candidate_service.graph import PinBoardGraph
from candidate_service.jobs import build_board_cooccurrence, build_catalogue, build_graph
from service_runtime.errors import NotReady
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import make_context, write_pins, write_saves
from tests.naive import cooccurrence as naive


def make_world(data_root: Path, *, boards: int = 30) -> PinBoardGraph:
    """40 pins on boards of 2 to 12 pins, in the catalogue and the graph."""
    rng = np.random.default_rng(8)
    write_saves(
        data_root,
        [
            (f"b{board}", f"p{pin}")
            for board in range(boards)
            for pin in rng.choice(40, int(rng.integers(2, 13)), replace=False)
        ],
    )
    for job in (build_catalogue, build_graph):
        context = make_context(data_root)
        job.run(context)
        context.close()
    generation = GenerationStore(data_root / "generations").current("graph")
    assert generation is not None
    return PinBoardGraph.open(generation)


def build(data_root: Path, *, mode: str = "auto", seed: int = 0, **changes: Any) -> NeighbourLists:
    """Run the job and open what it published."""
    context = make_context(data_root, seed=seed, **changes)
    context.arguments = argparse.Namespace(mode=mode)
    build_board_cooccurrence.run(context)
    context.close()
    generation = GenerationStore(data_root / "generations").current(
        "board_cooccurrence", format_version=FORMAT_VERSION
    )
    assert generation is not None
    return NeighbourLists.open(generation)


def listed(lists: NeighbourLists, pin: int) -> dict[int, float]:
    """One pin's neighbours and scores, best first."""
    part = slice(int(lists.offsets[pin]), int(lists.offsets[pin + 1]))
    return dict(zip(lists.rows[part].tolist(), lists.scores[part].tolist(), strict=True))


def naive_of(graph: PinBoardGraph) -> dict[int, dict[int, float]]:
    """The naive twin's neighbours of a graph."""
    offsets, boards = graph.pin_edges
    pins = np.repeat(np.arange(graph.pin_count), np.diff(offsets))
    return naive.neighbours(zip(pins.tolist(), boards.tolist(), strict=True))


@pytest.mark.parametrize("mode", ["exact", "sampled"])
def test_neighbours_equal_the_pairs_in_dictionaries(tmp_path: Path, mode: str) -> None:
    """Exactly counted, or through map and reduce with quotas that take everything."""
    graph = make_world(tmp_path)

    lists = build(tmp_path, mode=mode, cooccurrence_pair_count=100_000)

    for pin, expected in naive_of(graph).items():
        found = listed(lists, pin)
        assert expected.keys() == found.keys()
        for neighbour, score in expected.items():
            assert found[neighbour] == pytest.approx(score, rel=1e-5)  # float32
        assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.parametrize("mode", ["exact", "sampled"])
def test_lists_are_cut_to_the_best(tmp_path: Path, mode: str) -> None:
    """Each pin keeps so many neighbours, the best ones."""
    graph = make_world(tmp_path)

    lists = build(
        tmp_path, mode=mode, cooccurrence_neighbour_count=3, cooccurrence_pair_count=100_000
    )

    for pin, expected in naive_of(graph).items():
        best = sorted(expected.values(), reverse=True)[:3]
        np.testing.assert_allclose(list(listed(lists, pin).values()), best, rtol=1e-5)


def test_size_decides_between_exact_and_sampled(tmp_path: Path) -> None:
    """Up to the limit all pairs are counted, beyond it they are sampled."""
    count = pair_count_of(make_world(tmp_path))
    store = GenerationStore(tmp_path / "generations")

    modes = []
    for limit in (count, count - 1):
        build(tmp_path, cooccurrence_exact_pair_count_max=limit)
        generation = store.current("board_cooccurrence")
        assert generation is not None
        modes.append(generation.manifest.details["mode"])

    assert modes == ["exact", "sampled"]


def test_sample_is_a_function_of_seed_and_saves(tmp_path: Path) -> None:
    """The same seed gives the same lists, another one other lists."""
    make_world(tmp_path)

    one, again, other = (
        build(tmp_path, mode="sampled", seed=seed, cooccurrence_pair_count=10) for seed in (1, 1, 2)
    )

    np.testing.assert_array_equal(one.rows, again.rows)
    np.testing.assert_array_equal(one.scores, again.scores)
    assert listed(one, 0) != listed(other, 0)


def test_world_without_saves(tmp_path: Path) -> None:
    """Pins without boards have empty lists."""
    write_pins(tmp_path, [{"pin_id": "p"}, {"pin_id": "q"}])
    for job in (build_catalogue, build_graph):
        context = make_context(tmp_path)
        job.run(context)
        context.close()

    for mode in ("exact", "sampled"):
        lists = build(tmp_path, mode=mode)
        assert (len(lists), len(lists.rows)) == (2, 0)


def test_no_graph_is_not_ready(tmp_path: Path) -> None:
    """The pairs come from the graph: without one there is nothing to count."""
    context = make_context(tmp_path)

    with pytest.raises(NotReady):
        build_board_cooccurrence.run(context)
    context.close()


def write_world(data_root: Path, titles: list[str], saves: list[tuple[str, str]]) -> None:
    """Pins p0, p1, … with titles, saves, and the artifacts that the job reads."""
    write_pins(
        data_root,
        [{"pin_id": f"p{at}", "title": title, "language": "nl"} for at, title in enumerate(titles)],
    )
    write_saves(data_root, saves)
    for job in (build_catalogue, build_graph):
        context = make_context(data_root)
        job.run(context)
        context.close()


@pytest.mark.parametrize("mode", ["exact", "sampled"])
def test_agreement_in_words_comes_into_the_score(tmp_path: Path, mode: str) -> None:
    """Of two pins on the same board the one with the same words leads; weight 0 leaves it out."""
    saves = [("b", f"p{at}") for at in range(3)]
    write_world(tmp_path, ["zzb zzc", "zzd", "zzc zzb"], saves)

    heavy = listed(build(tmp_path, mode=mode, cooccurrence_text_weight=1.0), 0)
    light = listed(build(tmp_path, mode=mode, cooccurrence_text_weight=0.0), 0)

    assert list(heavy) == [2, 1]
    assert heavy[2] == pytest.approx(1 / 3)
    assert heavy[1] == pytest.approx(1 / 6)
    assert list(light.values()) == pytest.approx([1 / 3, 1 / 3])


def test_agreement_finds_what_is_just_below_the_cut(tmp_path: Path) -> None:
    """Twice as many are weighed as are kept: an agreeing pin may come in from below."""
    saves = [("b", f"p{at}") for at in range(3)] + [("c", "p0"), ("c", "p1")]
    write_world(tmp_path, ["zzb zzc", "zzd", "zzc zzb"], saves)

    lists = build(tmp_path, cooccurrence_neighbour_count=1, cooccurrence_text_weight=9.0)

    assert list(listed(lists, 0)) == [2]


def test_deleted_pins_are_nobodys_neighbours(tmp_path: Path) -> None:
    """They keep their rows and their saves, and take no place in a list."""
    write_world(tmp_path, ["a", "b", "c"], [("b", f"p{at}") for at in range(3)])
    write_pins(tmp_path, [{"pin_id": "p1", "is_deleted": True, "import_seq": 9}], file="later")
    for job in (build_catalogue, build_graph):
        context = make_context(tmp_path)
        job.run(context)
        context.close()

    lists = build(tmp_path)

    assert list(listed(lists, 0)) == [2]


def test_sample_reports_its_overlap_with_an_exact_count(tmp_path: Path) -> None:
    """A generous sample agrees wholly; a meagre one less; in the report and in the manifest."""
    make_world(tmp_path)
    overlaps = []
    for pair_count in (100_000, 10):
        context = make_context(tmp_path, cooccurrence_pair_count=pair_count)
        context.arguments = argparse.Namespace(mode="sampled")
        report = build_board_cooccurrence.run(context)
        context.close()
        overlaps.append(report["sampled_overlap_at_100"])
    generation = GenerationStore(tmp_path / "generations").current("board_cooccurrence")

    assert overlaps[0] == 1
    assert 0.05 < overlaps[1] < 0.95
    assert generation is not None
    assert generation.manifest.quality["sampled_overlap_at_100"] == overlaps[1]
    assert report["list_length_p10"] <= report["list_length_p50"] <= report["list_length_p90"]


def test_graph_of_another_catalogue_is_refused(tmp_path: Path) -> None:
    """Rows of different spaces name different pins: nothing is published."""
    write_world(tmp_path / "one", ["a", "b"], [("b", "p0"), ("b", "p1")])
    write_world(tmp_path / "other", ["a", "b"], [("b", "p0"), ("b", "p1")])
    graphs = tmp_path / "one" / "generations" / "graph"
    shutil.rmtree(graphs)
    shutil.copytree(tmp_path / "other" / "generations" / "graph", graphs)

    with pytest.raises(NotReady, match="another catalogue"):
        build(tmp_path / "one")
