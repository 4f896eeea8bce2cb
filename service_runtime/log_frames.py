"""Frames of a log: how a record is wrapped, and found again among damage.

    marker 4 bytes | length uint32 | xxh3_64 of position, length and payload | payload

all little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

import xxhash

MARKER: Final = b"\xc3\xbe\xf0\x9e"
_HEADER: Final = struct.Struct("<4sIQ")
_SEED: Final = struct.Struct("<QI")


def frame(position: int, payload: bytes) -> bytes:
    """Return a record as the frame that stands at a position."""
    return _HEADER.pack(MARKER, len(payload), _checksum(position, payload)) + payload


def _checksum(position: int, payload: bytes | memoryview) -> int:
    digest = xxhash.xxh3_64(_SEED.pack(position, len(payload)))
    digest.update(payload)
    return digest.intdigest()


def frames_of(
    content: bytes, base: int, start: int, on_damage: Callable[[int, int], None]
) -> Iterator[tuple[bytes, int]]:
    """
    Return the payload and the end of every whole frame; what follows the last one is not damage.

    A frame's checksum covers its position, so neither old bytes nor a payload that holds a frame
    are mistaken for one.
    """
    at = start
    while at < len(content):
        found, stop = at, _frame_end(content, base, at)
        while stop < 0:
            found = content.find(MARKER, found + 1)
            if found < 0:
                return
            stop = _frame_end(content, base, found)
        if found > at > start:
            on_damage(base + at, base + found)
        yield content[found + _HEADER.size : stop], stop
        at = stop


def _frame_end(content: bytes, base: int, at: int) -> int:
    """Return where the frame at a place ends, -1 if there is no whole one."""
    if at + _HEADER.size > len(content):
        return -1
    marker, length, checksum = _HEADER.unpack_from(content, at)
    stop = at + _HEADER.size + length
    if marker != MARKER or stop > len(content):
        return -1
    payload = memoryview(content)[at + _HEADER.size : stop]
    return stop if _checksum(base + at, payload) == checksum else -1
