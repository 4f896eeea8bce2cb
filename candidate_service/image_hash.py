"""Pictures to 64-bit hashes that survive scaling, recompression and small changes of brightness.

The hash compares the 8 x 8 lowest frequencies of the picture's brightness with their median, so two
copies of a picture differ in few bits and two pictures in about half of them. Colour is not seen:
flags that differ in colour alone look alike to it.

Source: Zauner 2010 (pHash); the transform is ImageHash's.
"""

from __future__ import annotations

import io
import warnings
from typing import Final

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from service_runtime.errors import InvalidRequest

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF")
PIXEL_COUNT_MAX: Final = 40_000_000
"""A small file can unpack to gigabytes; a picture with more pixels than this is refused."""
SIDE_MIN: Final = 8
INFORMATIVE_BITS: Final = (16, 48)
"""Half of the bits are set in the hash of a picture; a flat one sets nearly none or all."""
_BACKGROUND: Final = (255, 255, 255)


class NotAPicture(InvalidRequest):
    """Bytes that were sent as a picture are none that can be read."""


def open_picture(data: bytes, *, what: str = "the picture", field: str = "") -> Image.Image:
    """Return a picture in RGB on white ground, the first frame of an animation.

    Args:
        data: A PNG, JPEG, WebP or GIF file.
        what: How to call it when it is refused, such as `the picture of pin 'a'`.
        field: The request's field to name, "" for none.

    Raises:
        NotAPicture: It is empty, cut, of another kind, too small or too large; says which.
    """
    if not data:
        raise _refused(what, "is empty", field)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata does not matter
            opened = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = opened.size
            if width * height > PIXEL_COUNT_MAX:
                reason = f"has {width} x {height} pixels, more than {PIXEL_COUNT_MAX:,}"
                raise _refused(what, reason, field)
            if min(width, height) < SIDE_MIN:
                reason = f"has {width} x {height} pixels; each side must have {SIDE_MIN}"
                raise _refused(what, reason, field)
            opened.load()
            with_alpha = opened.convert("RGBA")
    except UnidentifiedImageError as fault:
        raise _refused(what, f"begins with {data[:8]!r}, which is no picture", field) from fault
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise _refused(what, f"cannot be read: {fault}", field) from fault
    picture = Image.new("RGB", with_alpha.size, _BACKGROUND)
    picture.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return picture


def hash_picture(picture: Image.Image) -> int:
    """Return the 64-bit perceptual hash of a picture, in [0, 2**64)."""
    bits = np.asarray(imagehash.phash(picture, hash_size=8).hash, np.bool_).reshape(-1)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hash_image(data: bytes, *, what: str = "the picture", field: str = "") -> int:
    """Return the 64-bit perceptual hash of a picture file; arguments as of `open_picture`.

    Raises:
        NotAPicture: It cannot be read as a picture; says why.

    Cost: about 1 ms for a thumbnail, mostly unpacking.
    """
    return hash_picture(open_picture(data, what=what, field=field))


def is_informative(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Say which hashes tell pictures apart, bool[n]; those of flat areas are all alike."""
    low, high = INFORMATIVE_BITS
    counts = np.bitwise_count(hashes)
    return np.asarray((counts >= low) & (counts <= high))


def _refused(what: str, reason: str, field: str) -> NotAPicture:
    return NotAPicture(
        f"{what} {reason}",
        hint=f"send a {', '.join(FORMATS)} file, or the hash itself, or none",
        field=field,
        reason="NOT_A_PICTURE",
    )
