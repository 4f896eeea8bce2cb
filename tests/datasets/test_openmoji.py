"""Emoji as pins: real titles and pictures, designers' boards, visitors called scripted."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from datasets import openmoji, openmoji_pack
from datasets.dataset import DataSet
from tests.candidate_service.pictures import draw, encode

TODAY = date(2026, 3, 1)


@cache
def world() -> DataSet:
    """Return the data set as of a fixed day."""
    return openmoji.load(today=TODAY)


def test_all_pictures_are_there_with_what_openmoji_says_of_them() -> None:
    """Titles, tags, designers, groups; flags have countries."""
    pins = {pin.pin_id: pin for pin in world().pins}

    assert len(pins) == 2465
    assert pins["1F600"].title == "grinning face"
    assert {"smileys emotion", "face smiling", "grin"} <= set(pins["1F600"].topics)
    assert pins["1F600"].owner_id == "emily-jager"
    assert (pins["1F1EF-1F1F5"].country, pins["1F600"].country) == ("JP", None)
    assert len({pin.owner_id for pin in pins.values()}) == 120


def test_pictures_are_small() -> None:
    """Each picture stands in its address and can be opened."""
    for pin in world().pins[::100]:
        assert pin.image_url is not None
        data = base64.b64decode(pin.image_url.removeprefix("data:image/webp;base64,"))
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (openmoji_pack.SIDE, openmoji_pack.SIDE)
        assert len(pin.visual_vector or ()) == 3 * openmoji.LOOK_CELLS**2
    assert max(len(pin.image_url or "") for pin in world().pins) < 65_536
    assert openmoji.FILE.stat().st_size < 2_000_000


def test_nothing_lies_in_the_future_and_something_is_fresh() -> None:
    """The newest drawing was made yesterday; visitors came in the last days."""
    today_us = datetime.combine(TODAY, datetime.min.time(), UTC).timestamp() * 1e6
    times = [save.save_time_us for save in world().saves]
    times += [action.action_time_us for action in world().actions]

    assert max(times) < today_us
    assert max(pin.creation_time_us or 0 for pin in world().pins) > today_us - 86_400e6
    assert min(times[-1000:]) > today_us - 91 * 86_400e6


def test_every_visitor_says_that_nobody_was_there() -> None:
    """Whoever did not draw is called scripted; whoever drew saved nothing but own drawings."""
    designers = {pin.owner_id for pin in world().pins}
    owner = {pin.pin_id: pin.owner_id for pin in world().pins}

    for save in world().saves:
        if save.user_id in designers:
            assert owner[save.pin_id] == save.user_id
        else:
            assert save.user_id.startswith(openmoji.VISITOR_PREFIX)
    assert all(a.user_id.startswith(openmoji.VISITOR_PREFIX) for a in world().actions)


def test_boards_hold_what_their_title_says() -> None:
    """A visitor's board is one theme, and its pictures have one of the theme's tags."""
    topics = {pin.pin_id: set(pin.topics) for pin in world().pins}
    scripted = [save for save in world().saves if save.user_id.startswith("scripted-")]

    for save in scripted:
        assert openmoji.THEMES[save.board_title] & topics[save.pin_id]
    assert set(Counter(save.board_title for save in scripted)) == set(openmoji.THEMES)
    assert len({save.save_id for save in world().saves}) == len(world().saves)
    assert len({(save.board_id, save.pin_id) for save in scripted}) == len(scripted)


def test_same_day_same_data() -> None:
    """The demo of one day is one demo; another day only shifts the days."""
    assert openmoji.load(today=TODAY) == world()
    later = openmoji.load(today=TODAY + timedelta(days=7))
    assert later.saves[-1].pin_id == world().saves[-1].pin_id


def test_import_folder(tmp_path: Path) -> None:
    """Pictures and vectors are columns of the import."""
    table = pq.read_table(world().write(tmp_path) / "pins.parquet")

    assert {"visual_vector", "image_url", "country"} <= set(table.column_names)
    assert table.num_rows == 2465


ENTRY = {
    "hexcode": "1F600",
    "emoji": "😀",
    "annotation": "grinning face",
    "group": "smileys-emotion",
    "subgroups": "face-smiling",
    "tags": "face, grin",
    "openmoji_tags": "smile, grin",
    "openmoji_author": "Emily  Jäger",
    "openmoji_date": "2018-04-18",
    "skintone": "",
}


class TestPack:
    """How the file is made, without the network and without the drawing library."""

    def package(self) -> bytes:
        """Return a package of one emoji and a skin tone of it."""
        tone = {**ENTRY, "hexcode": "1F600-1F3FB", "skintone": "1"}
        files = {
            "package/data/openmoji.json": json.dumps([ENTRY, tone]).encode(),
            "package/color/svg/1F600.svg": b"<svg/>",
        }
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return out.getvalue()

    def test_rows(self) -> None:
        """One row for each drawing that is no skin tone, tags united."""
        entries, drawings = openmoji_pack.read_package(self.package())
        drawn = encode(draw(1))

        (row,) = openmoji_pack.rows(entries, drawings, lambda _: drawn)

        assert row["tags"] == ["face", "grin", "smile"]
        assert (row["designer"], row["date"]) == ("Emily Jäger", date(2018, 4, 18))

    def test_another_file_than_was_published_is_refused(self, tmp_path: Path) -> None:
        """A package is taken by its checksum, not by its name."""
        file = tmp_path / "openmoji.tgz"
        file.write_bytes(self.package())

        with pytest.raises(openmoji_pack.PackError, match="not the file"):
            openmoji_pack.fetch(file.as_uri())
        with pytest.raises(openmoji_pack.PackError, match="cannot be fetched"):
            openmoji_pack.fetch((tmp_path / "none.tgz").as_uri())

    def test_package_of_another_layout_is_refused(self) -> None:
        """Nothing found is an error, not an empty data set."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz"):
            pass

        with pytest.raises(openmoji_pack.PackError, match="layout"):
            openmoji_pack.read_package(out.getvalue())


def test_shipped_file_is_the_one_that_was_checked() -> None:
    """The file in the tree is not changed by accident."""
    digest = hashlib.sha256(openmoji.FILE.read_bytes()).hexdigest()

    assert digest == openmoji.FILE_SHA256
