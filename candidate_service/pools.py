"""Prepared lists: pins in a fixed order, for everyone and for each segment of readers.

A segment's key is `language:ja`, `country:JP` or `segment:name`; "" is everyone's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.candidate import CandidateQuery, Segment
from candidate_service.selection import is_allowed, is_in
from service_runtime.errors import Corrupted
from service_runtime.generations import Draft, Generation

EVERYONE: Final = ""
"""Key of the list for everyone."""

_FILES: Final = ("rows", "scores", "offsets")

PreparedList = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Rows int32[n] and scores float32[n], best first."""


def language_key(language: str) -> str:
    """Return the key of a language's list; `pt-BR` and `PT` share one."""
    return f"language:{language.partition('-')[0].lower()}" if language else EVERYONE


def country_key(country: str) -> str:
    """Return the key of a country's list."""
    return f"country:{country.upper()}" if country else EVERYONE


def name_key(name: str) -> str:
    """Return the key of the list of a segment that the operator defined."""
    return f"segment:{name}" if name else EVERYONE


def keys_of(segment: Segment) -> tuple[str, ...]:
    """Return the keys that fit a viewer, without everyone's."""
    keys = (
        language_key(segment.language),
        country_key(segment.country),
        name_key(segment.name),
    )
    return tuple(key for key in keys if key != EVERYONE)


def first_wanted(rows: NDArray[np.int32], query: CandidateQuery, limit: int) -> NDArray[np.int64]:
    """Return the places of the first *limit* rows of an order that the query may be given.

    Left out are query rows, excluded rows and rows that are not allowed. Only as much of the order
    is looked at as is needed.

    Returns:
        int64[m], ascending, m <= limit.
    """
    found: list[NDArray[np.int64]] = []
    missing, begin, size = limit, 0, limit + min(len(query.unwanted_rows), limit)
    while missing > 0 and begin < len(rows):
        part = rows[begin : begin + size]
        is_wanted = is_allowed(part, query.allowed) & ~is_in(part, query.unwanted_rows)
        places = np.flatnonzero(is_wanted)[:missing] + begin
        found.append(places)
        missing -= len(places)
        begin, size = begin + size, size * 4
    return np.concatenate([np.empty(0, np.int64), *found])


def write_lists(draft: Draft, lists: Mapping[str, PreparedList]) -> list[str]:
    """Write the lists, and return their keys in the order of the files, for the manifest."""
    keys = sorted(lists)
    offsets = np.cumsum([0, *(len(lists[key][0]) for key in keys)])
    arrays = (
        np.concatenate([lists[key][0] for key in keys]),
        np.concatenate([lists[key][1] for key in keys]),
        offsets.astype(np.int64),
    )
    for name, array in zip(_FILES, arrays, strict=True):
        np.save(draft.path(f"{name}.npy"), array, allow_pickle=False)
    return keys


def read_lists(generation: Generation, *, hint: str) -> dict[str, PreparedList]:
    """Load what `write_lists` wrote; some megabytes at the most.

    Args:
        generation: Its manifest's details name the keys as `segments`.
        hint: How to make it again, for the error.

    Raises:
        Corrupted: Its arrays do not fit each other.
    """
    keys = generation.manifest.details.get("segments", [])
    try:
        rows, scores, offsets = (
            np.load(generation.file(f"{name}.npy"), allow_pickle=False) for name in _FILES
        )
        fits = (
            len(offsets) == len(keys) + 1
            and len(rows) == len(scores) == offsets[-1]
            and (rows.dtype, scores.dtype) == (np.int32, np.float32)
            and EVERYONE in keys
        )
    except (OSError, ValueError, IndexError) as fault:
        raise _unreadable(generation, str(fault), hint) from fault
    if not fits:
        raise _unreadable(generation, "its arrays do not fit its manifest", hint)
    spans = zip(keys, offsets[:-1], offsets[1:], strict=True)
    return {key: (rows[low:high], scores[low:high]) for key, low, high in spans}


def _unreadable(generation: Generation, reason: str, hint: str) -> Corrupted:
    return Corrupted(f"{generation.artifact} {generation.id} cannot be opened: {reason}", hint=hint)
