"""What most people like lately: prepared lists, for everyone and for each language and country."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.candidate import CandidateList, CandidateQuery, Segment
from candidate_service.selection import is_in
from candidate_service.source_registry import SourceContext, SourcePlugin
from service_runtime.errors import Corrupted
from service_runtime.generations import Draft, Generation

NAME: Final = "popular"
ARTIFACT: Final = "popular"
FORMAT_VERSION: Final = 1
EVERYONE: Final = ""
"""Key of the list for everyone; others are `language:ja` and `country:JP`."""

_REMEMBERED_MAX: Final = 1000
_FILES: Final = ("rows", "scores", "offsets")

PreparedList = tuple[NDArray[np.int32], NDArray[np.float32]]


def language_key(language: str) -> str:
    """Return the key of a language's list; `pt-BR` and `PT` share one."""
    return f"language:{language.partition('-')[0].lower()}" if language else EVERYONE


def country_key(country: str) -> str:
    """Return the key of a country's list."""
    return f"country:{country.upper()}" if country else EVERYONE


class PopularLists:
    """The prepared lists of one generation; read-only, safe from any number of threads."""

    def __init__(self, lists: Mapping[str, PreparedList]) -> None:
        """Take the lists by key.

        Args:
            lists: Rows int32[n] and scores float32[n] in [0, 1], best first; one for EVERYONE.
        """
        self._lists = dict(lists)
        self._merged: dict[tuple[str, str], PreparedList] = {}
        self._lock = Lock()

    def best_for(self, segment: Segment) -> PreparedList:
        """Return the list of a viewer: what fits language and country, what fits one, the rest.

        The score is how many of the two fit, plus the popularity in [0, 1].
        """
        wanted = (language_key(segment.language), country_key(segment.country))
        keys = tuple(key if key in self._lists else EVERYONE for key in wanted)
        key = (keys[0], keys[1])
        found = self._merged.get(key)
        if found is None:
            found = self._merge([key for key in keys if key != EVERYONE])
            with self._lock:
                if len(self._merged) >= _REMEMBERED_MAX:
                    self._merged.clear()
                self._merged[key] = found
        return found

    def _merge(self, keys: list[str]) -> PreparedList:
        parts = [*(self._lists[key] for key in keys), self._lists[EVERYONE]]
        rows = np.concatenate([part[0] for part in parts])
        scores = np.concatenate([part[1] for part in parts])
        local_count = len(rows) - len(parts[-1][0])
        unique, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
        fits = np.bincount(inverse[:local_count], minlength=len(unique))
        merged = (scores[first] + fits).astype(np.float32)
        order = np.lexsort((first, -merged))
        return unique[order].astype(np.int32), merged[order]


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


def open_lists(generation: Generation) -> PopularLists:
    """Load a generation; some megabytes at the most.

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
        raise _unreadable(generation, str(fault)) from fault
    if not fits:
        raise _unreadable(generation, "its arrays do not fit its manifest")
    spans = zip(keys, offsets[:-1], offsets[1:], strict=True)
    return PopularLists({key: (rows[low:high], scores[low:high]) for key, low, high in spans})


def _unreadable(generation: Generation, reason: str) -> Corrupted:
    return Corrupted(
        f"popular {generation.id} cannot be opened: {reason}",
        hint="build it again: python -m candidate_service.jobs.build_popular",
    )


class PopularSource:
    """Prepared lists by segment; needs no query pin, and is never empty while there are pins."""

    name = NAME
    artifacts = (ARTIFACT,)

    def __init__(self, lists: Callable[[], PopularLists]) -> None:
        """Remember how to get at the lists that serve now."""
        self._lists = lists

    def retrieve(self, query: CandidateQuery, limit: int) -> CandidateList:
        """Return the most popular pins for the viewer's segment; no query pin is behind them."""
        rows, scores = self._lists().best_for(query.segment)
        head = rows[: limit + len(query.unwanted_rows)]
        kept = np.flatnonzero(~is_in(head, query.unwanted_rows))[:limit]
        rows, scores = rows[kept], scores[kept]
        return CandidateList(NAME, rows, scores, np.full(len(rows), -1, np.int32))


def _make(context: SourceContext) -> PopularSource:
    return PopularSource(context.artifacts.add(ARTIFACT, FORMAT_VERSION, open_lists))


PLUGIN: Final = SourcePlugin(NAME, _make, candidate_count=100, is_quick=True)
"""A page for who has no profile. Guess."""
