"""How `openmoji.parquet` was made: the npm package fetched, its drawings scaled down.

    python -m datasets.openmoji_pack datasets/openmoji.parquet     # needs: pip install resvg-py

Run by whoever takes over a new release; nobody needs it to use the data set. The package is fetched
by plain HTTPS from the registry, checked, and read in memory; nothing of npm is needed.
"""

import base64
import hashlib
import io
import json
import sys
import tarfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

VERSION = "17.0.0"
URL = f"https://registry.npmjs.org/openmoji/-/openmoji-{VERSION}.tgz"
INTEGRITY = (
    "sha512-EBnYrNGdcdw+OSXmENeNE1yBNRu6tOraTmoOyUbJkTmvT/+XETp8RZLSJFzD3lrPc5N9CzsyPnRTk0Vp4UaI"
    "9w=="
)
BYTES_MAX = 64_000_000
SECONDS_MAX = 120
DRAWN_SIDE = 256
SIDE = 64
QUALITY = 60

SCHEMA = pa.schema(
    [
        ("hexcode", pa.string()),
        ("emoji", pa.string()),
        ("title", pa.string()),
        ("group", pa.string()),
        ("subgroup", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("designer", pa.string()),
        ("date", pa.date32()),
        ("picture", pa.binary()),
    ]
)
"""`picture` is a WebP of 64 x 64 pixels on white; skin tones are left out: 2,465 rows."""

Draw = Callable[[bytes], bytes]
"""An SVG file to a PNG file of `DRAWN_SIDE` pixels."""


class PackError(Exception):
    """The package cannot be had or is not what it should be; the message says what to do."""


def fetch(url: str = URL) -> bytes:
    """Download the package and check it.

    Raises:
        PackError: Offline, too large, or another file than was published.
    """
    try:
        with urllib.request.urlopen(url, timeout=SECONDS_MAX) as answer:  # noqa: S310  https
            data: bytes = answer.read(BYTES_MAX + 1)
    except OSError as error:
        message = f"{url} cannot be fetched: {error}"
        raise PackError(message) from error
    digest = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if digest != INTEGRITY:
        message = f"{url} is not the file that was published: {digest}, expected {INTEGRITY}"
        raise PackError(message)
    return data


def read_package(data: bytes) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return the table of emoji and the colour drawings by hexcode."""
    drawings = {}
    entries: list[dict[str, Any]] = []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            parts = Path(member.name).parts
            file = archive.extractfile(member)
            if file is None:
                continue
            if parts[1:] == ("data", "openmoji.json"):
                entries = json.load(file)
            elif parts[1:3] == ("color", "svg"):
                drawings[Path(member.name).stem] = file.read()
    if not entries or not drawings:
        message = "the package holds no table or no drawings: has its layout changed?"
        raise PackError(message)
    return entries, drawings


def rows(
    entries: list[dict[str, Any]], drawings: Mapping[str, bytes], draw: Draw
) -> Iterator[dict[str, Any]]:
    """Give one row of `SCHEMA` for each emoji that is no skin tone of another."""
    for entry in entries:
        if entry["skintone"]:
            continue
        picture = thumbnail(draw(drawings[entry["hexcode"]]))
        words = f"{entry['tags']},{entry['openmoji_tags']}".split(",")
        yield {
            "hexcode": entry["hexcode"],
            "emoji": entry["emoji"],
            "title": entry["annotation"],
            "group": entry["group"],
            "subgroup": entry["subgroups"],
            "tags": list(dict.fromkeys(word.strip() for word in words if word.strip())),
            "designer": " ".join(entry["openmoji_author"].split()),
            "date": pa.scalar(entry["openmoji_date"]).cast(pa.date32()).as_py(),
            "picture": picture,
        }


def thumbnail(drawn: bytes) -> bytes:
    """Return a drawing as a small WebP on white ground."""
    with Image.open(io.BytesIO(drawn)) as opened:
        drawing = opened.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", drawing.size, "white")
    picture.paste(drawing, mask=drawing.getchannel("A"))
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=QUALITY, method=6)
    return out.getvalue()


def draw_svg(svg: bytes) -> bytes:
    """Draw an SVG file."""
    try:
        import resvg_py  # type: ignore[import-not-found]
    except ImportError as error:
        message = "resvg-py draws the pictures: pip install resvg-py"
        raise PackError(message) from error
    drawn = resvg_py.svg_to_bytes(
        svg_string=svg.decode(), width=DRAWN_SIDE, height=DRAWN_SIDE, skip_system_fonts=True
    )
    return bytes(drawn)


def main() -> None:
    """Write the file that is named on the command line."""
    entries, drawings = read_package(fetch())
    table = pa.Table.from_pylist(list(rows(entries, drawings, draw_svg)), SCHEMA)
    pq.write_table(table, sys.argv[1], compression="zstd", compression_level=19)
    print(f"{table.num_rows} pictures, {Path(sys.argv[1]).stat().st_size:,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
