"""Pictures to hashes: copies stay near, others far, and what is no picture is said to be none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from candidate_service.image_hash import (
    NotAPicture,
    hash_image,
    is_informative,
    open_picture,
)
from service_runtime.errors import InvalidRequest
from tests.candidate_service.pictures import copies, draw, encode
from tests.naive.hamming import distance

PICTURES = [draw(seed) for seed in range(12)]


def test_copies_are_near_and_others_far() -> None:
    """The default threshold of four bits tells copies from other pictures."""
    hashes = [hash_image(encode(picture)) for picture in PICTURES]

    for value, picture in zip(hashes, PICTURES, strict=True):
        for name, copy in copies(picture).items():
            assert distance(value, hash_image(copy)) <= 4, name
    apart = [distance(a, b) for at, a in enumerate(hashes) for b in hashes[:at]]
    assert min(apart) > 11


def test_transparent_ground_is_white() -> None:
    """A cut-out hashes as it is seen on a page."""
    cut_out = Image.new("RGBA", (64, 64), (200, 30, 30, 0))
    cut_out.paste((0, 0, 0, 255), (10, 10, 40, 50))
    on_white = Image.new("RGB", (64, 64), "white")
    on_white.paste((0, 0, 0), (10, 10, 40, 50))

    assert hash_image(encode(cut_out)) == hash_image(encode(on_white))


def test_flat_picture_has_an_uninformative_hash() -> None:
    """All-white pictures must not become one group."""
    flat = hash_image(encode(Image.new("RGB", (64, 64), "white")))

    assert not is_informative(np.array([flat], np.uint64))[0]
    drawn = np.array([hash_image(encode(picture)) for picture in PICTURES], np.uint64)
    assert is_informative(drawn).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"<html><body>404</body></html>", "is no picture"),
        (encode(PICTURES[0])[:200], "cannot be read"),
        (encode(PICTURES[0], "JPEG")[:400], "cannot be read"),
        (encode(PICTURES[0], "BMP"), "is no picture"),
        (encode(Image.new("RGB", (3, 200))), "each side must have"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 64, "picture"),
        (b"%PDF-1.7 not a picture", "is no picture"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, reason: str) -> None:
    """The error names the pin, says what is wrong and what to do."""
    with pytest.raises(NotAPicture, match=reason) as caught:
        hash_image(data, what="the picture of pin 'a'", field="pins[0].image_bytes")

    assert isinstance(caught.value, InvalidRequest)
    assert "pins[0].image_bytes: the picture of pin 'a'" in caught.value.message
    assert "PNG" in caught.value.hint


def test_small_file_that_unpacks_to_gigabytes_is_refused() -> None:
    """The size is read from the header before anything is unpacked."""
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")

    with pytest.raises(NotAPicture, match="pixels"):
        open_picture(bomb.getvalue())


def test_first_frame_of_an_animation() -> None:
    """A moving picture is hashed as it begins."""
    moving = io.BytesIO()
    PICTURES[0].save(moving, "GIF", save_all=True, append_images=PICTURES[1:3])

    assert distance(hash_image(moving.getvalue()), hash_image(encode(PICTURES[0]))) <= 4
