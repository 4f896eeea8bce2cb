"""Near-duplicates: which copies of a picture are recognised, which others are taken for it, speed.

    python benchmarks/bench_visual.py             # OpenMoji's pictures and drawn ones
    python benchmarks/bench_visual.py --quick

Copies are made as the world makes them: recompressed, scaled, cropped, brightened. `taken for it`
counts pairs of different pictures within the threshold; among emoji most of those are drawn over
one another (person kneeling, man kneeling), so they are no plain mistakes.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from candidate_service.hamming import HammingIndex
from candidate_service.image_hash import hash_image, hash_picture, is_informative
from datasets import openmoji

THRESHOLDS = (0, 2, 4, 6, 8, 10)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few pictures, no judging")
    options = parser.parse_args()
    print("## Near-duplicates")
    emoji = [opened(one.picture) for one in openmoji.read()[:: 200 if options.quick else 4]]
    drawn = [draw(seed) for seed in range(10 if options.quick else 400)]
    recognised("drawn pictures", drawn)
    recognised("emoji", emoji)
    timed(20_000 if options.quick else 1_000_000, repeats=50 if options.quick else 500)


def opened(picture: bytes) -> Image.Image:
    """Return a picture file unpacked."""
    with Image.open(io.BytesIO(picture)) as file:
        return file.convert("RGB")


def draw(seed: int, size: int = 128) -> Image.Image:
    """Return a picture of a dozen rectangles, another one for each seed."""
    rng = np.random.default_rng(seed)
    canvas = np.full((size, size, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(12):
        left, top = rng.integers(0, size - 8, 2)
        width, height = rng.integers(8, size // 2, 2)
        canvas[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return Image.fromarray(canvas)


def copies(picture: Image.Image) -> Mapping[str, Image.Image | bytes]:
    """Return a picture as it comes back from other sites."""
    width, height = picture.size
    edge = width // 50
    return {
        "JPEG, quality 60": encoded(picture, "JPEG", 60),
        "WebP, quality 50": encoded(picture, "WEBP", 50),
        "half as large": picture.resize((width // 2, height // 2)),
        "three times as large": picture.resize((3 * width, 3 * height)),
        "5 % brighter": ImageEnhance.Brightness(picture).enhance(1.05),
        "20 % brighter": ImageEnhance.Brightness(picture).enhance(1.2),
        "2 % cut off each side": picture.crop((edge, edge, width - edge, height - edge)),
    }


def encoded(picture: Image.Image, kind: str, quality: int) -> bytes:
    """Return a picture as a file."""
    out = io.BytesIO()
    picture.save(out, kind, quality=quality)
    return out.getvalue()


def recognised(name: str, pictures: Sequence[Image.Image]) -> None:
    """Print the share of copies within each threshold, and of pairs of others."""
    hashes = np.array([hash_picture(picture) for picture in pictures], np.uint64)
    distances: dict[str, list[int]] = {}
    for value, picture in zip(hashes.tolist(), pictures, strict=True):
        for kind, copy in copies(picture).items():
            other = hash_image(copy) if isinstance(copy, bytes) else hash_picture(copy)
            distances.setdefault(kind, []).append((value ^ other).bit_count())
    print(f"\n{len(pictures)} {name}\n")
    print("| within bits | " + " | ".join(map(str, THRESHOLDS)) + " |")
    print("| --- |" + " --- |" * len(THRESHOLDS))
    for kind, found in distances.items():
        cells = [f"{np.mean(np.array(found) <= most):.3f}" for most in THRESHOLDS]
        print(f"| {kind} | " + " | ".join(cells) + " |")
    others = pair_distances(hashes[is_informative(hashes)])
    cells = [f"{np.mean(others <= most):.1e}" for most in THRESHOLDS]
    print("| share of pairs of others taken for it | " + " | ".join(cells) + " |")


def pair_distances(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the distance of each pair."""
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    return apart[np.triu_indices(len(hashes), 1)]


def timed(count: int, *, repeats: int) -> None:
    """Print what a look-up costs against a scan."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    started = time.process_time()
    index = HammingIndex(np.arange(count, dtype=np.int32), hashes)
    built_ms = (time.process_time() - started) * 1e3
    queries = hashes[rng.integers(0, count, repeats)]
    index.near(int(queries[0]), 4)
    started = time.thread_time()
    for query in queries[:20]:
        np.flatnonzero(np.bitwise_count(hashes ^ query) <= 4)
    scan_ms = (time.thread_time() - started) / min(20, repeats) * 1e3
    print(f"\n{count:,} hashes: tables in {built_ms:.0f} ms; a numpy scan {scan_ms:.2f} ms\n")
    print("| within bits | look-up ms | scan / look-up |")
    print("| --- | --- | --- |")
    for most in (0, 3, 4, 7, 8, 11):
        started = time.thread_time()
        for query in queries.tolist():
            index.near(query, most)
        each_ms = (time.thread_time() - started) / repeats * 1e3
        print(f"| {most} | {each_ms:.3f} | {scan_ms / each_ms:.0f} |")


if __name__ == "__main__":
    main()
