"""The catalogue holds every pin anyone mentioned, and a pin keeps its row for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from candidate_service.catalogue import Catalogue, open_catalogue
from candidate_service.jobs.build_catalogue import run
from service_runtime.errors import NotReady
from service_runtime.generations import GenerationStore
from tests.candidate_service.world import (
    DAY_US,
    NOW_US,
    make_context,
    write_actions,
    write_pins,
    write_saves,
)


def build(data_root: Path, *, as_of_us: int = NOW_US) -> Catalogue:
    """Run the job and open what it published."""
    context = make_context(data_root, as_of_us=as_of_us)
    run(context)
    context.close()
    generation = GenerationStore(data_root / "generations").current("catalogue", format_version=2)
    assert generation is not None
    return open_catalogue(generation)


def test_catalogue_unites_pins_saves_and_actions(tmp_path: Path) -> None:
    """A pin that only a save or an action mentions is a pin too."""
    write_pins(tmp_path, [{"pin_id": "described", "title": "A pin"}])
    write_saves(tmp_path, [("board", "saved"), ("board", "described")])
    write_actions(tmp_path, [("user", "clicked", "click", NOW_US - DAY_US)])

    built = build(tmp_path)

    assert sorted(built.ids.ids(range(len(built)))) == ["clicked", "described", "saved"]
    assert built.known_of(built.ids.rows(["described", "saved"]))["title"].to_pylist() == [
        "A pin",
        None,
    ]


def test_every_attribute_is_kept(tmp_path: Path) -> None:
    """What was imported comes back as it was."""
    pin = {
        "pin_id": "p",
        "title": "Título",
        "description": "d",
        "topics": ["a", "b"],
        "language": "es",
        "country": "MX",
        "owner_id": "o",
        "image_url": "https://example.org/p.png",
        "creation_time_us": 12,
        "attributes": [("colour", "red"), ("market", "nl")],
        "quality": 0.5,
        "is_hidden": True,
        "is_deleted": False,
        "expiration_time_us": NOW_US,
        "image_hash": 2**64 - 3,
    }
    stored = {**pin, "image_hash": -3}  # files hold the same bits as a signed number
    write_pins(tmp_path, [stored])

    built = build(tmp_path)

    (known,) = built.known_of(built.ids.rows(["p"])).to_pylist()
    assert {"pin_id": "p", **known} == pin


def test_newest_import_of_a_pin_wins(tmp_path: Path) -> None:
    """A pin imported again is described by the later import."""
    write_pins(tmp_path, [{"pin_id": "p", "title": "old", "import_seq": 1}])
    write_pins(tmp_path, [{"pin_id": "p", "title": "new", "import_seq": 2}], file="b")

    built = build(tmp_path)

    assert built.pins["title"].to_pylist() == ["new"]


def test_rows_only_grow(tmp_path: Path) -> None:
    """A second build keeps every row and the name of the row space, and appends."""
    write_pins(tmp_path, [{"pin_id": "m"}, {"pin_id": "z"}])
    first = build(tmp_path)
    write_pins(
        tmp_path, [{"pin_id": "a"}, {"pin_id": "m", "title": "now", "import_seq": 9}], file="b"
    )

    second = build(tmp_path)

    assert second.ids.ids([0, 1, 2]) == [*first.ids.ids([0, 1]), "a"]
    assert second.pins["title"].to_pylist() == ["now", None, None]
    assert second.id_space == first.id_space


def test_rows_stay_when_a_pin_is_no_longer_mentioned(tmp_path: Path) -> None:
    """A pin whose import was taken away keeps its row, without attributes."""
    write_pins(tmp_path, [{"pin_id": "gone", "title": "t"}])
    build(tmp_path)
    (tmp_path / "catalogue" / "pins" / "a.parquet").unlink()

    built = build(tmp_path)

    assert built.ids.ids([0]) == ["gone"]
    assert built.pins["title"].to_pylist() == [None]


def test_nothing_later_than_as_of(tmp_path: Path) -> None:
    """A catalogue as of a time knows no pin made, saved or acted on only later."""
    time = NOW_US - 10 * DAY_US
    write_pins(
        tmp_path,
        [
            {"pin_id": "old", "creation_time_us": time - 1},
            {"pin_id": "new", "creation_time_us": time},
        ],
    )
    write_saves(tmp_path, [("b", "old"), ("b", "saved_later", time)])
    write_actions(tmp_path, [("u", "acted_later", "click", time + 1)])

    built = build(tmp_path, as_of_us=time)

    assert built.ids.ids(range(len(built))) == ["old"]


def test_empty_world_gives_an_empty_catalogue(tmp_path: Path) -> None:
    """Nothing imported: a catalogue without pins, no error."""
    assert len(build(tmp_path)) == 0


def test_damaged_previous_catalogue_is_not_silently_replaced(tmp_path: Path) -> None:
    """Starting rows anew would break every other artifact: it takes a decision, so we stop."""
    write_pins(tmp_path, [{"pin_id": "p"}])
    build(tmp_path)
    (damaged,) = (tmp_path / "generations" / "catalogue").glob("*/pins.arrow")
    damaged.write_bytes(b"damaged")

    with pytest.raises(NotReady, match="rows of the previous catalogue"):
        build(tmp_path)


def test_deleted_pins_keep_their_rows_and_are_marked(tmp_path: Path) -> None:
    """Whoever holds a row goes on naming the same pin."""
    write_pins(tmp_path, [{"pin_id": "a"}, {"pin_id": "b"}, {"pin_id": "c"}])
    before = build(tmp_path)
    gone = {"pin_id": "b", "is_deleted": True, "import_seq": 9}
    write_pins(tmp_path, [gone], file="z")

    after = build(tmp_path)

    assert after.ids.ids(range(3)) == before.ids.ids(range(3))
    assert after.deleted().tolist() == [False, True, False]


def test_hidden_deleted_and_expired_pins_are_not_proposed(tmp_path: Path) -> None:
    """A pin expires at its time, not after it."""
    write_pins(
        tmp_path,
        [
            {"pin_id": "a", "is_hidden": True},
            {"pin_id": "b", "is_deleted": True},
            {"pin_id": "c", "expiration_time_us": NOW_US},
            {"pin_id": "d", "expiration_time_us": NOW_US + 1},
            {"pin_id": "e"},
        ],
    )

    built = build(tmp_path)

    assert built.not_proposed(NOW_US).tolist() == [True, True, True, False, False]


def test_manifest_says_which_vectors_there_are(tmp_path: Path) -> None:
    """The service refuses vectors of another length by it."""
    write_pins(
        tmp_path,
        [{"pin_id": "a"}, {"pin_id": "b", "vector": [1.0, 0.0], "text_vector": [1.0, 0.0, 0.0]}],
    )

    assert build(tmp_path).dimensions == {"vector": 2, "text_vector": 3}
