"""Words of the catalogue and titles of boards become an index; deleted pins do not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from candidate_service.jobs import build_catalogue, build_text_index
from candidate_service.text_index import QueryTerm, TextIndex, open_text_index
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import make_context, write_pins, write_saves


def build(data_root: Path, **settings: Any) -> tuple[Mapping[str, Any], TextIndex]:
    """Run the job on four pins and open what it made."""
    pins: list[dict[str, Any]] = [
        {"pin_id": "a", "title": "Oak table"},
        {"pin_id": "b", "title": "Oak chair", "is_deleted": True},
        {"pin_id": "c"},
        {"pin_id": "d"},
    ]
    write_pins(data_root, pins)
    titles = {"x": "Tiny kitchens", "y": "Kitchens", "z": "Attics"}
    saves = [("x", "c"), ("y", "c"), ("z", "c"), ("w", "d"), ("z", "unheard")]
    write_saves(data_root, saves, titles=titles)
    build_catalogue.run(make_context(data_root))
    report = build_text_index.run(make_context(data_root, **settings))
    generation = GenerationStore(data_root / "generations").current("text_index")
    assert generation is not None
    return report, open_text_index(generation)


def rows(index: TextIndex, field: str, term: str) -> list[int]:
    """Return who holds a term."""
    return index.find([QueryTerm(field, term, 1.0)], 10)[0].tolist()


def test_titles_of_boards_are_indexed(tmp_path: Path) -> None:
    """A pin without a word of its own is found by its boards; so is one only a save names."""
    report, index = build(tmp_path)

    assert rows(index, "boards", "kitchen") == [2]
    assert sorted(rows(index, "boards", "attic")) == [2, 4]
    assert report["board_title_count"] == 4


def test_deleted_pins_have_no_words(tmp_path: Path) -> None:
    """What is gone is not found."""
    report, index = build(tmp_path)

    assert rows(index, "words", "oak") == [0]
    assert report["document_count"] == index.document_count == 3


def test_number_of_titles_is_bounded(tmp_path: Path) -> None:
    """Of a pin on many boards the commonest titles are kept, by name among equals."""
    _, index = build(tmp_path, text_board_title_count_max=1)

    assert (rows(index, "boards", "attic"), rows(index, "boards", "kitchen")) == ([2, 4], [])


def test_same_input_same_answers(tmp_path: Path) -> None:
    """Two builds score alike."""
    _, one = build(tmp_path / "one")
    _, other = build(tmp_path / "other")
    query = [QueryTerm("boards", "attic", 1.0), QueryTerm("words", "oak", 1.0)]

    assert [part.tolist() for part in one.find(query, 9)] == [
        part.tolist() for part in other.find(query, 9)
    ]
