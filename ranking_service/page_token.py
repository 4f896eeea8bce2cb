"""
Page tokens: what an answer's next page must know, in the token itself.

No server keeps anything for a token, so it is good on every process and replica and after a
restart.  It carries the seed, and a Bloom filter of every pin and near-duplicate group shown so
far: a pin that was shown is always recognised, so no page repeats one; a pin that was not is
mistaken for one now and then (about 1 in 300 after 100 pins, 1 in 15 after 250) and left out.

Layout, little-endian, base85: version, uses, time of the last use in seconds (uint32), seed
(uint64), whose pages these are (uint64), pins shown (uint16), the filter, and a checksum.
"""

import struct
from base64 import b85decode, b85encode
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.query import RecommendQuery
from service_runtime.errors import InvalidRequest

VERSION: Final = 1
FILTER_BYTES: Final = 172
HASH_COUNT: Final = 4
PIN_COUNT_MAX: Final = 1000
"""After so many pins there is no next page: the filter would take one in two for shown."""

_HEAD: Final = struct.Struct("<BBIQQH")
_CHECK_BYTES: Final = 4
TOKEN_LENGTH_MAX: Final = 256
assert -(-(_HEAD.size + FILTER_BYTES + _CHECK_BYTES) // 4) * 5 <= TOKEN_LENGTH_MAX


@dataclass(frozen=True, slots=True)
class PageToken:
    """
    What the next page must know.

    Attributes:
        time: When the page before it was shown, Unix seconds.
        seed: Of the first page.
        asker: Key of user, query pin and surface.
        page: Number of the next page, from 1.
        shown_count: Pins shown so far.
        filter: Bits of what was shown, uint8[FILTER_BYTES].
    """

    time: int
    seed: int
    asker: int
    page: int
    shown_count: int
    filter: NDArray[np.uint8]

    def has(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which keys were shown, bool[n]; false now and then for one that was not, never else."""
        bits = np.unpackbits(self.filter).astype(np.bool_)
        return np.asarray(bits[_bits(keys)].all(axis=1))

    def with_shown(self, keys: NDArray[np.uint64], count: int, now: float) -> "PageToken":
        """The token after another page of *count* pins with these keys."""
        bits = np.unpackbits(self.filter)
        bits[_bits(keys).ravel()] = 1
        return PageToken(
            time=int(now),
            seed=self.seed,
            asker=self.asker,
            page=min(self.page + 1, 255),
            shown_count=self.shown_count + count,
            filter=np.packbits(bits),
        )

    def encode(self) -> str:
        """The token as text; empty where there is no further page."""
        if self.shown_count >= PIN_COUNT_MAX:
            return ""
        head = _HEAD.pack(VERSION, self.page, self.time, self.seed, self.asker, self.shown_count)
        body = head + self.filter.tobytes()
        return b85encode(body + _checksum(body)).decode("ascii")


def first_page(query: RecommendQuery) -> PageToken:
    """Nothing was shown yet."""
    return PageToken(0, query.seed, asker_of(query), 0, 0, np.zeros(FILTER_BYTES, np.uint8))


def open_token(query: RecommendQuery, now: float, lifetime: float) -> PageToken:
    """
    The token of a request that goes on with an earlier answer.

    Raises:
        InvalidRequest: If it is damaged, too old, or of another user, query pin or surface.
    """
    try:
        content = b85decode(query.page_token)
    except ValueError as fault:
        raise _refused("is no page token", "PAGE_TOKEN_DAMAGED") from fault
    body, checksum = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
    is_whole = len(body) == _HEAD.size + FILTER_BYTES and _checksum(body) == checksum
    if not is_whole or body[0] != VERSION:
        raise _refused("is damaged, or of another version of the service", "PAGE_TOKEN_DAMAGED")
    _, page, time, seed, asker, shown_count = _HEAD.unpack_from(body)
    if asker != asker_of(query):
        raise _refused("belongs to another user, query pin or surface", "PAGE_TOKEN_FOREIGN")
    if not time - 300 <= now <= time + lifetime:
        raise _refused(
            f"is older than {lifetime / 60:g} minutes; ask for a first page", "PAGE_TOKEN_EXPIRED"
        )
    bits = np.frombuffer(body, np.uint8, offset=_HEAD.size)
    return PageToken(time, seed, asker, page, shown_count, bits)


def asker_of(query: RecommendQuery) -> int:
    """Whose pages these are."""
    told = f"{query.user_id}\0{query.query_pin_id}\0{int(query.surface)}".encode()
    return int.from_bytes(blake2b(told, digest_size=8).digest(), "little")


def _bits(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The filter's bits of each key, int64[n, HASH_COUNT], by double hashing."""
    with np.errstate(over="ignore"):
        second = (keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(17) | np.uint64(1)
        steps = np.arange(HASH_COUNT, dtype=np.uint64)
        mixed = keys[:, None] + second[:, None] * steps
    return (mixed % np.uint64(FILTER_BYTES * 8)).astype(np.int64)


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=_CHECK_BYTES).digest()


def _refused(message: str, reason: str) -> InvalidRequest:
    return InvalidRequest(message, field="page_token", reason=reason)
