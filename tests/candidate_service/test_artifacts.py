"""Everything that is served speaks of the rows of one catalogue."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from candidate_service.artifacts import Artifacts, Served, steady
from candidate_service.jobs import build_catalogue, build_popular
from candidate_service.sources import popular
from service_runtime.errors import NotReady
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import make_context, write_pins


def build(data_root: Path) -> None:
    """Build a catalogue of one pin and its lists."""
    write_pins(data_root, [{"pin_id": "p"}])
    build_catalogue.run(make_context(data_root))
    build_popular.run(make_context(data_root))


def test_artifact_of_another_row_space_is_not_served(tmp_path: Path) -> None:
    """After the catalogue was begun anew its rows mean other pins: old lists must wait."""
    build(tmp_path)
    artifacts = Artifacts(GenerationStore(tmp_path / "generations"))
    lists = artifacts.add("popular", 1, popular.open_lists)
    assert len(lists().best_for(popular.Segment())[0]) == 1

    shutil.rmtree(tmp_path / "generations" / "catalogue")
    build_catalogue.run(make_context(tmp_path))
    for live in artifacts.lives():
        live.poll()

    with pytest.raises(NotReady, match="another catalogue"):
        lists()
    build_popular.run(make_context(tmp_path))
    for live in artifacts.lives():
        live.poll()
    assert len(lists().best_for(popular.Segment())[0]) == 1


def test_artifact_waits_for_its_catalogue(tmp_path: Path) -> None:
    """Opened before the catalogue is there, it is found at a later poll, not refused."""
    build(tmp_path)
    hidden = (tmp_path / "generations" / "catalogue").rename(tmp_path / "hidden")
    refused: list[str] = []
    artifacts = Artifacts(
        GenerationStore(tmp_path / "generations"),
        on_refused=lambda artifact, _: refused.append(artifact),
    )
    lists = artifacts.add("popular", 1, popular.open_lists)
    with pytest.raises(NotReady):
        lists()

    hidden.rename(tmp_path / "generations" / "catalogue")
    for live in artifacts.lives():
        live.poll()

    assert len(lists().best_for(popular.Segment())[0]) == 1
    assert refused == []


def test_bad_generation_is_refused_and_the_old_one_serves(tmp_path: Path) -> None:
    """A generation that does not verify is told once, and changes nothing."""
    build(tmp_path)
    refused: list[str] = []
    artifacts = Artifacts(
        GenerationStore(tmp_path / "generations"),
        on_refused=lambda artifact, _: refused.append(artifact),
    )
    lists = artifacts.add("popular", 1, popular.open_lists)
    before = artifacts.generation("popular")
    build_popular.run(make_context(tmp_path))
    newest = GenerationStore(tmp_path / "generations").current("popular")
    assert newest is not None
    newest.file("scores.npy").write_bytes(b"damaged")

    for _ in range(3):
        for live in artifacts.lives():
            live.poll()

    assert artifacts.generation("popular") == before
    assert len(lists().best_for(popular.Segment())[0]) == 1
    assert refused == ["popular"]


def test_artifact_of_a_younger_catalogue_waits_or_is_named(tmp_path: Path) -> None:
    """Its rows behind the catalogue that serves would be taken for live pins."""
    build(tmp_path)
    store = GenerationStore(tmp_path / "generations")
    artifacts = Artifacts(store)
    lists = artifacts.add("popular", 1, popular.open_lists)
    old = artifacts.generation("popular")
    write_pins(tmp_path, [{"pin_id": "q"}], file="b")
    build_catalogue.run(make_context(tmp_path))
    build_popular.run(make_context(tmp_path))
    catalogue, *others = artifacts.lives()

    for live in others:
        live.poll()
    assert artifacts.generation("popular") == old
    for live in (catalogue, *others):
        live.poll()
    assert artifacts.generation("popular") != old

    store.roll_back("catalogue")
    catalogue.poll()
    with pytest.raises(NotReady, match="younger"):
        lists()


def test_what_was_asked_while_the_catalogue_changed_is_asked_again(tmp_path: Path) -> None:
    """So that no row is read in two catalogues."""
    build(tmp_path)
    artifacts = Artifacts(GenerationStore(tmp_path / "generations"))
    seen: list[str] = []

    def answer(served: Served) -> str:
        if not seen:
            build_catalogue.run(make_context(tmp_path))
            artifacts.lives()[0].poll()
        seen.append(served.generation)
        return served.generation

    assert steady(artifacts.served, answer) == artifacts.served().generation
    assert len(set(seen)) == len(seen) == 2
