"""Pins with the same picture become groups; the most saved one stands for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from candidate_service.duplicates import Duplicates, open_duplicates
from candidate_service.hamming import open_hashes
from candidate_service.jobs import build_catalogue, build_duplicates
from service_runtime.generations import GenerationStore
from tests.candidate_service.pictures import address, draw, encode
from tests.candidate_service.world import make_context, write_pins, write_saves

HASH = 0x0123456789ABCDEF
HASHES = {
    "a": HASH,
    "b": HASH ^ 0b1011,
    "c": HASH ^ (0xFFFF << 16),
    "d": HASH ^ 0b1,
    "e": None,
    "f": 0,
    "g": 0,
}
"""a, b, d show one picture; c another; f and g are flat; e has none."""


def signed(value: int | None) -> int | None:
    """Return 64 bits as they are imported."""
    return None if value is None else int(np.uint64(value).view(np.int64))


def build(data_root: Path, **settings: Any) -> tuple[Mapping[str, Any], Duplicates]:
    """Run the job and open what it made."""
    pins = [{"pin_id": pin, "image_hash": signed(value)} for pin, value in HASHES.items()]
    write_pins(data_root, pins)
    write_saves(data_root, [("x", "b"), ("y", "b"), ("x", "c"), ("y", "d")])
    build_catalogue.run(make_context(data_root))
    report = build_duplicates.run(make_context(data_root, **settings))
    generation = GenerationStore(data_root / "generations").current("duplicates")
    assert generation is not None
    assert len(open_hashes(generation)) == report["compared_count"]
    return report, open_duplicates(generation)


def test_groups_and_who_stands_for_them(tmp_path: Path) -> None:
    """The most saved pin leads; flat pictures and pins without one are alone."""
    report, made = build(tmp_path)

    assert made.groups.tolist() == [1, 1, 0, 1, 0, 0, 0]
    assert made.representatives.tolist() == [False, True, True, False, True, True, True]
    assert (report["hash_count"], report["compared_count"]) == (6, 4)
    assert (report["group_count"], report["grouped_pin_count"]) == (1, 3)


def test_threshold_is_a_setting(tmp_path: Path) -> None:
    """At one bit only a and d are the same picture."""
    _, made = build(tmp_path, duplicate_distance_max=1)

    assert made.groups.tolist() == [1, 0, 0, 1, 0, 0, 0]


def test_world_without_pictures(tmp_path: Path) -> None:
    """No hashes: everybody is alone, and that is published."""
    write_pins(tmp_path, [{"pin_id": "a"}, {"pin_id": "b"}])
    build_catalogue.run(make_context(tmp_path))
    report = build_duplicates.run(make_context(tmp_path))

    assert (report["hash_count"], report["group_count"]) == (0, 0)


class TestMadeHashes:
    """Pins that were imported without a hash, with a picture that can be read."""

    def build(self, data_root: Path) -> Mapping[str, Any]:
        """Run both jobs."""
        build_catalogue.run(make_context(data_root))
        return build_duplicates.run(make_context(data_root, image_folder=data_root / "pictures"))

    def test_addresses_and_files_are_hashed(self, tmp_path: Path) -> None:
        """A picture in an address and its copy in a file are one; what is none is named."""
        (tmp_path / "pictures").mkdir()
        (tmp_path / "pictures" / "copy.jpg").write_bytes(encode(draw(1), "JPEG", quality=80))
        urls = {
            "a": address(encode(draw(1))),
            "b": "copy.jpg",
            "c": address(encode(draw(2))),
            "d": "https://example.com/not-fetched.png",
            "e": address(b"<html>"),
        }
        write_pins(tmp_path, [{"pin_id": pin, "image_url": url} for pin, url in urls.items()])
        report = self.build(tmp_path)

        generation = GenerationStore(tmp_path / "generations").current("duplicates")
        assert generation is not None
        assert open_duplicates(generation).groups.tolist() == [1, 1, 0, 0, 0]
        assert (report["made_hash_count"], report["refused_count"]) == (3, 1)
        assert report["refused"][0].startswith("the picture of pin 'e'")

    def test_what_is_no_path_is_refused_and_the_others_are_hashed(self, tmp_path: Path) -> None:
        """Catalogues from before the contract refused them may hold any text as an address."""
        (tmp_path / "pictures").mkdir()
        (tmp_path / "pictures" / "circle").symlink_to("circle")
        (tmp_path / "secret.png").write_bytes(encode(draw(2)))
        urls = {
            "a": "nul\x00.png",
            "b": "data:image/png;base64,\u00e9",
            "c": "x" * 5000,
            "d": "circle",
            "e": "../secret.png",
            "f": str(tmp_path / "secret.png"),
            "g": "circle/a.png",
            "h": ".",
            "i": address(encode(draw(1))),
        }
        write_pins(tmp_path, [{"pin_id": pin, "image_url": url} for pin, url in urls.items()])
        report = self.build(tmp_path)

        assert (report["made_hash_count"], report["refused_count"]) == (1, 8)
        assert [line[19:22] for line in report["refused"]] == [f"'{pin}'" for pin in "abcdefgh"]
        assert "outside" in report["refused"][4]
        assert "outside" in report["refused"][5]

    def test_picture_that_was_hashed_is_not_opened_again(self, tmp_path: Path) -> None:
        """While its address stays, its hash stays, even if the file is gone."""
        (tmp_path / "pictures").mkdir()
        file = tmp_path / "pictures" / "a.png"
        file.write_bytes(encode(draw(1)))
        write_pins(tmp_path, [{"pin_id": "a", "image_url": "a.png"}])
        assert self.build(tmp_path)["made_hash_count"] == 1

        file.unlink()
        assert self.build(tmp_path)["made_hash_count"] == 1
