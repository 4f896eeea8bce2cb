"""Drawn pictures: many different ones, and copies of them as the world makes copies."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, ImageEnhance


def draw(seed: int, size: int = 128) -> Image.Image:
    """Return a picture of a dozen soft rectangles, another one for each seed."""
    rng = np.random.default_rng(seed)
    canvas = np.full((size, size, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(12):
        left, top = rng.integers(0, size - 8, 2)
        width, height = rng.integers(8, size // 2, 2)
        canvas[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return Image.fromarray(canvas)


def encode(picture: Image.Image, kind: str = "PNG", **settings: int) -> bytes:
    """Return the picture as a file."""
    out = io.BytesIO()
    picture.save(out, kind, **settings)
    return out.getvalue()


def copies(picture: Image.Image) -> dict[str, bytes]:
    """Return the picture as it comes back from other sites."""
    width, height = picture.size
    return {
        "jpeg of quality 60": encode(picture, "JPEG", quality=60),
        "webp of quality 50": encode(picture, "WEBP", quality=50),
        "half as large": encode(picture.resize((width // 2, height // 2))),
        "three times as large": encode(picture.resize((width * 3, height * 3))),
        "a twentieth brighter": encode(ImageEnhance.Brightness(picture).enhance(1.05)),
    }


def address(data: bytes) -> str:
    """Return a picture as a data: address."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
