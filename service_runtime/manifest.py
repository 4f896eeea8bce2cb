"""What a generation says about itself: its files with checksums, what went into it, how good it is.

The manifest is one JSON file in a canonical form that ends with its own checksum, so that a single
changed byte anywhere in it is noticed: either it no longer parses, or it no longer renders to the
same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
import xxhash

from service_runtime.errors import Corrupted

MANIFEST_FILE: Final = "manifest.json"
CURRENT: Final = "CURRENT"
MANIFEST_VERSION: Final = 1
_CHECKSUM_KEY: Final = "zz_manifest_xxh3"
_READ_BYTES: Final = 1 << 20
_ID_TIME_FORMAT: Final = "%Y%m%dT%H%M%S%f"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a generation: its length in bytes and its xxh3_128 checksum in hex."""

    bytes: int
    xxh3: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    Everything a reader must know of a generation before it maps a single file of it.

    Attributes:
        artifact: Name of the artifact, such as `catalogue`.
        id: Generation id, sorts by the time of publishing.
        format_version: Layout of the files, counted by the artifact's reader.
        creation_time_us: When it was published, microseconds since the Unix epoch.
        as_of_us: The generation contains no fact of this time or later.
        inputs: Generation ids (or other fingerprints) of what it was built from, by name.
        counts: How many of what it holds.
        quality: Figures of its gates, such as recall.
        details: Whatever else its readers check, JSON values only.
        files: Every file by its relative path with forward slashes.
    """

    artifact: str
    id: str
    format_version: int
    creation_time_us: int
    as_of_us: int
    inputs: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileEntry] = field(default_factory=dict)


class ManifestUnreadable(ValueError):  # noqa: N818  named like the families of errors.py
    """The bytes are not a whole, unchanged manifest of a version this code knows."""


def render_manifest(manifest: Manifest) -> bytes:
    """Return the canonical bytes of a manifest, its own checksum at the end."""
    body = {"manifest_version": MANIFEST_VERSION, **asdict(manifest)}
    body[_CHECKSUM_KEY] = xxhash.xxh3_128_hexdigest(_canonical(body))
    return _canonical(body)


def parse_manifest(content: bytes) -> Manifest:
    """
    Read a manifest back.

    Raises:
        ManifestUnreadable: If it was cut, changed by as little as a bit, or is of another version.
    """
    try:
        body = orjson.loads(content)
        version = body.pop("manifest_version")
        checksum = body.pop(_CHECKSUM_KEY)
        entries = {name: FileEntry(**entry) for name, entry in body.pop("files").items()}
        manifest = Manifest(files=entries, **body)
        rendered = render_manifest(manifest)
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        message = f"not a whole manifest ({len(content)} bytes: {fault})"
        raise ManifestUnreadable(message) from fault
    if version != MANIFEST_VERSION:
        message = f"manifest version {version!r}, this release reads {MANIFEST_VERSION}"
        raise ManifestUnreadable(message)
    if rendered != content:
        actual = xxhash.xxh3_128_hexdigest(content)
        message = f"its content does not have the checksum it states ({checksum}; bytes: {actual})"
        raise ManifestUnreadable(message)
    return manifest


def checksum_file(path: Path) -> FileEntry:
    """Return length and xxh3_128 of a file, read in pieces that stay in a core's cache."""
    digest = xxhash.xxh3_128()
    length = 0
    with path.open("rb", buffering=0) as file:
        piece = memoryview(bytearray(_READ_BYTES))
        while count := file.readinto(piece):
            digest.update(piece[:count])
            length += count
    return FileEntry(bytes=length, xxh3=digest.hexdigest())


def _canonical(body: Mapping[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)


def damage(artifact: str, folder: Path, name: str, expected: str, actual: str) -> Corrupted:
    """Return the error naming artifact, file, what was expected and found, and the remedy."""
    return Corrupted(
        f"{artifact}: {folder / name}: expected {expected}, found {actual}",
        hint=f"build it anew with `corkboard build {artifact}`, or roll back: write the name of an"
        f" older folder of {artifact} into its {CURRENT}",
    )


def read_manifest(artifact: str, folder: Path) -> Manifest:
    """
    Read the manifest of a generation's folder.

    Raises:
        Corrupted: If it is missing or not whole.
    """
    try:
        return parse_manifest((folder / MANIFEST_FILE).read_bytes())
    except FileNotFoundError as fault:
        raise damage(artifact, folder, MANIFEST_FILE, "a manifest", "no such file") from fault
    except ManifestUnreadable as fault:
        raise damage(artifact, folder, MANIFEST_FILE, "a manifest", str(fault)) from fault


def verify_file(artifact: str, folder: Path, name: str, entry: FileEntry) -> None:
    """
    Check length and checksum of one file of a generation.

    Raises:
        Corrupted: If it is missing or not what the manifest says.
    """
    path = folder / name
    try:
        length = path.stat().st_size
        if length != entry.bytes:
            raise damage(artifact, folder, name, f"{entry.bytes} bytes", f"{length} bytes")
        actual = checksum_file(path)
    except OSError as fault:
        reason = "no such file" if isinstance(fault, FileNotFoundError) else str(fault)
        raise damage(artifact, folder, name, f"{entry.bytes} bytes", reason) from fault
    if actual != entry:
        raise damage(artifact, folder, name, f"checksum {entry.xxh3}", f"checksum {actual.xxh3}")


def next_id(creation_time_us: int, known: Sequence[str]) -> str:
    """Return an id that sorts after all known ones even if the clock went backwards."""
    stamp = _id_time(creation_time_us)
    if known and stamp <= (latest := known[-1].partition("-")[0]):
        moment = datetime.strptime(latest, _ID_TIME_FORMAT).replace(tzinfo=UTC)
        stamp = _id_time(round(moment.timestamp() * 1e6) + 1)
    return f"{stamp}-{os.urandom(2).hex()}"


def _id_time(time_us: int) -> str:
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    return moment.replace(microsecond=time_us % 1_000_000).strftime(_ID_TIME_FORMAT)
